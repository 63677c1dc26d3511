"""From the forest's distribution to a calibrated score.

What a score means: among customers with this profile and these other products, the share that holds the product.
Ownership is the only evidence so far, so this stands for readiness to accept; it is no response rate of a campaign,
which outcomes will teach later. Calibrated on held-out customers by a sigmoid per product on the log-odds (Platt 1999;
Kull et al. 2017), apart for customers who own nothing, each shrunk towards the pooled fit, so that a rare product is
not bent by few cases.
"""

from dataclasses import dataclass

import numpy as np

from services.recommend.domain.product import Flags, Floats

SMOOTHING = 1e-4
"""Added to both sides of the odds: a leaf without a case is rare, not impossible."""

_POOLED = (1.0, 0.0), (10.0, 1.0)  # prior mean and precision of slope and intercept
_PRECISION = (40.0, 8.0)  # of a product's own, around the pooled fit
_LEAST_SLOPE = 0.05  # a higher raw score never gives a lower probability


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(slope * log-odds + intercept); shape (2, p), row 1 for customers who own something."""

    slope: Floats
    intercept: Floats

    def apply(self, odds: Floats, owns: Flags) -> Floats:
        """Probabilities, shape (n, p); `owns` (n,) says who owns anything."""
        side = owns.astype(np.int64)
        score: Floats = 1.0 / (1.0 + np.exp(-(self.slope[side] * odds + self.intercept[side])))
        return score


def log_odds(distribution: Floats, owns: Flags) -> Floats:
    """Log-odds of holding each product, (n, p), from the forest's distribution (n, p + 1).

    Who owns something: d_j against d_none. Who owns nothing: the share of owners against the rest (there d_none is 1).
    """
    share = distribution[:, :-1]
    against = distribution[:, -1:] - np.where(owns[:, None], 0.0, share)
    return np.asarray(np.log(share + SMOOTHING) - np.log(against + SMOOTHING))


def calibrate(odds: Floats, held: Flags, asked: Flags, owns: Flags) -> Calibration:
    """Fit on held-out pairs: `odds`, `held` and `asked` (which pairs count) of shape (m, p), `owns` (m,)."""
    products = odds.shape[1]
    slope, intercept = np.ones((2, products)), np.zeros((2, products))
    for side in (0, 1):
        rows = owns == bool(side)
        inside = asked[rows]
        pooled = _sigmoid(odds[rows][inside], held[rows][inside], *_POOLED)
        for product in range(products):
            mine = inside[:, product]
            fitted = _sigmoid(odds[rows][mine, product], held[rows][mine, product], pooled, _PRECISION)
            slope[side, product], intercept[side, product] = fitted
    return Calibration(np.maximum(slope, _LEAST_SLOPE), intercept)


def _sigmoid(
    odds: Floats, held: Flags, mean: tuple[float, float], precision: tuple[float, float]
) -> tuple[float, float]:
    """Slope and intercept at the posterior's maximum, by Newton's method; the prior's mean without a pair."""
    design = np.column_stack([odds, np.ones_like(odds)])
    prior, weight = np.array(mean), np.diag(precision)
    found = prior.copy()
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ found, -35, 35)))
        slope = design.T @ (chance - held) + weight @ (found - prior)
        bend = (design * (chance * (1.0 - chance))[:, None]).T @ design + weight
        step = np.linalg.solve(bend, slope)
        found = found - np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-10:
            break
    return float(found[0]), float(found[1])


def brier(probability: Floats, held: Flags) -> float:
    """Mean squared difference (Brier 1950); 0 is best."""
    return float(np.mean((probability - held) ** 2))


def calibration_error(probability: Floats, held: Flags, bins: int = 10) -> float:
    """Expected calibration error over `bins` of equally many pairs: mean |share held - mean probability|."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(probability[part].mean() - held[part].mean()) * len(part) for part in parts) / len(order))
