"""Who will accept a product: which variables tell, what a score is worth, and what a contact changes.

Scores are probabilities; the scorecard shows them as 0 to 100. Deciles count from 1, the highest scores first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from services.recommend.domain.evaluation import auc
from services.recommend.domain.product import Flags, Floats, Ints

BINS = 10
LEAST_IV = 0.02
"""Below it a variable says nothing (Siddiqi 2006)."""
SURE_P = 1e-3
"""A variable that says little is kept all the same when its univariate test is as sure as this: many such add up."""
LEAK_IV = 3.0
"""Above it a variable is too good to be known before the contact."""
SURE_BESIDE = 0.01
"""A variable that says little by itself is kept when it is as sure as this beside those that are kept."""
MOST_CORRELATION = 0.9
MOST_P = 0.05


@dataclass(frozen=True)
class Variable:
    """One candidate: what was found of it, whether it is kept, and why. `sign` +1 raises acceptance, -1 lowers it."""

    name: str
    iv: float
    correlation: float
    p_value: float
    sign: int
    kept: bool
    reason: str

    @property
    def usable(self) -> bool:
        """Whether it may be learned from at all: neither constant nor a leak."""
        return not self.reason.startswith(("constant", "leaks"))

    @property
    def weak(self) -> bool:
        """Whether it was dropped for telling little by itself."""
        return self.reason.startswith(("information value", "p-value"))


def bins_of(column: Floats) -> Ints:
    """Bin of each value by quantiles, the missing ones in bin 0."""
    known = column[~np.isnan(column)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.zeros(0)
    return np.where(np.isnan(column), 0, 1 + np.searchsorted(edges, column, side="left")).astype(np.int64)


def information_value(column: Floats, accepted: Flags) -> float:
    """Sum over bins of (share of yes - share of no) × log of their ratio, each count smoothed by a half."""
    place = bins_of(column)
    yes = np.bincount(place[accepted], minlength=place.max() + 1) + 0.5
    no = np.bincount(place[~accepted], minlength=place.max() + 1) + 0.5
    seen = np.bincount(place) > 0
    left, right = yes[seen] / yes[seen].sum(), no[seen] / no[seen].sum()
    return float(((left - right) * np.log(left / right)).sum())


def select(names: Sequence[str], values: Floats, accepted: Flags) -> list[Variable]:
    """Every candidate with its verdict, the strongest first (R002-034).

    By information value; then by correlation with a stronger one that is kept; then by the p-value of a univariate
    test: the surer one of Mann and Whitney's (1947) and Pearson's over the bins, which sees a bent relation, doubled.
    A constant and a leaking variable are dropped with that reason.
    """
    strength = [information_value(values[:, place], accepted) for place in range(len(names))]
    kept: list[int] = []
    found = []
    for place in sorted(range(len(names)), key=lambda place: (-strength[place], names[place])):
        column = values[:, place]
        known = ~np.isnan(column)
        closest, partner = 0.0, ""
        reason = "kept"
        p_value, sign = 1.0, 0
        if not known.any() or column[known].min() == column[known].max():
            reason = "constant"
        else:
            p_value, sign = _tested(column[known], accepted[known])
            for other in kept:
                strengths = _correlated(column, values[:, other])
                if strengths > closest:
                    closest, partner = strengths, names[other]
            if strength[place] > LEAK_IV:
                reason = f"leaks: an information value of {strength[place]:.1f} is not known before the contact"
            elif strength[place] < LEAST_IV and p_value > SURE_P:
                reason = f"information value below {LEAST_IV}"
            elif closest > MOST_CORRELATION:
                reason = f"correlated with {partner} ({closest:.2f})"
            elif p_value > MOST_P:
                reason = f"p-value {p_value:.3f}"
        if reason == "kept":
            kept.append(place)
        found.append(Variable(names[place], strength[place], closest, p_value, sign, reason == "kept", reason))
    return found


def beside(design: Floats, chance: Floats, accepted: Flags, blocks: Sequence[Floats]) -> list[float]:
    """Of each block of columns (n, c): p-value of what it tells beyond the logistic model on `design` (n, d).

    `chance` (n,) is what that model gave. Rao's score test (1948): no model with the block is fitted.
    """
    known = np.column_stack([design, np.ones(len(design))])
    weight = (chance * (1.0 - chance))[:, None]
    bend = (known * weight).T @ known + 1e-6 * len(known) * np.eye(known.shape[1])
    back = np.linalg.solve(bend, (known * weight).T)
    found = []
    for block in blocks:
        left = block - known @ (back @ block)
        strength, axes = np.linalg.eigh((left * weight).T @ left)
        kept = strength > 1e-9 * max(float((block**2 * weight).sum()), 1e-12)
        slope = (axes.T @ (left.T @ (accepted - chance)))[kept]
        found.append(float(stats.chi2.sf((slope**2 / strength[kept]).sum(), int(kept.sum()))) if kept.any() else 1.0)
    return found


def _tested(column: Floats, accepted: Flags) -> tuple[float, int]:
    if accepted.all() or not accepted.any():
        return 1.0, 0
    test = stats.mannwhitneyu(column[accepted], column[~accepted], method="asymptotic")
    middle = accepted.sum() * (~accepted).sum() / 2.0
    place = bins_of(column)
    table = np.stack([np.bincount(place[side], minlength=place.max() + 1) for side in (accepted, ~accepted)])
    table = table[:, table.sum(axis=0) > 0]
    bent = float(stats.chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0
    return min(1.0, 2.0 * min(float(test.pvalue), bent)), int(np.sign(test.statistic - middle))


def _correlated(left: Floats, right: Floats) -> float:
    both = ~np.isnan(left) & ~np.isnan(right)
    if both.sum() < 3:
        return 0.0
    a, b = left[both] - left[both].mean(), right[both] - right[both].mean()
    spread = np.sqrt((a**2).sum() * (b**2).sum())
    return float(abs(a @ b) / spread) if spread > 0 else 0.0


def kolmogorov_smirnov(chance: Floats, accepted: Flags) -> float:
    """KS: the largest difference of the two distributions of scores."""
    order = np.argsort(-chance, kind="stable")
    yes, no = np.cumsum(accepted[order]), np.cumsum(~accepted[order])
    last = np.append(chance[order][1:] != chance[order][:-1], True)  # ties go together
    gap = np.abs(yes / max(int(yes[-1]), 1) - no / max(int(no[-1]), 1))
    return float(gap[last].max())


@dataclass(frozen=True)
class Decile:
    """A tenth of the customers by score: how many, the share who accepted, and that over the share of all."""

    number: int
    customers: int
    rate: float
    lift: float
    mean_score: float


def deciles(chance: Floats, accepted: Flags, parts: int = 10) -> list[Decile]:
    """Lift by decile, the highest scores first."""
    order = np.argsort(-chance, kind="stable")
    base = max(float(accepted.mean()), 1e-12)
    return [
        Decile(
            number,
            len(part),
            float(accepted[part].mean()),
            float(accepted[part].mean()) / base,
            float(chance[part].mean()),
        )
        for number, part in enumerate((each for each in np.array_split(order, parts) if len(each)), 1)
    ]


def reliability(chance: Floats, accepted: Flags, parts: int = 10) -> list[tuple[float, float, int]]:
    """(mean score, share who accepted, customers) of bins of equally many: the reliability curve."""
    order = np.argsort(chance, kind="stable")
    return [
        (float(chance[part].mean()), float(accepted[part].mean()), len(part))
        for part in np.array_split(order, parts)
        if len(part)
    ]


def points(chance: float) -> int:
    """One customer's points, 0 to 100."""
    return int(scorecard(np.array([chance]))[0])


