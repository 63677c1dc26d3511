"""What contacts and their answers say of models: the acceptance models made from them, and two models compared on them.

Contacts of different products are not held against each other: products are accepted at different rates, and a model
that only knew these would look wise. So pairs are counted within a product (a stratified Mann and Whitney statistic).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from services.recommend.domain.evaluation import auc
from services.recommend.domain.product import Flags, Floats, Ints
from services.recommend.domain.snapshot import File

CHALLENGER, CHAMPION, OPEN = "CHALLENGER", "CHAMPION", "OPEN"
FEWEST = 30
"""Answers of either kind that a product must have to be learned from."""
_DRAWS = 300


@dataclass(frozen=True)
class AcceptanceModel:
    """Who accepts one product; `scores` is its file in the lake, `until` the time of the last contact it knew."""

    acceptance_model_id: str
    product_id: str
    job_id: str
    algorithm: str
    reason: str
    run_id: str
    data_sha256: str
    seed: int
    contacts: int
    accepted: int
    metrics: Mapping[str, float]
    report: Mapping[str, Any]
    serves: bool
    until: datetime
    scores: File
    create_time: datetime


@dataclass(frozen=True)
class Scored:
    """One customer's chance to accept, 0 to 1, and what a contact adds to it that he opens; None where nobody knows."""

    customer_key: int
    org_id: str
    probability: float
    uplift: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A challenger against a champion on the same contacts; `verdict` is CHALLENGER, CHAMPION or OPEN."""

    comparison_id: str
    champion_id: str
    challenger_id: str
    contacts: int
    accepted: int
    champion_auc: float
    challenger_auc: float
    difference: float
    difference_low: float
    difference_high: float
    verdict: str
    promoted: bool
    create_time: datetime


@dataclass(frozen=True)
class Difference:
    """Two rankings of the same contacts: AUC within products, and the 95 % interval of the difference."""

    one: float
    other: float
    difference: float = field(default=float("nan"))
    low: float = field(default=float("nan"))
    high: float = field(default=float("nan"))

    @property
    def verdict(self) -> str:
        """CHALLENGER or CHAMPION where the interval excludes 0, else OPEN; `one` is the champion."""
        if self.low > 0.0:
            return CHALLENGER
        return CHAMPION if self.high < 0.0 else OPEN


def compared(one: Floats, other: Floats, accepted: Flags, product: Ints, customer: Ints, seed: int = 0) -> Difference:
    """`other` against `one` on contacts of equal length; the interval by bootstrap over customers (Efron 1979)."""
    left, right = within(one, accepted, product), within(other, accepted, product)
    if np.isnan(left) or np.isnan(right):
        return Difference(left, right)
    rng = np.random.default_rng(seed)
    _, who = np.unique(customer, return_inverse=True)
    order = np.argsort(who, kind="stable")
    first = np.searchsorted(who[order], np.arange(who.max() + 2))
    found = []
    for _ in range(_DRAWS):
        drawn = rng.integers(0, who.max() + 1, who.max() + 1)
        rows = np.concatenate([order[first[each] : first[each + 1]] for each in drawn])
        told = within(other[rows], accepted[rows], product[rows]) - within(one[rows], accepted[rows], product[rows])
        found.append(told)
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Difference(left, right, right - left, float(low), float(high))


def within(scores: Floats, accepted: Flags, product: Ints) -> float:
    """The chance that an accepted contact scores above a refused one of the same product; NaN without such a pair."""
    wins, pairs = 0.0, 0
    for each in np.unique(product):
        mine = product == each
        yes = int(accepted[mine].sum())
        many = yes * (int(mine.sum()) - yes)
        if many:
            wins += auc(scores[mine], accepted[mine]) * many
            pairs += many
    return wins / pairs if pairs else float("nan")
