"""A customer's final list: subjective experience, the model, his circles and influence, put together (R001-084)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.recommend.domain.product import Floats
from services.recommend.domain.shortlist import Count, ExpertList, Weights, shortlist

_OBSERVED = Weights(expert=0.0)
"""Of a circle's shortlist the rates alone: the expert is a component of his own here."""


@dataclass(frozen=True)
class FinalWeights:
    """How much each component counts; relative to their sum."""

    expert: float = 1.0
    model: float = 1.0
    circle: float = 1.0
    influence: float = 1.0

    def shared(self) -> "FinalWeights":
        """The same, summing to 1; all 0 means equal shares."""
        whole = self.expert + self.model + self.circle + self.influence
        if whole <= 0.0:
            return FinalWeights(0.25, 0.25, 0.25, 0.25)
        return FinalWeights(self.expert / whole, self.model / whole, self.circle / whole, self.influence / whole)


@dataclass(frozen=True)
class FinalEntry:
    """One product with every component, each 0 to 1, and its place."""

    product_id: str
    rank: int
    score: float
    expert: float
    model: float
    circle: float
    influence: float


@dataclass(frozen=True)
class Circle:
    """One of the customer's circles: the list in force of its expert, and what its members did."""

    expert: ExpertList | None
    counts: Sequence[Count]


def final_list(
    scores: Mapping[str, float], circles: Sequence[Circle], social: Mapping[str, float], weights: FinalWeights
) -> list[FinalEntry]:
    """The list, the best first (then by id), of the products of `scores`: what he could open, by the model.

    Experts: the best place that any of his circles gives it. Circles: the mean of their observed rates. `social`: the
    share of his calls that are with holders. The model, circles and influence are relative to the best of the list, so
    that the weights mean what they say.
    """
    ids, share = sorted(scores), weights.shared()
    if not ids:
        return []
    expert = np.zeros(len(ids))
    circle = np.zeros(len(ids))
    for each in circles:
        named = each.expert.product_ids if each.expert else ()
        place = {product_id: 1.0 - number / len(named) for number, product_id in enumerate(named)}
        expert = np.maximum(expert, [place.get(product_id, 0.0) for product_id in ids])
        observed = {entry.product_id: entry.score for entry in shortlist(None, each.counts, _OBSERVED)}
        circle = circle + np.array([observed.get(product_id, 0.0) for product_id in ids])
    model = _relative(np.array([scores[product_id] for product_id in ids]))
    circle = _relative(circle)
    influence = _relative(np.array([social.get(product_id, 0.0) for product_id in ids]))
    told = share.expert * expert + share.model * model + share.circle * circle + share.influence * influence
    order = sorted(range(len(ids)), key=lambda number: (-told[number], ids[number]))
    return [
        FinalEntry(
            ids[number],
            rank,
            float(told[number]),
            float(expert[number]),
            float(model[number]),
            float(circle[number]),
            float(influence[number]),
        )
        for rank, number in enumerate(order, 1)
    ]


def _relative(values: Floats) -> Floats:
    best = float(values.max())
    return values / best if best > 0.0 else np.zeros(len(values))
