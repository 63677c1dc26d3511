"""What admin tells: every change of organisations, roles and principals, in order."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.kit import directory, outbox
from services.kit.cursors import Followed
from services.kit.db import Database
from services.kit.outbox import Checkpoint, Event

_KINDS = frozenset({"organisation", "role", "principal"})


@dataclass(frozen=True)
class Telling:
    """The directory as a stream."""

    db: Database

    def watch(self, cursor: str, stop: asyncio.Event) -> AsyncIterator[Event | Checkpoint]:
        """Changes after a cursor."""
        return outbox.follow(self.db, cursor=cursor, kinds=_KINDS, stop=stop)

    async def own(self, cursor: str, stop: asyncio.Event) -> AsyncIterator[Followed[directory.Change]]:
        """The same for admin's own copy."""
        async for item in self.watch(cursor, stop):
            if isinstance(item, Checkpoint):
                yield Followed(item.cursor, None)
            else:
                yield Followed(item.cursor, change(item), item.traceparent)


def change(event: Event) -> directory.Change:
    """A fact of the outbox as the kit's directory takes it."""
    body = event.payload
    if event.kind == "organisation":
        return directory.organisation(event.key, body["parent_org_id"])
    if event.kind == "role":
        return directory.role(event.key, body["permissions"])
    return directory.principal(event.key, body["org_id"], body["roles"], body["disabled"])
