"""The log-linear collaborative filter: log-odds of holding a product, given the other products and the profile.

For each product j a logistic model of [smooth profile | other products]: the pairwise part is the conditional form of
the Ising model (Besag 1975, pseudo-likelihood; Ravikumar, Wainwright and Lafferty 2010), the profile enters by hinges
max(x - knot, 0) (Friedman 1991). It is smooth where a forest is stepped, and knows which products go together where a
leaf has few customers; the forest knows the interactions. Their mean ranks better than either.
"""

from dataclasses import dataclass

import numpy as np

from services.recommend.domain.product import Flags, Floats, Ints, Singles


@dataclass(frozen=True)
class Basis:
    """Columns made of a profile (n, f): (clip(x) - center) / scale, hinges, and whether a value is missing.

    `low`, `high`, `center` (f,) are float32, so that a difference is the same in the graph; `column` and `knot` (h,)
    are the hinges', `gap` (g,) the columns that have missing values. What is missing is 0 in every column but its own.
    """

    low: Singles
    high: Singles
    center: Singles
    scale: Floats
    column: Ints
    knot: Singles
    gap: Ints

    @property
    def width(self) -> int:
        """How many columns it makes."""
        return len(self.center) + len(self.column) + len(self.gap)

    def of(self, profile: Singles) -> Floats:
        """Shape (n, width)."""
        known = np.clip(profile, self.low, self.high)
        straight = (known - self.center).astype(np.float64) / self.scale
        bent = np.maximum(known[:, self.column] - self.knot, np.float32(0.0)).astype(np.float64)
        gaps: Floats = np.isnan(profile)[:, self.gap].astype(np.float64)
        told: Floats = np.hstack([straight, bent / self.scale[self.column], gaps])
        return np.nan_to_num(told, nan=0.0)


@dataclass(frozen=True)
class LogLinear:
    """Row 1 of the pairs: who owns something; row 0: who owns nothing (or of whom it is not known), the profile alone.

    `weight` (2, width, p), `bias` (2, p), `pair` (p, p): [i, j] is what owning i does to j; its diagonal is 0.
    """

    basis: Basis
    weight: Floats
    bias: Floats
    pair: Floats

    def odds(self, profile: Singles, rest: Flags) -> Floats:
        """Log-odds, shape (n, p)."""
        columns, owns = self.basis.of(profile), np.asarray(rest.any(axis=1))
        cold = columns @ self.weight[0] + self.bias[0]
        warm = columns @ self.weight[1] + rest.astype(np.float64) @ self.pair + self.bias[1]
        return np.asarray(np.where(owns[:, None], warm, cold))


def basis_of(profile: Singles, knots: int) -> Basis:
    """Knots at the quantiles of what is known; columns of two values need none."""
    features = profile.shape[1]
    low, high = np.zeros(features, np.float32), np.zeros(features, np.float32)
    center, scale = np.zeros(features, np.float32), np.ones(features)
    column: list[int] = []
    knot: list[np.float32] = []
    for number in range(features):
        known = profile[~np.isnan(profile[:, number]), number]
        if not len(known):
            continue
        low[number], high[number] = known.min(), known.max()
        center[number] = np.float32(known.astype(np.float64).mean())
        scale[number] = max(float(known.astype(np.float64).std()), 1e-6 * max(abs(float(center[number])), 1e-6))
        values = np.unique(known)
        if len(values) > 2:
            places = np.linspace(0.0, 1.0, knots + 2)[1:-1]
            found = np.unique(np.quantile(known, places, method="nearest"))
            found = found[(found > values[0]) & (found < values[-1])]
            column += [number] * len(found)
            knot += list(found)
    gap = np.flatnonzero(np.isnan(profile).any(axis=0))
    return Basis(low, high, center, scale, np.array(column, dtype=np.int64), np.array(knot, dtype=np.float32), gap)
