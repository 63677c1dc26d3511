"""A matrix moved by what contacts taught, and the file by which Recommend moves its answers in the same way."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.recommend.domain import shift
from services.recommend.domain.live import AcceptanceModel
from services.recommend.domain.product import Ints, Places, Singles
from services.recommend.domain.snapshot import File
from services.recommend.lake import Features, Lake, acceptances, profiles

SAMPLE = 20_000
"""Customers by whom the usual shift of a product is known, at least; buckets are samples by key."""
NOBODY = 0
"""The key, of no customer, under which the file holds the usual shifts."""

Ranked = tuple[Features, Singles, Places, Singles]
"""Customers, their profiles, and what the graph says of them: ids and scores (n, p), the best first."""


@dataclass
class Moving:
    """By place of a product: customers, ascending, with their chances. `acceptance` names the models behind them."""

    acceptance: Mapping[str, str]
    chances: Mapping[int, tuple[Ints, Singles]]
    product_ids: tuple[str, ...]
    usual: Singles
    told: list[Features] = field(default_factory=list)

    def known(self, features: Features, ids: Places, scores: Singles) -> Singles:
        """The shifts of some customers, (n, p); NaN where they are not known."""
        chance = np.full(scores.shape, np.nan, dtype=np.float32)
        for place, (keys, given) in self.chances.items():
            at = np.minimum(np.searchsorted(keys, features.customer_key), max(len(keys) - 1, 0))
            if len(keys):
                there = keys[at] == features.customer_key
                chance[there, place] = given[at[there]]
        return shift.shifts(shift.by_product(ids, scores), chance)

    def move(self, features: Features, ids: Places, scores: Singles) -> tuple[Places, Singles]:
        """The ranking moved; the shifts are kept for the file."""
        mine = shift.filled(self.known(features, ids, scores), self.usual)
        self.told.append(Features(features.customer_key, features.org_id, self.product_ids, mine))
        return shift.shifted(ids, scores, mine)

    def publish(self, lake: Lake, matrix_id: str) -> File:
        """Write the file of shifts: all customers by key, before them NOBODY."""
        key = np.concatenate([[NOBODY], *(each.customer_key for each in self.told)]).astype(np.int64)
        org = np.concatenate([np.array([""], dtype=object), *(each.org_id for each in self.told)])
        values = np.concatenate([self.usual[None, :], *(each.values for each in self.told)])
        order = np.argsort(key, kind="stable")
        whole = Features(key[order], org[order], self.product_ids, values[order])
        return profiles.write(lake, matrix_id, whole, "shifts")


def prepared(
    lake: Lake,
    serving: Mapping[str, AcceptanceModel],
    product_ids: Sequence[str],
    files: Iterable[File],
    ranked: Callable[[File], Ranked],
) -> Moving | None:
    """What moves the matrix of a model of `product_ids`; None while no contact taught anything. Blocks."""
    models = {place: serving[each] for place, each in enumerate(product_ids) if each in serving}
    if not models:
        return None
    chances = {place: acceptances.chances(lake, each.scores) for place, each in models.items()}
    names = {each.product_id: each.acceptance_model_id for each in models.values()}
    found = Moving(names, chances, tuple(product_ids), np.zeros(len(product_ids), dtype=np.float32))
    parts, many = [], 0
    for file in files:
        features, _, ids, scores = ranked(file)
        parts.append(found.known(features, ids, scores))
        many += len(ids)
        if many >= SAMPLE:
            break
    return replace(found, usual=shift.usual(np.concatenate(parts)))