def scorecard(chance: Floats) -> Ints:
    """Points 0 to 100: the probability in per cent, rounded (R001-074)."""
    return np.rint(np.clip(chance, 0.0, 1.0) * 100.0).astype(np.int64)


@dataclass(frozen=True)
class Uplift:
    """What a contact changes: Qini and AUUC with 95 % intervals, and the mean effect. `proven` when Qini's low > 0."""

    qini: float
    qini_low: float
    qini_high: float
    auuc: float
    auuc_low: float
    auuc_high: float
    effect: float
    effect_low: float
    effect_high: float
    proven: bool
    curve: list[tuple[float, float]]


def uplift(gain: Floats, treated: Flags, accepted: Flags, rng: np.random.Generator, draws: int = 200) -> Uplift:
    """Judge predicted uplift `gain` on a randomised hold-out (Radcliffe 2007; Gutierrez and Gérardy 2017).

    The curve is the incremental acceptances per customer when the best share is contacted; Qini is its area above the
    straight line of random contacts, AUUC the whole area. Intervals by bootstrap.
    """
    order = np.argsort(-gain, kind="stable")
    t, y = treated[order].astype(np.float64), accepted[order].astype(np.float64)
    area, line, curve = _areas(t, y)
    found = []
    for _ in range(draws):
        weight = np.bincount(rng.integers(0, len(t), len(t)), minlength=len(t)).astype(np.float64)
        whole, straight, _ = _areas(t, y, weight)
        found.append((whole - straight, whole, 2.0 * straight))
    low, high = np.quantile(found, 0.025, axis=0), np.quantile(found, 0.975, axis=0)
    return Uplift(
        area - line,
        float(low[0]),
        float(high[0]),
        area,
        float(low[1]),
        float(high[1]),
        2.0 * line,
        float(low[2]),
        float(high[2]),
        bool(low[0] > 0.0),
        curve,
    )


def _areas(t: Floats, y: Floats, weight: Floats | None = None) -> tuple[float, float, list[tuple[float, float]]]:
    """Area under the curve, under the straight line, and ten points of the curve (share contacted, gain)."""
    weight = np.ones(len(t)) if weight is None else weight
    many = np.cumsum(weight)
    share = many / many[-1]
    treated, control = np.cumsum(weight * t), np.cumsum(weight * (1.0 - t))
    yes, no = np.cumsum(weight * t * y), np.cumsum(weight * (1.0 - t) * y)
    # Rates so far, times the share so far: incremental acceptances per customer of all.
    height = share * (yes / np.maximum(treated, 1e-12) - no / np.maximum(control, 1e-12))
    area = float((height * weight).sum() / many[-1])
    places = np.searchsorted(share, np.linspace(0.1, 1.0, 10) - 1e-9)
    curve = [(float(share[place]), float(height[place])) for place in np.minimum(places, len(share) - 1)]
    return area, float(height[-1] / 2.0), curve


def quality(chance: Floats, accepted: Flags) -> dict[str, float]:
    """AUC, KS, Brier and expected calibration error."""
    order = np.argsort(chance, kind="stable")
    parts = [part for part in np.array_split(order, 10) if len(part)]
    error = sum(abs(chance[part].mean() - accepted[part].mean()) * len(part) for part in parts) / len(order)
    return {
        "auc": auc(chance, accepted),
        "ks": kolmogorov_smirnov(chance, accepted),
        "brier": float(np.mean((chance - accepted) ** 2)),
        "ece": float(error),
    }
