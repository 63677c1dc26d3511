"""What portrait knows of others' doing: the last contacts, and the pack of current offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import text

from services.kit.db import Read, Write
from services.portrait.domain.run import LakeFile

_PUT = text("""
    INSERT INTO customer_contact (contact_id, customer_key, org_id, time, result, channel, campaign_id, discount,
                                  cost_fen)
    VALUES (:contact_id, :customer_key, COALESCE((SELECT p.org_id FROM current_run c JOIN portrait p
            ON p.run_no = c.run_no AND p.customer_key = :customer_key), ''), :time, :result, :channel, :campaign_id,
            CAST(:discount AS boolean), :cost_fen)
    ON CONFLICT (contact_id) DO UPDATE SET time = EXCLUDED.time, result = EXCLUDED.result,
        channel = EXCLUDED.channel, campaign_id = EXCLUDED.campaign_id, discount = EXCLUDED.discount,
        cost_fen = EXCLUDED.cost_fen, changed = DEFAULT
""")
MOST_CHANGED = 200_000
"""Contacts that are given at once."""
_CHANGED = text(
    "SELECT contact_id, customer_key, time, result, channel, campaign_id, changed, discount, cost_fen "
    f"FROM customer_contact WHERE changed > :after AND time >= :since ORDER BY changed LIMIT {MOST_CHANGED}"
)
_STAMP = text(
    "SELECT concat_ws(' ', c.run_no, (SELECT matrix_id FROM offer_pack), (SELECT max(changed) FROM customer_contact), "
    "'-', (SELECT count(*) FROM erased_customer), (SELECT string_agg(uri, ' ' ORDER BY bucket) FROM run_file f "
    "WHERE f.run_no = c.run_no AND f.kind = :kind)) FROM (VALUES (1)) AS always LEFT JOIN current_run c ON true"
)
_OF_CUSTOMER = text(
    "SELECT contact_id, customer_key, time, result, channel, campaign_id, changed, discount, cost_fen "
    "FROM customer_contact WHERE customer_key = :customer_key AND time < :before ORDER BY time DESC LIMIT :most"
)
_UNTIL = text(
    "SELECT customer_key, time, result, campaign_id <> '' AS campaign, discount FROM customer_contact "
    "WHERE (time AT TIME ZONE :zone)::date BETWEEN CAST(:last AS date) - CAST(:days AS int) AND CAST(:last AS date) "
    "ORDER BY customer_key, time, contact_id"
)
_ANSWERS = text(
    "SELECT customer_key, extract(hour FROM time AT TIME ZONE :zone)::int AS hour, channel, count(*) AS contacts, "
    "count(*) FILTER (WHERE result = 'responded') AS answered FROM customer_contact "
    "WHERE customer_key = ANY(:keys) AND time >= :since GROUP BY 1, 2, 3"
)
_ALL_ANSWERS = text(
    "SELECT 0 AS customer_key, extract(hour FROM time AT TIME ZONE :zone)::int AS hour, channel, "
    "count(*) AS contacts, count(*) FILTER (WHERE result = 'responded') AS answered FROM customer_contact "
    "WHERE time >= :since GROUP BY 2, 3"
)
_OFFERS = text("SELECT matrix_id, uri, rows, sha256 FROM offer_pack")
_PUT_OFFERS = text(
    "INSERT INTO offer_pack (matrix_id, uri, rows, sha256) VALUES (:matrix_id, :uri, :rows, :sha256) ON CONFLICT (one) "
    "DO UPDATE SET matrix_id = EXCLUDED.matrix_id, uri = EXCLUDED.uri, rows = EXCLUDED.rows, sha256 = EXCLUDED.sha256"
)


@dataclass(frozen=True)
class Contact:
    """A contact that had an answer; `changed` grows with every change of any."""

    contact_id: str
    customer_key: int
    time: datetime
    result: str
    channel: str
    campaign_id: str
    changed: int = 0
    discount: bool | None = None
    """Whether its campaign took something off a price; None where nobody says."""
    cost_fen: int = 0
    """What it cost by the price of its channel when it was heard of."""


class Projections:
    """Written by one follower at a time, so that `changed` is the order of commit."""

    async def put_contacts(self, tx: Write, contacts: Sequence[Contact]) -> None:
        """Keep contacts, each in the place of what was known of it."""
        rows: list[dict[str, Any]] = [{**vars(each)} for each in contacts if each.customer_key > 0]
        for row in rows:
            del row["changed"]
        if rows:
            await tx.execute(_PUT, rows)

    async def stamp(self, read: Read, kind: str) -> str:
        """A word that is another one when anything of which whole portraits are made has changed: the current run, its
        files of a kind, the offers, a contact, who was forgotten."""
        return str(await read.value(_STAMP, {"kind": kind}))

    async def changed(self, read: Read, after: int, since: datetime) -> list[Contact]:
        """What changed behind `after`, of contacts made since a time, at most MOST_CHANGED."""
        rows = await read.rows(_CHANGED, {"after": after, "since": since})
        return [Contact(*tuple(row)) for row in rows]

    async def of_customer(self, read: Read, customer_key: int, before: datetime, most: int) -> list[Contact]:
        """A customer's contacts before a time, the latest first."""
        params = {"customer_key": customer_key, "before": before, "most": most}
        return [Contact(*tuple(row)) for row in await read.rows(_OF_CUSTOMER, params)]

    async def until(
        self, read: Read, last: date, days: int, zone: str
    ) -> list[tuple[int, datetime, str, bool, bool | None]]:
        """(customer_key, time, result, whether of a campaign, whether that gave a discount) of the contacts of so many
        days up to the last one."""
        params = {"last": last, "days": days, "zone": zone}
        return [tuple(row) for row in await read.rows(_UNTIL, params)]

    async def answers(
        self, read: Read, customer_keys: Sequence[int], since: datetime, zone: str
    ) -> list[tuple[int, int, str, int, int]]:
        """(customer, local hour, channel, contacts, answered ones) since a time; of everybody (0) for no keys."""
        params = {"since": since, "zone": zone}
        stmt = _ANSWERS if customer_keys else _ALL_ANSWERS
        rows = await read.rows(stmt, {**params, "keys": list(customer_keys)} if customer_keys else params)
        return [tuple(row) for row in rows]

    async def offers(self, read: Read) -> tuple[str, LakeFile] | None:
        """(matrix_id, pack) of the current offers."""
        row = await read.row(_OFFERS)
        return (row.matrix_id, LakeFile(row.uri, row.rows, row.sha256, -1)) if row is not None else None

    async def put_offers(self, tx: Write, matrix_id: str, pack: LakeFile) -> None:
        """Let portraits show the offers of a matrix from the commit on."""
        params = {"matrix_id": matrix_id, "uri": pack.uri, "rows": pack.rows, "sha256": pack.sha256}
        await tx.execute(_PUT_OFFERS, params)
