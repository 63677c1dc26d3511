"""Which columns of a run may teach a model."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from services.recommend.domain.product import Flags, Floats, Ints, Singles

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


def served(values: Singles, places: Ints) -> Singles:
    """What a model is asked with: the columns at `places` (m,) of `values` (n, f), -1 for one that is not there.

    Missing is NaN; what is not finite is missing.
    """
    told = np.hstack([values, np.full((len(values), 1), np.nan, np.float32)])  # place -1 is the NaN at the end
    return cleaned(told[:, places])


def skew(taught: Singles, asked: Singles) -> int:
    """How many values a model would be asked with that differ from those it was taught with; both of one shape."""
    return int((~((taught == asked) | (np.isnan(taught) & np.isnan(asked)))).sum())


def choose(names: Sequence[str], values: Singles, owned: Flags, excluded: Collection[str] = ()) -> Choice:
    """Keep what varies, does not leak the answer and is not `excluded`. `values` (n, f) cleaned, `owned` (n, p)."""
    kept, dropped = [], {}
    holdings = np.column_stack([owned.sum(axis=1), owned]).astype(np.float64)
    for number, name in enumerate(names):
        if name in excluded:
            dropped[name] = "excluded by who asked for the training"
            continue
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
