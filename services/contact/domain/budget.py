"""Budgets of campaigns in an auction: a limit in money beside those in contacts.

A price β for each fen that a campaign's contacts cost takes the place of the limit: with values v − β · cost the
auction is one without budgets, and its bound plus Σ β · budget bounds every plan within the budgets from above. The
prices are halved in on a sample; what the rounding to whole contacts spends too much is dropped, least worth for its
cost first.
"""

import math
from dataclasses import replace

import numpy as np

from services.contact.domain import arbitration
from services.contact.domain.arbitration import Row, Solution, dual
from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Problem
from services.contact.refusals import plan_infeasible

_SAMPLE = 20_000
_HALVINGS = 14


def solve(problem: Problem, cost: Ints, budget: Ints, engine: str = arbitration.DUAL_PRICES) -> Solution:
    """The plan within the budgets [K] in fen (−1: none), where a contact of each kind costs `cost` [T] fen.

    Raises plan_infeasible, also when a campaign's minimum costs more than its budget.
    """
    solution = arbitration.solve(problem, engine)
    spent = _spent(problem, cost, solution.picked)
    if not np.any((budget >= 0) & (spent > budget)):
        return _told(problem, solution, np.zeros(len(budget)), spent, budget)
    price = _price(problem, cost, budget)
    priced = arbitration.solve(_charged(problem, cost, price), engine)
    picked = _within(problem, cost, budget, priced.picked)
    objective = math.fsum(problem.value[picked])
    bound = max(priced.bound + float(price @ np.maximum(budget, 0)), objective)
    channel, campaign = problem.usage(picked)
    used = np.concatenate([channel, campaign])
    bounded = list(problem.rows())
    rows = tuple(replace(row, used=int(used[at])) for row, (_, _, at, _) in zip(priced.rows, bounded, strict=True))
    within = replace(priced, picked=picked, objective=objective, bound=bound, rows=rows)
    return _told(problem, within, price, _spent(problem, cost, picked), budget)


def _told(problem: Problem, solution: Solution, price: Floats, spent: Ints, budget: Ints) -> Solution:
    """The solution with a row for each budget."""
    rows = [
        Row(f"budget {name}", float(price[at]), int(spent[at]), int(budget[at]), minimum=False)
        for at, name in enumerate(problem.campaigns)
        if budget[at] >= 0
    ]
    return replace(solution, rows=(*solution.rows, *rows))


def _spent(problem: Problem, cost: Ints, picked: Flags) -> Ints:
    """What a selection [J] costs each campaign [K], in fen."""
    kind = problem.kind[picked]
    weight = np.bincount(problem.campaign_of[kind], cost[kind], len(problem.most))
    return np.round(weight).astype(np.int64)


def _charged(problem: Problem, cost: Ints, price: Floats) -> Problem:
    """The problem with what contacts cost taken off their values."""
    return replace(problem, value=problem.value - (price[problem.campaign_of] * cost)[problem.kind])


def _price(problem: Problem, cost: Ints, budget: Ints) -> Floats:
    """For each campaign [K] the greatest price at which it still spends its budget, to within 2⁻¹⁴ of the range."""
    step = max(1, problem.customers // _SAMPLE)
    sample = problem.sample(step) if step > 1 else problem
    bounded = budget >= 0
    each = np.maximum(cost[sample.kind], 1)
    high = np.zeros(len(budget))
    np.maximum.at(high, sample.campaign, sample.value / each)
    low = np.zeros(len(budget))
    high = np.where(bounded, high, 0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        charged = _charged(sample, cost, middle)
        best = np.zeros(charged.candidates, np.bool_)
        dual.look(charged, dual.solve(charged).prices, best)
        over = _spent(sample, cost, best) * step > budget
        low = np.where(bounded & over, middle, low)
        high = np.where(bounded & ~over, middle, high)
    return low


def _within(problem: Problem, cost: Ints, budget: Ints, picked: Flags) -> Flags:
    """The selection without what is least worth for its cost, campaign by campaign. Raises plan_infeasible."""
    kept = picked.copy()
    for at in np.flatnonzero((budget >= 0) & (_spent(problem, cost, picked) > budget)).tolist():
        mine = np.flatnonzero(kept & (problem.campaign == at))
        each = cost[problem.kind[mine]]
        worth = problem.value[mine] / np.maximum(each, 1)
        order = np.lexsort((mine, -worth))
        fits = np.cumsum(each[order]) <= budget[at]
        kept[mine[order[~fits]]] = False
        if fits.sum() < problem.least[at]:
            name = problem.campaigns[at]
            raise plan_infeasible([f"min {name}", f"budget {name}"], proven=False)
    return kept
