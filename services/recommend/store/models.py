"""The registry of models, and the published matrices."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, tuple_, update

from services.kit.db import Read, Write
from services.recommend import tables as t
from services.recommend.domain.registry import CHAMPION, RETIRED, Matrix, Model
from services.recommend.domain.snapshot import File


class Models:
    """The registry: candidate → champion → retired, one champion at most."""

    async def put(self, tx: Write, model: Model) -> None:
        """Write a model down."""
        row = asdict(model) | {"features": list(model.features), "product_ids": list(model.product_ids)}
        await tx.execute(insert(t.model).values(row))

    async def promote(self, tx: Write, model_id: str, now: datetime) -> None:
        """Make a model the champion; the one before retires."""
        champion = t.model.c.state == CHAMPION
        await tx.execute(update(t.model).where(champion, t.model.c.model_id != model_id).values(state=RETIRED))
        promoted = {"state": CHAMPION, "promote_time": now}
        await tx.execute(update(t.model).where(~champion, t.model.c.model_id == model_id).values(promoted))

    async def move(self, tx: Write, model_id: str, state: str) -> None:
        """Put a model into a state other than champion."""
        await tx.execute(update(t.model).where(t.model.c.model_id == model_id).values(state=state))

    async def former_champion_id(self, read: Read) -> str:
        """The retired model that was promoted last before the champion was; empty when there is none."""
        since = select(t.model.c.promote_time).where(t.model.c.state == CHAMPION).scalar_subquery()
        stmt = (
            select(t.model.c.model_id)
            .where(t.model.c.state == RETIRED, t.model.c.promote_time < since)
            .order_by(t.model.c.promote_time.desc())
            .limit(1)
        )
        return await read.value(stmt) or ""

    async def model(self, read: Read, model_id: str) -> Model | None:
        """One model; the champion for an empty id."""
        chosen = t.model.c.model_id == model_id if model_id else t.model.c.state == "CHAMPION"
        row = await read.row(select(t.model).where(chosen))
        return None if row is None else _model(row)

    async def champion_id(self, read: Read) -> str:
        """The champion's id; empty when there is none."""
        return await read.value(select(t.model.c.model_id).where(t.model.c.state == "CHAMPION")) or ""

    async def page(self, read: Read, after: str, size: int) -> list[Model]:
        """`size` models, the latest first, those after the model `after`."""
        stmt = select(t.model).order_by(t.model.c.create_time.desc(), t.model.c.model_id.desc()).limit(size)
        if after:
            last = (
                select(t.model.c.create_time, t.model.c.model_id).where(t.model.c.model_id == after).scalar_subquery()
            )
            stmt = stmt.where(tuple_(t.model.c.create_time, t.model.c.model_id) < last)
        return [_model(row) for row in await read.rows(stmt)]


class Matrices:
    """Published matrices with their files."""

    async def publish(self, tx: Write, matrix: Matrix, files: Sequence[File]) -> None:
        """Write a matrix and its manifest down."""
        shifts = matrix.shifts and matrix.shifts.plain
        await tx.execute(insert(t.matrix).values({**asdict(matrix), "shifts": shifts}))
        if files:
            await tx.execute(
                insert(t.matrix_file),
                [{"matrix_id": matrix.matrix_id, **file.plain} for file in files],
            )

    async def matrix(self, read: Read, matrix_id: str) -> Matrix | None:
        """One matrix; the latest for an empty id."""
        stmt = select(t.matrix).order_by(t.matrix.c.create_time.desc(), t.matrix.c.matrix_id.desc()).limit(1)
        row = await read.row(stmt.where(t.matrix.c.matrix_id == matrix_id) if matrix_id else stmt)
        return None if row is None else _matrix(row)

    async def latest_of(self, read: Read, model_id: str) -> Matrix | None:
        """The latest matrix of a model."""
        m = t.matrix.c
        stmt = select(t.matrix).where(m.model_id == model_id).order_by(m.create_time.desc(), m.matrix_id.desc())
        row = await read.row(stmt.limit(1))
        return None if row is None else _matrix(row)

    async def before(self, read: Read, later: Matrix) -> str:
        """The matrix to compare with: the latest of an earlier month, else of an earlier day, else the one made before.

        Empty without one.
        """
        m = t.matrix.c
        stmt = (
            select(m.matrix_id)
            .where(tuple_(m.create_time, m.matrix_id) < (later.create_time, later.matrix_id))
            .order_by(
                (m.as_of_date < later.as_of_date.replace(day=1)).desc(),
                (m.as_of_date < later.as_of_date).desc(),
                m.create_time.desc(),
                m.matrix_id.desc(),
            )
            .limit(1)
        )
        return await read.value(stmt) or ""

    async def files(self, read: Read, matrix_id: str) -> list[File]:
        """Its files by bucket."""
        stmt = select(t.matrix_file).where(t.matrix_file.c.matrix_id == matrix_id).order_by(t.matrix_file.c.bucket)
        return [File(row.uri, row.rows, row.sha256, row.bucket) for row in await read.rows(stmt)]


def _model(row: Row[Any]) -> Model:
    fields = row._asdict()
    del fields["promote_time"]
    return Model(**fields | {"features": tuple(row.features), "product_ids": tuple(row.product_ids)})


def _matrix(row: Row[Any]) -> Matrix:
    return Matrix(**{**row._asdict(), "shifts": File(**row.shifts) if row.shifts else None})
