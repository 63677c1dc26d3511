"""What portrait keeps in Postgres: planning, published runs, audiences, moments, and the hot reads of portraits."""

from services.portrait.store.audiences import Audiences
from services.portrait.store.city import City
from services.portrait.store.hot import HotPortraits
from services.portrait.store.moments import Moments
from services.portrait.store.partitions import Partitions
from services.portrait.store.planning import Planning
from services.portrait.store.projections import Projections
from services.portrait.store.reports import Reports
from services.portrait.store.runs import Runs
from services.portrait.store.tags import Tags

__all__ = [
    "Audiences",
    "City",
    "HotPortraits",
    "Moments",
    "Partitions",
    "Planning",
    "Projections",
    "Reports",
    "Runs",
    "Tags",
]
