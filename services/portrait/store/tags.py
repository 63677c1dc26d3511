"""Versions of tags as data, their approvals, and the catalogues that jobs were planned with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.portrait.tables import catalogue_document, tag_approval, tag_version


@dataclass(frozen=True)
class Approval:
    """Somebody found one aspect (MINING or BUSINESS) right."""

    aspect: str
    approver: str
    note: str
    time: datetime


@dataclass(frozen=True)
class TagVersion:
    """One version of a definition; `state` is REVIEW, ACTIVE or RETIRED."""

    code: str
    version: int
    state: str
    definition: Mapping[str, Any]
    author: str
    note: str
    create_time: datetime
    approvals: tuple[Approval, ...] = ()


class Tags:
    """Tag versions by code and version."""

    async def in_force(self, read: Read) -> list[TagVersion]:
        """The versions that are in force or were given up last, by code: what differs from the shipped catalogue."""
        latest = (
            select(tag_version.c.code, func.max(tag_version.c.version).label("version"))
            .where(tag_version.c.state != "REVIEW")
            .group_by(tag_version.c.code)
            .subquery()
        )
        same = (tag_version.c.code == latest.c.code) & (tag_version.c.version == latest.c.version)
        rows = await read.rows(select(*tag_version.c).join(latest, same).order_by(tag_version.c.code))
        return [_version(row, ()) for row in rows]

    async def latest_version(self, read: Read, code: str) -> int:
        """The highest version of a code, 0 for none."""
        found = await read.value(select(func.max(tag_version.c.version)).where(tag_version.c.code == code))
        return int(found or 0)

    async def get(self, read: Read, code: str, version: int) -> TagVersion | None:
        """A version with its approvals."""
        mine = (tag_version.c.code == code) & (tag_version.c.version == version)
        row = await read.row(select(*tag_version.c).where(mine))
        return _version(row, await self._approvals(read, code, version)) if row is not None else None

    async def for_update(self, tx: Write, code: str, version: int) -> TagVersion | None:
        """A version with its approvals, locked until the transaction ends."""
        mine = (tag_version.c.code == code) & (tag_version.c.version == version)
        row = await tx.row(select(*tag_version.c).where(mine).with_for_update())
        return _version(row, await self._approvals(tx, code, version)) if row is not None else None

    async def page(self, read: Read, code: str, before: int, size: int) -> list[TagVersion]:
        """Versions below `before`, the latest first."""
        stmt = select(*tag_version.c).where(tag_version.c.code == code, tag_version.c.version < before)
        rows = await read.rows(stmt.order_by(tag_version.c.version.desc()).limit(size))
        return [_version(row, await self._approvals(read, code, row.version)) for row in rows]

    async def put(self, tx: Write, made: TagVersion) -> None:
        """Keep a new version."""
        values = {column.name: getattr(made, column.name) for column in tag_version.c}
        await tx.execute(insert(tag_version).values(values | {"definition": dict(made.definition)}))

    async def approve(self, tx: Write, code: str, version: int, given: Approval) -> None:
        """Keep an approval; a later one of the same aspect takes its place."""
        values = {"code": code, "version": version, "aspect": given.aspect, "approver": given.approver,
                  "note": given.note, "time": given.time}  # fmt: skip
        stmt = insert(tag_approval).values(values)
        newer = {name: stmt.excluded[name] for name in ("approver", "note", "time")}
        await tx.execute(stmt.on_conflict_do_update(index_elements=["code", "version", "aspect"], set_=newer))

    async def move(self, tx: Write, code: str, version: int, state: str) -> None:
        """Put a version into another state; one that is put in force retires the one before."""
        if state == "ACTIVE":
            others = (tag_version.c.code == code) & (tag_version.c.state == "ACTIVE")
            await tx.execute(update(tag_version).where(others).values(state="RETIRED"))
        mine = (tag_version.c.code == code) & (tag_version.c.version == version)
        await tx.execute(update(tag_version).where(mine).values(state=state))

    async def put_document(self, tx: Write, digest: str, document: Mapping[str, Any], now: datetime) -> None:
        """Keep a catalogue by its digest."""
        stmt = insert(catalogue_document).values(digest=digest, document=dict(document), create_time=now)
        await tx.execute(stmt.on_conflict_do_nothing())

    async def document(self, read: Read, digest: str) -> Mapping[str, Any] | None:
        """A catalogue by its digest."""
        stmt = select(catalogue_document.c.document).where(catalogue_document.c.digest == digest)
        found: Mapping[str, Any] | None = await read.value(stmt)
        return found

    async def _approvals(self, read: Read, code: str, version: int) -> Sequence[Approval]:
        columns = (tag_approval.c.aspect, tag_approval.c.approver, tag_approval.c.note, tag_approval.c.time)
        mine = (tag_approval.c.code == code) & (tag_approval.c.version == version)
        rows = await read.rows(select(*columns).where(mine).order_by(tag_approval.c.aspect))
        return [Approval(row.aspect, row.approver, row.note, row.time) for row in rows]


def _version(row: Row[Any], approvals: Sequence[Approval]) -> TagVersion:
    return TagVersion(
        **{column.name: getattr(row, column.name) for column in tag_version.c}, approvals=tuple(approvals)
    )
