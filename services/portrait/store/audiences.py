"""Audiences: who bears which tag in a run, saved and frozen audiences, lists; all members as Roaring bitmaps."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pyroaring import BitMap, FrozenBitMap
from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import distinct_on, insert

from services.kit.db import Read, Write
from services.portrait.domain.audience import Expression, expression_of, to_json
from services.portrait.domain.audience import text as readable
from services.portrait.tables import access_audit, audience, customer_list, frozen_audience, tag_bitmap

EVERYBODY = "@all"
ORGANISATION = "@org"
_SHARD_BITS = 22
_DROP = text(
    "DELETE FROM tag_bitmap WHERE run_no <> COALESCE((SELECT run_no FROM current_run), 0) "
    "AND run_no NOT IN (SELECT run_no FROM run ORDER BY run_no DESC LIMIT :keep)"
)


_LATEST_SEGMENTATION = text(
    "SELECT segmentation_id FROM segmentation ORDER BY create_time DESC, segmentation_id DESC LIMIT 1"
)
_IN_SEGMENT = text(
    "SELECT customer_key FROM segment_member WHERE segmentation_id = :segmentation_id AND segment_id = :segment_id"
)


@dataclass(frozen=True)
class SavedAudience:
    """One version of a saved audience."""

    audience_id: str
    version: int
    title: str
    expression: Expression
    text: str
    owner: str
    create_time: datetime


@dataclass(frozen=True)
class FrozenAudience:
    """Who belonged to an audience at one moment; the bitmap apart."""

    frozen_id: str
    text: str
    run_id: str
    customers: int
    purpose: str
    create_time: datetime


@dataclass(frozen=True)
class CustomerList:
    """A list as it stands now; the bitmap apart."""

    list_id: str
    version: int
    title: str
    customers: int
    update_time: datetime


class Audiences:
    """Everything an audience is made of."""

    async def put_bitmaps(self, tx: Write, run_no: int, bearers: Mapping[tuple[str, str], BitMap]) -> None:
        """Keep who bears each (tag, value) of a run, and count the tags."""
        rows = [
            {"run_no": run_no, "tag": tag, "value": value, "shard": shard, "members": members}
            for (tag, value), whole in bearers.items()
            for shard, members in _sharded(whole)
        ]
        if rows:
            await tx.execute(insert(tag_bitmap), rows)

    async def bitmaps(self, read: Read, run_no: int) -> dict[tuple[str, str], FrozenBitMap]:
        """Who bears each (tag, value) of a run."""
        columns = (tag_bitmap.c.tag, tag_bitmap.c.value, tag_bitmap.c.members)
        found: dict[tuple[str, str], list[BitMap]] = defaultdict(list)
        for row in await read.rows(select(*columns).where(tag_bitmap.c.run_no == run_no)):
            found[row.tag, row.value].append(BitMap.deserialize(row.members))
        return {key: FrozenBitMap(BitMap.union(*shards)) for key, shards in found.items()}

    async def drop_bitmaps_of_old(self, tx: Write, keep: int) -> None:
        """Delete the bitmaps of runs that are neither current nor one of the `keep` latest."""
        await tx.execute(_DROP, {"keep": keep})

    async def save(
        self, tx: Write, audience_id: str, title: str, expression: Expression, owner: str, now: datetime
    ) -> SavedAudience:
        """Keep an audience as a new version; the latest when nothing changed."""
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": f"audience {audience_id}"})
        latest = await self.saved(tx, audience_id, 0)
        if latest is not None and (latest.title, latest.expression) == (title, expression):
            return latest
        version = latest.version + 1 if latest is not None else 1
        told = readable(expression)
        values = {"title": title, "expression": to_json(expression), "text": told, "owner": owner, "create_time": now}
        await tx.execute(insert(audience).values(audience_id=audience_id, version=version, **values))
        return SavedAudience(audience_id, version, title, expression, told, owner, now)

    async def saved(self, read: Read, audience_id: str, version: int) -> SavedAudience | None:
        """A version of a saved audience; 0 is the latest."""
        stmt = select(audience).where(audience.c.audience_id == audience_id)
        if version:
            stmt = stmt.where(audience.c.version == version)
        row = await read.row(stmt.order_by(audience.c.version.desc()).limit(1))
        return _saved(row) if row is not None else None

    async def page(self, read: Read, after: str, size: int) -> list[SavedAudience]:
        """The latest versions by id."""
        stmt = select(audience).ext(distinct_on(audience.c.audience_id)).where(audience.c.audience_id > after)
        rows = await read.rows(stmt.order_by(audience.c.audience_id, audience.c.version.desc()).limit(size))
        return [_saved(row) for row in rows]

    async def freeze(self, tx: Write, frozen: FrozenAudience, owner: str, members: BitMap) -> None:
        """Keep who belongs to it."""
        stmt = insert(frozen_audience).values(
            frozen_id=frozen.frozen_id,
            text=frozen.text,
            run_id=frozen.run_id,
            customers=frozen.customers,
            purpose=frozen.purpose,
            owner=owner,
            create_time=frozen.create_time,
            members=members.serialize(),
        )
        await tx.execute(stmt)

    async def segment(
        self, read: Read, segment_id: str, known: Mapping[str, tuple[str, BitMap]]
    ) -> tuple[str, BitMap] | None:
        """(segmentation, members) of a segment of the latest segmentation; None for an unknown one. What is known of
        that segmentation is not read again."""
        latest = str(await read.value(_LATEST_SEGMENTATION) or "")
        if segment_id in known and known[segment_id][0] == latest:
            return known[segment_id]
        told = {"segmentation_id": latest, "segment_id": segment_id}
        rows = await read.rows(_IN_SEGMENT, told)
        return (latest, BitMap(row.customer_key for row in rows)) if rows else None

    async def frozen_members(self, read: Read, frozen_id: str) -> BitMap | None:
        """Who stood in a frozen audience."""
        found = await read.value(select(frozen_audience.c.members).where(frozen_audience.c.frozen_id == frozen_id))
        return BitMap.deserialize(found) if found is not None else None

    async def put_list(
        self, tx: Write, list_id: str, title: str, members: BitMap, owner: str, now: datetime
    ) -> CustomerList:
        """Put a list in the place of the one of the same id."""
        values = {"title": title, "customers": len(members), "owner": owner, "update_time": now}
        stmt = insert(customer_list).values(list_id=list_id, version=1, members=members.serialize(), **values)
        newer = {name: stmt.excluded[name] for name in (*values, "members")}
        changed = stmt.on_conflict_do_update(
            index_elements=["list_id"], set_={**newer, "version": customer_list.c.version + 1}
        )
        version = await tx.value(changed.returning(customer_list.c.version))
        return CustomerList(list_id, int(version), title, len(members), now)

    async def lists(self, read: Read, after: str, size: int) -> list[CustomerList]:
        """Lists by id."""
        columns = [customer_list.c[name] for name in ("list_id", "version", "title", "customers", "update_time")]
        stmt = select(*columns).where(customer_list.c.list_id > after).order_by(customer_list.c.list_id).limit(size)
        return [CustomerList(*tuple(row)) for row in await read.rows(stmt)]

    async def list_version(self, read: Read, list_id: str) -> int:
        """How often a list was replaced; 0 for an unknown one."""
        stmt = select(func.coalesce(func.max(customer_list.c.version), 0)).where(customer_list.c.list_id == list_id)
        return int(await read.value(stmt))

    async def list_members(self, read: Read, list_id: str) -> BitMap:
        """Who stands in a list that is known."""
        return BitMap.deserialize(
            await read.value(select(customer_list.c.members).where(customer_list.c.list_id == list_id))
        )

    async def audit(self, tx: Write, *, now: datetime, caller: str, what: str, customers: int, purpose: str) -> None:
        """Keep that somebody looked, before he is answered."""
        row = {"time": now, "caller": caller, "what": what, "customers": customers, "purpose": purpose}
        await tx.execute(insert(access_audit).values(row))


def _sharded(whole: BitMap) -> list[tuple[int, bytes]]:
    """The parts of a bitmap by 2^22 keys, serialised; each holds whole keys, so that their union is the bitmap."""
    if not whole:
        return []
    found = []
    for shard in range(int(np.uint32(whole.min())) >> _SHARD_BITS, (int(whole.max()) >> _SHARD_BITS) + 1):
        part = whole & BitMap(range(shard << _SHARD_BITS, (shard + 1) << _SHARD_BITS))
        if part:
            part.run_optimize()
            found.append((shard, part.serialize()))
    return found


def _saved(row: Row[Any]) -> SavedAudience:
    told = expression_of(row.expression)
    return SavedAudience(row.audience_id, row.version, row.title, told, row.text, row.owner, row.create_time)
