"""Versions of the rules."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, and_, exists, func, insert, literal_column, select, text, tuple_, update

from services.kit.db import Read, Write
from services.points import tables
from services.points.domain.version import State, Version

_t = tables.rule_set
_later = tables.rule_set.alias("later")


class RuleSets:
    """The table `rule_set`. RETIRED follows from a later version of the name that is in force `today`."""

    async def lock_name(self, tx: Write, name: str) -> None:
        """Until the transaction ends, nobody else numbers versions of this name."""
        await tx.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('points.rule_set.' || :name, 0))"), {"name": name}
        )

    async def next_version(self, tx: Write, name: str) -> int:
        """The number of the next version."""
        return int(await tx.value(select(func.coalesce(func.max(_t.c.version), 0) + 1).where(_t.c.name == name)))

    async def add(self, tx: Write, version: Version) -> None:
        """Keep a draft."""
        values = {"rule_set_id": version.rule_set_id, "name": version.name, "version": version.version,
                  "state": State.DRAFT, "definition": version.definition, "sha256": version.sha256,
                  "author": version.author, "publisher": "", "create_time": version.create_time}  # fmt: skip
        await tx.execute(insert(_t).values(values))

    async def get(self, read: Read, rule_set_id: str, today: date) -> Version | None:
        """One version."""
        row = await read.row(_versions(today).where(_t.c.rule_set_id == rule_set_id))
        return None if row is None else _version(row)

    async def page(
        self, read: Read, today: date, name: str, after: tuple[datetime, str] | None, size: int
    ) -> list[Version]:
        """Versions, the latest first, those after (create_time, rule_set_id); of one name, or of all when it is ""."""
        stmt = _versions(today).order_by(_t.c.create_time.desc(), _t.c.rule_set_id.desc()).limit(size)
        if name:
            stmt = stmt.where(_t.c.name == name)
        if after is not None:
            stmt = stmt.where(tuple_(_t.c.create_time, _t.c.rule_set_id) < tuple_(*after))
        return [_version(row) for row in await read.rows(stmt)]

    async def publish(self, tx: Write, rule_set_id: str, effective: date, publisher: str, now: datetime) -> None:
        """Publish a draft; it never changes again."""
        values = {"state": State.PUBLISHED, "effective_date": effective, "publisher": publisher, "publish_time": now}
        await tx.execute(update(_t).where(_t.c.rule_set_id == rule_set_id).values(values))

    async def advance(self, tx: Write, rule_set_id: str, **values: Any) -> None:
        """Move a version that is not published: its state and what comes with it."""
        await tx.execute(update(_t).where(_t.c.rule_set_id == rule_set_id).values(values))

    async def simulation(self, read: Read, rule_set_id: str) -> dict[str, Any]:
        """What was previewed of a version."""
        return dict(await read.value(select(_t.c.simulation).where(_t.c.rule_set_id == rule_set_id)) or {})

    async def effective_dates(self, read: Read, name: str) -> list[date]:
        """From when the published versions of a name score."""
        stmt = select(_t.c.effective_date).where(_t.c.name == name, _t.c.state == State.PUBLISHED)
        return [row.effective_date for row in await read.rows(stmt)]

    async def published(self, read: Read) -> list[tuple[str, date, str, str]]:
        """(name, effective date, rule_set_id, sha256) of every published version."""
        stmt = select(_t.c.name, _t.c.effective_date, _t.c.rule_set_id, _t.c.sha256).where(
            _t.c.state == State.PUBLISHED
        )
        return [(row.name, row.effective_date, row.rule_set_id, row.sha256) for row in await read.rows(stmt)]

    async def definition(self, read: Read, rule_set_id: str) -> str:
        """The definition as it was written."""
        return str(await read.value(select(_t.c.definition).where(_t.c.rule_set_id == rule_set_id)))


def _versions(today: date) -> Any:
    superseded = exists(literal_column("1")).where(
        and_(
            _later.c.name == _t.c.name, _later.c.effective_date > _t.c.effective_date, _later.c.effective_date <= today
        )
    )
    return select(_t, superseded.label("superseded"))


def _version(row: Row[Any]) -> Version:
    state = State.RETIRED if row.superseded else State(row.state)
    return Version(
        rule_set_id=row.rule_set_id, name=row.name, version=row.version, state=state, definition=row.definition,
        sha256=row.sha256, effective_date=row.effective_date, author=row.author, publisher=row.publisher,
        create_time=row.create_time, approver=row.approver, previewed_sha256=row.previewed_sha256,
    )  # fmt: skip
