"""From signalling rows to visits and dwell, in one compiled pass over the customers of a bucket.

Rules, in this order, for one customer's rows sorted by time (then source line, then place):

1. Place. A row is at the place that its cell serves; a cell that serves none (a road) or is not known is nowhere. In
   a cell shared by several places `domain/shared.py` decides.
2. Flicker. In the sequence of stays (neighbouring rows at one place), a stay shorter than `pingpong` from its first row
   to the first row of the next, between two stays at one other place, belongs to that place; of several such
   candidates in a row the first, third, fifth … do (A-B-A-B-A is A).
3. Visit. Neighbouring rows at one place, no further apart than `silent`, are one visit: a phone that falls silent and
   is heard at the same place again did not leave it. A visit ends with the next row, wherever that is, or at its own
   last row when the next one is further away than `gap`. Nowhere is not visited.
4. Dwell. A visit is cut at the slot borders of the window. A dwell row is the sum of the pieces of one customer, place,
   day and slot: seconds, pieces, longest piece. Pieces without length are dropped.

The compiler is numba; nothing here holds the interpreter's lock, so buckets run side by side in threads.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from services.portrait.domain.cells import index_of, numbers_of
from services.portrait.domain.shared import Shared, decide, nothing_shared

_INSERTIONS_PER_ROW = 8  # a track that needs more moves than this is sorted anew

Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Rules:
    """What counts as one stay, in minutes."""

    gap_minutes: int = 120
    silent_minutes: int = 120
    pingpong_minutes: int = 5


@dataclass(frozen=True)
class Rows:
    """Signalling rows in any order; (rows,) each. `customer` is a number from 0, or -1 for somebody else's row."""

    customer: Ints
    time: Longs
    """UTC milliseconds."""
    place: Ints
    """Place number, -1 for nowhere, `places + k` for the k-th shared cell."""
    line: Ints


@dataclass(frozen=True)
class Visits:
    """Visits by customer, then time; (visits,) each. Times are UTC milliseconds."""

    customer: Ints
    place: Ints
    start: Longs
    end: Longs


@dataclass(frozen=True)
class DwellDays:
    """Dwell by customer, day, slot and first arrival; (rows,) each. The grain is customer × place × day × slot."""

    customer: Ints
    place: Ints
    day: Ints
    slot: Ints
    secs: Ints
    visits: Ints
    longest: Ints


def follow(
    rows: Rows, customers: int, borders: Longs, rules: Rules, shared: Shared | None = None
) -> tuple[Visits, DwellDays]:
    """Visits and dwell of `customers` customers (numbers 0 … customers − 1) within the window of `borders`."""
    shared = shared or nothing_shared(np.iinfo(np.int32).max)
    first, time, place, line = _scatter(rows.customer, rows.time, rows.place, rows.line, customers)
    minutes = (rules.gap_minutes, rules.silent_minutes, rules.pingpong_minutes)
    gap, silent, pingpong = (np.int64(each * 60_000) for each in minutes)
    undecided = (np.int64(shared.places), shared.first, shared.place, shared.weight)
    visits, dwell = _follow(first, time, place, line, borders, (gap, silent, pingpong), undecided)
    return Visits(*visits), DwellDays(*dwell)


def warm() -> None:
    """Compile all kernels, or load them from numba's cache, so that the first job does not wait for it."""
    one = np.zeros(1, dtype=np.int32)
    numbers_of(np.zeros(1, np.int64), index_of(np.zeros(1, np.int64)))
    follow(Rows(one, np.zeros(1, np.int64), one, one), 1, np.array([0, 1], np.int64), Rules())


@njit(cache=True, nogil=True)
def _scatter(customer: Any, time: Any, place: Any, line: Any, customers: Any) -> Any:
    """Counting sort by customer: first[c]:first[c + 1] are the rows of customer c, in the order they came."""
    first = np.zeros(customers + 1, dtype=np.int64)
    for row in range(len(customer)):
        if customer[row] >= 0:
            first[customer[row] + 1] += 1
    for number in range(customers):
        first[number + 1] += first[number]
    total = first[customers]
    free = first[:customers].copy()
    to_time = np.empty(total, dtype=np.int64)
    to_place = np.empty(total, dtype=np.int32)
    to_line = np.empty(total, dtype=np.int32)
    for row in range(len(customer)):
        who = customer[row]
        if who >= 0:
            at = free[who]
            free[who] = at + 1
            to_time[at] = time[row]
            to_place[at] = place[row]
            to_line[at] = line[row]
    return first, to_time, to_place, to_line


@njit(cache=True, nogil=True)
def _before(time_a: Any, line_a: Any, place_a: Any, time_b: Any, line_b: Any, place_b: Any) -> Any:
    if time_a != time_b:
        return time_a < time_b
    if line_a != line_b:
        return line_a < line_b
    return place_a < place_b


@njit(cache=True, nogil=True)
def _insertion(time: Any, place: Any, line: Any, budget: Any) -> Any:
    """Insertion sort; False when it gave up because the rows are far from sorted."""
    for row in range(1, len(time)):
        t, c, n = time[row], place[row], line[row]
        at = row - 1
        while at >= 0 and _before(t, n, c, time[at], line[at], place[at]):
            time[at + 1], place[at + 1], line[at + 1] = time[at], place[at], line[at]
            at -= 1
            budget -= 1
        time[at + 1], place[at + 1], line[at + 1] = t, c, n
        if budget < 0:
            return False
    return True


