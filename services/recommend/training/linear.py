"""Fit the log-linear collaborative filter: one ridge logistic regression per product, by Newton's method."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.special import expit

from services.recommend.domain.log_linear import LogLinear, basis_of
from services.recommend.domain.product import Flags, Floats, Singles

PENALTIES = (30.0, 10.0, 3.0)
"""Ridge penalties that are tried, the smoothest first."""
KNOTS = 4
MOST_ROWS = 15_000
DECIMALS = 6
"""Of every fitted weight: BLAS adds up in an order of its own, and the same inputs shall give the same bytes."""
_STEPS = 50
_CONVERGED = 1e-9


def fit(
    profile: Singles,
    owned: Flags,
    penalty: float,
    threads: int,
    eligible: Flags | None = None,
    worth: Floats | None = None,
    cold: bool = True,
) -> LogLinear:
    """Learn from customers, `profile` (n, f) and `owned` (n, p); the first MOST_ROWS of them.

    With `eligible` (n, p), as of Catalogue.eligible, product j learns from who holds it or could open it. With `worth`
    (n,), at most 1, what is learned from the profile alone is what each holding is worth; nothing is without `cold`.
    """
    profile, owned = profile[:MOST_ROWS], owned[:MOST_ROWS]
    asked = np.ones_like(owned) if eligible is None else owned | eligible[:MOST_ROWS]
    basis = basis_of(profile, KNOTS)
    columns, ones = basis.of(profile), owned.astype(np.float64)
    products, width = owned.shape[1], basis.width
    weight, bias, pair = np.zeros((2, width, products)), np.zeros((2, products)), np.zeros((products, products))

    told = ones if worth is None else ones * worth[:MOST_ROWS, None]

    def learn(product: int) -> None:
        rows, others = asked[:, product], np.arange(products) != product
        if cold:
            weight[0, :, product], bias[0, product] = logistic(columns, told[:, product], penalty)
        design = np.hstack([columns[rows], ones[np.ix_(rows, others)]])
        warm, warm_bias = logistic(design, owned[rows, product], penalty)
        weight[1, :, product], bias[1, product] = warm[:width], warm_bias
        pair[others, product] = warm[width:]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(learn, range(products)))
    return LogLinear(basis, weight, bias, pair)


def logistic(design: Floats, held: Flags | Floats, penalty: float) -> tuple[Floats, float]:
    """Weights and intercept of the ridge logistic regression; the intercept is hardly penalised.

    `held` (n,) may be shares from 0 to 1.

    Newton's method with halved steps; with one class the weights are 0 and the intercept stays finite.
    """
    n, width = design.shape
    yes = float(held.sum())
    found = np.zeros(width + 1)
    found[-1] = np.log((yes + 0.5) / (n - yes + 0.5))
    if yes in (0.0, float(n)):
        return found[:-1], float(found[-1])
    design = np.hstack([design, np.ones((n, 1))])
    ridge = np.full(width + 1, penalty)
    ridge[-1] = 1e-3
    target = held.astype(np.float64)
    loss = _loss(design, target, ridge, found)
    for _ in range(_STEPS):
        chance = expit(design @ found)
        slope = design.T @ (chance - target) + ridge * found
        scaled = design * np.sqrt(chance * (1.0 - chance))[:, None]
        bend = scaled.T @ scaled  # of one matrix with itself BLAS computes half
        bend[np.diag_indices(width + 1)] += ridge
        step = np.linalg.solve(bend, slope)
        if slope @ step < _CONVERGED:  # the error left is the square of it
            found = found - step
            break
        size = 1.0
        while (new := _loss(design, target, ridge, found - size * step)) > loss and size > 1e-6:
            size /= 2.0
        found = found - size * step
        loss = new
    rounded: Floats = np.asarray(np.round(found, DECIMALS), dtype=np.float64)
    return rounded[:-1], float(rounded[-1])


def _loss(design: Floats, target: Floats, ridge: Floats, weights: Floats) -> float:
    told = design @ weights
    return float((np.logaddexp(0.0, told) - target * told).sum() + 0.5 * (ridge * weights**2).sum())


def blend(parts: Sequence[Floats], held: Flags, *, prior: float = 20.0) -> Floats:
    """Weights >= 0 of log-odds `parts` (each (m,)) that explain `held` (m,) best; drawn towards equal shares."""
    design = np.column_stack([*parts, np.ones(len(held))])
    mean = np.append(np.full(len(parts), 1.0 / len(parts)), 0.0)
    weight = np.append(np.full(len(parts), prior), 1.0)
    kept = np.ones(len(mean), dtype=bool)
    found = mean.copy()
    while True:
        found[~kept] = 0.0
        for _ in range(50):
            chance = expit(design @ found)
            slope = (design.T @ (chance - held) + weight * (found - mean))[kept]
            bend = (design[:, kept] * (chance * (1.0 - chance))[:, None]).T @ design[:, kept] + np.diag(weight[kept])
            step = np.clip(np.linalg.solve(bend, slope), -1.0, 1.0)
            found[kept] -= step
            if np.abs(step).max() < 1e-9:
                break
        bad = np.append(found[:-1] < 0.0, False) & kept
        if not bad.any():
            return np.asarray(np.round(found[:-1], DECIMALS))
        kept &= ~bad
