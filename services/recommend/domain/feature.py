"""Which columns of a run may teach a model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.recommend.domain.product import Flags, Floats, Singles

LEAK_OF_COUNT = 0.95
"""A column this correlated with the number of holdings is made of them: it would tell what was hidden."""
LEAK_OF_PRODUCT = 0.98
"""A column this correlated with one product's ownership is that ownership under another name."""


@dataclass(frozen=True)
class Choice:
    """The columns kept, by number, and why the others were dropped, by name."""

    kept: list[int]
    dropped: dict[str, str]


def cleaned(values: Singles) -> Singles:
    """Missing is NaN; what is not finite is missing."""
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def choose(names: Sequence[str], values: Singles, owned: Flags) -> Choice:
    """Keep what varies and does not leak the answer. `values` (n, f) cleaned, `owned` (n, p)."""
    kept, dropped = [], {}
    holdings = np.column_stack([owned.sum(axis=1), owned]).astype(np.float64)
    for number, name in enumerate(names):
        column = values[:, number].astype(np.float64)
        known = ~np.isnan(column)
        if not known.any() or (known.all() and column.min() == column.max()):
            dropped[name] = "constant" if known.any() else "never known"
            continue
        strength = _correlation(column[known], holdings[known])
        if strength[0] > LEAK_OF_COUNT:
            dropped[name] = "leaks the number of holdings"
        elif strength[1:].max(initial=0.0) > LEAK_OF_PRODUCT:
            dropped[name] = "leaks the ownership of a product"
        else:
            kept.append(number)
    return Choice(kept, dropped)


def _correlation(column: Floats, others: Floats) -> Floats:
    """|Pearson correlation| with each of the others (n, m); 0 where one of the two is constant."""
    left, right = column - column.mean(), others - others.mean(axis=0)
    spread = np.sqrt((left**2).sum() * (right**2).sum(axis=0))
    strength: Floats = np.abs(left @ right) / np.where(spread > 0, spread, np.inf)
    return strength
