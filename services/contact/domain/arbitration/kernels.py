"""The loops over all candidates that numba compiles: the best set of every customer at given prices.

All are sequential with a fixed order of additions, so that their results are the same to the bit on every run.
"""

import numba
import numpy as np

from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Kinds, Problem, Small


def best_sets(problem: Problem, prices: Floats, picked: Flags) -> tuple[float, Ints]:
    """Every customer's best set at the prices [C + K]: what the sets are worth beyond them, and usage by kind [T].

    Marks the sets in `picked` [J] unless that is empty.
    """
    used = np.zeros(len(problem.group_of), np.int64)
    paid = problem.price_of(prices)
    candidates = problem.starts, problem.cap, problem.kind, problem.value
    if problem.spacing:
        tables = problem.group_of, problem.medium_of, problem.day_of
        return float(_best_sets_apart(*candidates, *tables, problem.spacing, paid, used, picked)), used
    return float(_best_sets(*candidates, problem.group_of, paid, used, picked)), used


@numba.njit(cache=True, nogil=True)
def _best_sets(
    starts: Ints, cap: Small, kind: Kinds, value: Floats, group_of: Small, paid: Floats, used: Ints, picked: Flags
) -> float:
    """Of each group the best, and of these the `cap` best that are worth more than their price.

    Exact, since groups do not overlap. Ties go to the earlier candidate. The sum is compensated (Neumaier 1974).
    """
    most = 1
    for customer in range(len(cap)):
        most = max(most, starts[customer + 1] - starts[customer])
    worth = np.empty(most, np.float64)
    which = np.empty(most, np.int64)
    total = 0.0
    lost = 0.0
    for customer in range(len(cap)):
        room = cap[customer]
        if room <= 0:
            continue
        kept = 0
        best = 0.0
        best_at = -1
        here = -1
        end = starts[customer + 1]
        for at in range(starts[customer], end + 1):
            group = group_of[kind[at]] if at < end else -2
            if group != here:
                if best_at >= 0:
                    if kept < room:
                        worth[kept] = best
                        which[kept] = best_at
                        kept += 1
                    else:
                        weakest = 0
                        for other in range(1, kept):
                            if worth[other] < worth[weakest]:
                                weakest = other
                        if best > worth[weakest]:
                            worth[weakest] = best
                            which[weakest] = best_at
                if at == end:
                    break
                here = group
                best = 0.0
                best_at = -1
            beyond = value[at] - paid[kind[at]]
            if beyond > best:
                best = beyond
                best_at = at
        for one in range(kept):
            summed = total + worth[one]
            if total >= worth[one]:
                lost += (total - summed) + worth[one]
            else:
                lost += (worth[one] - summed) + total
            total = summed
            used[kind[which[one]]] += 1
            if len(picked) > 0:
                picked[which[one]] = True
    return total + lost


@numba.njit(cache=True, nogil=True)
def clash(one: int, other: int, group_of: Small, medium_of: Small, day_of: Small, spacing: int) -> bool:
    """Whether a customer may not have contacts of both kinds."""
    if group_of[one] == group_of[other]:
        return True
    if spacing == 0:
        return False
    between = abs(day_of[one] - day_of[other])
    return bool(between == 0 or (between < spacing and medium_of[one] == medium_of[other]))


@numba.njit(cache=True, nogil=True)
def search(
    worth: Floats,
    kinds: Kinds,
    count: int,
    room: int,
    group_of: Small,
    medium_of: Small,
    day_of: Small,
    spacing: int,
    stack: Ints,
    best_set: Ints,
) -> tuple[float, int]:
    """The best set without a clash of `count` candidates by falling worth: branch and bound, depth first, exact.

    Gives what it is worth and its size; its members stand in `best_set`. A branch ends when even the next best ones,
    clashing or not, would not beat the best set so far.
    """
    best, size = 0.0, 0
    depth, at, total = 0, 0, 0.0
    while True:
        hope = total
        for ahead in range(at, min(at + room - depth, count)):
            hope += worth[ahead]
        if depth < room and at < count and hope > best:
            free = True
            for held in range(depth):
                if clash(kinds[stack[held]], kinds[at], group_of, medium_of, day_of, spacing):
                    free = False
                    break
            if free:
                stack[depth] = at
                depth += 1
                total = 0.0
                for held in range(depth):
                    total += worth[stack[held]]
                if total > best:
                    best, size = total, depth
                    best_set[:depth] = stack[:depth]
            at += 1
        elif depth == 0:
            return best, size
        else:
            depth -= 1
            at = stack[depth] + 1
            total = 0.0
            for held in range(depth):
                total += worth[stack[held]]


@numba.njit(cache=True, nogil=True)
def _best_sets_apart(
    starts: Ints,
    cap: Small,
    kind: Kinds,
    value: Floats,
    group_of: Small,
    medium_of: Small,
    day_of: Small,
    spacing: int,
    paid: Floats,
    used: Ints,
    picked: Flags,
) -> float:
    """The best set where days and channels keep contacts apart, by search among what is worth more than its price."""
    most = 1
    for customer in range(len(cap)):
        most = max(most, starts[customer + 1] - starts[customer])
    worth = np.empty(most, np.float64)
    which = np.empty(most, np.int64)
    kinds = np.empty(most, np.uint16)
    stack = np.empty(most + 1, np.int64)
    best_set = np.empty(most + 1, np.int64)
    total = 0.0
    lost = 0.0
    for customer in range(len(cap)):
        room = cap[customer]
        if room <= 0:
            continue
        count = 0
        for at in range(starts[customer], starts[customer + 1]):
            beyond = value[at] - paid[kind[at]]
            if beyond <= 0.0:
                continue
            to = count
            while to > 0 and worth[to - 1] < beyond:
                worth[to] = worth[to - 1]
                which[to] = which[to - 1]
                kinds[to] = kinds[to - 1]
                to -= 1
            worth[to] = beyond
            which[to] = at
            kinds[to] = kind[at]
            count += 1
        best, size = search(worth, kinds, count, room, group_of, medium_of, day_of, spacing, stack, best_set)
        summed = total + best
        if total >= best:
            lost += (total - summed) + best
        else:
            lost += (best - summed) + total
        total = summed
        for one in range(size):
            used[kinds[best_set[one]]] += 1
            if len(picked) > 0:
                picked[which[best_set[one]]] = True
    return total + lost
