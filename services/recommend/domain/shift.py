"""From readiness to acceptance: what contacts taught moves the score that ownership taught.

A score is sigmoid(log-odds of the graph + shift). The shift of a customer and product is the log-odds of his chance by
the product's acceptance model less those of the graph, both of the same run: so the score is that chance, and what is
ordered afterwards still moves it, as it moves the graph. A product that no contact taught yet is moved by the mean of
those that were taught, or readiness would outrank acceptance merely for being the higher number.
"""

import numpy as np

from services.recommend.domain.matrix import UNFIT
from services.recommend.domain.product import Flags, Floats, Places, Singles

_CLIP = 1e-6


def log_odds(chance: Floats | Singles) -> Floats:
    """Of chances kept off 0 and 1."""
    told = np.clip(chance.astype(np.float64), _CLIP, 1.0 - _CLIP)
    return np.asarray(np.log(told) - np.log1p(-told))


def by_product(ids: Places, scores: Singles) -> Singles:
    """What the graph ranked, (n, p), in the order of the products; NaN for what is owned or not eligible."""
    told = np.empty(scores.shape, dtype=np.float32)
    np.put_along_axis(told, ids, np.where(scores > UNFIT, scores, np.float32(np.nan)), axis=1)
    return told


def shifts(readiness: Singles, chance: Singles) -> Singles:
    """What is to be added, (n, p); NaN where either is not known. `chance` has NaN for who was not scored."""
    return np.asarray(log_odds(chance) - log_odds(readiness), dtype=np.float32)


def usual(known: Singles) -> Singles:
    """By product, (p,), the mean shift of a sample (n, p); for a product without any the mean of the products."""
    there = ~np.isnan(known)
    count = there.sum(axis=0)
    mean = np.where(there, known, 0.0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
    pooled = float(mean[count > 0].mean()) if (count > 0).any() else 0.0
    return np.asarray(np.where(count > 0, mean, pooled), dtype=np.float32)


def filled(known: Singles, usual_: Singles) -> Singles:
    """Shifts without a gap, (n, p)."""
    return np.where(np.isnan(known), usual_, known)


def shifted(ids: Places, scores: Singles, shift: Singles) -> tuple[Places, Singles]:
    """The ranking of a graph moved by `shift` (n, p), the best first; what is not eligible stays at the end."""
    fit: Flags = scores > UNFIT
    odds = log_odds(scores) + np.take_along_axis(shift, ids, axis=1)
    told = np.where(fit, 1.0 / (1.0 + np.exp(-odds)), UNFIT).astype(np.float32)
    order = np.argsort(-told, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(told, order, axis=1)
