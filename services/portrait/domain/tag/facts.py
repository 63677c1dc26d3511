"""All that rules may look at, for the customers of one bucket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

from services.portrait.domain.anchor import Anchors, PlaceTime
from services.portrait.domain.dwell import Attendance
from services.portrait.domain.place import Places
from services.portrait.domain.statistic import Column
from services.portrait.domain.tag.plan import Landmark, Leaf
from services.portrait.domain.tag.scan import LeafFacts

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Event:
    """A city event as attendance counts it: its type, and the local day on which it begins."""

    type: str
    date: date
    event_id: str = ""


@dataclass(frozen=True)
class Facts:
    """Facts of customers 0 … customers − 1."""

    customers: int
    days: int
    to_date: date
    """The last of the days; weeks are calendar weeks."""
    dwell: Mapping[Leaf, LeafFacts]
    landmarks: Mapping[Landmark, npt.NDArray[np.int32]]
    anchors: Mapping[str, Anchors]
    attendance: Attendance
    events: Sequence[Event]
    columns: Mapping[str, Column]
    percentiles: Mapping[tuple[str, float], float]
    places: Places
    place_time: PlaceTime | None = None
    """For value tags that ask for a top town."""
    moved_days: Mapping[str, Ints] = field(default_factory=dict)
    """Role → days since the anchor came to another place, -1 where it did not; (customers,)."""


@dataclass(frozen=True)
class Earlier:
    """What the run before said of one value of a tag; (bearers,) each, by customer. Days are counted from 1970-01-01;
    only bearers whose `expire_day` lies behind the new run's last day are of use."""

    bearers: Ints
    from_day: Ints
    expire_day: Ints
    score: npt.NDArray[np.float64]
    evidence: Sequence[str]
    landmark: npt.NDArray[np.int32]
