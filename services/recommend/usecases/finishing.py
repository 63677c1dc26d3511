"""A customer's final list, and who has weight in a circle."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.kit import domains
from services.kit.db import Database, Read
from services.recommend import store
from services.recommend.domain.call_graph import Member, Published
from services.recommend.domain.final_list import FinalEntry, FinalWeights, final_list
from services.recommend.domain.product import Singles
from services.recommend.lake import Lake, influences, profiles
from services.recommend.usecases.guiding import Guiding
from services.recommend.usecases.keeping import View
from services.recommend.usecases.recommending import Answer, Ask, Recommending

_ALL, _KEPT = 100, 8


@dataclass(frozen=True)
class Final:
    """The list, the weights used, the customer in his circles, and the answer of the model behind it."""

    entries: Sequence[FinalEntry]
    names: Mapping[str, str]
    weights: FinalWeights
    influences: Sequence[Member]
    answer: Answer


class Finishing:
    """Puts the components together; none of this is on the way of Recommend."""

    def __init__(self, db: Database, recommending: Recommending, guiding: Guiding, lake: Lake) -> None:
        self._db = db
        self._recommending = recommending
        self._guiding = guiding
        self._influences = store.Influences()
        self._outcomes = store.Outcomes()
        self._lake = lake
        self._kept: OrderedDict[tuple[str, str], list[Member]] = OrderedDict()

    async def final(self, customer_key: int, most: int, weights: FinalWeights) -> Final:
        """The products that he could open, by all components. Raises customer_not_found, model_missing."""
        answer = await self._recommending.recommend(Ask(customer_key, _ALL))
        view, profile = await self._recommending.look(customer_key)
        async with self._db.read() as read:
            circles = [await self._guiding.circle(read, name) for name in _circles(view, profile)]
            published = await self._influences.latest(read)
        social, members = await self._social(published, customer_key)
        scores = {each.product.product_id: each.score for each in answer.given}
        told = final_list(scores, circles, social, weights)
        names = {each.product.product_id: each.product.name for each in answer.given}
        return Final(told[: most or 5], names, weights.shared(), members, answer)

    async def _social(
        self, published: Published | None, customer_key: int
    ) -> tuple[Mapping[str, float], Sequence[Member]]:
        if published is None:
            return {}, ()

        def read(found: Published) -> tuple[Mapping[str, float], Sequence[Member]]:
            pack = profiles.opened(found.social)
            row = int(pack.rows(np.array([customer_key], dtype=np.int64))[0])
            shares = pack.values[row].tolist() if row >= 0 else [0.0] * len(found.product_ids)
            told = dict(zip(found.product_ids, shares, strict=True))
            return told, influences.of_customer(self._lake, found.members, customer_key)

        return await asyncio.to_thread(read, published)

    async def influential(
        self, circle: str, influence_id: str, after: int, size: int
    ) -> tuple[Published | None, list[Member]]:
        """What answers, and `size` members of a circle after so many, of those the caller sees.

        Raises circle_not_found.
        """
        async with self._db.read() as read:
            published = await self._found(read, influence_id)
            if circle and published is None:
                await self._guiding.circle(read, circle)
        if published is None:
            return None, []
        key = published.influence_id, circle
        if key not in self._kept:
            self._kept[key] = await asyncio.to_thread(influences.of_circle, self._lake, published.members, circle)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        seen = domains.current()
        with domains.whole():
            async with self._db.read() as read:
                gone = await self._outcomes.gone(read)
        told = [
            each for each in self._kept[key] if (seen is None or each.org_id in seen) and each.customer_key not in gone
        ]
        return published, told[after : after + size]

    async def _found(self, read: Read, influence_id: str) -> Published | None:
        return await (self._influences.one(read, influence_id) if influence_id else self._influences.latest(read))


def _circles(view: View, profile: Singles) -> list[str]:
    """The customer's circles: the tags that he has."""
    columns = view.served.columns if view.served else ()
    return [
        name.removeprefix("tag_")
        for name, value in zip(columns, profile.tolist(), strict=False)
        if name.startswith("tag_") and value > 0.5
    ]
