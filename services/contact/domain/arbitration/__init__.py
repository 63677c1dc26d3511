"""The auction for customers' attention (接触点竞标): the selection of greatest expected value within all limits.

Lagrangian dual prices decouple the customers, whose best sets at given prices are exact; a repair turns them into a
plan that keeps every limit; the dual function at the prices bounds every plan from above, so the gap is proven.
"""

import math
from dataclasses import dataclass

import numpy as np

from services.contact.domain.arbitration import dual, exact
from services.contact.domain.arbitration.explanation import losses
from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Problem
from services.contact.domain.arbitration.reduction import reduce
from services.contact.domain.arbitration.repair import repair
from services.contact.refusals import plan_infeasible

DUAL_PRICES, GREEDY = "DUAL_PRICES", "GREEDY"
"""Engines: by dual prices, or the most valuable bids first. Their plans are measured against the same bound."""


@dataclass(frozen=True)
class Row:
    """A coupling limit: its dual price per contact (negative: a subsidy), and how much of the bound is used."""

    name: str
    price: float
    used: int
    bound: int
    minimum: bool


@dataclass(frozen=True)
class Solution:
    """A plan: what is picked [J], its value, the proven bound of any plan, and the limits with their prices."""

    picked: Flags
    objective: float
    bound: float
    rows: tuple[Row, ...]
    prices: Floats
    """Dual prices of the channels and campaigns [C + K]."""

    @property
    def gap(self) -> float:
        """(bound − objective) / bound, at least 0; infinite when something is lost and the bound is 0."""
        return gap(self.objective, self.bound)


def gap(objective: float, bound: float) -> float:
    """(bound − objective) / bound, at least 0; infinite when something is lost and the bound is 0."""
    short = bound - objective
    if short <= 0:
        return 0.0
    return short / abs(bound) if bound else math.inf


def solve(problem: Problem, engine: str = DUAL_PRICES) -> Solution:
    """The plan for a problem, the same to the bit for the same problem and engine. Raises plan_infeasible."""
    priced = dual.solve(problem)
    picked, bound = _greedy(problem, priced) if engine == GREEDY else _plan(problem, priced)
    _, volumes = problem.usage(picked)
    if np.any(volumes < problem.least):
        picked = _last_resort(problem, volumes)
    # Nothing to sell, or a bound below the plan by rounding of the last bits: the plan's own value is the bound.
    objective = math.fsum(problem.value[picked])
    return Solution(picked, objective, max(bound, objective), _rows(problem, priced.prices, picked), priced.prices)


def warm(problem: Problem) -> None:
    """Have every loop compiled for problems of this shape; a small one will do."""
    priced = dual.solve(problem)
    rest = reduce(problem, priced.prices - 1.0, priced.prices + 1.0)
    nobody = np.zeros(problem.candidates, np.bool_)
    repair(problem, priced.prices, rest.whole(np.zeros(rest.problem.candidates, np.bool_)))
    least = problem.replaced(
        problem.starts, problem.cap, problem.kind, problem.value, problem.capacity, problem.most, problem.least + 1
    )
    repair(least, priced.prices, nobody)
    everybody = problem.replaced(
        problem.starts, problem.cap, problem.kind, problem.value, problem.capacity * 0, problem.most, problem.least
    )
    repair(everybody, priced.prices, ~nobody)
    losses(problem, priced.prices, nobody)


def _plan(problem: Problem, priced: dual.Priced) -> tuple[Flags, float]:
    """The best sets at the prices after repair, and the bound that the prices prove.

    What is certain near the prices is not touched unless the rest alone cannot be brought within the limits.
    """
    prices, rest = priced.prices, priced.rest
    if rest is not None and not rest.torn:
        bound = dual.look(problem, prices).bound
        best = np.zeros(rest.problem.candidates, np.bool_)
        dual.look(rest.problem, prices, best)
        picked = rest.whole(repair(rest.problem, prices, best))
        if _within(problem, picked):
            return picked, bound
    best = np.zeros(problem.candidates, np.bool_)
    bound = dual.look(problem, prices, best).bound
    return repair(problem, prices, best), bound


def _greedy(problem: Problem, priced: dual.Priced) -> tuple[Flags, float]:
    """What bids without prices fill from nothing, the most valuable first, and the bound that the prices prove."""
    free, nothing = np.zeros_like(priced.prices), np.zeros(problem.candidates, np.bool_)
    return repair(problem, free, nothing), dual.look(problem, priced.prices).bound


def _within(problem: Problem, picked: Flags) -> bool:
    """Whether a selection keeps the coupling limits."""
    used = np.concatenate(problem.usage(picked))
    return all(used[at] >= bound if minimum else used[at] <= bound for _, minimum, at, bound in problem.rows())


def _last_resort(problem: Problem, volumes: Ints) -> Flags:
    """Prove that the minima cannot be met, or find the plan that meets them, or say which were not met."""
    blocking = dual.blocking_rows(problem)
    if blocking:
        raise plan_infeasible(blocking, proven=True)
    proven = False
    if problem.candidates <= exact.MOST_CANDIDATES:
        picked, proven = exact.optimum(problem)
        if picked is not None:
            return picked
    count = len(problem.capacity)
    short = [name for name, minimum, at, bound in problem.rows() if minimum and volumes[at - count] < bound]
    raise plan_infeasible(short, proven=proven)


def _rows(problem: Problem, prices: Floats, picked: Flags) -> tuple[Row, ...]:
    used = np.concatenate(problem.usage(picked))
    rows = []
    for name, minimum, at, bound in problem.rows():
        price = min(float(prices[at]), 0.0) if minimum else max(float(prices[at]), 0.0)
        rows.append(Row(name, price, int(used[at]), bound, minimum))
    return tuple(rows)
