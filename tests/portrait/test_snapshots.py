"""What a partition learnt, kept: read by whoever goes on, whatever version wrote it."""

import asyncio
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.kit.db import Database, Write
from services.portrait.domain.moment import Absent, Counted, Engine, Event, EventMatch, Rule, Sequence, Test
from services.portrait.domain.moment.codec import packed, squeezed, unpacked
from services.portrait.domain.tag import Catalogue
from services.portrait.store import Moments, Partitions
from services.portrait.usecases import Matching
from tests.portrait.test_matching import PACE, TABLES, Here, Silent, now
from tests.portrait.test_moment import HOUR, MINUTE

KEPT_BEFORE = (
    r'{"now":3000,"slots":[[{"types":["behaviour.web"],"tests":[{"field":"page","kind":"one_of",'
    r'"values":["\u8bdd\u8d39"],"least":null,"most":null},{"field":"kb","kind":"between","values":[],"least":0.5,'
    r'"most":null}]},3660002],[{"types":["internet.access"],"tests":[]},3660002]],'
    r'"histories":[[7,[[0,[[1000,"\u98751"]]],[1,[[2000,"n1"]]]]],[8,[[0,[[3000,"w2"]]]]]],'
    r'"matched":[[7,[["seq",[[2000,1,"\u98751"]]]]]],'
    r'"timers":[[61001,7,"gap",2,61000],[63001,8,"gap",2,63000]]'
)
"""What engines that learnt the same as `test_a_snapshot_of_before_is_read` wrote when snapshots were first kept."""


@pytest.mark.parametrize("rules_too", [True, False])
def test_a_snapshot_of_before_is_read(rules_too: bool) -> None:
    """What lies in the table was written by an earlier version, the earliest of which did not tell the rules."""
    page = (Test("page", "one_of", ("话费",)), Test("kb", "between", (), 0.5))
    fee, online = EventMatch(("behaviour.web",), page), EventMatch(("internet.access",))
    rules = [Rule("seq", 1, Sequence((fee, online), MINUTE)), Rule("gap", 2, Absent(fee, online, MINUTE))]
    engine = Engine()
    engine.set_rules(rules)
    engine.apply(Event("页1", "behaviour.web", 7, 1000, {"page": "话费", "kb": 1}), 1000)
    engine.apply(Event("n1", "internet.access", 7, 2000, {}), 2000)
    engine.apply(Event("w2", "behaviour.web", 8, 3000, {"page": "话费", "kb": 2}), 3000)
    told = KEPT_BEFORE + (',"rules":["gap","seq"]}' if rules_too else "}")
    before, learnt = unpacked(zlib.compress(told.encode())), engine.snapshot()
    assert before == learnt | {"rules": learnt["rules"] if rules_too else []}
    assert unpacked(squeezed(packed(learnt))) == learnt
    resumed = Engine()
    resumed.restore(before)
    resumed.set_rules(rules)
    assert resumed.advance(HOUR) == engine.advance(HOUR) != []


class Gate(Partitions):
    """Partitions whose snapshots wait to be written until the gate is opened."""

    def __init__(self, *, lost: bool = False) -> None:
        self.open = asyncio.Event()
        self.lost = lost
        self.waiting: list[int] = []

    async def keep(self, tx: Write, partition: int, epoch: int, seq: int, snapshot: bytes) -> bool:
        self.waiting.append(seq)
        await self.open.wait()
        if self.lost:
            raise ConnectionError
        return await super().keep(tx, partition, epoch, seq, snapshot)


@pytest.fixture
async def here(db: Database, catalogue: Catalogue, tmp_path: Path) -> Here:
    async with db.begin() as tx:
        for table in TABLES:
            await tx.execute(text(f"DELETE FROM {table}"))
        await Moments().put_rule(
            tx, Rule("thrice", 1, Counted(EventMatch(("behaviour.web",)), 3, HOUR)), None, "me", now()
        )
        await Moments().activate(tx, "thrice", 1, 0)
        await tx.commit()
    return Here(db, catalogue, tmp_path)


@pytest.mark.parametrize("written", [True, False])
async def test_matching_goes_on_while_a_snapshot_is_written_and_whoever_comes_next_begins_there(
    here: Here, written: bool
) -> None:
    """R003-016: it is of the place where it was taken, not of where the partition stands by now; the process dies with
    it written or on its way, and neither is a match lost nor one told twice."""
    gate, stop = Gate(lost=not written), asyncio.Event()
    first = Matching(here.db, Moments(), gate, here.desk, now, PACE)
    running = asyncio.create_task(first.run("first", stop))
    told, start = list[str](), int(now().timestamp() * 1000) - 1000

    async def tell() -> None:
        event = here.event(7, "behaviour.web")._replace(time=start + 10 * len(told))
        told.append(event.event_id)
        await here.tell([event])

    async def until(condition: Callable[[list[Any]], bool], query: str) -> list[Any]:
        async with asyncio.timeout(60):
            while True:
                async with here.db.read() as read:
                    rows = await read.rows(text(query))
                if condition(rows):
                    return list(rows)
                await asyncio.sleep(0.02)

    matches = "SELECT start_event_id FROM moment ORDER BY match_ms, start_ms"
    place = "SELECT seq, snapshot_seq, snapshot IS NOT NULL AS kept FROM moment_partition WHERE partition = 3"
    await tell()
    await tell()
    async with asyncio.timeout(60):
        while not gate.waiting:
            await asyncio.sleep(0.02)
    await tell()
    await tell()
    await until(lambda rows: len(rows) == 2, matches)  # found though the snapshot is not written yet
    [(seq, _, kept)] = await until(lambda rows: bool(rows), place)
    assert seq > gate.waiting[0]
    assert not kept
    if written:
        gate.open.set()
        [(_, snapshot_seq, _)] = await until(lambda rows: rows[0].kept, place)
        assert snapshot_seq in gate.waiting
    dead: Any = Silent()
    first._partitions = first._snapshots._partitions = dead
    running.cancel()
    stop.set()
    gate.open.set()
    await asyncio.gather(running, return_exceptions=True)
    async with here.worker("second"):
        await tell()
        rows = await until(lambda rows: len(rows) >= 3, matches)
    assert [row.start_event_id for row in rows] == told[:3]
    async with here.db.read() as read:
        assert await read.value(text("SELECT count(*) FROM outbox WHERE kind = 'moment.found'")) == 3


async def test_a_snapshot_on_its_way_never_comes_after_that_of_the_next_owner(here: Here) -> None:
    """The lease runs out while it is written: it is fenced by the epoch it was taken with."""
    gate = Gate()
    gate.open.set()
    async with here.db.begin() as tx:
        await gate.hello(tx, "one", 0.01, 1)
        [mine] = await gate.take(tx, "one", 0.01, 1, 1)
        await tx.commit()
    await asyncio.sleep(0.05)
    async with here.db.begin() as tx:
        [theirs] = await gate.take(tx, "two", 5, 1, 1)
        assert await gate.keep(tx, 0, theirs.epoch, 20, b"theirs")
        assert not await gate.keep(tx, 0, mine.epoch, 10, b"mine")
        await tx.commit()
    async with here.db.read() as read:
        row = await read.row(text("SELECT snapshot_seq, snapshot FROM moment_partition WHERE partition = 0"))
    assert row is not None
    assert tuple(row) == (20, b"theirs")
