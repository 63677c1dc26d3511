"""The city as a whole: where people dwell by kind of day and slot, and how many are at each class of place by hour.

All figures add up over buckets, since a customer is in one bucket only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.track import DwellDays, Visits

_HOUR = 3_600_000
PEAK, TROUGH = 0.8, 0.2
"""Of the busiest hour: from here it is a peak (波峰), up to there a trough (波谷)."""
LEAST_CUSTOMERS = 10
"""Smaller groups are not told."""

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Areas:
    """Customers and seconds by kind of day (0 rest, 1 work, 2 both), slot (7 is the whole day) and place; (rows,)."""

    kind: Longs
    slot: Longs
    place: Longs
    customers: Longs
    secs: Longs


def areas(dwell: DwellDays, workdays: npt.NDArray[np.bool_], places: int) -> Areas:
    """Dwell areas of one bucket's customers; a customer counts once in each row."""
    work = workdays[dwell.day].astype(np.int64)
    parts = []
    for kind in (work, np.full(len(work), 2)):
        for slot in (dwell.slot.astype(np.int64), np.full(len(work), len(SLOTS))):
            key = (kind * (len(SLOTS) + 1) + slot) * places + dwell.place
            who = np.unique(dwell.customer.astype(np.int64) * (3 * (len(SLOTS) + 1) * places) + key)
            cells, customers = np.unique(who % (3 * (len(SLOTS) + 1) * places), return_counts=True)
            again, back = np.unique(key, return_inverse=True)
            secs = np.bincount(back, weights=dwell.secs, minlength=len(again)).astype(np.int64)
            parts.append((cells, customers, secs))
    key, customers, secs = (np.concatenate(column) for column in zip(*parts, strict=True))
    pair = key // places
    return Areas(pair // (len(SLOTS) + 1), pair % (len(SLOTS) + 1), key % places, customers, secs)


def presence(
    visits: Visits,
    first_midnight: int,
    workdays: npt.NDArray[np.bool_],
    place_class: npt.NDArray[np.int64],
    classes: int,
) -> Longs:
    """Seconds of presence by class, kind of day (0 rest, 1 work) and local hour; (classes, 2, 24).

    `first_midnight` is the first local midnight in UTC milliseconds; the zone has no summer time.
    """
    found = np.zeros((classes, 2, 24), dtype=np.int64)
    begin, end = visits.start - first_midnight, visits.end - first_midnight
    begin, end = np.maximum(begin, 0), np.minimum(end, len(workdays) * 24 * _HOUR)
    kind = place_class[visits.place]
    here = begin
    while True:
        open_ = np.flatnonzero(here < end)
        if not len(open_):
            return found // 1000
        at = here[open_]
        hour = at // _HOUR
        upto = np.minimum((hour + 1) * _HOUR, end[open_])
        np.add.at(found, (kind[open_], workdays[hour // 24].astype(np.int64), hour % 24), upto - at)
        here = here.copy()
        here[open_] = upto


def waves(people: Sequence[float]) -> list[tuple[bool, bool]]:
    """For each hour whether it belongs to a peak or to a trough."""
    busiest = max(people, default=0.0)
    return [(0 < busiest <= each / PEAK, busiest > 0 and each <= TROUGH * busiest) for each in people]
