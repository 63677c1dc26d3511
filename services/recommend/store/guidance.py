"""What people say: product terms, experts' lists; and the counts per circle that these are weighed against."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from services.kit.db import Read, Write
from services.recommend import tables as t
from services.recommend.domain.product import Terms
from services.recommend.domain.shortlist import Count, ExpertList


class Guidance:
    """Terms, lists and counts."""

    async def put_terms(self, tx: Write, product_id: str, terms: Terms, now: datetime) -> None:
        """Put these in the place of what is there."""
        values = {"terms": asdict(terms), "update_time": now}
        stmt = upsert(t.product_terms).values(product_id=product_id, **values)
        await tx.execute(stmt.on_conflict_do_update(index_elements=["product_id"], set_=values))

    async def terms(self, read: Read) -> dict[str, Terms]:
        """All terms by product."""
        return {row.product_id: Terms.of(row.terms) for row in await read.rows(select(t.product_terms))}

    async def add_list(self, tx: Write, list_: ExpertList) -> None:
        """Keep a list; the latest of a circle is in force."""
        await tx.execute(insert(t.expert_list).values({**asdict(list_), "product_ids": list(list_.product_ids)}))

    async def lists(self, read: Read, circle: str, after: int, size: int) -> list[tuple[int, ExpertList]]:
        """`size` lists, the latest first, those after the number `after` (0: from the latest), of one circle or all."""
        stmt = select(t.expert_list).order_by(t.expert_list.c.number.desc()).limit(size)
        if circle:
            stmt = stmt.where(t.expert_list.c.circle == circle)
        if after:
            stmt = stmt.where(t.expert_list.c.number < after)
        return [(row.number, _list(row)) for row in await read.rows(stmt)]

    async def put_counts(self, tx: Write, found: Sequence[Count]) -> None:
        """Put these in the place of those that are there."""
        await tx.execute(delete(t.circle_count))
        columns = ["circle", "product_id", "members", "contacted", "accepted", "opened", "still"]
        await tx.copy("circle_count", columns, [tuple(asdict(each)[name] for name in columns) for each in found])

    async def counts(self, read: Read, circle: str) -> list[Count]:
        """The counts of one circle (empty: of all) by circle and product."""
        stmt = select(t.circle_count).order_by(t.circle_count.c.circle, t.circle_count.c.product_id)
        if circle:
            stmt = stmt.where(t.circle_count.c.circle == circle)
        return [Count(**_plain(row)) for row in await read.rows(stmt)]


def _plain(row: Row[Any]) -> Mapping[str, Any]:
    plain: Mapping[str, Any] = row._asdict()
    return plain


def _list(row: Row[Any]) -> ExpertList:
    return ExpertList(row.circle, tuple(row.product_ids), row.author, row.note, row.create_time)
