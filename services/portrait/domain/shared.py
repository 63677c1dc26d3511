"""Cells that serve several places: at which of them was this customer?

A stay in such a cell is undecided. It is read as one place, never split: a stay cut up by weight would make a day at
each place, and tags count days. For one customer, in this order:

1. The row just before or just after the undecided stay, less than `near` away, is at one of the places: the phone
   hopped between two of its cells.
2. Otherwise the place with the largest weight × P(kind of time | class) × (1 + rows of this customer in cells of that
   place alone), the smaller place number of two: how much of the cell's traffic belongs to it, how much of the traffic
   of such places falls into the slot and kind of day of the stay's middle (Bayes' rule), and how often he is known to
   be there.

Who is in the cell in the dead of three nights sleeps there: for him a place where people live weighs eight times.

The weights are the map's, the hours what `domain/quality.py` finds in the signalling itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from services.portrait.domain.calendar import SLOTS


@dataclass(frozen=True)
class Shared:
    """Undecided cells: place number `places + k` means the places `place[first[k]:first[k + 1]]` with their weights;
    `hours` tells of each how its traffic lies over the slots of rest days, then of working days, (places, KINDS)."""

    places: int
    first: npt.NDArray[np.int64]
    place: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float64]
    hours: npt.NDArray[np.float64]


def nothing_shared(places: int) -> Shared:
    """When every cell serves one place at most."""
    return Shared(places, np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0), np.ones((0, KINDS)))


KINDS = 2 * len(SLOTS)
"""Kinds of time: a slot of a rest day, or of a working day."""
_SLOTS = len(SLOTS)
_NEIGHBOUR = 1e9
_HOUR = 3_600_000
_NIGHT_HOURS, _NIGHTS, _SLEEPS = 5, 3, 8.0
"""Midnight to five; of eight who spend such nights in a cell of a home and of something else, one works there."""


@njit(cache=True, nogil=True)
def decide(opens: Any, ends: Any, heard: Any, place: Any, near: Any, places: Any, shared: Any) -> None:
    """Decide one customer's undecided stays in place: from `opens` to `ends`, made of `heard` rows, in order of time.
    `shared` are first, place, weight and hours of the undecided cells, whether people live at the places, the borders
    of the window's slots, and of each of its days whether it is worked."""
    first, candidate, weight, hours, lived_at, borders, worked = shared
    midnight = borders[0]
    rows = len(place)
    undecided = False
    for row in range(rows):
        if place[row] >= places:
            undecided = True
            break
    if not undecided:
        return
    evidence = np.zeros(len(candidate), np.int64)
    asked = np.zeros(len(first) - 1, np.bool_)
    for row in range(rows):
        if place[row] >= places:
            asked[place[row] - places] = True
    for which in range(len(asked)):
        if asked[which]:
            for each in range(first[which], first[which + 1]):
                for row in range(rows):
                    if place[row] == candidate[each]:
                        evidence[each] += heard[row]
    nights = np.zeros(len(first) - 1, np.int64)
    for row in range(rows):
        if place[row] >= places:
            since = (opens[row] - midnight) % (24 * _HOUR)
            if since < _NIGHT_HOURS * _HOUR or since + ends[row] - opens[row] >= 24 * _HOUR:
                nights[place[row] - places] += 1
    begin = 0
    while begin < rows:
        which = place[begin] - places
        stop = begin + 1
        if which >= 0:
            while stop < rows and place[stop] == place[begin]:
                stop += 1
            before = place[begin - 1] if begin > 0 and opens[begin] - ends[begin - 1] < near else np.int32(-1)
            after = place[stop] if stop < rows and opens[stop] - ends[stop - 1] < near else np.int32(-1)
            middle = (opens[begin] + ends[stop - 1]) // 2
            slot = min(max(np.searchsorted(borders, middle, side="right") - 1, 0), _SLOTS * len(worked) - 1)
            kind = slot % _SLOTS + (_SLOTS if worked[slot // _SLOTS] else 0)
            chosen, best = np.int32(-1), -1.0
            for each in range(first[which], first[which + 1]):
                score = weight[each] * hours[each, kind] * (1.0 + evidence[each])
                if lived_at[each] and nights[which] >= _NIGHTS:
                    score *= _SLEEPS
                if candidate[each] == before or candidate[each] == after:
                    score += _NEIGHBOUR
                if score > best:
                    best, chosen = score, candidate[each]
            place[begin:stop] = chosen
        begin = stop
