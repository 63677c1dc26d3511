"""What portrait tells of whom to reach: the audiences of campaigns, and moments."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from services.contact.domain.fact import Moment
from services.contact.domain.membership import Members, unpacked
from services.kit.db import Read, Write


@dataclass(frozen=True)
class Loaded:
    """What is known of a campaign's audience; `stale` since portrait published another run."""

    expression: str
    customers: int
    stale: bool
    load_time: datetime


class Audiences:
    """The table `campaign_audience`."""

    async def loaded(self, read: Read, campaign_ids: Collection[str]) -> dict[str, Loaded]:
        """Campaign → its audience as loaded."""
        stmt = text(
            "SELECT campaign_id, expression, customers, stale, load_time FROM campaign_audience "
            "WHERE campaign_id = ANY(:ids)"
        )
        rows = await read.rows(stmt, {"ids": list(campaign_ids)})
        return {row.campaign_id: Loaded(row.expression, row.customers, row.stale, row.load_time) for row in rows}

    async def members(self, read: Read, campaign_ids: Collection[str]) -> dict[str, Members]:
        """Campaign → who belongs to its audience, for those that are loaded."""
        stmt = text("SELECT campaign_id, members FROM campaign_audience WHERE campaign_id = ANY(:ids)")
        rows = await read.rows(stmt, {"ids": list(campaign_ids)})
        return {row.campaign_id: unpacked(row.members) for row in rows}

    async def put(self, tx: Write, campaign_id: str, org_id: str, expression: str, members: Members) -> None:
        """Keep who belongs to a campaign's audience, without those who were erased meanwhile."""
        gone = [row.customer_key for row in await tx.rows(text("SELECT customer_key FROM erased_customer"))]
        members = members.changed(gone=gone) if gone else members
        stmt = text(
            "INSERT INTO campaign_audience VALUES (:id, :org, :expression, :customers, :members, false, now()) "
            "ON CONFLICT (campaign_id) DO UPDATE SET expression = excluded.expression, members = excluded.members, "
            "customers = excluded.customers, stale = false, load_time = now()"
        )
        told = {"id": campaign_id, "org": org_id, "expression": expression, "customers": len(members)}
        await tx.execute(stmt, {**told, "members": members.packed()})

    async def outdate(self, tx: Write) -> None:
        """Portrait published another run."""
        await tx.execute(text("UPDATE campaign_audience SET stale = true WHERE NOT stale"))


class Moments:
    """The table `moment`."""

    async def put(self, tx: Write, moments: Sequence[Moment]) -> None:
        """Keep the latest match of each rule by customer; what came before it is known already."""
        stmt = text(
            "INSERT INTO moment AS known SELECT told.customer_key, told.pattern_id, coalesce(customer.org_id, ''), "
            "told.moment_id, told.match_time, false FROM (SELECT CAST(:customer_key AS bigint) AS customer_key, "
            "CAST(:pattern_id AS text) AS pattern_id, CAST(:moment_id AS text) AS moment_id, "
            "CAST(:match_time AS timestamptz) AS match_time) AS told LEFT JOIN customer USING (customer_key) "
            "WHERE NOT EXISTS (SELECT FROM erased_customer WHERE erased_customer.customer_key = told.customer_key) "
            "ON CONFLICT (customer_key, pattern_id) DO UPDATE SET moment_id = excluded.moment_id, acted = false, "
            "match_time = excluded.match_time WHERE excluded.match_time > known.match_time"
        )
        await tx.execute(stmt, [one.__dict__ for one in moments])

    async def waiting(self, tx: Write, since: datetime, most: int) -> list[Moment]:
        """Moments that nobody acted on and that are not over, held; those that somebody else holds are left to him."""
        stmt = text(
            "SELECT moment_id, customer_key, pattern_id, match_time FROM moment WHERE NOT acted "
            "AND match_time > :since ORDER BY match_time LIMIT :most FOR UPDATE SKIP LOCKED"
        )
        return [Moment(**row._asdict()) for row in await tx.rows(stmt, {"since": since, "most": most})]

    async def acted(self, tx: Write, moment_ids: Sequence[str]) -> None:
        """The campaigns of these moments were asked."""
        await tx.execute(text("UPDATE moment SET acted = true WHERE moment_id = ANY(:ids)"), {"ids": list(moment_ids)})

    async def forget(self, tx: Write, before: datetime) -> None:
        """Drop what is long over."""
        await tx.execute(text("DELETE FROM moment WHERE match_time < :before"), {"before": before})

    async def live(self, tx: Write, customers: Collection[int], since: datetime) -> Mapping[int, set[str]]:
        """Customer → the rules that matched since then, of these customers."""
        rows = await tx.driver.fetch(
            "SELECT customer_key, pattern_id FROM moment WHERE customer_key = ANY($1::bigint[]) AND match_time > $2",
            list(customers),
            since,
        )
        found: dict[int, set[str]] = {}
        for key, pattern in rows:
            found.setdefault(key, set()).add(pattern)
        return found
