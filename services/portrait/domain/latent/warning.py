"""Early warning (客户预警): decline, silence, churn; and what to do by danger and value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.str_]

DECLINE, SILENCE, CHURN = "DECLINE", "SILENCE", "CHURN"
CHURN_GRADES = ("high", "middle", "low")
_HIGH, _MIDDLE = 0.5, 0.2
_LEAST_DROP = 0.3
_SEEN_SHARE = 0.4
_RULE_LEAD_DAYS = 30
SMALL = 10
"""Groups below this many customers are not shown."""

_DECLINES = (
    ("arpu_3m_avg", "arpu_prev_3m_avg", "spending"),
    ("mou_1m", "mou_prev_3m_avg", "voice"),
    ("dou_mb_1m", "dou_prev_3m_avg", "data"),
)
_ACTIONS = {
    "high": ("keep", "care", "let"),
    "middle": ("care", "watch", "watch"),
    "low": ("grow", "grow", "watch"),
}
"""Action by grade of churn, then of value from the highest to the lowest."""


@dataclass(frozen=True)
class Warned:
    """One warning: the customer's row, the kind, 0 to 1, how long before, and why."""

    row: int
    kind: str
    score: float
    lead_days: int
    evidence: str


def warnings(
    features: Mapping[str, Floats], window_days: int, churn: Floats | None, churn_lead_days: int
) -> list[Warned]:
    """All warnings, by row. `churn` (n,) is the live model's probability, None without one.

    Decline: two of spending, voice and data, or spending alone, fell by 30 % or more against the three months before.
    Silence: seen on fewer than 40 % of the window's days.
    """
    told: list[Warned] = []
    told += _declines(features)
    seen = features.get("days_seen")
    if seen is not None:
        share = np.nan_to_num(seen, nan=float(window_days)) / max(window_days, 1)
        for row in np.flatnonzero(share < _SEEN_SHARE).tolist():
            score = 1 - float(share[row]) / _SEEN_SHARE
            evidence = f"seen on {int(seen[row])} of {window_days} days"
            told.append(Warned(row, SILENCE, score, _RULE_LEAD_DAYS, evidence))
    if churn is not None:
        for row in np.flatnonzero(churn >= _HIGH).tolist():
            evidence = f"probability {churn[row]:.3f} of leaving"
            told.append(Warned(row, CHURN, float(churn[row]), churn_lead_days, evidence))
    return sorted(told, key=lambda one: (one.row, one.kind))


def _declines(features: Mapping[str, Floats]) -> list[Warned]:
    known = [(name, features[now], features[before]) for now, before, name in _DECLINES
             if now in features and before in features]  # fmt: skip
    if not known:
        return []
    drops = np.array(
        [np.where(before > 0, 1 - np.nan_to_num(now) / np.where(before > 0, before, 1.0), 0.0)
         for _, now, before in known]
    )  # fmt: skip
    fallen = drops >= _LEAST_DROP
    spending = fallen[0] if known[0][0] == "spending" else np.zeros(fallen.shape[1], dtype=bool)
    told = []
    for row in np.flatnonzero(spending | (fallen.sum(axis=0) >= 2)).tolist():
        parts = [f"{name} −{drops[place, row]:.0%}" for place, (name, _, _) in enumerate(known) if fallen[place, row]]
        told.append(Warned(row, DECLINE, float(min(drops[:, row].max(), 1.0)), _RULE_LEAD_DAYS, ", ".join(parts)))
    return told


def graded(probability: Floats) -> Words:
    """Grade of the danger: high from 0.5, middle from 0.2, else low."""
    return np.where(probability >= _HIGH, "high", np.where(probability >= _MIDDLE, "middle", "low"))


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix; `customers` is 0 and `hidden` set for a small group that is not shown."""

    churn: str
    value: str
    customers: int
    hidden: bool
    mean_churn: float
    action: str


def matrix(counts: Mapping[tuple[str, str], tuple[int, float]], values: Sequence[str]) -> list[Cell]:
    """Churn × value; `counts` gives customers and the sum of their probabilities, `values` are from high to low."""
    told = []
    for churn in CHURN_GRADES:
        for place, value in enumerate(values):
            customers, total = counts.get((churn, value), (0, 0.0))
            third = min(3 * place // max(len(values), 1), 2)
            hidden = 0 < customers < SMALL
            mean = total / customers if customers and not hidden else 0.0
            told.append(Cell(churn, value, 0 if hidden else customers, hidden, mean, _ACTIONS[churn][third]))
    return told
