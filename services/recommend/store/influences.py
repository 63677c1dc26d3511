"""Who has weight in his circles: what was published of it."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, insert, select

from services.kit.db import Read, Write
from services.recommend import tables as t
from services.recommend.domain.call_graph import Published
from services.recommend.domain.snapshot import File

_i = t.influence.c


class Influences:
    """The published files; the latest answers."""

    async def put(self, tx: Write, made: Published) -> None:
        """Write it down."""
        files = {"members": made.members.plain, "social": made.social.plain}
        await tx.execute(insert(t.influence).values({**asdict(made), **files, "product_ids": list(made.product_ids)}))

    async def latest(self, read: Read) -> Published | None:
        """The latest; None while there is none."""
        row = await read.row(select(t.influence).order_by(_i.create_time.desc(), _i.influence_id.desc()).limit(1))
        return None if row is None else _published(row)

    async def one(self, read: Read, influence_id: str) -> Published | None:
        """One of them."""
        row = await read.row(select(t.influence).where(_i.influence_id == influence_id))
        return None if row is None else _published(row)


def _published(row: Row[Any]) -> Published:
    files = {"members": File(**row.members), "social": File(**row.social)}
    return Published(**{**row._asdict(), **files, "product_ids": tuple(row.product_ids)})
