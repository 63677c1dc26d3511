"""Jobs: asked for by hand, or begun by themselves when their inputs are there."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.kit import idempotency, jobs
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.kit.jobs import Job, State
from services.recommend import refusals, store
from services.recommend.domain.snapshot import Inputs

TRAIN, MATRIX, ACCEPTANCE, COMPARISON, INFLUENCE = "train", "matrix", "acceptance", "comparison", "influence"

_DEAD = (State.FAILED, State.CANCELLED)


class Asking:
    """Creates, gives and cancels jobs. A job's id names what it makes: the model or the matrix."""

    def __init__(self, db: Database, inputs: store.Inputs, models: store.Models, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._inputs = inputs
        self._models = models
        self._outcomes = store.Outcomes()
        self._acceptances = store.Acceptances()
        self._clock = clock
        self._ids = ids

    async def create_train(
        self,
        key: RequestKey,
        run_id: str,
        seed: int,
        algorithm: str = "",
        shadow: bool = False,
        excluded: Sequence[str] = (),
    ) -> Job:
        """A training of one run (empty: the latest), a new one after a failed or cancelled one.

        Raises inputs_incomplete.
        """
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            inputs = await self._resolved(tx, run_id)
            job = await self.queue_train(
                tx, inputs, seed, algorithm=algorithm, shadow=shadow, excluded=excluded, again=True
            )
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def create_matrix(self, key: RequestKey, model_id: str, run_id: str) -> Job:
        """A scoring by one model (empty: the champion), a new one after a failed or cancelled one.

        Raises inputs_incomplete, model_not_found, model_missing.
        """
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            model = await self._models.model(tx, model_id)
            if model is None:
                raise refusals.model_not_found(model_id) if model_id else refusals.model_missing()
            job = await self.queue_matrix(tx, await self._resolved(tx, run_id), model.model_id, again=True)
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def create_acceptance(
        self, key: RequestKey, run_id: str, seed: int, products: Sequence[str], algorithm: str
    ) -> Job:
        """Acceptance models from what is known of contacts now. Raises inputs_incomplete."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            given = {"products": sorted(products), "algorithm": algorithm}
            asked = {name: value for name, value in given.items() if value}
            job = await self.queue_acceptance(tx, await self._resolved(tx, run_id), seed, again=True, **asked)
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def create_comparison(self, key: RequestKey, challenger_id: str, champion_id: str, promote: bool) -> Job:
        """A comparison on what is known of contacts now. Raises inputs_incomplete, model_not_found, model_missing."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            champion = await self._models.model(tx, champion_id)
            if champion is None:
                raise refusals.model_not_found(champion_id) if champion_id else refusals.model_missing()
            if await self._models.model(tx, challenger_id) is None:
                raise refusals.model_not_found(challenger_id)
            inputs = await self._resolved(tx, "")
            asked = {"champion_id": champion.model_id, "challenger_id": challenger_id, "promote": promote}
            spec = {**inputs.plain, **asked}
            job = await self._queue(
                tx, COMPARISON, inputs.key(**asked, contacts=await self._outcomes.count(tx)), spec, again=True
            )
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def queue_acceptance(self, tx: Write, inputs: Inputs, seed: int, *, again: bool = False, **asked: Any) -> Job:
        """Queue acceptance models; the same inputs and as many facts of contacts give the job that is there."""
        told = inputs.with_graph
        key = inputs.key(seed=seed, contacts=await self._outcomes.count(tx), **asked, **_graph(told))
        return await self._queue(tx, ACCEPTANCE, key, {**told, "seed": seed, **asked}, again)

    async def create_influence(self, key: RequestKey, run_id: str) -> Job:
        """The influence of the customers of one run (empty: the latest). Raises inputs_incomplete."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            inputs = await self._resolved(tx, run_id)
            if not _graph(inputs.with_graph):
                raise refusals.inputs_incomplete("call_details")
            job = await self.queue_influence(tx, inputs, again=True)
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def queue_influence(self, tx: Write, inputs: Inputs, *, again: bool = False) -> Job:
        """Queue who calls whom in the circles; the same inputs give the job that is there."""
        told = inputs.with_graph
        return await self._queue(tx, INFLUENCE, inputs.key(influence=True, **_graph(told)), told, again)

    async def queue_train(
        self,
        tx: Write,
        inputs: Inputs,
        seed: int,
        *,
        algorithm: str = "",
        shadow: bool = False,
        excluded: Sequence[str] = (),
        again: bool = False,
    ) -> Job:
        """Queue a training in the transaction of what made it possible; the same inputs give the job that is there.

        With `again`, as somebody asked for it: a new one in the place of one that failed or was cancelled. What begins
        by itself does without, and so never repeats what failed.
        """
        asked = {} if algorithm in ("", "rf_cf") else {"algorithm": algorithm}
        asked |= {"shadow": "yes"} if shadow else {}
        told: dict[str, Any] = {**asked, **({"excluded": sorted(excluded)} if excluded else {})}
        spec = {**inputs.with_graph, "seed": seed, **told}
        return await self._queue(tx, TRAIN, inputs.key(seed=seed, **told), spec, again)

    async def queue_matrix(self, tx: Write, inputs: Inputs, model_id: str, *, again: bool = False) -> Job:
        """Queue a scoring; the same inputs give the job that is there, `again` as with trainings."""
        spec = {**inputs.plain, "model_id": model_id}
        learned = sorted(each.acceptance_model_id for each in (await self._acceptances.serving(tx)).values())
        told = {"acceptance": learned} if learned else {}
        return await self._queue(tx, MATRIX, inputs.key(model_id=model_id, **told), spec, again)

    async def queue_matrix_anew(self, tx: Write, inputs: Inputs) -> None:
        """Queue a scoring by the champion, acceptance models being new; one that waits looks at them by itself."""
        champion = await self._models.champion_id(tx)
        queued = [each for each in await jobs.page(tx, kind=MATRIX, size=20) if each.state is State.QUEUED]
        waiting = [(each.spec["run_id"], each.spec["model_id"]) for each in queued]
        if champion and (inputs.run_id, champion) not in waiting:
            await self.queue_matrix(tx, inputs, champion)

    async def _queue(self, tx: Write, kind: str, key: str, spec: Mapping[str, Any], again: bool) -> Job:
        number = 1
        while True:
            name = key if number == 1 else f"{key}#{number}"
            job = await jobs.create(tx, job_id=self._ids(), kind=kind, key=name, spec=spec, now=self._clock())
            if not again or job.state not in _DEAD:
                return job
            number += 1

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


def _graph(told: Mapping[str, Any]) -> dict[str, Any]:
    """What of a spec speaks of calls; nothing without them."""
    return {"graph": told["graph"]} if "graph" in told else {}
