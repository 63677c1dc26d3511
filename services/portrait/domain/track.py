"""From signalling rows to stays, from stays to visits and dwell: compiled passes over the customers of a bucket.

Rules, in this order, for one customer's rows sorted by time (then source line, then place):

1. Place. A row is at the place that its cell serves; a cell that serves none (a road) or is not known is nowhere. A
   cell shared by several places is a place of its own until rule 4.
2. Flicker. In the sequence of a day's runs of rows at one place, a run shorter than `pingpong` from its first row to
   the first row of the next, between two runs at one other place, belongs to that place; of several such candidates in
   a row the first, third, fifth … do (A-B-A-B-A is A).
3. Stay. Neighbouring rows of a day at one place, no further apart than `silent`, are one stay. Up to here a day knows
   nothing of its neighbours, so that the stays of a day are kept and only new days are computed.
4. Shared. Which of its places a stay in a shared cell is at, `domain/shared.py` decides by all stays of the window.
5. Visit. Neighbouring stays at one place, the same pause apart, are one visit, across midnight too: a phone that falls
   silent and is heard at the same place again did not leave it. A visit ends with the next row, wherever that is, or
   at its own last row when the next one is further away than `gap`. Nowhere is not visited.
6. Dwell. A visit is cut at the slot borders of the window. A dwell row is the sum of the pieces of one customer, place,
   day and slot: seconds, pieces, longest piece. Pieces without length are dropped.

The compiler is numba; nothing here holds the interpreter's lock, so buckets run side by side in threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.cells import index_of, numbers_of
from services.portrait.domain.shared import Shared, decide, nothing_shared

SLOTS_A_DAY = len(SLOTS)
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
class Stays:
    """Stays by customer, then time; (stays,) each. `first` and `last` are rows' times in UTC milliseconds, `place` is a
    place number, -1 for nowhere, or a shared cell as in Rows; `rows` is of how many rows a stay is made."""

    customer: Ints
    place: Ints
    first: Longs
    last: Longs
    rows: Ints


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
    return lived(stays(rows, customers, borders[::SLOTS_A_DAY], rules), customers, borders, rules, shared)


def stays(rows: Rows, customers: int, midnights: Longs, rules: Rules) -> Stays:
    """The stays of `customers` customers (numbers 0 … customers − 1); days begin at `midnights` (UTC milliseconds)."""
    first, time, place, line = _scatter(rows.customer, rows.time, rows.place, rows.line, customers)
    millis = (np.int64(rules.silent_minutes * 60_000), np.int64(rules.pingpong_minutes * 60_000))
    return Stays(*_stays(first, time, place, line, midnights, millis))


def joined(days: Sequence[Stays], customers: int) -> Stays:
    """The stays of several days, given in their order, by customer."""
    if not days:
        none = np.empty(0, np.int64)
        return Stays(none.astype(np.int32), none.astype(np.int32), none, none, none.astype(np.int32))
    columns = [[getattr(day, name) for day in days] for name in ("customer", "place", "first", "last", "rows")]
    customer, place, begin, end, rows = (np.concatenate(column) for column in columns)
    return Stays(*_gather(customer, place, begin, end, rows, customers))


def lived(
    found: Stays,
    customers: int,
    borders: Longs,
    rules: Rules,
    shared: Shared | None = None,
    lived_at: npt.NDArray[np.bool_] | None = None,
    workdays: npt.NDArray[np.bool_] | None = None,
) -> tuple[Visits, DwellDays]:
    """Visits, and dwell within the window of `borders`, of `customers` customers by their stays; `lived_at` says of the
    places whether people live there, `workdays` of the window's days whether they are worked."""
    first = np.searchsorted(found.customer, np.arange(customers + 1)).astype(np.int64)
    shared = shared or nothing_shared(np.iinfo(np.int32).max)
    minutes = (rules.gap_minutes, rules.silent_minutes, rules.pingpong_minutes)
    millis = tuple(np.int64(each * 60_000) for each in minutes)
    homes = np.zeros(len(shared.place), np.bool_) if lived_at is None else lived_at[shared.place]
    worked = np.ones(max(1, len(borders) // SLOTS_A_DAY), np.bool_) if workdays is None else workdays
    undecided = (shared.first, shared.place, shared.weight, shared.hours, homes, borders, worked)
    visits, dwell = _live(
        first, found.place, found.first, found.last, found.rows, borders, millis, np.int64(shared.places), undecided
    )
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
def _stays(first: Any, time: Any, place: Any, line: Any, midnights: Any, millis: Any) -> Any:
    """Rules 2 and 3 for the rows first[c]:first[c + 1] of each customer c."""
    silent, pingpong = millis
    size = max(1024, len(time) // 3)
    s_customer, s_place = np.empty(size, np.int32), np.empty(size, np.int32)
    s_first, s_last, s_rows = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int32)
    count = 0
    for number in range(len(first) - 1):
        t, here = time[first[number] : first[number + 1]], place[first[number] : first[number + 1]]
        rows = len(t)
        _sort(t, here, line[first[number] : first[number + 1]])
        if count + rows > len(s_place):
            size = 2 * len(s_place) + rows
            s_customer, s_place = _grown(s_customer, size), _grown(s_place, size)
            s_first, s_last, s_rows = _grown(s_first, size), _grown(s_last, size), _grown(s_rows, size)
        begin, day = 0, 0
        while begin < rows:
            while day < len(midnights) and midnights[day] <= t[begin]:
                day += 1
            stop = begin + 1
            while stop < rows and (day == len(midnights) or t[stop] < midnights[day]):
                stop += 1
            _still(t[begin:stop], here[begin:stop], pingpong)
            for row in range(begin, stop):
                if row == begin or here[row] != here[row - 1] or t[row] - t[row - 1] > silent:
                    s_customer[count], s_place[count], s_first[count], s_rows[count] = number, here[row], t[row], 0
                    count += 1
                s_last[count - 1] = t[row]
                s_rows[count - 1] += 1
            begin = stop
    return (
        s_customer[:count].copy(), s_place[:count].copy(), s_first[:count].copy(), s_last[:count].copy(),
        s_rows[:count].copy(),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _gather(customer: Any, place: Any, first: Any, last: Any, rows: Any, customers: Any) -> Any:
    """Counting sort of stays by customer; those of one customer stay in the order they came."""
    free = np.zeros(customers + 1, dtype=np.int64)
    for row in range(len(customer)):
        free[customer[row] + 1] += 1
    for number in range(customers):
        free[number + 1] += free[number]
    to_customer, to_place = np.empty_like(customer), np.empty_like(place)
    to_first, to_last, to_rows = np.empty_like(first), np.empty_like(last), np.empty_like(rows)
    for row in range(len(customer)):
        at = free[customer[row]]
        free[customer[row]] = at + 1
        to_customer[at], to_place[at], to_rows[at] = customer[row], place[row], rows[row]
        to_first[at], to_last[at] = first[row], last[row]
    return to_customer, to_place, to_first, to_last, to_rows


@njit(cache=True, nogil=True)
def _live(
    first: Any, place: Any, begins: Any, ends: Any, rows: Any, borders: Any, millis: Any, places: Any, undecided: Any
) -> Any:
    """Rules 4 to 6 for the stays first[c]:first[c + 1] of each customer c."""
    gap, silent, pingpong = millis
    size = max(1024, len(place))
    v_customer, v_place = np.empty(size, np.int32), np.empty(size, np.int32)
    v_start, v_end = np.empty(size, np.int64), np.empty(size, np.int64)
    d_customer, d_place, d_border = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    d_secs, d_visits, d_longest = np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.int64)
    visits, dwells = 0, 0
    for number in range(len(first) - 1):
        mine = slice(first[number], first[number + 1])
        came = visits
        here = place[mine].copy()
        if len(undecided[1]):
            decide(begins[mine], ends[mine], rows[mine], here, pingpong, places, undecided)
        visits = _visit(
            here, begins[mine], ends[mine], gap, silent, number, visits, v_customer, v_place, v_start, v_end
        )
        # Rows of dwell are pieces of visits: one for each, and one for each border of slots that is crossed.
        most = dwells + (visits - came) + len(borders)
        if most > len(d_place):
            size = 2 * len(d_place) + most
            d_customer, d_place, d_border = _grown(d_customer, size), _grown(d_place, size), _grown(d_border, size)
            d_secs, d_visits, d_longest = _grown(d_secs, size), _grown(d_visits, size), _grown(d_longest, size)
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
    place: Any, first: Any, last: Any, gap: Any, silent: Any, number: Any, at: Any,
    v_customer: Any, v_place: Any, v_start: Any, v_end: Any,
) -> Any:  # fmt: skip
    """Rule 5: append the visits of customer `number` from position `at`; gives the position after them."""
    count = len(place)
    begin = 0
    for stay in range(count):
        if stay + 1 < count and place[stay + 1] == place[stay] and first[stay + 1] - last[stay] <= silent:
            continue
        near = stay + 1 < count and first[stay + 1] - last[stay] <= gap
        end = first[stay + 1] if near else last[stay]
        if place[stay] >= 0 and end > first[begin]:
            v_customer[at], v_place[at], v_start[at], v_end[at] = number, place[stay], first[begin], end
            at += 1
        begin = stay + 1
    return at


@njit(cache=True, nogil=True)
def _dwell(
    place: Any, start: Any, end: Any, borders: Any, number: Any, at: Any,
    d_customer: Any, d_place: Any, d_border: Any, d_secs: Any, d_visits: Any, d_longest: Any,
) -> Any:  # fmt: skip
    """Rule 6: append the dwell rows of customer `number` from position `at`; gives the position after them."""
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
