"""What pilots counted, and what was learned of closed campaigns."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, text, tuple_

from services.contact import tables
from services.contact.domain.outcome import ATTRIBUTION
from services.contact.domain.pilot import Cells
from services.kit.db import Read, Write

_knowledge = tables.knowledge

# What the matrix expected of a contact is its value before cost, by the worth: acceptance = (value + cost) / worth.
_CELLS = text(
    """
    WITH trial AS (
        SELECT contact.customer_key, contact.offer_id, contact.product_id, contact.state,
            min(contact.contact_time) AS first_time,
            max(CASE WHEN worth_fen > 0 THEN (value_fen + cost_fen) / worth_fen ELSE 0 END) AS expected
        FROM contact JOIN plan ON plan.plan_id = contact.plan_id AND plan.state = 'HANDED_OVER'
        WHERE contact.campaign_id = :campaign_id AND (CAST(:until AS timestamptz) IS NULL OR plan.create_time < :until)
            AND contact.state IN ('HANDED_OVER', 'CONTROL')
        GROUP BY contact.customer_key, contact.offer_id, contact.product_id, contact.state
    )
    SELECT count(*) FILTER (WHERE state = 'HANDED_OVER') AS sent,
        count(*) FILTER (WHERE state = 'HANDED_OVER' AND seen) AS opened,
        count(*) FILTER (WHERE state = 'CONTROL') AS controls,
        count(*) FILTER (WHERE state = 'CONTROL' AND seen) AS control_opened,
        coalesce(sum(expected) FILTER (WHERE state = 'HANDED_OVER'), 0) AS expected_openings
    FROM trial CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM opening
            WHERE opening.customer_key = trial.customer_key AND opening.product_id = trial.product_id
                AND opening.open_time >= trial.first_time
                AND opening.open_time < trial.first_time + CAST(:attribution AS interval)
        ) AS seen
    ) AS opened
    """
)

_GUESTS = text(
    """
    WITH past AS (
        SELECT contact.customer_key, count(*) AS contacts,
            count(*) FILTER (WHERE outcome.result = 'RESPONDED') AS responses,
            count(attribution.contact_id) AS openings
        FROM contact
        JOIN campaign USING (campaign_id)
        LEFT JOIN outcome USING (contact_id)
        LEFT JOIN attribution USING (contact_id)
        WHERE campaign.brief ->> 'event_tag' = :tag AND contact.state = 'HANDED_OVER' AND contact.customer_key > 0
        GROUP BY contact.customer_key
    )
    SELECT *, count(*) OVER () AS total, row_number() OVER (
        ORDER BY openings DESC, responses DESC, contacts DESC, customer_key) AS place
    FROM past ORDER BY place OFFSET :after LIMIT :size
    """
)


class Pilots:
    """What the tables `contact` and `opening` say of pilots and of past events."""

    async def cells(self, read: Read, campaign_id: str, until: datetime | None) -> Cells:
        """What a campaign's plans made before `until` (None: all) came to."""
        row = await read.row(_CELLS, {"campaign_id": campaign_id, "until": until, "attribution": ATTRIBUTION})
        assert row is not None
        return Cells(**row._asdict())

    async def guests(self, read: Read, event_tag: str, after: int, size: int) -> list[Mapping[str, Any]]:
        """Who took part in past campaigns of an event tag: customer_key, contacts, responses, openings, total."""
        rows = await read.rows(_GUESTS, {"tag": event_tag, "after": after, "size": size})
        return [row._asdict() for row in rows]


class Knowledge:
    """The table `knowledge`."""

    async def add(
        self,
        tx: Write,
        campaign_id: str,
        org_id: str,
        *,
        product_ids: Sequence[str],
        channels: Sequence[str],
        entry: Mapping[str, Any],
        words: str,
        now: datetime,
    ) -> None:
        """Keep what was learned of a campaign."""
        of = {"campaign_id": campaign_id, "org_id": org_id, "product_ids": list(product_ids), "close_time": now}
        await tx.execute(
            insert(_knowledge).values(**of, channels=list(channels), entry=dict(entry), words=words.lower())
        )

    async def page(
        self,
        read: Read,
        *,
        words: Sequence[str] = (),
        product_id: str = "",
        channel: str = "",
        after: tuple[datetime, str] | None = None,
        size: int,
    ) -> list[tuple[str, datetime, Mapping[str, Any]]]:
        """(campaign, close time, entry), the latest first, of those that hold all the words."""
        columns = (_knowledge.c.campaign_id, _knowledge.c.close_time, _knowledge.c.entry)
        stmt = select(*columns).order_by(_knowledge.c.close_time.desc(), _knowledge.c.campaign_id.desc()).limit(size)
        for word in words:
            stmt = stmt.where(func.strpos(_knowledge.c.words, word.lower()) > 0)
        if product_id:
            stmt = stmt.where(_knowledge.c.product_ids.contains([product_id]))
        if channel:
            stmt = stmt.where(_knowledge.c.channels.contains([channel]))
        if after is not None:
            stmt = stmt.where(tuple_(_knowledge.c.close_time, _knowledge.c.campaign_id) < tuple_(*after))
        return [(row.campaign_id, row.close_time, row.entry) for row in await read.rows(stmt)]
