"""What was learned from contacts: acceptance models, their scores, and comparisons."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from services.kit import domains
from services.kit.db import Database
from services.kit.errors import bad_page_token
from services.recommend import refusals, store
from services.recommend.domain import propensity
from services.recommend.domain.live import AcceptanceModel, Comparison, Scored
from services.recommend.lake import Lake, acceptances

_KEPT, _MOST_LIVE = 8, 50_000


class Learned:
    """Reads; the scores of the products last asked for are kept."""

    def __init__(self, db: Database, lake: Lake) -> None:
        self._db = db
        self._lake = lake
        self._acceptances = store.Acceptances()
        self._outcomes = store.Outcomes()
        self._kept: OrderedDict[str, Sequence[Scored]] = OrderedDict()

    async def model(self, model_id: str, product_id: str = "") -> AcceptanceModel:
        """One model, or the one that serves a product. Raises acceptance_model_not_found."""
        async with self._db.read() as read:
            if model_id:
                found = await self._acceptances.model(read, model_id)
            else:
                found = (await self._acceptances.serving(read)).get(product_id)
        if found is None:
            raise refusals.acceptance_model_not_found(model_id or product_id)
        return found

    async def drift(self, model: AcceptanceModel) -> dict[str, float]:
        """How its chances held on contacts answered since it was learned; nothing while there are none.

        `live_ratio` is the share that accepted over the mean chance: 1 when it is calibrated as well as it was.
        """
        with domains.whole():
            async with self._db.read() as read:
                told = await self._outcomes.answered_since(read, model.product_id, model.until, _MOST_LIVE)
        if not told:
            return {}
        chance = {each.customer_key: each.probability for each in await self._scores(model)}
        known = [(chance[key], accepted) for key, accepted in told if key in chance]
        if not known:
            return {}
        given, answers = np.array([each for each, _ in known]), np.array([accepted for _, accepted in known])
        found = {f"live_{name}": value for name, value in propensity.quality(given, answers).items()}
        found |= {"live_contacts": float(len(known)), "live_rate": float(answers.mean())}
        found["live_ratio"] = found["live_rate"] / max(float(given.mean()), 1e-9)
        return {name: value for name, value in found.items() if np.isfinite(value)}

    async def models(self, product_id: str, after: str, size: int) -> list[AcceptanceModel]:
        """A page of models, the latest first. Raises bad_page_token."""
        async with self._db.read() as read:
            if after and await self._acceptances.model(read, after) is None:
                raise bad_page_token()
            return await self._acceptances.page(read, product_id, after, size)

    async def scores(
        self, product_id: str, model_id: str, after: int, size: int, by_uplift: bool = False
    ) -> tuple[AcceptanceModel, list[Scored]]:
        """The model that answers, and `size` customers after so many, of those the caller sees.

        By chance, or by uplift those of whom it is known. Raises acceptance_model_not_found.
        """
        model = await self.model(model_id, product_id)
        found, seen = await self._scores(model), domains.current()
        if by_uplift:
            known = [(each.uplift, each) for each in found if each.uplift is not None]
            found = [each for _, each in sorted(known, key=lambda one: (-one[0], one[1].customer_key))]
        with domains.whole():
            async with self._db.read() as read:
                gone = await self._outcomes.gone(read)
        told = [each for each in found if (seen is None or each.org_id in seen) and each.customer_key not in gone]
        return model, told[after : after + size]

    async def _scores(self, model: AcceptanceModel) -> Sequence[Scored]:
        """All its scores, the highest first."""
        name = model.acceptance_model_id
        if name not in self._kept:
            self._kept[name] = await asyncio.to_thread(acceptances.scores, self._lake, model.scores)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]

    async def comparisons(self, after: str, size: int) -> list[Comparison]:
        """A page of comparisons, the latest first."""
        async with self._db.read() as read:
            return await self._acceptances.comparisons(read, after, size)
