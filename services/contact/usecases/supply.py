"""What this process may use of quotas: units leased in blocks, under a number that fences it."""

import time
from datetime import date, datetime, timedelta

from services.contact.domain.decision import Book
from services.contact.domain.reservation import Blocks
from services.contact.store import Store
from services.kit.db import Database, Write

SHARD_SECONDS = 30.0
_BLOCK = 512


class Supply:
    """The number and the units of one process."""

    def __init__(self, db: Database, store: Store) -> None:
        self._db = db
        self._store = store
        self.blocks = Blocks()
        self.shard = 0
        self._until = 0.0

    async def fence(self, tx: Write, now: datetime) -> None:
        """Until the transaction ends nobody reclaims what this process leased. Raises LeaseLost."""
        await self._store.shards.fence(tx, self.shard, now)

    def lost(self) -> None:
        """The number is no more in force: all units are gone."""
        self.blocks.clear()
        self.shard = 0

    async def ready(self, book: Book, on: date, hour: int, now: datetime) -> None:
        """This process has a number in force, and units of every quota, unless a quota is used up."""
        passed = time.monotonic()
        names = book.bounds(on, hour)
        blocks = {name: _BLOCK * quota.most for name, quota in names.items()}
        wanted = self.blocks.wanted({name: units // 4 for name, units in blocks.items()}, passed)
        if self.shard and passed < self._until - SHARD_SECONDS / 2 and not wanted:
            return
        until = now + timedelta(seconds=SHARD_SECONDS)
        async with self._db.begin() as tx:
            if not self.shard or not await self._store.shards.prolong(tx, self.shard, now, until):
                self.blocks.clear()
                self.shard = await self._store.shards.begin(tx, until)
                wanted = list(names)
            got: dict[str, int] = {}
            if wanted:
                used = await self._store.decisions.used_on(tx, on, [one.campaign_id for one in book.campaigns])
                capacity = {name: names[name].capacity - used.get(name, 0) for name in wanted}
                got = await self._store.shards.lease(tx, self.shard, capacity, blocks)
            await tx.commit()
        self._until = passed + SHARD_SECONDS
        for name in wanted:
            self.blocks.add(name, got.get(name, 0), passed)
