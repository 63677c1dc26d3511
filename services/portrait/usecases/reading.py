"""What callers read: portraits, dwell, tags, audiences, runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date

from services.kit import outbox
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.portrait.domain.run import DwellLine, LakeFile, Run
from services.portrait.domain.tag import Catalogue, Tag
from services.portrait.lake import ResultReader
from services.portrait.refusals import customer_not_found, run_not_found
from services.portrait.store import Runs
from services.portrait.usecases.compute import PUBLISHED
from services.portrait.usecases.whole import WholePortraits


@dataclass(frozen=True)
class RunSeen:
    """One item of the stream of runs: a run, or a checkpoint without one."""

    cursor: str
    run: Run | None = None
    traceparent: str = ""


class Reading:
    """Everything that changes nothing (but for the audit)."""

    def __init__(self, db: Database, runs: Runs, whole: WholePortraits, catalogue: Catalogue, clock: Clock) -> None:
        self._db = db
        self._runs = runs
        self._whole = whole
        self.mapped = whole.mapped
        """One answer as it lies in memory, without a pause; None when it must be asked for with `portrait`."""
        self._catalogue = catalogue
        self._clock = clock
        self._results = ResultReader()

    def know(self, catalogue: Catalogue) -> None:
        """Take another catalogue for what is listed."""
        self._catalogue = catalogue

    async def portrait(self, customer_key: int, clear: bool) -> bytes:
        """One answer; `clear` for roles that see everything. Raises customer_not_found."""
        found = await self._whole.get((customer_key,), clear)
        if customer_key not in found:
            raise customer_not_found(customer_key)
        return found[customer_key]

    async def portraits(self, customer_keys: Sequence[int], clear: bool) -> list[bytes]:
        """Answers in the order asked, those that are not known left out."""
        found = await self._whole.get(list(dict.fromkeys(customer_keys)), clear)
        return [found[key] for key in customer_keys if key in found]

    async def dwell(
        self, customer_key: int, purpose: str, caller: str, after: int, size: int
    ) -> tuple[list[DwellLine], str]:
        """One page of a customer's dwell, from line `after`, and the run; the look is audited first.

        Raises customer_not_found.
        """
        async with self._db.begin() as tx:
            run_no, run = await self._current(tx)
            org_id = await self._runs.org_of(tx, run_no, customer_key)
            if org_id is None:
                raise customer_not_found(customer_key)
            await self._runs.put_audit(
                tx, now=self._clock(), caller=caller, customer_key=customer_key, org_id=org_id, purpose=purpose
            )
            files = await self._runs.files(tx, run_no, "dwell")
            await tx.commit()
        mine = next(file for file in files if file.bucket == customer_key % len(files))
        lines = await asyncio.to_thread(self._results.dwell_of, mine, customer_key)
        return lines[after : after + size], run.run_id

    async def tags(self, after: str, size: int) -> tuple[list[tuple[Tag, int]], str]:
        """One page of the catalogue by code, with how many customers bear each tag; and the run, "" before one."""
        async with self._db.read() as read:
            current = await self._runs.current(read)
            counts = await self._runs.tag_counts(read, current[0]) if current is not None else {}
        page = [tag for tag in sorted(self._catalogue.tags, key=lambda tag: tag.code) if tag.code > after][:size]
        return [(tag, counts.get(tag.code, 0)) for tag in page], current[1].run_id if current is not None else ""

    async def snapshot(self, run_id: str, table: str) -> tuple[Run, list[LakeFile]]:
        """The files of one table of a run; "" is the current one. Raises run_not_found."""
        async with self._db.read() as read:
            found = await (self._runs.by_id(read, run_id) if run_id else self._runs.current(read))
            if found is None:
                raise run_not_found(run_id)
            return found[1], await self._runs.files(read, found[0], table)

    async def watch(self, cursor: str, stop: asyncio.Event) -> AsyncIterator[RunSeen]:
        """Published runs after `cursor`, for ever. Raises cursor_invalid."""
        async for event in outbox.follow(self._db, cursor=cursor, kinds={PUBLISHED}, stop=stop):
            if isinstance(event, outbox.Checkpoint):
                yield RunSeen(event.cursor)
            else:
                told = dict(event.payload)
                told["from_date"] = date.fromisoformat(told["from_date"])
                told["to_date"] = date.fromisoformat(told["to_date"])
                yield RunSeen(event.cursor, Run(**told), event.traceparent)

    async def _current(self, read: Read) -> tuple[int, Run]:
        found = await self._runs.current(read)
        if found is None:
            raise run_not_found("")
        return found
