"""One pass over a bucket's dwell for all tags: every question of a plan answered at once, compiled.

Dwell comes by customer, so one customer's rows are looked at together: each row is put against every row filter, and
kept by place and filter (days are bits of one bigint, so nothing is counted distinct). Each question then picks its
places from that small table. `lake/shadow.py` says the same in SQL; the two are compared in the tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from services.portrait.domain.anchor import ROLES, Anchors, PlaceTime
from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.place import NOWHERE, Places
from services.portrait.domain.tag.catalogue import Grading
from services.portrait.domain.tag.plan import Landmark, Leaf, Plan, observed
from services.portrait.domain.tag.rule import PlaceSet
from services.portrait.domain.track import DwellDays

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LeafFacts:
    """What the dwell table says to one question; (customers,) each, 0 where there is no row."""

    day_bits: Longs
    """Bit d is set when some row of day d passed."""
    secs: Longs
    visits: Longs
    places: Longs
    grade: Longs
    """The best place's grade, 3 often, 2 sometimes, 1 rarely; asked for by few."""


def place_time(dwell: DwellDays, customers: int) -> PlaceTime:
    """Time of customers at places, by customer and place."""
    first = _firsts(dwell.customer, customers)
    night = np.array([name in ("late", "night") for name in SLOTS])
    customer, place, days, secs, night_days, night_secs = _place_time(
        first, dwell.place, dwell.day, dwell.slot, dwell.secs, night
    )
    return PlaceTime(customer, place, days, secs, night_days, night_secs)


def answers(
    plan: Plan,
    dwell: DwellDays,
    workdays: Flags,
    anchors: Mapping[str, Anchors],
    places: Places,
    customers: int,
    grading: Grading | None = None,
) -> tuple[Mapping[Leaf, LeafFacts], Mapping[Landmark, npt.NDArray[np.int32]]]:
    """What the plan asks, for customers 0 … customers − 1; landmarks are place numbers, -1 for none."""
    grading = grading or Grading()
    sets = list(dict.fromkeys([leaf.places for leaf in plan.leaves] + [each.places for each in plan.landmarks]))
    masks = np.array([_mask(each, places) for each in sets], dtype=np.bool_).reshape(len(sets), len(places))
    numbers = [_numbers(each) for each in sets]
    leaves = np.array(
        [
            (
                plan.filters.index(leaf.rows),
                sets.index(leaf.places),
                plan.leaves.index(observed(leaf.rows)) if leaf in plan.graded else NOWHERE,
            )
            for leaf in plan.leaves
        ],
        dtype=np.int64,
    ).reshape(-1, 3)
    nobody = np.full(customers, NOWHERE, dtype=np.int32)
    anchor = np.array([anchors[role].place if role in anchors else nobody for role in ROLES], dtype=np.int32)
    found, landmarks = _answers(
        _firsts(dwell.customer, customers),
        (dwell.place, dwell.day, dwell.slot, dwell.secs, dwell.visits, dwell.longest),
        _filters(plan, workdays),
        (masks, np.array(numbers, dtype=np.int64).reshape(-1, 2)),
        leaves,
        np.array([sets.index(each.places) for each in plan.landmarks], dtype=np.int64),
        anchor,
        (grading.often_share, grading.often_minutes * 60.0, grading.sometimes_share),
    )
    return (
        {leaf: LeafFacts(*found[number]) for number, leaf in enumerate(plan.leaves)},
        {each: landmarks[number] for number, each in enumerate(plan.landmarks)},
    )


def _firsts(customer: npt.NDArray[np.int32], customers: int) -> Longs:
    """first[c]:first[c + 1] are the rows of customer c."""
    return np.searchsorted(customer, np.arange(customers + 1)).astype(np.int64)


def _mask(places_of: PlaceSet, places: Places) -> Flags:
    """Which places the classes of a set choose; an anchor's set is told by the anchor alone, less what is excepted."""
    chosen = np.ones(len(places), dtype=np.bool_) if places_of.role else places.of_class(places_of.selectors)
    return chosen & ~places.of_class(places_of.without) if places_of.without else chosen


def _numbers(places_of: PlaceSet) -> tuple[int, int]:
    """The role whose place is meant, -1 for classes; and the roles whose places are left out, as bits."""
    role = ROLES.index(places_of.role) if places_of.role else NOWHERE
    return role, sum(1 << ROLES.index(each) for each in places_of.apart_from)


def _filters(plan: Plan, workdays: Flags) -> tuple[Flags, Longs]:
    """Whether a filter takes a day and slot, (filters, days, slots), and the seconds the longest piece must last."""
    days = len(workdays)
    takes = np.zeros((len(plan.filters), days, len(SLOTS)), dtype=np.bool_)
    for number, rows in enumerate(plan.filters):
        kind = np.ones(days, np.bool_) if rows.daytype == "all" else workdays == (rows.daytype == "workday")
        kind = kind & (np.arange(days) >= days - rows.last_days)
        takes[number] = kind[:, None] & np.array([name in rows.slots for name in SLOTS])
    return takes, np.array([rows.min_visit * 60 for rows in plan.filters], dtype=np.int64)


