"""Mining projects and their steps."""

from collections import defaultdict
from datetime import date

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.recommend import tables as t
from services.recommend.domain.project import REQUIRED, Project, Step

_p, _s = t.project.c, t.project_step.c


class Projects:
    """Records of projects."""

    async def put(self, tx: Write, project: Project) -> None:
        """Write a project with its steps, in the place of what is there."""
        names = ("project_id", "name", "owner", "goal", "review_date", "create_time")
        head = {**{name: getattr(project, name) for name in names}, "model_ids": list(project.model_ids)}
        there = insert(t.project).values(head)
        changed = {"review_date": project.review_date}
        await tx.execute(there.on_conflict_do_update(index_elements=["project_id"], set_=changed))
        for step in project.steps:
            row = {**vars(step), "artefacts": dict(step.artefacts)}
            stmt = insert(t.project_step).values(project_id=project.project_id, **row)
            await tx.execute(stmt.on_conflict_do_update(index_elements=["project_id", "kind"], set_=row))

    async def lock(self, tx: Write, project_id: str) -> Project | None:
        """One project, which nobody else changes until the transaction ends."""
        await tx.execute(select(_p.project_id).where(_p.project_id == project_id).with_for_update())
        return await self.project(tx, project_id)

    async def project(self, read: Read, project_id: str) -> Project | None:
        """One project."""
        row = await read.row(select(t.project).where(_p.project_id == project_id))
        return None if row is None else (await self._whole(read, [row._asdict()]))[0]

    async def page(self, read: Read, until: date | None, after: tuple[date, str] | None, size: int) -> list[Project]:
        """`size` projects by review, those after a place; due by a day if given."""
        stmt = select(t.project).order_by(_p.review_date, _p.project_id).limit(size)
        if until is not None:
            stmt = stmt.where(_p.review_date <= until)
        if after is not None:
            stmt = stmt.where(tuple_(_p.review_date, _p.project_id) > after)
        return await self._whole(read, [row._asdict() for row in await read.rows(stmt)])

    async def _whole(self, read: Read, heads: list[dict[str, object]]) -> list[Project]:
        ids = [each["project_id"] for each in heads]
        steps: dict[object, dict[str, Step]] = defaultdict(dict)
        for row in await read.rows(select(t.project_step).where(_s.project_id.in_(ids))):
            fields = row._asdict()
            del fields["project_id"]
            steps[row.project_id][row.kind] = Step(**fields)
        return [
            Project(
                **{**head, "model_ids": tuple(head["model_ids"])},  # type: ignore[arg-type]
                steps=tuple(steps[head["project_id"]].get(kind, Step(kind)) for kind in REQUIRED),
            )
            for head in heads
        ]