@njit(cache=True, nogil=True)
def _sort(time: Any, place: Any, line: Any) -> None:
    if not _insertion(time, place, line, len(time) * _INSERTIONS_PER_ROW):
        order = np.argsort(time, kind="mergesort")
        time[:], place[:], line[:] = time[order], place[order], line[order]
        _insertion(time, place, line, np.int64(2) ** 62)  # only rows of one instant are still out of order


@njit(cache=True, nogil=True)
def _still(time: Any, place: Any, pingpong: Any) -> None:
    """Rule 2, in place. `before`, `here` and `after` are the first rows of three neighbouring stays."""
    rows = len(time)
    before, here = -1, 0
    was_flicker = False
    came_from = np.int32(-9)
    while here < rows:
        at = place[here]
        after = here + 1
        while after < rows and place[after] == at:
            after += 1
        flicker = (
            not was_flicker
            and before >= 0
            and after < rows
            and place[after] == came_from
            and time[after] - time[here] < pingpong
        )
        if flicker:
            for row in range(here, after):
                place[row] = came_from
        before, here = here, after
        # The stay after a flicker is at `came_from` again, and what follows it is judged against the stay itself.
        came_from = at
        was_flicker = flicker


@njit(cache=True, nogil=True)
def _grown(old: Any, size: Any) -> Any:
    new = np.empty(size, dtype=old.dtype)
    new[: len(old)] = old
    return new


@njit(cache=True, nogil=True)
def _follow(first: Any, time: Any, place: Any, line: Any, borders: Any, millis: Any, undecided: Any) -> Any:
    gap, silent, pingpong = millis
    places, shared_first, shared_place, shared_weight = undecided
    customers = len(first) - 1
    size = max(1024, len(time) // 4)
    v_customer, v_place = np.empty(size, np.int32), np.empty(size, np.int32)
    v_start, v_end = np.empty(size, np.int64), np.empty(size, np.int64)
    d_customer, d_place, d_border = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    d_secs, d_visits, d_longest = np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.int64)
    visits, dwells = 0, 0
    for number in range(customers):
        begin, stop = first[number], first[number + 1]
        rows = stop - begin
        t = time[begin:stop]
        here = place[begin:stop]
        _sort(t, here, line[begin:stop])
        if len(shared_place):
            decide(t, here, pingpong, places, shared_first, shared_place, shared_weight)
        _still(t, here, pingpong)
        if visits + rows > len(v_place):
            size = 2 * len(v_place) + rows
            v_customer, v_place = _grown(v_customer, size), _grown(v_place, size)
            v_start, v_end = _grown(v_start, size), _grown(v_end, size)
        if dwells + rows + len(borders) > len(d_place):
            size = 2 * len(d_place) + rows + len(borders)
            d_customer, d_place, d_border = _grown(d_customer, size), _grown(d_place, size), _grown(d_border, size)
            d_secs, d_visits, d_longest = _grown(d_secs, size), _grown(d_visits, size), _grown(d_longest, size)
        came = visits
        visits = _visit(t, here, gap, silent, number, visits, v_customer, v_place, v_start, v_end)
        dwells = _dwell(
            v_place[came:visits], v_start[came:visits], v_end[came:visits], borders, number, dwells,
            d_customer, d_place, d_border, d_secs, d_visits, d_longest,
        )  # fmt: skip
    d_day, d_slot = d_border[:dwells] // 7, d_border[:dwells] % 7
    return (
        (v_customer[:visits].copy(), v_place[:visits].copy(), v_start[:visits].copy(), v_end[:visits].copy()),
        (
            d_customer[:dwells].copy(), d_place[:dwells].copy(), d_day, d_slot,
            (d_secs[:dwells] // 1000).astype(np.int32), d_visits[:dwells].copy(),
            (d_longest[:dwells] // 1000).astype(np.int32),
        ),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _visit(
    time: Any,
    place: Any,
    gap: Any,
    silent: Any,
    number: Any,
    at: Any,
    v_customer: Any,
    v_place: Any,
    v_start: Any,
    v_end: Any,
) -> Any:
    """Rule 3: append the visits of customer `number` from position `at`; gives the position after them."""
    rows = len(time)
    begin = 0
    for row in range(rows):
        if row + 1 < rows and place[row + 1] == place[row] and time[row + 1] - time[row] <= silent:
            continue
        near = row + 1 < rows and time[row + 1] - time[row] <= gap
        end = time[row + 1] if near else time[row]
        if place[row] >= 0 and end > time[begin]:
            v_customer[at], v_place[at], v_start[at], v_end[at] = number, place[row], time[begin], end
            at += 1
        begin = row + 1
    return at


@njit(cache=True, nogil=True)
def _dwell(
    place: Any, start: Any, end: Any, borders: Any, number: Any, at: Any,
    d_customer: Any, d_place: Any, d_border: Any, d_secs: Any, d_visits: Any, d_longest: Any,
) -> Any:  # fmt: skip
    """Rule 4: append the dwell rows of customer `number` from position `at`; gives the position after them."""
    border, opened = 0, at  # `opened`: the first dwell row of the slot in hand
    for visit in range(len(place)):
        begin, stop = max(start[visit], borders[0]), min(end[visit], borders[-1])
        while begin < stop:
            while borders[border + 1] <= begin:
                border += 1
                opened = at
            upto = min(stop, borders[border + 1])
            row = opened
            while row < at and d_place[row] != place[visit]:
                row += 1
            if row == at:
                d_customer[row], d_place[row], d_border[row] = number, place[visit], border
                d_secs[row], d_visits[row], d_longest[row] = 0, 0, 0
                at += 1
            d_secs[row] += upto - begin
            d_visits[row] += 1
            d_longest[row] = max(d_longest[row], upto - begin)
            begin = upto
    return at
