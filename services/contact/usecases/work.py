"""Jobs as callers see them."""

from services.kit import idempotency, jobs
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.kit.jobs import Job, State

ARBITRATE, HANDOVER, REPRICE = "arbitrate", "handover", "reprice"

_DEAD = (State.FAILED, State.CANCELLED)


class Work:
    """Reads and cancels jobs."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def job(self, job_id: str) -> Job:
        """One job. Raises job_not_found."""
        async with self._db.read() as read:
            return await jobs.get(read, job_id)

    async def page(self, after: str | None, size: int) -> list[Job]:
        """Jobs, the latest first, those after the job `after`."""
        async with self._db.read() as read:
            return await jobs.page(read, after=after, size=size)

    async def cancel(self, key: RequestKey, job_id: str) -> Job:
        """Ask a job to stop; one that has ended stays as it is. Raises job_not_found."""
        async with self._db.begin() as tx:
            if await idempotency.remember(tx, key) is not None:
                return await jobs.get(tx, job_id)
            job = await jobs.cancel(tx, job_id, self._clock())
            await idempotency.answer(tx, key, {"job_id": job_id})
            await tx.commit()
        return job


async def asked_again(tx: Write, *, kind: str, key: str, spec: dict[str, object], ids: Ids, clock: Clock) -> Job:
    """The job of these inputs: the one that is there, or a new one when it failed or was cancelled."""
    number = 1
    while True:
        job_id = ids()
        name = key if number == 1 else f"{key}#{number}"
        job = await jobs.create(tx, job_id=job_id, kind=kind, key=name, spec=spec, now=clock())
        if job.job_id == job_id or job.state not in _DEAD:
            return job
        number += 1
