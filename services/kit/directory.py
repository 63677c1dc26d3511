"""The directory in a service: admin's organisations, roles and principals as rows of its own schema, and in memory.

A worker follows admin's WatchDirectory into the table (`take`); every process reads the table again when it changed
(`keep`), so that a service starts and goes on with what it knew last when admin is away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from services.kit.db import Database, Write
from services.kit.domains import Directory, Known, Principal
from services.kit.waiting import pause

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Change:
    """How one organisation, role or principal stands now: `body` as `directory` below reads it."""

    kind: str
    key: str
    body: Mapping[str, Any]


def organisation(org_id: str, parent_org_id: str) -> Change:
    """An organisation and the one above it."""
    return Change("organisation", org_id, {"parent": parent_org_id})


def role(role_id: str, permissions: Iterable[str]) -> Change:
    """A role and what it allows; nothing when it is disabled."""
    return Change("role", role_id, {"permissions": sorted(permissions)})


def principal(principal_id: str, org_id: str, roles: Iterable[str], disabled: bool) -> Change:
    """Who he is, where he belongs, and what was granted to him."""
    return Change("principal", principal_id, {"org": org_id, "roles": sorted(roles), "disabled": disabled})


async def take(tx: Write, change: Change) -> None:
    """Keep a change; a consumer's handler."""
    await tx.execute(_TAKE, {"kind": change.kind, "key": change.key, "body": dict(change.body)})


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
