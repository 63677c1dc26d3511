"""Prices for the coupling limits: the Lagrangian dual of the auction, and what it proves.

For prices p (λ per channel, μ per campaign) the dual function

    D(p) = Σ_c capacity_c · λ_c + Σ_k (most_k · max(μ_k, 0) + least_k · min(μ_k, 0)) + Σ_i best set of customer i at p

is convex, and no feasible plan is worth more than D(p) at ANY p (weak duality), so every plan proves its own gap.
A negative μ is a subsidy for a campaign that would miss its minimum.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse

from services.contact.domain.arbitration.kernels import best_sets
from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Problem

_EMPTY = np.zeros(0, dtype=np.bool_)
_BOX = 50.0
"""No price goes beyond so many times the largest value; any price proves a bound, so this costs nothing."""
_SAMPLE = 5_000
"""Customers that a sample has at least: prices from fewer mislead more than they save."""
_LARGE = 200_000
"""From so many customers on D is smooth enough for few looks, and each look is dear."""


@dataclass(frozen=True)
class Point:
    """The dual function at some prices [C + K]: its value, a subgradient [C + K] and the usage of the best sets."""

    prices: Floats
    bound: float
    slope: Floats
    channel_used: Ints
    campaign_used: Ints


def look(problem: Problem, prices: Floats, picked: Flags = _EMPTY) -> Point:
    """The dual function at `prices`; marks the best sets in `picked` [J] when that is given."""
    count = len(problem.capacity)
    channel_price, campaign_price = prices[:count], prices[count:]
    channel_used, campaign_used = np.zeros(count, np.int64), np.zeros(len(problem.most), np.int64)
    sets = best_sets(
        problem.starts,
        problem.cap,
        problem.group,
        problem.channel,
        problem.campaign,
        problem.value,
        channel_price,
        campaign_price,
        channel_used,
        campaign_used,
        picked,
    )
    up, down = np.maximum(campaign_price, 0.0), np.minimum(campaign_price, 0.0)
    capacity, most = np.maximum(problem.capacity, 0), np.maximum(problem.most, 0)
    bound = float(capacity @ channel_price + most @ up + problem.least @ down + sets)
    # At a campaign's price of zero every slope between least − used and most − used is one: the flattest is taken.
    ceiling = np.where(problem.most < 0, np.inf, problem.most)
    target = np.clip(campaign_used, problem.least, ceiling)
    target = np.where(campaign_price > 0, most, np.where(campaign_price < 0, problem.least, target))
    slope = np.concatenate([np.where(problem.capacity < 0, 0, capacity - channel_used), target - campaign_used])
    return Point(prices.copy(), bound, slope.astype(np.float64), channel_used, campaign_used)


def box(problem: Problem, size: float) -> tuple[Floats, Floats]:
    """Lower and upper ends of the prices [C + K]: limits that are not set have no price."""
    low = np.concatenate([np.zeros(len(problem.capacity)), np.where(problem.least > 0, -size, 0.0)])
    high = np.where(np.concatenate([problem.capacity, problem.most]) >= 0, size, 0.0)
    return low, high


def solve(problem: Problem) -> Point:
    """Nearly the lowest bound: quasi-Newton on samples of the customers, then on all of them, then cutting planes."""
    size = _BOX * float(np.max(np.abs(problem.value), initial=1.0))
    low, high = box(problem, size)
    prices = np.zeros(len(low))
    if not problem.candidates or not np.any(low < high):
        return look(problem, prices)
    for step in (64, 8):
        if problem.customers >= _SAMPLE * step:
            prices = _descend(problem.sample(step), prices, low, high, evaluations=200).prices
    whole = problem.customers < _LARGE
    point = _descend(problem, prices, low, high, evaluations=250 if whole else 40)
    return polish(problem, point, low, high, rounds=100, slack=1e-8) if whole else point


def _typical(problem: Problem) -> float:
    """The size of a typical value, the unit in which prices are searched."""
    return max(float(np.mean(np.abs(problem.value))) if problem.candidates else 0.0, 1e-9)


def _descend(problem: Problem, prices: Floats, low: Floats, high: Floats, evaluations: int) -> Point:
    """L-BFGS-B (Byrd et al. 1995) from `prices`: D is piecewise linear, but smooth enough over many customers."""
    best = look(problem, prices)
    scale = max(abs(best.bound), 1e-9)
    unit = _typical(problem)

    def seen(x: Floats) -> tuple[float, Floats]:
        nonlocal best
        point = look(problem, np.clip(x * unit, low, high))
        if point.bound < best.bound:
            best = point
        return point.bound / scale, point.slope * (unit / scale)

    bounds = optimize.Bounds(low / unit, high / unit)
    options = {"maxfun": evaluations, "maxcor": 20, "ftol": 1e-12, "gtol": 0.0}
    optimize.minimize(seen, best.prices / unit, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return best


def polish(problem: Problem, start: Point, low: Floats, high: Floats, *, rounds: int, slack: float = 1e-7) -> Point:
    """Cutting planes in a trust region around the best prices (Marsten, Hogan and Blankenship 1975).

    Each look gives a plane below D; a small linear programme finds the lowest point of all planes within the region.
    Ends when the planes prove that nothing is left to gain (relative `slack`), or after `rounds` looks.
    """
    best = start
    planes = [start]
    free = np.flatnonzero(low < high)
    reach = max(float(np.max(np.abs(start.prices), initial=0.0)), _typical(problem)) * 0.005
    tolerance = slack * max(abs(start.bound), 1e-9)
    for _ in range(rounds):
        near = np.maximum(low[free], best.prices[free] - reach), np.minimum(high[free], best.prices[free] + reach)
        trial, promise = _lowest(planes, best, free, near)
        if trial is None or best.bound - promise <= tolerance:
            widest = np.all((near[0] <= low[free]) & (near[1] >= high[free]))
            inside = trial is not None and bool(np.all(np.abs(trial - best.prices) < 0.99 * reach))
            if trial is None or widest or inside:
                break
            reach *= 4.0
            continue
        point = look(problem, trial)
        planes = [*planes[-150:], point]
        gained, hoped = best.bound - point.bound, best.bound - promise
        if gained > 0:
            best = point
        if gained > 0.5 * hoped:
            reach *= 2.0
        elif gained < 0.1 * hoped:
            reach *= 0.25
    return best


def _lowest(planes: list[Point], best: Point, free: Ints, near: tuple[Floats, Floats]) -> tuple[Floats | None, float]:
    """Prices where the highest plane is lowest, and its height there; HiGHS dual simplex."""
    scale = max(abs(best.bound), 1e-9)
    slopes = np.array([plane.slope[free] for plane in planes])
    at_best = np.array([plane.bound + plane.slope @ (best.prices - plane.prices) for plane in planes])
    # Unknowns: the step from the best prices, and the height of the highest plane below the best bound.
    matrix = np.hstack([slopes, -np.full((len(planes), 1), scale)])
    rhs = best.bound - at_best
    bounds = [*zip(near[0] - best.prices[free], near[1] - best.prices[free], strict=True), (None, None)]
    cost = np.concatenate([np.zeros(len(free)), [1.0]])
    found = optimize.linprog(cost, sparse.csr_array(matrix), rhs, bounds=bounds, method="highs-ds")
    if found.status != 0:
        return None, best.bound
    trial = best.prices.copy()
    trial[free] = np.clip(trial[free] + found.x[:-1], near[0], near[1])
    return trial, best.bound + float(found.x[-1]) * scale


def blocking_rows(problem: Problem) -> tuple[str, ...]:
    """The limits that together make the minima impossible, or none when that is not proven (Farkas' lemma).

    With all values at zero, D(p) < 0 for any prices within one unit proves that no plan, not even a fractional one,
    meets the minima: then the limits with a price are those that block each other, and −D is the least shortfall.
    """
    plain = Problem(**{**problem.__dict__, "value": np.zeros_like(problem.value)})
    low, high = box(plain, 1.0)
    start = look(plain, low / 2.0)
    point = polish(plain, start, low, high, rounds=300, slack=1e-6)
    if point.bound > -1e-6:
        return ()
    named = []
    for name, minimum, at, _ in problem.rows():
        if (point.prices[at] < -1e-6) if minimum else (point.prices[at] > 1e-6):
            named.append(name)
    # The best sets are worth something at these prices only where customers' own limits hold subsidised contacts back.
    priced = sum(
        bound * point.prices[at] for _, minimum, at, bound in problem.rows() if (point.prices[at] < 0) == minimum
    )
    if point.bound - priced > 1e-6:
        named.append("customers' caps, groups and consents")
    return tuple(named)
