"""What people tell recommend: product terms and experts' lists; and the shortlists that come of it."""

from collections.abc import Sequence
from dataclasses import replace

from services.kit import idempotency, operations
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey
from services.recommend import refusals, store
from services.recommend.domain.customer import Served
from services.recommend.domain.final_list import Circle
from services.recommend.domain.outcome import Live
from services.recommend.domain.product import Held, Terms
from services.recommend.domain.shortlist import Count, Entry, ExpertList, Weights, shortlist


class Guiding:
    """Keeps terms and lists, and gives shortlists."""

    def __init__(self, db: Database, knowledge: store.Knowledge, inputs: store.Inputs, clock: Clock) -> None:
        self._db = db
        self._knowledge = knowledge
        self._guidance = store.Guidance()
        self._inputs = inputs
        self._outcomes = store.Outcomes()
        self._clock = clock

    async def update_terms(self, key: RequestKey, product_id: str, terms: Terms) -> Held:
        """Keep a product's terms. Raises product_not_found, for the products that they name as well."""
        named = {*terms.bundled_product_ids, *terms.prerequisite_product_ids, *terms.excluded_product_ids}
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            for each in (product_id, *sorted(named)):
                if await self._knowledge.product(tx, each) is None:
                    raise refusals.product_not_found(each)
            if earlier is None:
                await self._guidance.put_terms(tx, product_id, terms, self._clock())
                await operations.record(tx, "recommend.UpdateProductTerms", product_id)
                await idempotency.answer(tx, key, {})
                await tx.commit()
        async with self._db.read() as read:
            held = await self._knowledge.product(read, product_id)
        if held is None:
            raise refusals.product_not_found(product_id)
        return held

    async def add_list(self, key: RequestKey, list_: ExpertList) -> ExpertList:
        """Keep an expert's list. Raises product_not_found."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                kept = await self._guidance.lists(tx, list_.circle, earlier["number"] + 1, 1)
                return kept[0][1]
            for product_id in list_.product_ids:
                if await self._knowledge.product(tx, product_id) is None:
                    raise refusals.product_not_found(product_id)
            made = replace(list_, create_time=self._clock())
            await self._guidance.add_list(tx, made)
            number = (await self._guidance.lists(tx, list_.circle, 0, 1))[0][0]
            await idempotency.answer(tx, key, {"number": number})
            await tx.commit()
        return made

    async def lists(self, circle: str, after: int, size: int) -> list[tuple[int, ExpertList]]:
        """A page of lists, the latest first, each with its number."""
        async with self._db.read() as read:
            return await self._guidance.lists(read, circle, after, size)

    async def shortlist(self, circle: str, weights: Weights) -> tuple[list[Entry], Weights, str]:
        """A circle's products with every component; the weights used; the run counted. Raises circle_not_found."""
        async with self._db.read() as read:
            latest = await self._guidance.lists(read, circle, 0, 1)
            counted = await self._guidance.counts(read, circle)
            served = await self._inputs.served(read)
            counted = await self._alive(read, circle, counted, served)
            bundled = {each: terms.bundled_product_ids for each, terms in (await self._guidance.terms(read)).items()}
        if not latest and not counted:
            raise refusals.circle_not_found(circle)
        found = shortlist(latest[0][1] if latest else None, counted, weights)
        found = [replace(each, bundled_product_ids=bundled.get(each.product_id, ())) for each in found]
        return found, weights.shared(), served.run_id if served else ""

    async def circle(self, read: Read, name: str) -> Circle:
        """What is known of one circle: the list in force, and what its members did up to now."""
        latest = await self._guidance.lists(read, name, 0, 1)
        counted = await self._guidance.counts(read, name)
        counted = await self._alive(read, name, counted, await self._inputs.served(read))
        return Circle(latest[0][1] if latest else None, counted)

    async def _alive(self, read: Read, circle: str, counted: Sequence[Count], served: Served | None) -> list[Count]:
        """The counts with what came of contacts up to now."""
        column = f"tag_{circle}"
        if served is None or column not in served.columns:
            return list(counted)
        live = await self._outcomes.by_product(read, served.run_id, served.columns.index(column))
        blank = Live()
        return [
            replace(each, contacted=now.contacted, accepted=now.accepted)
            for each in counted
            for now in (live.get(each.product_id, blank),)
        ]
