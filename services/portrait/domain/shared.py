"""Cells that serve several places: at which of them was this customer?

A stay in such a cell is undecided. It is read as one place, never split: a stay cut up by weight would make a day at
each place, and tags count days. For one customer, in this order:

1. The row just before or just after the undecided stay, less than `near` away, is at one of the places: the phone
   hopped between two of its cells.
2. Otherwise the place with the largest weight × (1 + rows of this customer in cells of that place alone), the smaller
   place number of two: how often he is known to be there, and how much of the cell's traffic belongs to it.

The weights are the map's, or what `domain/quality.py` makes of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit


@dataclass(frozen=True)
class Shared:
    """Undecided cells: place number `places + k` means the places `place[first[k]:first[k + 1]]` with their weights."""

    places: int
    first: npt.NDArray[np.int64]
    place: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float64]


def nothing_shared(places: int) -> Shared:
    """When every cell serves one place at most."""
    return Shared(places, np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float64))


_NEIGHBOUR = 1e9


@njit(cache=True, nogil=True)
def decide(opens: Any, ends: Any, heard: Any, place: Any, near: Any, places: Any, shared: Any) -> None:
    """Decide one customer's undecided stays in place: from `opens` to `ends`, made of `heard` rows, in order of time.
    `shared` are first, place and weight of the undecided cells."""
    first, candidate, weight = shared
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
    begin = 0
    while begin < rows:
        which = place[begin] - places
        stop = begin + 1
        if which >= 0:
            while stop < rows and place[stop] == place[begin]:
                stop += 1
            before = place[begin - 1] if begin > 0 and opens[begin] - ends[begin - 1] < near else np.int32(-1)
            after = place[stop] if stop < rows and opens[stop] - ends[stop - 1] < near else np.int32(-1)
            chosen, best = np.int32(-1), -1.0
            for each in range(first[which], first[which + 1]):
                score = weight[each] * (1.0 + evidence[each])
                if candidate[each] == before or candidate[each] == after:
                    score += _NEIGHBOUR
                if score > best:
                    best, chosen = score, candidate[each]
            place[begin:stop] = chosen
        begin = stop
