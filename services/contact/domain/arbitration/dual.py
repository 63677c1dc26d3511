"""Prices for the coupling limits: the Lagrangian dual of the auction, and what it proves.

For prices p (λ per channel, μ per campaign) the dual function

    D(p) = Σ_c capacity_c · λ_c + Σ_k (most_k · max(μ_k, 0) + least_k · min(μ_k, 0)) + Σ_i best set of customer i at p

is convex, and no feasible plan is worth more than D(p) at ANY p (weak duality), so every plan proves its own gap.
A negative μ is a subsidy for a campaign that would miss its minimum.

Prices are searched on samples of the customers, each eight times as large as the one before: the prices of one sample
say within which box those of the next are, and within that box nearly every customer's set is certain (`reduction`).
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse

from services.contact.domain.arbitration.kernels import best_sets
from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Problem
from services.contact.domain.arbitration.reduction import Rest, reduce

_EMPTY = np.zeros(0, dtype=np.bool_)
_BOX = 50.0
"""No price goes beyond so many times the largest value; any price proves a bound, so this costs nothing."""
_STEP = 8
"""How much larger each sample is than the one before."""
_SMALL = 4_000
"""Customers of the smallest sample: prices from fewer mislead more than they save."""
_FIRST = 1.5
"""How far the smallest sample's prices may be off, in typical values over the root of the contacts that they rest on.

Later boxes go by how far prices moved."""
_BOXES = 6
"""How often the box is moved after prices that run into its side."""


@dataclass(frozen=True)
class Point:
    """The dual function at some prices [C + K]: its value, a subgradient [C + K] and the usage of the best sets."""

    prices: Floats
    bound: float
    slope: Floats
    channel_used: Ints
    campaign_used: Ints


@dataclass(frozen=True)
class Priced:
    """Prices near the optimum, how far each may still be off [C + K], and what is open at them (None: everything)."""

    prices: Floats
    reach: Floats
    rest: Rest | None


def look(problem: Problem, prices: Floats, picked: Flags = _EMPTY) -> Point:
    """The dual function at `prices`; marks the best sets in `picked` [J] when that is given."""
    count = len(problem.capacity)
    channel_price, campaign_price = prices[:count], prices[count:]
    sets, used = best_sets(problem, prices, picked)
    channel_used, campaign_used = problem.folded(used)
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


def solve(problem: Problem) -> Priced:
    """Prices of nearly the lowest bound, and the customers whose sets they leave open."""
    size = _BOX * float(np.max(np.abs(problem.value), initial=1.0))
    low, high = box(problem, size)
    if not problem.candidates or not np.any(low < high):
        return Priced(np.zeros(len(low)), np.zeros(len(low)), None)
    return _priced(problem, low, high, final=True)


def _priced(problem: Problem, low: Floats, high: Floats, *, final: bool) -> Priced:
    """Prices by samples of samples; only the last are polished to the end."""
    unit = _typical(problem)
    if problem.customers < _SMALL * _STEP:
        point = _descend(problem, np.zeros(len(low)), low, high, evaluations=250)
        point = polish(problem, point, low, high, rounds=100 if final else 20, slack=1e-8 if final else 1e-6)
        used = np.concatenate([point.channel_used, point.campaign_used])
        return Priced(point.prices, np.where(low < high, _FIRST * unit / np.sqrt(np.maximum(used, 1)), 0.0), None)
    coarse = _priced(problem.sample(_STEP), low, high, final=False)
    return _refined(problem, coarse, low, high, unit, final=final)


def _refined(problem: Problem, coarse: Priced, low: Floats, high: Floats, unit: float, *, final: bool) -> Priced:
    """Prices of the whole from those of its sample: found on what is open in a box around them, moved as needed."""
    centre, reach = np.clip(coarse.prices, low, high), coarse.reach.copy()
    enough = (1e-7 if final else 1e-5) * max(abs(look(problem, centre).bound), 1e-9)
    for _ in range(_BOXES):
        sides = np.maximum(low, centre - reach), np.minimum(high, centre + reach)
        rest = reduce(problem, *sides)
        before = look(rest.problem, centre).bound
        point = _descend(rest.problem, centre, *sides, evaluations=90 if final else 60)
        if final:
            point = polish(rest.problem, point, *sides, rounds=30, slack=1e-7)
        near = 0.02 * reach
        stuck = ((point.prices < sides[0] + near) & (sides[0] > low)) | (
            (point.prices > sides[1] - near) & (sides[1] < high)
        )
        centre = point.prices
        if not rest.torn and (not stuck.any() or before - point.bound < enough):
            break
        reach = np.where(stuck | rest.torn, 3.0 * reach, reach)
    moved = np.abs(centre - coarse.prices)
    typical = float(np.median(moved[low < high]))
    ahead = np.maximum(2.0 * moved / np.sqrt(_STEP), typical)
    return Priced(centre, np.where(low < high, ahead, 0.0), rest)


def _typical(problem: Problem) -> float:
    """The size of a typical value, the unit in which prices are searched."""
    return max(float(np.mean(np.abs(problem.value[: 1 << 20]))) if problem.candidates else 0.0, 1e-9)


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