@njit(cache=True, nogil=True)
def _bits(value: Any) -> Any:
    count = 0
    while value != 0:
        value &= value - 1
        count += 1
    return count


@njit(cache=True, nogil=True)
def _place_time(first: Any, place: Any, day: Any, slot: Any, secs: Any, night: Any) -> Any:
    size = len(place)
    customer, at = np.empty(size, np.int32), np.empty(size, np.int32)
    days, night_days = np.zeros(size, np.int64), np.zeros(size, np.int64)
    total, night_total = np.zeros(size, np.int64), np.zeros(size, np.int64)
    count = 0
    for who in range(len(first) - 1):
        opened = count
        for row in range(first[who], first[who + 1]):
            if secs[row] <= 0:
                continue
            here = opened
            while here < count and at[here] != place[row]:
                here += 1
            if here == count:
                customer[here], at[here] = who, place[row]
                count += 1
            bit = np.int64(1) << np.int64(day[row])
            days[here] |= bit
            total[here] += secs[row]
            if night[slot[row]]:
                night_days[here] |= bit
                night_total[here] += secs[row]
    counted, night_counted = np.empty(count, np.int32), np.empty(count, np.int32)
    for here in range(count):
        counted[here], night_counted[here] = _bits(days[here]), _bits(night_days[here])
    return (
        customer[:count].copy(), at[:count].copy(), counted, total[:count].copy(), night_counted,
        night_total[:count].copy(),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _answers(
    first: Any, rows: Any, filters: Any, sets: Any, leaves: Any, landmarks: Any, anchor: Any, grading: Any
) -> Any:
    place, day, slot, secs, visits, longest = rows
    takes, least = filters
    customers = len(first) - 1
    found = np.zeros((len(leaves), 5, customers), np.int64)
    top = np.full((len(landmarks), customers), -1, np.int32)
    size = 64
    local = np.empty(size, np.int32)
    kept = np.zeros((size, len(takes), 3), np.int64)
    whole = np.zeros(size, np.int64)
    for who in range(customers):
        count = 0
        for row in range(first[who], first[who + 1]):
            if secs[row] <= 0:
                continue
            here = 0
            while here < count and local[here] != place[row]:
                here += 1
            if here == count:
                if count == size:
                    local, kept, whole, size = _roomier(local, kept, whole)
                local[here] = place[row]
                kept[here] = 0
                whole[here] = 0
                count += 1
            whole[here] += secs[row]
            bit = np.int64(1) << np.int64(day[row])
            for number in range(len(takes)):
                if takes[number, day[row], slot[row]] and longest[row] >= least[number]:
                    kept[here, number, 0] |= bit
                    kept[here, number, 1] += secs[row]
                    kept[here, number, 2] += visits[row]
        for number in range(len(leaves)):
            rule, chosen = leaves[number, 0], leaves[number, 1]
            for here in range(count):
                if kept[here, rule, 1] > 0 and _within(chosen, local[here], sets, anchor, who):
                    found[number, 0, who] |= kept[here, rule, 0]
                    found[number, 1, who] += kept[here, rule, 1]
                    found[number, 2, who] += kept[here, rule, 2]
                    found[number, 3, who] += 1
        for number in range(len(leaves)):
            if leaves[number, 2] >= 0:
                seen = _bits(found[leaves[number, 2], 0, who])
                for here in range(count):
                    if _within(leaves[number, 1], local[here], sets, anchor, who):
                        worth = _grade(kept[here, leaves[number, 0]], seen, grading)
                        found[number, 4, who] = max(found[number, 4, who], worth)
        for number in range(len(landmarks)):
            best = np.int64(0)
            for here in range(count):
                if _within(landmarks[number], local[here], sets, anchor, who):
                    more = whole[here] > best
                    tie = whole[here] == best and top[number, who] > local[here]
                    if more or tie:
                        best, top[number, who] = whole[here], local[here]
    return found, top


@njit(cache=True, nogil=True)
def _within(chosen: Any, here: Any, sets: Any, anchor: Any, who: Any) -> Any:
    masks, numbers = sets
    role, apart = numbers[chosen, 0], numbers[chosen, 1]
    if role >= 0 and anchor[role, who] != here:
        return False
    if not masks[chosen, here]:
        return False
    for other in range(len(anchor)):  # noqa: SIM110  # numba compiles no generator
        if apart >> other & 1 and anchor[other, who] == here:
            return False
    return True


@njit(cache=True, nogil=True)
def _grade(kept: Any, seen: Any, grading: Any) -> Any:
    days = _bits(kept[0])
    if days == 0:
        return 0
    share = days / seen if seen else 0.0
    if share >= grading[0] and kept[1] >= grading[1] * days:
        return 3
    return 2 if share >= grading[2] else 1


@njit(cache=True, nogil=True)
def _roomier(local: Any, kept: Any, whole: Any) -> Any:
    size = 2 * len(local)
    new_local, new_whole = np.empty(size, np.int32), np.zeros(size, np.int64)
    new_kept = np.zeros((size, kept.shape[1], 3), np.int64)
    new_local[: len(local)], new_kept[: len(local)], new_whole[: len(local)] = local, kept, whole
    return new_local, new_kept, new_whole, size
