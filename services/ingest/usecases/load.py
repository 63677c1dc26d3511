"""The load of one delivery: judged outside of any transaction, then told in one.

    judge (thread, batch by batch, spilled)  →  numbers become keys (a short transaction of its own: a key is for ever)
    →  Parquet (thread)  →  one transaction: manifest, rejects, events, customers, the delivery's end, the outbox row,
    the job's end  →  the file moves

Killed anywhere, the job starts again from the file: keys are found as they were assigned, Parquet is written to the
same names, and everything else was in the transaction or was not.
"""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog

from services.ingest import store
from services.ingest.domain import event as events
from services.ingest.domain import lines, overlap, reconciliation
from services.ingest.domain.contract import NUMBER, PARTY, Judge
from services.ingest.domain.delivery import Delivery, LakeFile, Problem, Reject, State
from services.ingest.domain.feed import Feed
from services.ingest.domain.identity import Ordinals, VaultKeys
from services.ingest.domain.overlap import Signature
from services.ingest.domain.reconciliation import EVENT_ID_REUSED, Tally
from services.ingest.lake.landing import Changed, Landing
from services.ingest.lake.parquet import ORDINAL, Lake, Spill, with_keys
from services.ingest.usecases import numbers, references
from services.ingest.usecases.deliveries import LOADED, to_payload
from services.ingest.usecases.telling import tell_events
from services.kit import jobs, outbox, telemetry
from services.kit.clock import Clock
from services.kit.db import Database, Write

_COMMIT_SECONDS = 120.0
_NUMBERS_AT_ONCE = 200_000
_TOLD_AT_ONCE = 50_000  # rows: as events they are ten times as large

Keys = npt.NDArray[np.int64]
"""Customer keys by ordinal."""

_log = structlog.get_logger(__name__)
_rows = telemetry.counter("lifecircle.ingest.rows", "{row}", "Rows of loaded deliveries, by feed and outcome.")


@dataclass
class _Judged:
    """What became of the rows of a file."""

    spill: Spill
    ordinals: Ordinals
    tally: Tally
    rejects: list[Reject]
    signature: Signature = field(default_factory=Signature)


class _ToldBefore(Exception):
    """The source of these lines told another event under the same id before; nothing of the transaction stays."""

    def __init__(self, told: list[int]) -> None:
        super().__init__(f"{len(told)} events were told before with another content")
        self.lines = told


class Turns:
    """Loads of one process pass in the order in which they began: so keys are assigned in the order of the feeds.

    A second worker has turns of its own: its loads and these assign in whatever order they come, and a key may differ
    from the one that a single worker would have given. Keys stay dense, and each number has one, in any case.
    """

    def __init__(self) -> None:
        self._last: asyncio.Event | None = None

    def next(self) -> "Turn":
        """A turn after all those that were given out before."""
        before, self._last = self._last, asyncio.Event()
        return Turn(before, self._last)


class Turn:
    """Wait for it by `come()`; give it on by `over()`, whatever happened."""

    def __init__(self, before: asyncio.Event | None, done: asyncio.Event) -> None:
        self._before = before
        self._done = done

    async def come(self) -> None:
        """Wait until all turns before are over."""
        if self._before is not None:
            await self._before.wait()

    def over(self) -> None:
        """Let the next one come, as soon as those before are over too."""
        before = self._before
        if before is None or before.is_set():
            self._done.set()
        else:
            task = asyncio.ensure_future(before.wait())
            task.add_done_callback(lambda _: self._done.set())


