"""What is known of contacts when something is learned of them, and the openings that followed them."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import text

from services.contact.domain.attribution import Known
from services.contact.domain.fact import Opening
from services.contact.domain.outcome import ATTRIBUTION
from services.kit.db import Read, Write

_KNOWN = text(
    """
    SELECT asked.contact_id,
        coalesce(contact.customer_key, made.customer_key, decision.customer_key, 0) AS customer_key,
        coalesce(contact.campaign_id, made.campaign_id, decision.campaign_id, '') AS campaign_id,
        coalesce(contact.offer_id, decision.offer_id, '') AS offer_id,
        coalesce(contact.product_id, made.product_id, decision.product_id, '') AS product_id,
        CASE WHEN made.order_id IS NOT NULL THEN 'order' ELSE coalesce(contact.channel, decision.channel, '') END
            AS channel,
        coalesce(made.contact_time, contact.contact_time, decision.decide_time) AS contact_time,
        coalesce(made.order_id, '') AS order_id, coalesce(made.staff_id, '') AS staff_id
    FROM unnest(CAST(:ids AS text[])) AS asked (contact_id)
    LEFT JOIN contact USING (contact_id)
    LEFT JOIN marketing_order AS made USING (contact_id)
    LEFT JOIN decision ON decision.grant_id = asked.contact_id AND decision.state = 'CONFIRMED'
    """
)

# An opening counts for the last contact before it; a contact keeps the first opening that followed it.
_ATTRIBUTE = text(
    """
    WITH told AS (
        SELECT * FROM unnest(CAST(:keys AS bigint[]), CAST(:products AS text[]), CAST(:times AS timestamptz[]))
            AS told (customer_key, product_id, open_time)
    ), touched AS (
        SELECT told.*, contact.contact_id, contact.org_id, contact.contact_time
        FROM told JOIN contact USING (customer_key, product_id) WHERE contact.state = 'HANDED_OVER'
        UNION ALL
        SELECT told.*, made.contact_id, made.org_id, made.contact_time
        FROM told JOIN marketing_order AS made USING (customer_key, product_id) WHERE made.contact_time IS NOT NULL
        UNION ALL
        SELECT told.*, made.grant_id, made.org_id, made.decide_time
        FROM told JOIN decision AS made USING (customer_key, product_id) WHERE made.state = 'CONFIRMED'
    ), last AS (
        SELECT DISTINCT ON (customer_key, product_id, open_time) * FROM touched
        WHERE open_time >= contact_time AND open_time < contact_time + CAST(:window AS interval)
        ORDER BY customer_key, product_id, open_time, contact_time DESC, contact_id
    ), first AS (
        SELECT DISTINCT ON (contact_id) * FROM last ORDER BY contact_id, open_time
    )
    INSERT INTO attribution (contact_id, org_id, customer_key, product_id, open_time, attribute_time)
    SELECT contact_id, org_id, customer_key, product_id, open_time, :now FROM first ORDER BY contact_id
    ON CONFLICT DO NOTHING
    RETURNING contact_id, open_time
    """
)

_BY_TOKEN = text(
    """
    SELECT encode(substring(sha256(('attribution|' || contact_id)::bytea) FOR 12), 'hex') AS token, contact_id
    FROM contact
    WHERE encode(substring(sha256(('attribution|' || contact_id)::bytea) FOR 12), 'hex') = ANY(CAST(:tokens AS text[]))
    UNION ALL
    SELECT encode(substring(sha256(('attribution|' || grant_id)::bytea) FOR 12), 'hex'), grant_id
    FROM decision
    WHERE encode(substring(sha256(('attribution|' || grant_id)::bytea) FOR 12), 'hex') = ANY(CAST(:tokens AS text[]))
        AND state = 'CONFIRMED'
    """
)


class Attributions:
    """The table `attribution`, and contacts with their orders as one thing."""

    async def known(self, read: Read, contact_ids: Collection[str]) -> dict[str, Known]:
        """Contact → what is known of it; all that were asked for."""
        rows = await read.rows(_KNOWN, {"ids": sorted(set(contact_ids))})
        return {row.contact_id: Known(**row._asdict()) for row in rows}

    async def attribute(self, tx: Write, openings: Sequence[Opening], now: datetime) -> list[tuple[str, datetime]]:
        """Openings → (contact, open time) of those that are attributed now, for the first time."""
        params = {
            "keys": [opening.customer_key for opening in openings],
            "products": [opening.product_id for opening in openings],
            "times": [opening.open_time for opening in openings],
            "window": ATTRIBUTION,
            "now": now,
        }
        rows = await tx.rows(_ATTRIBUTE, params) if openings else []
        return [(row.contact_id, row.open_time) for row in rows]

    async def openings_of(self, read: Read, customer_key: int, product_id: str, since: datetime) -> list[Opening]:
        """The openings of a product by a customer from a time on."""
        stmt = text(
            "SELECT customer_key, product_id, open_time FROM opening "
            "WHERE customer_key = :key AND product_id = :product AND open_time >= :since ORDER BY open_time"
        )
        rows = await read.rows(stmt, {"key": customer_key, "product": product_id, "since": since})
        return [Opening(**row._asdict()) for row in rows]

    async def open_times(self, read: Read, contact_ids: Collection[str]) -> dict[str, datetime]:
        """Contact → when the product was opened afterwards, of those that were."""
        stmt = text("SELECT contact_id, open_time FROM attribution WHERE contact_id = ANY(CAST(:ids AS text[]))")
        return {row.contact_id: row.open_time for row in await read.rows(stmt, {"ids": list(contact_ids)})}

    async def contacts_of_tokens(self, read: Read, tokens: Collection[str]) -> dict[str, str]:
        """Attribution token → contact, of the tokens that are known."""
        rows = await read.rows(_BY_TOKEN, {"tokens": sorted(set(tokens))})
        return {row.token: row.contact_id for row in rows}
