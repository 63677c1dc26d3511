"""Persons whose keys were merged, and persons who were erased: what is kept of them moves, or goes."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import text

from services.contact.domain.auction import LEFT
from services.contact.domain.membership import unpacked
from services.kit.db import Write

_LOCK = text("SELECT customer_key FROM customer WHERE customer_key = ANY(:keys) ORDER BY customer_key FOR UPDATE")

_STAYS = text("SELECT merged_into FROM customer WHERE customer_key = :key")

# The key that stays is a customer as the other was, unless it is known by itself.
_MERGE = (
    "INSERT INTO customer (customer_key, org_id, level, status) SELECT :into, org_id, level, status FROM customer "
    "WHERE customer_key = :old ON CONFLICT DO NOTHING",
    "INSERT INTO customer (customer_key, org_id, level, status, merged_into) VALUES (:old, '', '', :left, :into) "
    "ON CONFLICT (customer_key) DO UPDATE SET merged_into = excluded.merged_into",
    "UPDATE customer SET merged_into = :into WHERE merged_into = :old",
    # What was sent counts for one person; what is only planned is not sent to the old key any more.
    "UPDATE contact SET customer_key = :into WHERE customer_key = :old AND state = 'HANDED_OVER'",
    "UPDATE decision SET customer_key = :into WHERE customer_key = :old",
    # The later word on a consent holds, at the same time the withdrawal.
    "INSERT INTO consent AS known SELECT :into, channel, purpose, org_id, granted, change_time FROM consent "
    "WHERE customer_key = :old ON CONFLICT (customer_key, channel, purpose) DO UPDATE "
    "SET granted = excluded.granted, change_time = excluded.change_time "
    "WHERE (excluded.change_time, NOT excluded.granted) > (known.change_time, NOT known.granted)",
    "DELETE FROM consent WHERE customer_key = :old",
    "INSERT INTO do_not_contact SELECT :into, org_id, since FROM do_not_contact WHERE customer_key = :old "
    "ON CONFLICT DO NOTHING",
    "DELETE FROM do_not_contact WHERE customer_key = :old",
    "INSERT INTO opening SELECT :into, product_id, open_time, org_id FROM opening WHERE customer_key = :old "
    "ON CONFLICT DO NOTHING",
    "DELETE FROM opening WHERE customer_key = :old",
    "INSERT INTO closing SELECT :into, product_id, close_time, org_id FROM closing WHERE customer_key = :old "
    "ON CONFLICT DO NOTHING",
    "DELETE FROM closing WHERE customer_key = :old",
    "UPDATE complaint SET customer_key = :into WHERE customer_key = :old",
    "UPDATE attribution SET customer_key = :into WHERE customer_key = :old",
    "UPDATE marketing_order SET customer_key = :into WHERE customer_key = :old",
    "UPDATE message SET customer_key = :into WHERE customer_key = :old",
    "UPDATE subscription SET customer_key = :into WHERE customer_key = :old AND NOT EXISTS (SELECT FROM subscription "
    "AS other WHERE other.campaign_id = subscription.campaign_id AND other.customer_key = :into)",
    "UPDATE subscription SET next_time = NULL WHERE customer_key = :old",
    "DELETE FROM moment WHERE customer_key = :old",
)

_FORGET = ("customer", "consent", "do_not_contact", "opening", "closing", "moment", "subscription", "benefit",
           "message", "referral")  # fmt: skip
_COUNTED = ("contact", "decision", "attribution", "marketing_order", "complaint", "slot_event")
"""Tables whose rows stay for counting, under a number that names nobody."""

_FILES = text(
    "SELECT file_name, array_agg(contact_id) AS contact_ids FROM contact JOIN handover_file USING (plan_id) "
    "WHERE customer_key = ANY(:keys) AND state = 'HANDED_OVER' GROUP BY file_name ORDER BY file_name"
)


class Persons:
    """All tables that hold a customer."""

    async def merge(self, tx: Write, old: int, into: int) -> None:
        """Two keys are one person, who is contacted under the second alone and has one cap.

        When the second was merged itself, under the one that it became.
        """
        into = await tx.value(_STAYS, {"key": into}) or into
        await tx.rows(_LOCK, {"keys": [old, into]})
        for statement in _MERGE:
            told = {"old": old, "into": into, "left": LEFT}
            await tx.execute(text(statement), {name: told[name] for name in told if f":{name}" in statement})
        await self._leave_audiences(tx, old, into)

    async def erase(self, tx: Write, customer_key: int, now: datetime) -> None:
        """The person is no customer any more, and nothing that is told late makes him one."""
        await tx.rows(_LOCK, {"keys": [customer_key]})
        kept = text("INSERT INTO erased_customer VALUES (:key, '', :now) ON CONFLICT DO NOTHING")
        await tx.execute(kept, {"key": customer_key, "now": now})
        number = await tx.value(text("SELECT -nextval('erased_number')"))
        for table in _COUNTED:
            stmt = text(f"UPDATE {table} SET customer_key = :number WHERE customer_key = :key")
            await tx.execute(stmt, {"key": customer_key, "number": number})
        for table in _FORGET:
            await tx.execute(text(f"DELETE FROM {table} WHERE customer_key = :key"), {"key": customer_key})
        await self._leave_audiences(tx, customer_key)

    async def files(self, tx: Write, customer_keys: Collection[int]) -> dict[str, list[str]]:
        """Hand-over file → these persons' contacts in it."""
        rows = await tx.rows(_FILES, {"keys": list(customer_keys)})
        return {row.file_name: list(row.contact_ids) for row in rows}

    async def rewritten(self, tx: Write, file_name: str, rows: int, md5: str) -> None:
        """A hand-over file was written anew without somebody."""
        stmt = text("UPDATE handover_file SET rows = :rows, md5 = :md5 WHERE file_name = :name")
        await tx.execute(stmt, {"name": file_name, "rows": rows, "md5": md5})

    async def erased(self, tx: Write, customer_keys: Collection[int]) -> set[int]:
        """Which of these keys name nobody any more."""
        stmt = text("SELECT customer_key FROM erased_customer WHERE customer_key = ANY(:keys)")
        return {row.customer_key for row in await tx.rows(stmt, {"keys": list(customer_keys)})}

    async def _leave_audiences(self, tx: Write, gone: int, come: int | None = None) -> None:
        stmt = text("SELECT campaign_id, members FROM campaign_audience ORDER BY campaign_id FOR UPDATE")
        for row in await tx.rows(stmt):
            members = unpacked(row.members)
            if members.holds(gone):
                members = members.changed(gone=[gone], come=[] if come is None else [come])
                put = "UPDATE campaign_audience SET members = :members, customers = :customers, load_time = now() "
                told = {"id": row.campaign_id, "members": members.packed(), "customers": len(members)}
                await tx.execute(text(put + "WHERE campaign_id = :id"), told)