class Load:
    """Loads deliveries as jobs."""

    def __init__(
        self,
        db: Database,
        deliveries: store.Deliveries,
        feeds: store.Feeds,
        identities: store.Identities,
        event_log: store.Events,
        landing: Landing,
        lake: Lake,
        keys: VaultKeys,
        zone: str,
        clock: Clock,
    ) -> None:
        self._db = db
        self._deliveries = deliveries
        self._feeds = feeds
        self._identities = identities
        self._events = event_log
        self._landing = landing
        self._lake = lake
        self._keys = keys
        self._zone = zone
        self._clock = clock
        self._turns = Turns()

    async def load(self, running: jobs.Running) -> None:
        """The handler of the job `load`: its spec names a delivery and its control file."""
        delivery_id, control = running.job.spec["delivery_id"], running.job.spec["control"]
        turn = self._turns.next()
        try:
            async with self._db.begin() as tx:
                delivery = await self._deliveries.get(tx, delivery_id)
                assert delivery is not None, "a delivery is never removed"
                revision = await self._feeds.revision(tx, delivery.feed_id, delivery.revision)
                assert revision is not None, "a revision is never removed"
                await self._deliveries.set_loading(tx, delivery_id)
                await tx.commit()
            spill = await asyncio.to_thread(self._lake.spill, delivery_id)
            try:
                await self._load(running, revision.feed, delivery, control, spill, turn)
            finally:
                await asyncio.to_thread(spill.discard)
        finally:
            turn.over()

    async def tidy(self) -> None:
        """Remove the judged rows of loads that are over: a process may die between its commit and that."""
        for delivery_id in await asyncio.to_thread(self._lake.spilled):
            async with self._db.read() as read:
                delivery = await self._deliveries.get(read, delivery_id)
            if delivery is None or delivery.state not in (State.RECEIVED, State.LOADING):
                await asyncio.to_thread(self._lake.discard, delivery_id)

    async def _load(
        self, running: jobs.Running, feed: Feed, delivery: Delivery, control: str, spill: Spill, turn: Turn
    ) -> None:
        try:
            known = await references.known(self._db, self._deliveries, self._lake, feed)
            if missing := sorted(set(feed.references) - set(known)):
                await self._hold(running, delivery, _not_loaded(feed, missing[0]))
                return
            judged = await self._judge(running, feed, delivery, control, spill, known)
        except Changed:
            message = "the file was changed while it was read; send it again"
            await self._hold(running, delivery, Problem("CHANGED_WHILE_READ", message))
            return
        problem = judged.tally.verdict(feed, delivery.source_rows) or await self._difference(
            feed, delivery, control, judged.tally
        )
        if problem is not None:
            await self._hold(running, delivery, problem)
            return
        await turn.come()
        keys = await self._assign(judged.ordinals)
        turn.over()
        told: list[int] = []
        while True:  # once, but for rows whose source told another event under the same id before
            files = await asyncio.to_thread(self._lake.write, feed, delivery, spill, keys, told)
            try:
                await self._commit(running, feed, delivery, judged, keys, files)
                return
            except _ToldBefore as before:
                told += before.lines
                await self._reject_told(feed, delivery, judged, before.lines)
            if problem := judged.tally.verdict(feed, delivery.source_rows):
                await self._hold(running, delivery, problem)
                return

    async def _difference(self, feed: Feed, delivery: Delivery, control: str, tally: Tally) -> Problem | None:
        """The first control total that is not that of the rows."""
        if not feed.control.totals or not control:
            return None
        content = await asyncio.to_thread(self._landing.taken_control, delivery.delivery_id, control)
        stated = reconciliation.read_control(content, feed.control)
        if isinstance(stated, Problem):
            return stated
        return next(iter(tally.differences(stated)), None)

    async def _judge(
        self,
        running: jobs.Running,
        feed: Feed,
        delivery: Delivery,
        control: str,
        spill: Spill,
        known: Mapping[str, pl.Series],
    ) -> _Judged:
        """Judge the file batch by batch; ends early when it is to be quarantined anyway."""
        assert delivery.period is not None
        judged = _Judged(spill, Ordinals(), Tally(), [])
        judge = Judge(feed, delivery.period, self._zone, known)
        blocks = self._landing.blocks(delivery.file_name, control, delivery.delivery_id, delivery.sha256)
        batches = lines.without_head(lines.batches(blocks), header=feed.header)
        while await asyncio.to_thread(self._judge_next, batches, feed, judge, delivery, judged):
            rows = judged.tally.loaded + judged.tally.rejected
            await running.progress(rows, delivery.source_rows, rejected=judged.tally.rejected)
            if judged.tally.verdict(feed, delivery.source_rows) is not None:
                return judged
        found = judged.tally.loaded + judged.tally.rejected
        assert found == delivery.source_rows, f"{found} rows were judged, {delivery.source_rows} were sent"
        return judged

    def _judge_next(
        self, batches: Iterator[lines.Batch], feed: Feed, judge: Judge, delivery: Delivery, judged: _Judged
    ) -> bool:
        batch = next(batches, None)
        if batch is None:
            return False
        names = [column.name for column in feed.columns]
        split = lines.split(batch, encoding=feed.encoding, delimiter=feed.delimiter, names=names)
        result = judge.judge(split.rows)
        judged.signature.add(split.text)
        judged.tally.sum(split.rows, feed.control.totals)
        bad = pl.concat([split.broken, result.bad]).sort("line")
        judged.tally.add(result.good.height, bad)
        judged.rejects += self._rejects(feed, delivery.delivery_id, batch, bad)
        rows = result.good.with_columns(self._keys.pseudonyms(result.good[name]) for name in feed.parties)
        if NUMBER in rows.columns:
            if feed.target.customers:  # what his number is as the other end of a call: it joins calls to customers
                own = self._keys.pseudonyms(rows[NUMBER].cast(pl.String)).alias(PARTY)
                rows = rows.insert_column(rows.width - 1, own)
            ordinals = judged.ordinals.take(rows[NUMBER]).alias(ORDINAL)
            rows = rows.drop(NUMBER).insert_column(0, ordinals)
        judged.spill.add(rows)
        return True

    def _rejects(self, feed: Feed, delivery_id: str, batch: lines.Batch, bad: pl.DataFrame) -> list[Reject]:
        raw = lines.raw_lines(batch, bad["line"].to_list())
        return [
            Reject(
                line, column, reason, reconciliation.explain(feed, column, reason), self._seal(delivery_id, line, row)
            )
            for (line, column, reason), row in zip(bad.select("line", "column", "reason").rows(), raw, strict=True)
        ]

    def _seal(self, delivery_id: str, line: int, raw: bytes) -> bytes:
        return self._keys.seal(raw, f"reject {delivery_id} {line}".encode(), secrets.token_bytes)

    async def _assign(self, ordinals: Ordinals) -> Keys:
        """Customer keys by ordinal; new numbers get theirs for ever, also when this load does not come to its end."""
        starts = range(0, ordinals.count(), _NUMBERS_AT_ONCE)
        parts = [await self._assign_some(ordinals.numbers(start, _NUMBERS_AT_ONCE)) for start in starts]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])

    async def _assign_some(self, batch: list[str]) -> Keys:
        known = await numbers.assigned(self._db, self._identities, self._keys, batch)
        return np.array([known[number] for number in batch], dtype=np.int64)

    async def _reject_told(self, feed: Feed, delivery: Delivery, judged: _Judged, told: list[int]) -> None:
        """Reject the rows whose source told another event under the same id before."""
        raw = await asyncio.to_thread(self._raw, delivery, told)
        assert feed.target.event is not None
        column = feed.target.event.id[0]
        message = reconciliation.explain(feed, column, EVENT_ID_REUSED)
        for line in told:
            sealed = self._seal(delivery.delivery_id, line, raw[line])
            judged.rejects.append(Reject(line, column, EVENT_ID_REUSED, message, sealed))
        judged.tally.loaded -= len(told)
        judged.tally.add(0, pl.DataFrame({"line": told, "reason": [EVENT_ID_REUSED] * len(told)}))

    def _raw(self, delivery: Delivery, wanted: list[int]) -> dict[int, bytes]:
        """Lines of a taken file as they came."""
        found: dict[int, bytes] = {}
        blocks = self._landing.blocks(delivery.file_name, "", delivery.delivery_id, delivery.sha256)
        for batch in lines.batches(blocks):
            here = [line for line in wanted if batch.first <= line < batch.first + batch.lines]
            found |= zip(here, lines.raw_lines(batch, here), strict=True)
        return found

    async def _commit(
        self,
        running: jobs.Running,
        feed: Feed,
        delivery: Delivery,
        judged: _Judged,
        keys: Keys,
        files: list[LakeFile],
    ) -> None:
        tally = judged.tally
        loaded = replace(
            delivery,
            state=State.LOADED,
            loaded_rows=tally.loaded,
            rejected_rows=tally.rejected,
            load_time=self._clock(),
        )
        signature = judged.signature.value()
        async with self._db.begin(statement_seconds=_COMMIT_SECONDS) as tx:
            old = await self._deliveries.in_force_for_update(tx, loaded)
            if old is not None and old.delivery_no > delivery.delivery_no:
                loaded = replace(loaded, state=State.SUPERSEDED)  # a later correction was faster
            elif old is not None:
                await self._deliveries.set_superseded(tx, old.delivery_id)
            loaded = replace(loaded, notes=await self._overlaps(tx, loaded, signature))
            await self._deliveries.set_loaded(tx, loaded, signature)
            await self._deliveries.add_files(tx, files)
            await self._deliveries.add_rejects(tx, delivery.delivery_id, judged.rejects, self._keys.version)
            if loaded.state is State.LOADED:
                await self._tell(tx, feed, loaded, old, judged, keys)
            await running.succeed(tx, source=delivery.source_rows, loaded=tally.loaded, rejected=tally.rejected)
            await tx.commit()
        await asyncio.to_thread(self._landing.archive, delivery.delivery_id, feed.feed_id)
        _log.info("delivery_loaded", delivery=delivery.delivery_id, file=delivery.file_name, rows=tally.loaded)
        _rows(tally.loaded, feed=feed.feed_id, outcome="loaded")
        _rows(tally.rejected, feed=feed.feed_id, outcome="rejected")

    async def _overlaps(self, tx: Write, loaded: Delivery, signature: bytes) -> tuple[Problem, ...]:
        """What is to be said of rows that were also sent under another sequence of the period."""
        assert loaded.period is not None
        if loaded.replay_of:
            return ()
        notes = [
            overlap.note(overlap.share(signature, other), loaded.source_rows, name, loaded.period)
            for name, other in await self._deliveries.signatures(tx, loaded)
        ]
        return tuple(note for note in notes if note)

    async def _tell(
        self, tx: Write, feed: Feed, loaded: Delivery, old: Delivery | None, judged: _Judged, keys: Keys
    ) -> None:
        """What others learn of it: events, where customers belong, the delivery itself."""
        if feed.target.customers:
            await self._deliveries.put_customers(tx, loaded, _placed(judged.spill, keys))
            if old is not None:
                await self._deliveries.drop_customers(tx, old.delivery_id)
        if feed.target.event is not None:
            left_out = [each.line for each in judged.rejects if each.reason == EVENT_ID_REUSED]
            rows = partial(_staged, feed, judged.spill, keys, left_out)
            late = await tell_events(self._events, tx, feed, loaded, rows, fresh=old is None and not left_out)
            if late:
                raise _ToldBefore(late)
        await outbox.put(tx, LOADED, loaded.delivery_id, to_payload(loaded))

    async def _hold(self, running: jobs.Running, delivery: Delivery, problem: Problem) -> None:
        async with self._db.begin() as tx:
            await self._deliveries.set_quarantined(tx, delivery.delivery_id, [problem])
            await running.succeed(tx, message=problem.reason, source=delivery.source_rows, loaded=0)
            await tx.commit()
        await asyncio.to_thread(self._landing.hold, delivery.delivery_id)
        _log.info("delivery_quarantined", delivery=delivery.delivery_id, file=delivery.file_name, reason=problem.reason)


def _not_loaded(feed: Feed, column: str) -> Problem:
    other, _ = feed.references[column]
    message = f"{column} refers to the feed {other}, of which nothing is loaded; send that one first, then this again"
    return Problem("REFERENCE_NOT_LOADED", message)


def _staged(feed: Feed, spill: Spill, keys: Keys, left_out: list[int]) -> Iterator[pl.DataFrame]:
    for frame in spill.parts():
        for some in frame.iter_slices(_TOLD_AT_ONCE):
            rows = events.from_rows(with_keys(some, keys), feed)
            yield rows.filter(~pl.col("line").is_in(left_out)) if left_out else rows


def _placed(spill: Spill, keys: Keys) -> Iterator[tuple[int, str, str]]:
    for frame in spill.parts():
        yield from with_keys(frame, keys).select("customer_key", "org_id", "status").iter_rows()
