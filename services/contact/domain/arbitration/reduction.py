"""What is certain while prices stay within a box: candidates that nobody picks, and customers whose set is known.

Nearly every customer's best set is the same at all prices near the optimum. Those few whose set is not make a small
problem with the same optimal prices, on which prices are searched and plans repaired at little cost.
"""

from dataclasses import dataclass

import numba
import numpy as np

from services.contact.domain.arbitration.kernels import clash, search
from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Kinds, Problem, Small

_Marks = np.typing.NDArray[np.uint8]
_OPEN, _CERTAIN = 1, 2


@dataclass(frozen=True)
class Rest:
    """The problem of the customers whose set is open, under what the certain ones leave of the limits.

    `certain` [J of the whole] are the picks that hold at all prices of the box; `where` [J of the rest] says where
    each candidate of the rest stands in the whole. `torn`: the certain picks alone exceed a limit, so the box is wrong.
    """

    problem: Problem
    certain: Flags
    where: Ints
    torn: bool

    def whole(self, picked: Flags) -> Flags:
        """A selection of the rest, together with what is certain [J of the whole]."""
        together = self.certain.copy()
        together[self.where[picked]] = True
        return together


def reduce(problem: Problem, low: Floats, high: Floats) -> Rest:
    """The rest of a problem for prices between `low` and `high` [C + K]."""
    marks = np.zeros(problem.candidates, np.uint8)
    tables = problem.group_of, problem.medium_of, problem.day_of
    paid = problem.price_of(low), problem.price_of(high)
    open_sets = np.zeros(problem.customers, np.int32)
    if problem.spacing:
        _mark_apart(
            problem.starts, problem.cap, problem.kind, problem.value, *tables, problem.spacing, *paid, marks, open_sets
        )
    else:
        _mark(problem.starts, problem.cap, problem.kind, problem.value, problem.group_of, *paid, marks, open_sets)
    certain = marks == _CERTAIN
    channel_used, campaign_used = problem.usage(certain)
    capacity, most = (
        np.where(bound < 0, bound, np.maximum(bound - used, 0))
        for bound, used in ((problem.capacity, channel_used), (problem.most, campaign_used))
    )
    torn = bool(
        np.any((problem.capacity >= 0) & (channel_used > problem.capacity))
        or np.any((problem.most >= 0) & (campaign_used > problem.most))
    )
    where = np.flatnonzero(marks == _OPEN)
    customers = np.flatnonzero(open_sets)
    rest = problem.replaced(
        np.concatenate(([0], np.cumsum(open_sets[customers], dtype=np.int64))),
        problem.cap[customers],
        problem.kind[where],
        problem.value[where],
        capacity,
        most,
        np.maximum(problem.least - campaign_used, 0),
    )
    return Rest(rest, certain, where, torn)


@numba.njit(cache=True, nogil=True)
def _mark(
    starts: Ints,
    cap: Small,
    kind: Kinds,
    value: Floats,
    group_of: Small,
    paid_low: Floats,
    paid_high: Floats,
    marks: _Marks,
    open_sets: Small,
) -> None:
    """Mark what is certain and what is open, customer by customer; counts the open candidates in `open_sets` [N].

    A candidate whose most is below the least of another of its group, or below the least of as many groups as the
    customer has room, is in no best set.
    """
    most = 1
    for customer in range(len(cap)):
        most = max(most, starts[customer + 1] - starts[customer])
    which = np.empty(most, np.int64)
    upper = np.empty(most, np.float64)
    floor = np.empty(most, np.float64)
    leading = np.empty(most, np.float64)
    for customer in range(len(cap)):
        room = cap[customer]
        if room <= 0:
            continue
        count, groups = 0, 0
        here, first, least = -1, 0, -np.inf
        for at in range(starts[customer], starts[customer + 1]):
            high = value[at] - paid_low[kind[at]]
            if high <= 0.0:
                continue
            low = value[at] - paid_high[kind[at]]
            group = group_of[kind[at]]
            if group != here:
                here, first, least = group, count, -np.inf
                leading[groups] = -np.inf
                groups += 1
            if high < least:
                continue
            if low > least:
                least = low
                leading[groups - 1] = low
                kept = first
                for one in range(first, count):  # those of the group that it outdoes for certain
                    if upper[one] >= low:
                        which[kept], upper[kept], floor[kept] = which[one], upper[one], floor[one]
                        kept += 1
                count = kept
            which[count], upper[count], floor[count] = at, high, low
            count += 1
        bar = _nth_highest(leading, groups, room) if groups > room else -np.inf
        kept = 0
        sure = True
        last = -1
        for one in range(count):
            if upper[one] < bar:
                continue
            group = group_of[kind[which[one]]]
            sure = sure and floor[one] > 0.0 and group != last
            last = group
            which[kept] = which[one]
            kept += 1
        if kept > room:
            sure = False
        for one in range(kept):
            marks[which[one]] = _CERTAIN if sure else _OPEN
        open_sets[customer] = 0 if sure else kept


@numba.njit(cache=True, nogil=True)
def _nth_highest(values: Floats, count: int, nth: int) -> float:
    """The nth highest of the first `count` values, which are brought into that order as far as needed."""
    for rank in range(nth):
        best = rank
        for other in range(rank + 1, count):
            if values[other] > values[best]:
                best = other
        values[rank], values[best] = values[best], values[rank]
    return float(values[nth - 1])


@numba.njit(cache=True, nogil=True)
def _mark_apart(
    starts: Ints,
    cap: Small,
    kind: Kinds,
    value: Floats,
    group_of: Small,
    medium_of: Small,
    day_of: Small,
    spacing: int,
    paid_low: Floats,
    paid_high: Floats,
    marks: _Marks,
    open_sets: Small,
) -> None:
    """The same where contacts are kept apart: a set with the candidate, at most, against the best set at least."""
    most = 1
    for customer in range(len(cap)):
        most = max(most, starts[customer + 1] - starts[customer])
    which = np.empty(most, np.int64)
    upper = np.empty(most, np.float64)
    floor = np.empty(most, np.float64)
    kinds = np.empty(most, np.uint16)
    stack = np.empty(most + 1, np.int64)
    best_set = np.empty(most + 1, np.int64)
    for customer in range(len(cap)):
        room = cap[customer]
        if room <= 0:
            continue
        count, certain = 0, 0
        for at in range(starts[customer], starts[customer + 1]):
            high = value[at] - paid_low[kind[at]]
            if high > 0.0:
                which[count], upper[count] = at, high
                count += 1
            low = value[at] - paid_high[kind[at]]
            if low > 0.0:
                to = certain
                while to > 0 and floor[to - 1] < low:
                    floor[to], kinds[to] = floor[to - 1], kinds[to - 1]
                    to -= 1
                floor[to], kinds[to] = low, kind[at]
                certain += 1
        least, _ = search(floor, kinds, certain, room, group_of, medium_of, day_of, spacing, stack, best_set)
        others = 0.0
        if room > 1:
            floor[:count] = upper[:count]
            floor[:count].sort()
            for rank in range(1, min(room, count + 1)):
                others += floor[count - rank]
        kept = 0
        sure = True
        for one in range(count):
            if upper[one] + others < least:
                continue
            at = which[one]
            sure = sure and value[at] - paid_high[kind[at]] > 0.0
            for other in range(kept):
                if sure and clash(kind[which[other]], kind[at], group_of, medium_of, day_of, spacing):
                    sure = False
            which[kept] = at
            kept += 1
        if kept > room:
            sure = False
        for one in range(kept):
            marks[which[one]] = _CERTAIN if sure else _OPEN
        open_sets[customer] = 0 if sure else kept
