"""Records that administrators keep: each a row with a version, so that nobody overwrites what he has not read."""

import dataclasses
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, Table, and_, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write

T = TypeVar("T")


@dataclass(frozen=True)
class Versioned(Generic[T]):
    """A record as it stands: its etag is the version as text."""

    value: T
    version: int
    update_time: datetime


class Records(Generic[T]):
    """The rows of one table as values of the dataclass `kind`, whose fields are columns of the same names."""

    def __init__(
        self, table: Table, kind: type[T], keys: tuple[str, ...], first: Mapping[str, Any] | None = None
    ) -> None:
        """`first` is what a new row has beside the record itself."""
        self._table = table
        self._kind = typing.cast(Any, kind)
        self._first = dict(first or {})
        self._keys = [table.c[key] for key in keys]
        self._names = [each.name for each in dataclasses.fields(self._kind)]

    async def get(self, read: Read, *key: str) -> Versioned[T] | None:
        """One record; None when there is none, or none that the caller sees."""
        row = await read.row(select(self._table).where(self._is(key)))
        return None if row is None else self._value(row)

    async def locked(self, tx: Write, *key: str) -> Versioned[T] | None:
        """One record, held until the transaction ends."""
        row = await tx.row(select(self._table).where(self._is(key)).with_for_update())
        return None if row is None else self._value(row)

    async def page(
        self, read: Read, after: Sequence[str], size: int, where: Mapping[str, Any] | None = None, *, prefix: str = ""
    ) -> list[Versioned[T]]:
        """Records by key, after one; `where` gives only equal ones, `prefix` only first keys that begin with it."""
        stmt = select(self._table).order_by(*self._keys).limit(size)
        if after:
            stmt = stmt.where(tuple_(*self._keys) > tuple_(*after))
        for name, value in (where or {}).items():
            stmt = stmt.where(self._table.c[name] == value)
        if prefix:
            stmt = stmt.where(self._keys[0].startswith(prefix, autoescape=True))
        return [self._value(row) for row in await read.rows(stmt)]

    async def among(self, read: Read, keys: Collection[str]) -> list[T]:
        """Those records that have one of these as their first key, by key."""
        stmt = select(self._table).where(self._keys[0].in_(keys)).order_by(*self._keys)
        return [self._value(row).value for row in await read.rows(stmt)]

    async def all(self, read: Read) -> list[T]:
        """Every record, by key."""
        return [self._value(row).value for row in await read.rows(select(self._table).order_by(*self._keys))]

    async def add(self, tx: Write, value: T, now: datetime) -> bool:
        """Add a record; False when its key is taken."""
        row = {name: _plain(getattr(value, name)) for name in self._names}
        stmt = insert(self._table).values(row | self._first | {"version": 1, "update_time": now})
        return await tx.execute(stmt.on_conflict_do_nothing()) == 1

    async def change(self, tx: Write, value: T, now: datetime) -> None:
        """Put a record in the place of the one with its key."""
        row = {name: _plain(getattr(value, name)) for name in self._names}
        key = [row[column.name] for column in self._keys]
        stmt = update(self._table).where(self._is(key))
        await tx.execute(stmt.values(row | {"version": self._table.c.version + 1, "update_time": now}))

    async def count(self, read: Read) -> int:
        """How many there are."""
        return int(await read.value(select(func.count()).select_from(self._table)))

    def _is(self, key: Sequence[Any]) -> ColumnElement[bool]:
        return and_(*(column == value for column, value in zip(self._keys, key, strict=True)))

    def _value(self, row: Row[Any]) -> Versioned[T]:
        values = {name: _frozen(getattr(row, name)) for name in self._names}
        return Versioned(self._kind(**values), row.version, row.update_time)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
