"""Inbound gRPC: proto in → plain values → use case → proto out. No rule, no SQL. Each room answers some methods."""

from collections.abc import Mapping

from lifecircle.recommend import v1
from services.recommend.api import finals, insights, live, projects, service
from services.recommend.api.finals import FinalsApi as FinalsApi
from services.recommend.api.insights import InsightsApi as InsightsApi
from services.recommend.api.live import LiveApi as LiveApi
from services.recommend.api.projects import ProjectsApi as ProjectsApi
from services.recommend.api.service import Context as Context
from services.recommend.api.service import RecommendApi as RecommendApi

_ROOMS = (service, live, projects, insights, finals)

RIGHTS: Mapping[str, frozenset[str]] = {method: roles for room in _ROOMS for method, roles in room.RIGHTS.items()}
"""Who may call what."""


def joined(*rooms: object) -> v1.RecommendServiceServicer:
    """`lifecircle.recommend.v1.RecommendService`, each method answered by the room that has it."""
    made = v1.RecommendServiceServicer()  # type: ignore[abstract]  # the rooms bring the methods
    for room in rooms:
        for name in RIGHTS.keys() & vars(type(room)).keys():
            setattr(made, name, getattr(room, name))
    return made
