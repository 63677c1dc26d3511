"""Customers who were erased, or merged into others: nothing is kept of them, and nothing is answered for them."""

from collections.abc import Sequence
from datetime import datetime

from pyroaring import BitMap
from sqlalchemy import text

from services.kit.db import Read, Write

_KEYS = text("SELECT customer_key FROM erased_customer")
_PUT = text(
    "INSERT INTO erased_customer (customer_key, event_id, time) VALUES (:customer_key, :event_id, :time) "
    "ON CONFLICT (customer_key) DO NOTHING"
)
_TABLES = (
    "portrait", "moment_event", "moment", "customer_contact", "segment_member", "latent_label", "latent_value",
    "inferred_attribute", "customer_warning",
)  # fmt: skip
_GONE = [text(f"DELETE FROM {table} WHERE customer_key = ANY(:keys)") for table in _TABLES]
_BITMAPS = text("SELECT run_no, tag, value, shard, members FROM tag_bitmap WHERE shard = ANY(:shards) FOR UPDATE")
_PUT_BITMAP = text(
    "UPDATE tag_bitmap SET members = :members "
    "WHERE run_no = :run_no AND tag = :tag AND value = :value AND shard = :shard"
)
_SETS = (("customer_list", "list_id"), ("frozen_audience", "frozen_id"))
_SHARD_BITS = 22


class Forgotten:
    """By customer key."""

    async def keys(self, read: Read) -> frozenset[int]:
        """Everybody who was forgotten."""
        return frozenset(row.customer_key for row in await read.rows(_KEYS))

    async def put(self, tx: Write, customer_key: int, event_id: str, now: datetime) -> None:
        """Keep that one is forgotten."""
        await tx.execute(_PUT, {"customer_key": customer_key, "event_id": event_id, "time": now})

    async def remove(self, tx: Write, keys: Sequence[int]) -> int:
        """Delete what is kept of customers, out of bitmaps, lists and frozen audiences too; gives how many rows."""
        removed = 0
        for statement in _GONE:
            removed += await tx.execute(statement, {"keys": list(keys)})
        gone = BitMap(key for key in keys if 0 <= key < 1 << 32)
        shards = sorted({key >> _SHARD_BITS for key in gone})
        for row in await tx.rows(_BITMAPS, {"shards": shards}):
            members = BitMap.deserialize(row.members)
            if members & gone:
                told = {"run_no": row.run_no, "tag": row.tag, "value": row.value, "shard": row.shard}
                removed += await tx.execute(_PUT_BITMAP, {**told, "members": (members - gone).serialize()})
        for table, name in _SETS:
            for row in await tx.rows(text(f"SELECT {name} AS id, members FROM {table} FOR UPDATE")):
                members = BitMap.deserialize(row.members)
                if members & gone:
                    kept = members - gone
                    stmt = text(f"UPDATE {table} SET members = :members, customers = :customers WHERE {name} = :id")
                    told = {"members": kept.serialize(), "customers": len(kept), "id": row.id}
                    removed += await tx.execute(stmt, told)
        return removed
