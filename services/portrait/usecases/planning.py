"""When portraits are computed: a delivery is learnt, a window becomes complete, an operator asks."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from services.kit import idempotency, jobs
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.kit.jobs import Job, State
from services.portrait.domain.calendar import MOST_DAYS
from services.portrait.domain.readiness import Delivery, Inputs, ReadinessRule, inputs_of, missing, next_window
from services.portrait.refusals import feeds_incomplete, span_invalid
from services.portrait.store.planning import Planned, Planning
from services.portrait.usecases.compute import KIND
from services.portrait.usecases.shelf import Shelf

_ENDED_WITHOUT_RUN = (State.FAILED, State.CANCELLED)


class Plans:
    """Jobs by their inputs: the same span, deliveries and catalogue are the same job."""

    def __init__(
        self,
        db: Database,
        planning: Planning,
        rule: ReadinessRule,
        catalogue_digest: str,
        clock: Clock,
        ids: Ids,
        shelf: Shelf | None = None,
    ) -> None:
        self._db = db
        self._planning = planning
        self._rule = rule
        self._digest = catalogue_digest
        self._shelf = shelf
        self._clock = clock
        self._ids = ids

    async def learn(self, tx: Write, delivery: Delivery) -> None:
        """Take note of a loaded delivery and queue what it makes due; the caller commits, with its cursor."""
        await self._planning.put_delivery(tx, delivery)
        if delivery.feed_id not in self._rule.reads:
            return
        known = await self._planning.deliveries(tx)
        windows = await self._planning.open(tx)
        for each in windows:
            if not missing(self._rule, known, each.from_date, each.to_date):
                await self._plan(tx, inputs_of(self._rule, known, each.from_date, each.to_date), each)
        window = next_window(self._rule, known, windows[-1].to_date if windows else None)
        if window is not None:
            await self._plan(tx, inputs_of(self._rule, known, *window), None)

    async def create(self, from_date: date, to_date: date, key: RequestKey) -> Job:
        """Queue a computation of a span; the job of these inputs that is there, unless it failed or was cancelled.

        Raises span_invalid, feeds_incomplete, request_id_reused.
        """
        if not 0 <= (to_date - from_date).days < MOST_DAYS:
            raise span_invalid(from_date, to_date, MOST_DAYS)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            known = await self._planning.deliveries(tx)
            lacking = missing(self._rule, known, from_date, to_date)
            if lacking:
                raise feeds_incomplete(lacking)
            job = await self._job(tx, inputs_of(self._rule, known, from_date, to_date), again=True)
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def get(self, job_id: str) -> Job:
        """A job. Raises job_not_found."""
        async with self._db.read() as read:
            return await jobs.get(read, job_id)

    async def page(self, after: str | None, size: int) -> list[Job]:
        """Jobs, the newest first, after the job `after`. Raises job_not_found."""
        async with self._db.read() as read:
            return await jobs.page(read, kind=KIND, after=after, size=size)

    async def cancel(self, job_id: str, key: RequestKey) -> Job:
        """Ask a job to stop; one that has ended stays as it is. Raises job_not_found, request_id_reused."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, job_id)
            job = await jobs.cancel(tx, job_id, self._clock())
            await idempotency.answer(tx, key, {"job_id": job_id})
            await tx.commit()
        return job

    async def _plan(self, tx: Write, inputs: Inputs, earlier: Planned | None) -> None:
        """Queue the window's job, unless its inputs are those that were planned; older inputs are no longer wanted."""
        job_key = inputs.key(await self._catalogue(tx))
        if earlier is not None and earlier.job_key == job_key:
            return
        job = await self._job(tx, inputs, again=False)
        await self._planning.put_planned(tx, Planned(inputs.from_date, inputs.to_date, job_key, job.job_id))
        if earlier is not None and earlier.job_id != job.job_id:
            await jobs.cancel(tx, earlier.job_id, self._clock())

    async def _job(self, tx: Write, inputs: Inputs, *, again: bool) -> Job:
        """The job of these inputs; with `again`, a new one after one that ended without a run."""
        digest = await self._catalogue(tx)
        run_id = inputs.key(digest)
        spec: Mapping[str, Any] = {**inputs.to_spec(), "run_id": run_id, "catalogue": digest}
        attempt = 1
        while True:
            key = run_id if attempt == 1 else f"{run_id}#{attempt}"
            job = await jobs.create(tx, job_id=self._ids(), kind=KIND, key=key, spec=spec, now=self._clock())
            if not again or job.state not in _ENDED_WITHOUT_RUN:
                return job
            attempt += 1

    async def _catalogue(self, tx: Write) -> str:
        """The digest of the catalogue in force."""
        return await self._shelf.planned(tx) if self._shelf is not None else self._digest
