"""The directory in a service: admin's organisations, roles and principals as rows of its own schema, and in memory.

A worker follows admin's WatchDirectory into the table (`follow`); every process reads the table again when it changed
(`keep`), so that a service starts and goes on with what it knew last when admin is away.

    known = Known()                                                                 # app.py
    told = lambda channel: Directory(AdminServiceStub(channel), "points")           # lifecircle.directory
    background += await directory.background(closing, db, known, settings.server, told, working=working)
    await server.serve(…, known=known)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import grpc.aio
from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from services.kit import cursors, operations
from services.kit.channel import open_channel, token_file
from services.kit.config import ServerSettings
from services.kit.cursors import Followed
from services.kit.db import Database, Write
from services.kit.domains import Directory, Known, Principal
from services.kit.ids import system_ids
from services.kit.operations import Operation
from services.kit.waiting import pause

_LOOK_SECONDS = 1.0


class Told(Protocol):
    """How one organisation, role or principal stands now, as `_directory` below reads it; `kind` "" is a checkpoint."""

    @property
    def cursor(self) -> str:
        """The position just after it."""

    @property
    def traceparent(self) -> str:
        """The span in which it changed."""

    @property
    def kind(self) -> str:
        """organisation, role or principal."""

    @property
    def key(self) -> str:
        """Its id."""

    @property
    def body(self) -> Mapping[str, Any]:
        """{"parent"}, {"permissions"}, or {"org", "roles", "disabled"}."""


def follow(
    db: Database, owner: str, changes: Callable[[str], AsyncIterator[Told]], lease_seconds: float = 15
) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Background work: follows admin into the table; `changes` gives what comes after a cursor."""

    async def watch(cursor: str) -> AsyncIterator[Followed[Told]]:
        async for told in changes(cursor):
            yield Followed(told.cursor, told if told.kind else None, told.traceparent)

    async def follow_directory(stop: asyncio.Event) -> None:
        await cursors.follow(
            db, consumer="directory", owner=owner, watch=watch, handle=take, stop=stop, lease_seconds=lease_seconds
        )

    return follow_directory


class Admin(Protocol):
    """What a service asks of admin."""

    def changes(self, cursor: str) -> AsyncIterator[Told]:
        """Changes of the directory after a cursor."""

    async def record(self, operations: Sequence[Operation]) -> None:
        """Add operations to the log."""


async def background(
    closing: contextlib.AsyncExitStack,
    db: Database,
    known: Known,
    settings: ServerSettings,
    admin: Callable[[grpc.aio.Channel], Admin],
    *,
    working: bool,
) -> list[Callable[[asyncio.Event], Awaitable[None]]]:
    """What a process does to know who calls, and, where it works, to follow admin and to tell it of operations."""
    token = settings.service_token_file
    if not (working and settings.peer_admin and token):
        return [keep(db, known)]
    channel = open_channel(settings.peer_admin, token=token_file(token), tls=settings.tls())
    told, owner = admin(await closing.enter_async_context(channel)), system_ids()
    return [keep(db, known), follow(db, owner, told.changes), operations.tell(db, owner, told.record)]


async def take(tx: Write, told: Told) -> None:
    """Keep a change; a consumer's handler."""
    await tx.execute(_TAKE, {"kind": told.kind, "key": told.key, "body": dict(told.body)})


def keep(db: Database, known: Known) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Background work: reads the table again within a second of a change."""

    async def directory(stop: asyncio.Event) -> None:
        seen: Row[Any] | None = None
        while not stop.is_set():
            async with db.read() as read:
                state = await read.row(text("SELECT count(*), max(change_time) FROM directory"))
                if state != seen:
                    known.directory = _directory(await read.rows(text("SELECT kind, key, body FROM directory")))
                    seen = state
            await pause(_LOOK_SECONDS, stop)

    return directory


_TAKE = text("""
INSERT INTO directory (kind, key, body) VALUES (:kind, :key, :body)
ON CONFLICT (kind, key) DO UPDATE SET body = EXCLUDED.body, change_time = clock_timestamp()
""").bindparams(bindparam("body", type_=JSONB))


def _directory(rows: Iterable[Row[Any]]) -> Directory:
    parents: dict[str, str] = {}
    roles: dict[str, frozenset[str]] = {}
    principals: dict[str, Principal] = {}
    for row in rows:
        kind, key, body = row.kind, row.key, row.body
        if kind == "organisation":
            parents[key] = body["parent"]
        elif kind == "role":
            roles[key] = frozenset(body["permissions"])
        else:
            principals[key] = Principal(body["org"], frozenset(body["roles"]), body["disabled"])
    return Directory(parents, roles, principals)
