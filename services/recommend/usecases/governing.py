"""The life of a model: candidate → shadow → champion → retired, and back by one call."""

from services.kit import idempotency, operations
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.idempotency import RequestKey
from services.recommend import refusals, store
from services.recommend.domain.registry import CHAMPION, RETIRED, SHADOW, Model


class Governing:
    """Moves models between states; the keeper follows within a second."""

    def __init__(self, db: Database, models: store.Models, clock: Clock) -> None:
        self._db = db
        self._models = models
        self._clock = clock

    async def promote(self, key: RequestKey, model_id: str) -> Model:
        """Make a model champion; the champion before this one for an empty id. Raises model_not_found, model_state."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._model(tx, earlier["model_id"])
            chosen = model_id or await self._models.former_champion_id(tx)
            if not chosen:
                raise refusals.model_state("", "without a champion before it")
            await self._model(tx, chosen)
            await self._models.promote(tx, chosen, self._clock())
            await operations.record(tx, "recommend.PromoteModel", chosen)
            await idempotency.answer(tx, key, {"model_id": chosen})
            model = await self._model(tx, chosen)
            await tx.commit()
        return model

    async def shadow(self, key: RequestKey, model_id: str) -> Model:
        """Watch a model beside the champion. Raises model_not_found, model_state for the champion."""
        return await self._move(key, model_id, SHADOW)

    async def retire(self, key: RequestKey, model_id: str) -> Model:
        """Take a model out of use. Raises model_not_found, model_state for the champion."""
        return await self._move(key, model_id, RETIRED)

    async def _move(self, key: RequestKey, model_id: str, state: str) -> Model:
        async with self._db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                model = await self._model(tx, model_id)
                if model.state == CHAMPION:
                    raise refusals.model_state(model_id, CHAMPION)
                await self._models.move(tx, model_id, state)
                action = "RetireModel" if state == RETIRED else "ShadowModel"
                await operations.record(tx, f"recommend.{action}", model_id)
                await idempotency.answer(tx, key, {"model_id": model_id})
            moved = await self._model(tx, model_id)
            await tx.commit()
        return moved

    async def _model(self, tx: Write, model_id: str) -> Model:
        model = await self._models.model(tx, model_id)
        if model is None:
            raise refusals.model_not_found(model_id)
        return model
