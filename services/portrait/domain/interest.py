"""Interests (兴趣偏好): what a customer turns to of his own will, each hour of it worth half after 30 days."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

HALF_LIFE_DAYS = 30
LEAST_KEPT = 0.01
"""Hours below which nothing is kept from run to run."""
MOST = 20
_LEAST_HOURS = 0.5
# Where one lives, works, studies, travels or is ill says nothing of one's interests.
_DUTY = ("res", "off", "ind", "edu.school", "med", "tra", "gov")


class Interest(NamedTuple):
    """A topic (a place class), what it is called, and its strength in hours as they are worth now."""

    topic: str
    name: str
    weight: float


def faded(hours: npt.NDArray[np.float64], days: Any) -> npt.NDArray[np.float64]:
    """What hours are worth `days` later."""
    return np.asarray(hours * np.exp2(-np.asarray(days) / HALF_LIFE_DAYS), dtype=np.float64)


def interests(hours: Iterable[tuple[str, float]], names: Mapping[str, Sequence[str]]) -> list[Interest]:
    """The strongest interests of (place class, faded hours), at most 20; less than half an hour is none."""
    free = [(topic, weight) for topic, weight in hours if topic and not topic.startswith(_DUTY)]
    strong = sorted((one for one in free if one[1] >= _LEAST_HOURS), key=lambda one: (-one[1], one[0]))
    return [Interest(topic, (names.get(topic) or (topic,))[-1], round(weight, 3)) for topic, weight in strong[:MOST]]
