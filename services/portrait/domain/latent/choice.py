"""Which algorithm learns a latent tag: non-linear and small data, SVM; non-linear and large data, logistic regression
with non-linear features. Where a linear model is as good, the linear one, which is the easiest to explain."""

from dataclasses import dataclass

SVM, NONLINEAR, LINEAR = "SVM", "LOGISTIC_NONLINEAR", "LOGISTIC"
ALGORITHMS = (SVM, NONLINEAR, LINEAR)
LARGE = 5_000
"""Rows from which on data is large: a kernel machine's cost grows with their square."""
LEAST_GAIN = 0.01
"""Macro-F1 by which a Gaussian kernel must be better than a linear model, for data to be called non-linear."""


@dataclass(frozen=True)
class Choice:
    """An algorithm and why."""

    algorithm: str
    reason: str


def choose(rows: int, gain: float, asked: str = "", why: str = "", large: int = LARGE) -> Choice:
    """Choose for `rows` of data where a kernel gains `gain` of macro-F1 over a linear model on held-out rows.

    `asked` overrides the choice, with its reason `why`; what would have been chosen is told all the same.
    """
    if gain < LEAST_GAIN:
        own = Choice(LINEAR, f"linear: a Gaussian kernel gains {gain:+.4f} macro-F1, below {LEAST_GAIN}")
    elif rows < large:
        own = Choice(SVM, f"non-linear (kernel gains {gain:+.4f} macro-F1) and small: {rows} rows, below {large}")
    else:
        own = Choice(NONLINEAR, f"non-linear (kernel gains {gain:+.4f} macro-F1) and large: {rows} rows, from {large}")
    if not asked:
        return own
    return Choice(asked, f"asked for: {why}; the rule says {own.algorithm} ({own.reason})")
