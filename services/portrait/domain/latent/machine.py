"""What is learnt, as numbers: one form for all three algorithms.

    z     = (x with NaN filled − mean) / scale
    d     = z · linear + exp(−gamma · |z − centre|²) · dual + bias          (SVM: linear is 0; linear model: no centres)
    p     = softmax(d · slope + intercept)                                  (calibrated on rows that were not fitted)

so that one graph serves all of them, and a second reading of the same numbers proves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Machine:
    """f features, m centres, c classes: fill, mean, scale (f,); centre (m, f); linear (f, c); dual (m, c); bias (c,);
    slope (c, c); intercept (c,)."""

    features: Sequence[str]
    classes: Sequence[str]
    fill: Floats
    mean: Floats
    scale: Floats
    centre: Floats
    gamma: float
    linear: Floats
    dual: Floats
    bias: Floats
    slope: Floats
    intercept: Floats

    def scaled(self, values: npt.NDArray[np.floating]) -> Floats:
        """Raw values (n, f) as z-scores, what is missing filled in."""
        told: Floats = (np.where(np.isnan(values), self.fill, values) - self.mean) / self.scale
        return told

    def decisions(self, values: npt.NDArray[np.floating]) -> Floats:
        """d, (n, c)."""
        z = self.scaled(values)
        told: Floats = z @ self.linear + self.bias
        if len(self.centre):
            square = (z**2).sum(axis=1)[:, None] + (self.centre**2).sum(axis=1) - 2 * z @ self.centre.T
            told = told + np.exp(-self.gamma * np.maximum(square, 0.0)) @ self.dual
        return told

    def probabilities(self, values: npt.NDArray[np.floating]) -> Floats:
        """p, (n, c), rows summing to 1."""
        return softmax(self.decisions(values) @ self.slope + self.intercept)


def softmax(odds: Floats) -> Floats:
    """Rows of log-odds as probabilities."""
    raised = np.exp(odds - odds.max(axis=1, keepdims=True))
    told: Floats = raised / raised.sum(axis=1, keepdims=True)
    return told
