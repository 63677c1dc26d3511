"""A circle's shortlist: what the expert names, and what customers of the circle accepted, opened and still use.

Subjective and objective matching combined with written weights (R001-070 … R001-073).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from services.recommend.domain.product import Flags, Singles


@dataclass(frozen=True)
class ExpertList:
    """What an expert thinks right for a circle, the most fitting first."""

    circle: str
    product_ids: tuple[str, ...]
    author: str
    note: str
    create_time: datetime


@dataclass(frozen=True)
class Count:
    """One circle and product: members, how many were contacted and accepted, who opened it, who still holds it."""

    circle: str
    product_id: str
    members: int
    contacted: int
    accepted: int
    opened: int
    still: int


@dataclass(frozen=True)
class Weights:
    """How much each component counts; relative to their sum."""

    expert: float = 1.0
    accepted: float = 1.0
    opened: float = 1.0
    used: float = 1.0

    def shared(self) -> "Weights":
        """The same, summing to 1; all 0 means equal shares."""
        whole = self.expert + self.accepted + self.opened + self.used
        if whole <= 0.0:
            return Weights(0.25, 0.25, 0.25, 0.25)
        return Weights(self.expert / whole, self.accepted / whole, self.opened / whole, self.used / whole)


@dataclass(frozen=True)
class Entry:
    """One product with every component and its place."""

    product_id: str
    rank: int
    score: float
    expert_rank: int
    members: int
    contacted: int
    accepted_rate: float
    opened_rate: float
    used_rate: float
    bundled_product_ids: tuple[str, ...] = ()


def counts(
    names: Sequence[str], values: Singles, opened: Flags, owned: Flags, product_ids: Sequence[str]
) -> list[Count]:
    """Of every circle, that is every tag column that anybody has: `opened` (n, p) at any time, `owned` (n, p) still."""
    found = []
    for number, name in enumerate(names):
        if not name.startswith("tag_"):
            continue
        mine = values[:, number] > 0.5
        members = int(mine.sum())
        if not members:
            continue
        ever, still = opened[mine].sum(axis=0), owned[mine].sum(axis=0)
        circle = name.removeprefix("tag_")
        found += [
            Count(circle, product_id, members, 0, 0, int(ever[place]), int(still[place]))
            for place, product_id in enumerate(product_ids)
        ]
    return found


def shortlist(expert: ExpertList | None, found: Sequence[Count], weights: Weights) -> list[Entry]:
    """The combined list, the best first (then by id).

    The expert's part is 1 for his first product and falls by equal steps; each rate is taken relative to the highest of
    the circle, so that the weights mean what they say whatever the level of the rates.
    """
    share = weights.shared()
    place = {product_id: number for number, product_id in enumerate(expert.product_ids)} if expert else {}
    known = {each.product_id: each for each in found}
    members = found[0].members if found else 0
    ids = sorted({*place, *known})
    blank = {product_id: Count("", product_id, members, 0, 0, 0, 0) for product_id in ids}
    rows = [known.get(product_id, blank[product_id]) for product_id in ids]
    rates: Mapping[str, list[float]] = {
        "accepted": [_share(each.accepted, each.contacted) for each in rows],
        "opened": [_share(each.opened, each.members) for each in rows],
        "used": [_share(each.still, each.opened) for each in rows],
    }
    told = np.array([1.0 - place[each] / len(place) if each in place else 0.0 for each in ids]) * share.expert
    for weight, name in ((share.accepted, "accepted"), (share.opened, "opened"), (share.used, "used")):
        best = max(rates[name], default=0.0)
        if best > 0.0:
            told = told + weight * np.array(rates[name]) / best
    order = sorted(range(len(ids)), key=lambda number: (-told[number], ids[number]))
    return [
        Entry(
            ids[number],
            rank,
            float(told[number]),
            place.get(ids[number], -1) + 1,
            rows[number].members,
            rows[number].contacted,
            rates["accepted"][number],
            rates["opened"][number],
            rates["used"][number],
        )
        for rank, number in enumerate(order, 1)
    ]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
