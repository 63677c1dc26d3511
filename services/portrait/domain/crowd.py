"""The city as a whole: where people dwell by kind of day and slot, and how many are at each class of place by hour.

All figures add up over buckets, since a customer is in one bucket only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

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
    slots = len(SLOTS) + 1
    people, secs = _areas(dwell.customer, dwell.place, dwell.slot, dwell.secs, work, slots, places)
    key = np.flatnonzero(people)
    pair = key // places
    return Areas(pair // slots, pair % slots, key % places, people[key], secs[key])


@njit(cache=True, nogil=True)
def _areas(customer: Any, place: Any, slot: Any, secs: Any, work: Any, slots: Any, places: Any) -> Any:
    """Customers and seconds by (kind × slots + slot) × places + place; rows come by customer."""
    people, total = np.zeros(3 * slots * places, np.int64), np.zeros(3 * slots * places, np.int64)
    last = np.full(3 * slots * places, -1, np.int32)
    for row in range(len(customer)):
        for kind in (work[row], 2):
            for part in (np.int64(slot[row]), slots - 1):
                key = (kind * slots + part) * places + place[row]
                total[key] += secs[row]
                if last[key] != customer[row]:
                    last[key] = customer[row]
                    people[key] += 1
    return people, total


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
    begin, end = visits.start - first_midnight, visits.end - first_midnight
    kind = place_class[visits.place]
    return np.asarray(_presence(begin, end, kind, workdays.astype(np.int64), classes) // 1000)


@njit(cache=True, nogil=True)
def _presence(begin: Any, end: Any, kind: Any, work: Any, classes: Any) -> Any:
    """Milliseconds by class, kind of day and hour, within the days of `work`."""
    found = np.zeros((classes, 2, 24), np.int64)
    for visit in range(len(begin)):
        here, stop = max(begin[visit], 0), min(end[visit], len(work) * 24 * _HOUR)
        while here < stop:
            hour = here // _HOUR
            upto = min((hour + 1) * _HOUR, stop)
            found[kind[visit], work[hour // 24], hour % 24] += upto - here
            here = upto
    return found


def waves(people: Sequence[float]) -> list[tuple[bool, bool]]:
    """For each hour whether it belongs to a peak or to a trough."""
    busiest = max(people, default=0.0)
    return [(0 < busiest <= each / PEAK, busiest > 0 and each <= TROUGH * busiest) for each in people]
