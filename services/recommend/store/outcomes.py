"""Contacts with what came of them, by contact; and the customer keys that are gone."""

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, delete, func, or_, select, text, update

from services.kit.db import Read, Write
from services.recommend import tables as t
from services.recommend.domain.outcome import RESPONDED, UNREACHED, Answered, Gone, Live, Outcome

_o = t.contact_outcome.c
_REACHED = and_(_o.result != "", _o.result != UNREACHED)
_ACCEPTED = and_(_REACHED, or_(_o.result == RESPONDED, _o.opened))
_REFUSED = and_(_REACHED, _o.result != RESPONDED, ~_o.opened)

# A plan goes by the latest matrix of an earlier day: its model is the one that chose this contact.
_PUT = text(
    """INSERT INTO contact_outcome AS old
    SELECT CAST(:contact_id AS text), who.customer_key,
        coalesce((SELECT org_id FROM profile WHERE profile.customer_key = who.customer_key LIMIT 1), ''),
        :product_id, :campaign_id, :channel,
        coalesce((SELECT model_id FROM matrix WHERE as_of_date < :time ORDER BY as_of_date DESC, create_time DESC
            LIMIT 1), ''),
        CAST(:result AS text), CAST(:opened AS boolean), CAST(:time AS timestamptz)
    FROM (SELECT coalesce((SELECT into_key FROM gone WHERE customer_key = :customer_key), :customer_key)
        AS customer_key) AS who
    WHERE who.customer_key <> 0
    ON CONFLICT (contact_id) DO UPDATE SET
        result = CASE WHEN excluded.result = '' THEN old.result ELSE excluded.result END,
        opened = old.opened OR excluded.opened"""
)

_MOVE_OWNERSHIP = text(
    """INSERT INTO ownership AS old (customer_key, product_id, org_id, owned, time, order_id)
    SELECT :into_key, product_id, org_id, owned, time, order_id FROM ownership WHERE customer_key = :customer_key
    ON CONFLICT (customer_key, product_id) DO UPDATE
    SET owned = excluded.owned, time = excluded.time, order_id = excluded.order_id
    WHERE (excluded.time, excluded.order_id, NOT excluded.owned) > (old.time, old.order_id, NOT old.owned)"""
)


async def hold(tx: Write) -> None:
    """Let nobody go until the transaction ends; whoever writes rows of customers holds first, then looks at gone.

    Without it a row written at the moment at which its customer goes would be seen by neither of the two.
    """
    await tx.execute(text("LOCK TABLE gone IN SHARE MODE"))


class Outcomes:
    """Contacts and keys that are gone."""

    async def put(self, tx: Write, told: Outcome) -> None:
        """Merge a fact into its contact; of somebody erased nothing is kept, of somebody merged it is the other's."""
        await tx.execute(_PUT, vars(told))

    async def let_go(self, tx: Write, gone: Gone) -> None:
        """Take a key out of every table, or let the other key have what it had; the same again changes nothing."""
        key = gone.customer_key
        into = (await self.gone(tx)).get(gone.into_key, gone.into_key)  # who stays may have gone on since
        told = {"customer_key": key, "into_key": into}
        await tx.execute(
            text(
                """INSERT INTO gone (customer_key, into_key) VALUES (:customer_key, :into_key)
                ON CONFLICT (customer_key) DO UPDATE SET into_key = excluded.into_key"""
            ),
            told,
        )
        await tx.execute(update(t.gone).where(t.gone.c.into_key == key).values(into_key=into))
        if into:
            await tx.execute(update(t.contact_outcome).where(_o.customer_key == key).values(customer_key=into))
            await tx.execute(_MOVE_OWNERSHIP, told)
        for table in (t.contact_outcome, t.ownership, t.profile):
            await tx.execute(delete(table).where(table.c.customer_key == key))

    async def gone(self, read: Read) -> Mapping[int, int]:
        """The keys that stand for nobody any more, each with the one that it was merged into (0: erased)."""
        return {row.customer_key: row.into_key for row in await read.rows(select(t.gone))}

    async def answered(self, read: Read, most: int) -> list[Answered]:
        """The latest contacts whose customer was reached, by time, then contact."""
        stmt = select(_o.contact_id, _o.customer_key, _o.product_id, _o.time, _ACCEPTED.label("accepted"))
        stmt = stmt.where(_REACHED).order_by(_o.time.desc(), _o.contact_id.desc()).limit(most)
        return [Answered(*row) for row in reversed(await read.rows(stmt))]

    async def answered_since(self, read: Read, product_id: str, since: datetime, most: int) -> list[tuple[int, bool]]:
        """Of the first contacts of a product after a time: the customer, and whether he accepted."""
        stmt = select(_o.customer_key, _ACCEPTED.label("accepted")).order_by(_o.time, _o.contact_id).limit(most)
        stmt = stmt.where(_REACHED, _o.product_id == product_id, _o.time > since)
        return [(row.customer_key, row.accepted) for row in await read.rows(stmt)]

    async def count(self, read: Read) -> int:
        """How many facts are told by the contacts so far: grows with every answer and opening."""
        told = func.count().filter(_o.result != "") + func.count().filter(_o.opened)
        return int(await read.value(select(told).select_from(t.contact_outcome)))

    async def teaches(self, read: Read, fewest: int) -> bool:
        """Whether some product has so many answers of either kind."""
        yes, no = func.count().filter(_ACCEPTED), func.count().filter(_REFUSED)
        stmt = select(_o.product_id).group_by(_o.product_id).having(and_(yes >= fewest, no >= fewest)).limit(1)
        return await read.row(stmt) is not None

    async def by_product(self, read: Read, run_id: str, place: int) -> dict[str, Live]:
        """Of the members of a circle by product; `place` is the circle's column in the profiles of a run."""
        flag = func.substring(t.profile.c.features, 4 * place + 1, 4).label("flag")
        stmt = (
            select(_o.product_id, flag, *_COUNTS)
            .join(t.profile, and_(t.profile.c.run_id == run_id, t.profile.c.customer_key == _o.customer_key))
            .group_by(_o.product_id, flag)
        )
        found: dict[str, Live] = {}
        for row in await read.rows(stmt):
            if len(row.flag) == 4 and struct.unpack("<f", row.flag)[0] > 0.5:
                found[row.product_id] = found.get(row.product_id, Live()).plus(_live(row))
        return found

    async def by_model(self, read: Read) -> dict[str, Live]:
        """By the model whose matrix stood behind the contact."""
        stmt = select(_o.model_id, *_COUNTS).where(_o.model_id != "").group_by(_o.model_id)
        return {row.model_id: _live(row) for row in await read.rows(stmt)}


_COUNTS = (
    func.count().filter(_REACHED).label("contacted"),
    func.count().filter(_ACCEPTED).label("accepted"),
    func.count().filter(and_(_REACHED, _o.opened)).label("opened"),
)


def _live(row: Row[Any]) -> Live:
    return Live(row.contacted, row.accepted, row.opened)
