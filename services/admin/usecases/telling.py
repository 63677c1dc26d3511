"""What admin tells: every change of organisations, roles and principals, in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.kit import outbox
from services.kit.db import Database
from services.kit.outbox import Checkpoint, Event

_KINDS = frozenset({"organisation", "role", "principal"})


@dataclass(frozen=True)
class Told:
    """A change as the kit's directory takes it."""

    cursor: str
    traceparent: str = ""
    kind: str = ""
    key: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Telling:
    """The directory as a stream."""

    db: Database

    def watch(self, cursor: str, stop: asyncio.Event) -> AsyncIterator[Event | Checkpoint]:
        """Changes after a cursor."""
        return outbox.follow(self.db, cursor=cursor, kinds=_KINDS, stop=stop)

    def own(self, stop: asyncio.Event) -> Callable[[str], AsyncIterator[Told]]:
        """The same for admin's own copy."""

        async def changes(cursor: str) -> AsyncIterator[Told]:
            async for item in self.watch(cursor, stop):
                yield Told(item.cursor) if isinstance(item, Checkpoint) else told(item)

        return changes


def told(event: Event) -> Told:
    """A fact of the outbox."""
    body = event.payload
    if event.kind == "organisation":
        kept: Mapping[str, Any] = {"parent": body["parent_org_id"]}
    elif event.kind == "role":
        kept = {"permissions": body["permissions"]}
    else:
        kept = {"org": body["org_id"], "roles": body["roles"], "disabled": body["disabled"]}
    return Told(event.cursor, event.traceparent, event.kind, event.key, kept)
