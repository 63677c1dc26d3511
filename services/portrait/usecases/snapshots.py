"""What partitions learnt, kept: taken between two pages of the journal, written while matching goes on.

A snapshot is of the place in the journal at which it was taken, wherever the partition stands when it is written. One
is written at a time, and with the epoch of the lease: so those of a partition never change places, and none of a former
owner's comes after his successor's.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from services.kit.db import Database
from services.portrait.domain.moment import Engine
from services.portrait.domain.moment.codec import packed, squeezed
from services.portrait.store import Partitions
from services.portrait.store.partitions import Taken

_REST = 19
"""Snapshots take at most a twentieth of the time: after one there is none for so many times as long as it took."""


@dataclass(frozen=True)
class Pace:
    """How partitions are held: a lease of `lease_seconds`, a snapshot every `snapshot_events` or `snapshot_seconds`.

    Events are counted over the whole journal, since that is what who takes a partition over reads on from. Where the
    snapshots of all partitions would take more than a twentieth of the time, they come as much later.
    """

    partitions: int = 16
    lease_seconds: float = 10.0
    look_seconds: float = 1.0
    """How often leases are renewed and shared, and what changed without a word is looked for."""
    snapshot_events: int = 250_000
    snapshot_seconds: float = 60.0
    journal_days: int = 30


@dataclass(eq=False)
class Held:
    """A partition that is ours, with its engine."""

    taken: Taken
    engine: Engine
    seq: int
    kept_seq: int
    kept_at: float
    purged: bool = False
    """Whether somebody was taken out of it who is still in its snapshot."""


class Snapshots:
    """The snapshots of one process's partitions."""

    def __init__(self, db: Database, partitions: Partitions, pace: Pace) -> None:
        self._db = db
        self._partitions = partitions
        self._pace = pace
        self._writing: asyncio.Task[None] | None = None
        self._rest_until = float("-inf")

    async def keep(self, held: Iterable[Held]) -> None:
        """Take a snapshot of the partition that went on far or long enough, one at a time, and have it written.

        What failed at the one before is raised now.
        """
        if self._writing is not None and not self._writing.done():
            return
        await self.settled()
        now = asyncio.get_running_loop().time()
        due = (each for each in held if each.purged or (now >= self._rest_until and self._is_due(each, now)))
        chosen = min(due, key=lambda each: (not each.purged, each.kept_seq), default=None)
        if chosen is not None:
            self._writing = self._taken(chosen)

    async def keep_all(self, held: Iterable[Held]) -> None:
        """Take and write one of every partition that went on at all."""
        await self.settled()
        for each in held:
            if each.purged or each.seq > each.kept_seq:
                await self._taken(each)

    async def settled(self) -> None:
        """Wait for what is being written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    def _taken(self, held: Held) -> asyncio.Task[None]:
        """What the engine knows now, on its way to the table: it goes on, and the snapshot does not change with it."""
        began = asyncio.get_running_loop().time()
        held.engine.forget()
        held.purged = False
        return asyncio.create_task(self._write(held, held.seq, packed(held.engine.snapshot()), began))

    async def _write(self, held: Held, seq: int, snapshot: bytes, began: float) -> None:
        kept = await asyncio.to_thread(squeezed, snapshot)
        async with self._db.begin() as tx:  # what is no longer ours is not written; matching learns of it by itself
            await self._partitions.keep(tx, held.taken.partition, held.taken.epoch, seq, kept)
            await tx.commit()
        now = asyncio.get_running_loop().time()
        held.kept_seq, held.kept_at = seq, began
        self._rest_until = now + _REST * (now - began)

    def _is_due(self, held: Held, now: float) -> bool:
        if held.seq == held.kept_seq:
            return False
        far = held.seq - held.kept_seq >= self._pace.snapshot_events
        return far or now - held.kept_at >= self._pace.snapshot_seconds
