"""Acceptance models, and comparisons of models on what came of contacts."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, Select, insert, select, tuple_, update

from services.kit.db import Read, Write
from services.recommend import tables as t
from services.recommend.domain.live import AcceptanceModel, Comparison
from services.recommend.domain.snapshot import File

_a, _c = t.acceptance_model.c, t.comparison.c


class Acceptances:
    """The registry of acceptance models: of each product one serves at most."""

    async def put(self, tx: Write, models: Sequence[AcceptanceModel]) -> None:
        """Write models down; one that serves takes the place of the one before."""
        for each in models:
            if each.serves:
                await tx.execute(
                    update(t.acceptance_model).where(_a.product_id == each.product_id).values(serves=False)
                )
            await tx.execute(insert(t.acceptance_model).values({**asdict(each), "scores": each.scores.plain}))

    async def model(self, read: Read, model_id: str) -> AcceptanceModel | None:
        """One model."""
        return _one(await read.row(select(t.acceptance_model).where(_a.acceptance_model_id == model_id)))

    async def serving(self, read: Read) -> dict[str, AcceptanceModel]:
        """The models that serve, by product."""
        found = [_model(row) for row in await read.rows(select(t.acceptance_model).where(_a.serves))]
        return {each.product_id: each for each in found}

    async def page(self, read: Read, product_id: str, after: str, size: int) -> list[AcceptanceModel]:
        """`size` models, the latest first, those after the model `after`; of one product if given."""
        stmt = _after(select(t.acceptance_model), _a.create_time, _a.acceptance_model_id, after).limit(size)
        stmt = stmt.where(_a.product_id == product_id) if product_id else stmt
        return [_model(row) for row in await read.rows(stmt)]

    async def put_comparison(self, tx: Write, made: Comparison) -> None:
        """Write a comparison down."""
        await tx.execute(insert(t.comparison).values(asdict(made)))

    async def comparisons(self, read: Read, after: str, size: int) -> list[Comparison]:
        """`size` comparisons, the latest first, those after the comparison `after`."""
        stmt = _after(select(t.comparison), _c.create_time, _c.comparison_id, after).limit(size)
        return [Comparison(**row._asdict()) for row in await read.rows(stmt)]


def _after(stmt: Select[Any], time: Any, name: Any, after: str) -> Select[Any]:
    stmt = stmt.order_by(time.desc(), name.desc())
    if not after:
        return stmt
    return stmt.where(tuple_(time, name) < select(time, name).where(name == after).scalar_subquery())


def _one(row: Row[Any] | None) -> AcceptanceModel | None:
    return None if row is None else _model(row)


def _model(row: Row[Any]) -> AcceptanceModel:
    return AcceptanceModel(**{**row._asdict(), "scores": File(**row.scores)})
