"""Jobs of this service as callers see them: how far they are, and how to stop one."""

from services.kit import idempotency, jobs
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.idempotency import RequestKey
from services.kit.jobs import Job


class Work:
    """Jobs."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def get(self, job_id: str) -> Job:
        """One job. Raises job_not_found."""
        async with self._db.read() as read:
            return await jobs.get(read, job_id)

    async def page(self, *, kind: str, after: str | None, size: int) -> list[Job]:
        """Jobs, the latest first."""
        async with self._db.read() as read:
            return await jobs.page(read, kind=kind or None, after=after, size=size)

    async def cancel(self, job_id: str, key: RequestKey) -> Job:
        """Stop one; a delivery whose load is stopped is held by the next tidying. Raises job_not_found."""
        async with self._db.begin() as tx:
            await idempotency.remember(tx, key)
            job = await jobs.cancel(tx, job_id, self._clock())
            await idempotency.answer(tx, key, {})
            await tx.commit()
        return job
