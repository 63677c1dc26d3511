"""The outbox: every committed fact is given to every follower, in one order, and none is lost by committing late."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection

import pytest
from sqlalchemy import text

from services.kit import log, outbox, telemetry
from services.kit.db import Database
from services.kit.errors import Refusal
from services.kit.outbox import Checkpoint, Event
from tests.fixtures.counts import seeds
from tests.fixtures.postgres import Databases

Item = Event | Checkpoint


@pytest.fixture(autouse=True)
async def empty(db: Database) -> None:
    async with db.begin() as tx:
        await tx.execute(text("DELETE FROM outbox"))
        await tx.commit()


async def put(db: Database, *keys: str, kind: str = "noted") -> None:
    async with db.begin() as tx:
        for key in keys:
            await outbox.put(tx, kind, key, {"key": key, "名": "字"})
        await tx.commit()


async def take(items: AsyncIterator[Item], count: int, seconds: float = 5.0) -> list[Item]:
    """The next `count` items."""
    async with asyncio.timeout(seconds):
        return [await anext(items) for _ in range(count)]


def follow(
    db: Database, cursor: str = "", kinds: Collection[str] | None = None, quiet: float = 60
) -> AsyncIterator[Item]:
    return outbox.follow(db, cursor=cursor, kinds=kinds, poll=0.01, checkpoint_every=quiet)


def keys(items: list[Item]) -> list[str]:
    return [item.key for item in items if isinstance(item, Event)]


async def nothing_comes(items: AsyncIterator[Item], seconds: float = 0.15) -> bool:
    waiting = asyncio.ensure_future(anext(items))
    done, _ = await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return not done


async def test_facts_come_in_the_order_written_and_whole(db: Database) -> None:
    await put(db, "a", "b")
    await put(db, "c")
    found = await take(follow(db), 3)
    assert keys(found) == ["a", "b", "c"]
    first = found[0]
    assert isinstance(first, Event)
    assert (first.kind, first.payload) == ("noted", {"key": "a", "名": "字"})


async def test_a_follower_resumes_just_after_its_cursor(db: Database) -> None:
    await put(db, "a", "b", "c")
    first = (await take(follow(db), 1))[0]
    assert keys(await take(follow(db, first.cursor), 2)) == ["b", "c"]


async def test_facts_that_are_written_later_reach_a_follower_that_waits(db: Database) -> None:
    items = follow(db)
    waiting = asyncio.create_task(take(items, 1))
    await asyncio.sleep(0.05)
    await put(db, "late")
    assert keys(await waiting) == ["late"]


async def test_a_fact_that_is_rolled_back_never_was(db: Database) -> None:
    async with db.begin() as tx:
        await outbox.put(tx, "noted", "never", {})
    await put(db, "real")
    assert keys(await take(follow(db), 1)) == ["real"]


async def test_a_fact_that_commits_late_is_not_lost(db: Database) -> None:
    """With `id > cursor` alone "early" would be passed over: its id is the smaller one, its commit the later."""
    async with db.begin() as slow:
        await outbox.put(slow, "noted", "early", {})
        await put(db, "quick")
        items = follow(db)
        assert await nothing_comes(items), "what is behind an open transaction is not final yet"
        await slow.commit()
    assert keys(await take(follow(db), 2)) == ["early", "quick"]


async def test_what_is_before_an_open_transaction_is_given_out_at_once(db: Database) -> None:
    await put(db, "before")
    async with db.begin() as slow:
        await outbox.put(slow, "noted", "open", {})
        assert keys(await take(follow(db), 1)) == ["before"]


async def test_only_the_kinds_asked_for_come(db: Database) -> None:
    await put(db, "a", kind="apple")
    await put(db, "b", kind="pear")
    await put(db, "c", kind="plum")
    assert keys(await take(follow(db, kinds={"apple", "plum"}), 2)) == ["a", "c"]


async def test_a_quiet_stream_gives_checkpoints_that_pass_over_what_was_not_asked_for(db: Database) -> None:
    await put(db, "a", kind="apple")
    checkpoint = (await take(follow(db, kinds={"pear"}, quiet=0.05), 1))[0]
    assert isinstance(checkpoint, Checkpoint)
    await put(db, "b", kind="apple")
    assert keys(await take(follow(db, checkpoint.cursor), 1)) == ["b"]


async def test_a_fact_written_while_a_checkpoint_was_given_out_comes_after_it(db: Database) -> None:
    async with db.begin() as slow:
        await outbox.put(slow, "noted", "open", {})
        checkpoint = (await take(follow(db, quiet=0.02), 1))[0]
        await slow.commit()
    assert keys(await take(follow(db, checkpoint.cursor), 1)) == ["open"]


async def test_more_facts_than_one_look_takes_all_come(db: Database) -> None:
    await put(db, *map(str, range(1203)))
    assert keys(await take(follow(db), 1203)) == [str(n) for n in range(1203)]


async def test_facts_of_transactions_that_overlapped_come_transaction_by_transaction(db: Database) -> None:
    """Also across the looks: their ids interleave, and more of them are there than one look takes."""
    async with db.begin() as one, db.begin() as two:
        for n in range(300):
            await outbox.put(one, "noted", f"one {n}", {})
            await outbox.put(two, "noted", f"two {n}", {})
        await two.commit()
        await one.commit()
    assert keys(await take(follow(db), 600)) == [f"{tx} {n}" for tx in ("one", "two") for n in range(300)]


async def test_the_stream_ends_when_it_is_told_to(db: Database) -> None:
    stop = asyncio.Event()
    items = outbox.follow(db, cursor="", kinds=None, stop=stop, poll=30)
    waiting = asyncio.create_task(take(items, 1))
    await asyncio.sleep(0.05)
    stop.set()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 15)


@pytest.mark.parametrize("cursor", ["x", "not a cursor", "====", "é", "MDAwMDAwMDAuMS4x", "A" * 5000])
async def test_what_is_no_cursor_is_refused(db: Database, cursor: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await take(follow(db, cursor), 1)
    assert refusal.value.reason == "CURSOR_INVALID"


async def test_a_cursor_of_another_service_is_refused(db: Database, databases: Databases) -> None:
    await put(db, "a")
    other = await Database.open(databases.empty("other").url, schema="other", application="tests")
    cursor = (await take(follow(db), 1))[0].cursor
    with pytest.raises(Refusal, match="not a position in this stream"):
        await take(follow(other, cursor), 1)
    await other.close()


async def test_a_cursor_ahead_of_the_log_is_refused(db: Database) -> None:
    """As after a restore from an older copy: going on from there would silently miss what is written next."""
    ahead = log.encode((1 << 40, 1), db.schema)
    with pytest.raises(Refusal, match="not a position in this stream"):
        await take(follow(db, ahead), 1)


async def test_the_trace_that_wrote_a_fact_travels_with_it(db: Database) -> None:
    with telemetry.span("writing"):
        wrote = telemetry.traceparent()
        await put(db, "a")
    found = (await take(follow(db), 1))[0]
    assert isinstance(found, Event)
    assert found.traceparent == wrote


@pytest.mark.parametrize("seed", seeds(4, 40))
async def test_followers_that_come_and_go_see_every_fact_once_and_in_one_order(db: Database, seed: int) -> None:
    """Writers of random length, some of which fail; a follower that is cut off at random and resumes."""
    chance = random.Random(seed)
    committed: set[str] = set()

    async def write(writer: int) -> None:
        for n in range(6):
            written = [f"{writer}.{n}.{i}" for i in range(chance.randint(1, 3))]
            async with db.begin() as tx:
                for key in written:
                    await outbox.put(tx, "noted", key, {})
                    await asyncio.sleep(chance.choice([0, 0, 0.002, 0.01]))
                if chance.random() < 0.8:
                    await tx.commit()
                    committed.update(written)

    async def read() -> list[str]:
        seen: list[str] = []
        cursor = ""
        while not (writing.done() and set(seen) >= committed):
            items = follow(db, cursor, quiet=0.02)
            for _ in range(chance.randint(1, 8)):
                item = (await take(items, 1))[0]
                cursor = item.cursor
                seen += keys([item])
        return seen

    writing = asyncio.gather(*(write(w) for w in range(4)))
    one, two = await asyncio.gather(read(), read())
    assert sorted(one) == sorted(committed)
    assert one == two
