"""Records of mining projects: begun, reported step by step, listed by their next review."""

from dataclasses import replace
from datetime import date

from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.recommend import refusals, store
from services.recommend.domain.project import Project, Step


class Projects:
    """Keeps projects."""

    def __init__(self, db: Database, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._projects = store.Projects()
        self._clock = clock
        self._ids = ids

    async def create(self, key: RequestKey, asked: Project) -> Project:
        """Begin a record; its id and time come with the keeping."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is None:
                made = replace(asked, project_id=self._ids(), create_time=self._clock())
                await self._projects.put(tx, made)
                await idempotency.answer(tx, key, {"project_id": made.project_id})
                await tx.commit()
                return made
        return await self.project(earlier["project_id"])

    async def report(self, key: RequestKey, project_id: str, step: Step, review: date | None) -> Project:
        """Report a step. Raises project_not_found, step_incomplete."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            found = await self._projects.lock(tx, project_id)
            if found is None:
                raise refusals.project_not_found(project_id)
            if earlier is None:
                found = found.reported(replace(step, update_time=self._clock()))
                found = replace(found, review_date=review or found.review_date)
                await self._projects.put(tx, found)
                await idempotency.answer(tx, key, {})
                await tx.commit()
        return found

    async def project(self, project_id: str) -> Project:
        """One project. Raises project_not_found."""
        async with self._db.read() as read:
            found = await self._projects.project(read, project_id)
        if found is None:
            raise refusals.project_not_found(project_id)
        return found

    async def page(self, until: date | None, after: tuple[date, str] | None, size: int) -> list[Project]:
        """A page of projects by review."""
        async with self._db.read() as read:
            return await self._projects.page(read, until, after, size)
