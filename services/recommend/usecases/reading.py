"""What can be looked up: products, associations, models, matrices, jobs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from services.kit import jobs, outbox
from services.kit.db import Database
from services.kit.errors import bad_page_token
from services.kit.jobs import Job
from services.kit.outbox import Checkpoint, Event
from services.recommend import refusals, store
from services.recommend.domain.association import PRODUCTS, Association
from services.recommend.domain.outcome import figures
from services.recommend.domain.product import Held
from services.recommend.domain.registry import Matrix, Model
from services.recommend.domain.snapshot import File
from services.recommend.usecases.scoring import PUBLISHED


class Reading:
    """Reads."""

    def __init__(
        self,
        db: Database,
        knowledge: store.Knowledge,
        models: store.Models,
        matrices: store.Matrices,
        stop: asyncio.Event,
    ) -> None:
        self._db = db
        self._knowledge = knowledge
        self._outcomes = store.Outcomes()
        self._models = models
        self._matrices = matrices
        self._stop = stop

    async def product(self, product_id: str) -> Held:
        """One product. Raises product_not_found."""
        async with self._db.read() as read:
            held = await self._knowledge.product(read, product_id)
        if held is None:
            raise refusals.product_not_found(product_id)
        return held

    async def products(self, after: str, size: int) -> list[Held]:
        """A page of products by id."""
        async with self._db.read() as read:
            return await self._knowledge.page(read, after, size)

    async def associations(
        self, kind: str, left: str, significant: bool, after: tuple[float, str, str] | None, size: int
    ) -> list[Association]:
        """A page of one table, the highest lift first. Raises product_not_found."""
        async with self._db.read() as read:
            if left and kind == PRODUCTS and await self._knowledge.product(read, left) is None:
                raise refusals.product_not_found(left)
            return await self._knowledge.associations(
                read, kind=kind, left=left, significant=significant, after=after, size=size
            )

    async def model(self, model_id: str) -> Model:
        """One model with its live figures; the champion for an empty id. Raises model_not_found, model_missing."""
        async with self._db.read() as read:
            model = await self._models.model(read, model_id)
            live = figures(await self._outcomes.by_model(read))
        if model is None:
            raise refusals.model_not_found(model_id) if model_id else refusals.model_missing()
        return replace(model, metrics={**model.metrics, **live.get(model.model_id, {})})

    async def models(self, after: str, size: int) -> list[Model]:
        """A page of models, the latest first. Raises bad_page_token."""
        async with self._db.read() as read:
            if after and await self._models.model(read, after) is None:
                raise bad_page_token()
            live = figures(await self._outcomes.by_model(read))
            found = await self._models.page(read, after, size)
        return [replace(each, metrics={**each.metrics, **live.get(each.model_id, {})}) for each in found]

    async def matrix(self, matrix_id: str) -> tuple[Matrix, list[File]]:
        """One matrix with its files; the latest for an empty id. Raises matrix_not_found."""
        async with self._db.read() as read:
            matrix = await self._matrices.matrix(read, matrix_id)
            if matrix is None:
                raise refusals.matrix_not_found(matrix_id)
            return matrix, await self._matrices.files(read, matrix.matrix_id)

    async def job(self, job_id: str) -> Job:
        """One job. Raises job_not_found."""
        async with self._db.read() as read:
            return await jobs.get(read, job_id)

    async def jobs(self, after: str | None, size: int) -> list[Job]:
        """A page of jobs, the latest first."""
        async with self._db.read() as read:
            return await jobs.page(read, after=after, size=size)

    async def published(self, cursor: str) -> AsyncIterator[tuple[Event | Checkpoint, Matrix | None]]:
        """The published matrices after a cursor, for ever. Raises cursor_invalid."""
        async for item in outbox.follow(self._db, cursor=cursor, kinds={PUBLISHED}, stop=self._stop):
            matrix = None
            if isinstance(item, Event):
                async with self._db.read() as read:
                    matrix = await self._matrices.matrix(read, item.key)
            yield item, matrix
