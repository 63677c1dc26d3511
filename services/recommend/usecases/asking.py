"""Jobs: asked for by hand, or begun by themselves when their inputs are there."""

from services.kit import idempotency, jobs
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.kit.jobs import Job
from services.recommend import refusals, store
from services.recommend.domain.snapshot import Inputs

TRAIN, MATRIX = "train", "matrix"


class Asking:
    """Creates, gives and cancels jobs. A job's id names what it makes: the model or the matrix."""

    def __init__(self, db: Database, inputs: store.Inputs, models: store.Models, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._inputs = inputs
        self._models = models
        self._clock = clock
        self._ids = ids

    async def create_train(self, key: RequestKey, run_id: str, seed: int) -> Job:
        """A training of one run (empty: the latest). Raises inputs_incomplete."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            job = await self.queue_train(tx, await self._resolved(tx, run_id), seed)
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def create_matrix(self, key: RequestKey, model_id: str, run_id: str) -> Job:
        """A scoring by one model (empty: the champion). Raises inputs_incomplete, model_not_found, model_missing."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            model = await self._models.model(tx, model_id)
            if model is None:
                raise refusals.model_not_found(model_id) if model_id else refusals.model_missing()
            job = await self.queue_matrix(tx, await self._resolved(tx, run_id), model.model_id)
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def queue_train(self, tx: Write, inputs: Inputs, seed: int) -> Job:
        """Queue a training in the transaction of what made it possible; the same inputs give the job that is there."""
        return await jobs.create(
            tx,
            job_id=self._ids(),
            kind=TRAIN,
            key=inputs.key(seed=seed),
            spec={**inputs.plain, "seed": seed},
            now=self._clock(),
        )

    async def queue_matrix(self, tx: Write, inputs: Inputs, model_id: str) -> Job:
        """Queue a scoring; the same inputs give the job that is there."""
        return await jobs.create(
            tx,
            job_id=self._ids(),
            kind=MATRIX,
            key=inputs.key(model_id=model_id),
            spec={**inputs.plain, "model_id": model_id},
            now=self._clock(),
        )

    async def cancel(self, key: RequestKey, job_id: str) -> Job:
        """Stop a job; one that has ended stays as it is. Raises job_not_found."""
        async with self._db.begin() as tx:
            if await idempotency.remember(tx, key) is not None:
                return await jobs.get(tx, job_id)
            job = await jobs.cancel(tx, job_id, self._clock())
            await idempotency.answer(tx, key, {"job_id": job_id})
            await tx.commit()
        return job

    async def _resolved(self, tx: Write, run_id: str) -> Inputs:
        run = await self._inputs.run(tx, run_id)
        if run is None:
            raise refusals.inputs_incomplete(f"run {run_id}" if run_id else "run")
        inputs = await self._inputs.inputs(tx, run)
        if inputs.missing():
            raise refusals.inputs_incomplete(", ".join(inputs.missing()))
        return inputs
