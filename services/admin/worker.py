"""Inbound time: the operator's organisation file, and admin's own copy of what it tells."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Protocol

from services.admin.domain.organisation import Organisation
from services.admin.lake import File, organisations
from services.admin.usecases import Organisations, Telling
from services.kit import cursors, directory
from services.kit.cursors import Followed
from services.kit.db import Database


class Ingest(Protocol):
    """What the worker follows."""

    def snapshots(self, cursor: str) -> AsyncIterator[Followed[list[File]]]:
        """The files of the organisation feed."""


@dataclass(frozen=True)
class Worker:
    """The background work of one process; `owner` is unique to it."""

    db: Database
    ingest: Ingest
    organisations: Organisations
    telling: Telling
    owner: str
    lease_seconds: float = 15

    async def follow_organisations(self, stop: asyncio.Event) -> None:
        """Take over the operator's organisation file."""
        await cursors.follow(
            self.db, consumer="organisations", owner=self.owner, watch=self._read, handle=self.organisations.take,
            stop=stop, lease_seconds=self.lease_seconds,
        )  # fmt: skip

    def follow_directory(self, stop: asyncio.Event) -> Awaitable[None]:
        """Keep admin's own copy of the directory, as every service keeps one."""
        return directory.follow(self.db, self.owner, self.telling.own(stop), self.lease_seconds)(stop)

    async def _read(self, cursor: str) -> AsyncIterator[Followed[list[Organisation]]]:
        async for item in self.ingest.snapshots(cursor):
            told = None if item.event is None else await asyncio.to_thread(organisations, item.event)
            yield Followed(item.cursor, told, item.traceparent)
