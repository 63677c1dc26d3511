"""The journal's end in memory: what is handed on there is what the table says, whoever dies, lags or takes over."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.kit import cursors
from services.kit.cursors import Followed
from services.kit.db import Database, Read, Write
from services.portrait.domain.moment import Counted, Engine, Event, EventMatch, Happened, Pattern, Rule, Sequence, Test
from services.portrait.domain.tag import Catalogue
from services.portrait.store import Moments, Partitions
from services.portrait.store.days import KeptDays
from services.portrait.store.forgetting import Forgotten
from services.portrait.store.moments import Journalled
from services.portrait.usecases import Matching, Pace
from services.portrait.usecases.forgetting import Forgetting
from services.portrait.usecases.journal import Tail
from services.portrait.worker import Peers, Worker
from tests.fixtures.counts import FULL, seeds
from tests.kit.chaos import Mortal, live_and_die
from tests.portrait.test_matching import TABLES, Here, now

PACE = Pace(partitions=4, lease_seconds=0.4, look_seconds=0.1, snapshot_events=20, snapshot_seconds=0.3)
Told: TypeAlias = list[tuple[Event, int]]


def at(seq: int) -> Journalled:
    return Journalled(seq, 0, Event(f"e{seq}", "a.b", 1, seq, {}))


STEPS = st.lists(
    st.tuples(st.sampled_from(("ours", "ours", "ours", "lost", "other", "gap", "read", "read")), st.integers(1, 6)),
    max_size=60,
)


@settings(max_examples=5000 if FULL else 200, deadline=None)
@given(STEPS, st.integers(3, 20))
def test_memory_and_table_together_are_the_journal_without_a_gap_or_a_repetition(
    steps: list[tuple[str, int]], most: int
) -> None:
    """Pages of ours, pages that were lost after their commit, those of others, numbers that no event has; and a reader
    that asks the table only when memory says nothing."""
    tail, table, seen, seq, place = Tail(most), list[Journalled](), list[int](), 0, 0
    for what, size in [*steps, ("read", 1), *[("read", 6)] * 400]:
        if what == "read":
            page, more = tail.after(place, size)
            if not page:
                page = [one for one in table if one.seq > place][:size]
                assert not more
            new = [one.seq for one in page if one.seq > place]
            assert new or not page, "what it gives is new, if it gives anything"
            assert not more or new[-1] < table[-1].seq
            seen += new
            place = new[-1] if new else place
        elif what == "gap":
            seq += size
        else:
            before, page = table[-1].seq if table else 0, [at(seq + n + 1) for n in range(size)]
            seq += size
            table += page
            if what == "ours":
                tail.put(before, page)
    assert seen == [one.seq for one in table]


def test_who_lags_too_far_behind_finds_nothing_in_memory_until_he_caught_up() -> None:
    tail = Tail(6)
    for first in (1, 4, 7):
        tail.put(first - 1, [at(first + n) for n in range(3)])
    assert tail.after(0, 10) == ([], False)
    assert [one.seq for one in tail.after(3, 3)[0]] == [4, 5, 6]
    assert tail.after(3, 3)[1]
    assert [one.seq for one in tail.after(5, 10)[0]] == [4, 5, 6, 7, 8, 9]
    tail.clear()
    assert tail.after(5, 10) == ([], False)


@pytest.fixture
async def here(db: Database, catalogue: Catalogue, tmp_path: Path) -> Here:
    async with db.begin() as tx:
        for table in (*TABLES, "consumer_cursor"):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()
    return Here(db, catalogue, tmp_path)


async def test_a_page_is_told_in_the_order_of_its_places_and_what_stood_before_it(here: Here) -> None:
    """The chain that memory is joined by: the highest place of before the statement, and the page's own."""
    moments, ends = Moments(), [0]
    for size in (1, 700, 3):
        page = [here.event(number % 9 + 1, "a.b", n=str(number)) for number in range(size)]
        async with here.db.begin() as tx:
            before, seqs = await moments.journal(tx, [(event, event.time) for event in page])
            await tx.commit()
        assert (before, seqs) == (ends[-1], sorted(seqs))
        async with here.db.read() as read:
            stored = await moments.read_on(read, before, 1000)
        assert stored == [Journalled(seq, event.time, event) for seq, event in zip(seqs, page, strict=True)]
        ends.append(seqs[-1])


def rules() -> list[Rule]:
    fee = EventMatch(("behaviour.web",), (Test("page", "one_of", ("fee",)),))
    net = EventMatch(("internet.access",))
    patterns: tuple[Pattern, ...] = (Happened(fee), Sequence((fee, net), 60_000), Counted(fee, 3, 600_000))
    return [Rule(f"r{number}", 1, pattern) for number, pattern in enumerate(patterns)]


def stream(dice: random.Random, pages: int) -> list[Told]:
    """Pages of events of a dozen customers, some out of order and some told twice."""
    start, made = int(now().timestamp() * 1000) - 1000, list[Event]()
    for number in range(pages * 6):
        kind, page = dice.choice((("behaviour.web", "fee"), ("behaviour.web", "news"), ("internet.access", "")))
        when = start + number - dice.choice((0, 0, 0, 5))
        made.append(Event(f"e{number}", kind, dice.randrange(1, 13), when, {"page": page}))
        if dice.random() < 0.05:
            made.append(dice.choice(made))
    told = [(event, start + 1000) for event in made]
    return [told[first : first + 6] for first in range(0, len(told), 6)]


def expected(pages: list[Told]) -> set[tuple[str, int, str]]:
    engine = Engine()
    engine.set_rules(rules())
    found = [match for page in pages for event, received in page for match in engine.apply(event, received)]
    return {(match.rule_id, match.customer_key, match.start_event_id) for match in found}


async def in_force(here: Here) -> None:
    async with here.db.begin() as tx:
        for rule in rules():
            await Moments().put_rule(tx, rule, None, "me", now())
            await Moments().activate(tx, rule.rule_id, 1, 0)
        await tx.commit()


async def behind(here: Here) -> bool:
    """Whether a partition has not read the whole journal, or there is none yet."""
    async with here.db.read() as read:
        places = await read.value(text("SELECT min(seq) FROM moment_partition"))
        last = await read.value(text("SELECT max(seq) FROM moment_event"))
    return places is None or last is None or bool(places < last)


async def stands_at(here: Here, cursor: str) -> bool:
    async with here.db.read() as read:
        return bool(cursor == await read.value(text("SELECT cursor FROM consumer_cursor")))


async def found(here: Here) -> set[tuple[str, int, str]]:
    async with here.db.read() as read:
        rows = await read.rows(text("SELECT rule_id, customer_key, start_event_id FROM moment"))
    assert len({tuple(row) for row in rows}) == len(rows)
    return {(row.rule_id, row.customer_key, row.start_event_id) for row in rows}


@pytest.mark.parametrize("seed", seeds(3, 30))
async def test_nothing_is_lost_or_found_twice_when_who_journals_and_who_matches_die(here: Here, seed: int) -> None:
    """R003-016: two places journal in turn and match both, one matches only. Processes die and freeze before and after
    every commit, and so between the commit of a page and its hand-over; some pages are never handed over."""
    chance, stop = random.Random(seed), asyncio.Event()
    pages = stream(chance, 40)
    await in_force(here)

    async def watch(cursor: str) -> AsyncIterator[Followed[Told]]:
        for number, page in enumerate(pages[int(cursor or 0) :], int(cursor or 0)):
            await asyncio.sleep(0.01)
            yield Followed(str(number + 1), page)
        await stop.wait()

    async def life(process: Mortal, owner: str, *, journals: bool) -> None:
        matching = Matching(process, Moments(), Partitions(), here.desk, now, PACE)
        matching.journal.tail = Tail(40)

        async def take(tx: Write, told: Told) -> Callable[[], None] | None:
            committed = await matching.journal.take(tx, told)
            return committed if chance.random() < 0.9 else None

        work = [asyncio.create_task(matching.run(owner, stop))]
        if journals:
            follow = cursors.follow(
                process, consumer="events", owner=owner, watch=watch, handle=take, stop=stop, lease_seconds=0.4
            )
            work.append(asyncio.create_task(follow))
        try:
            await asyncio.gather(*work)
        finally:
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def place(name: str, *, journals: bool) -> int:
        deaths = 0
        while not stop.is_set():
            death = 0.2 if name == "a" and not deaths else 0.01  # one dies soon, for certain
            process = Mortal(here.db, chance, death=death, freeze=0.01, frozen=0.6)
            deaths += await live_and_die(life(process, f"{name}{deaths}", journals=journals))
        return deaths

    places = asyncio.gather(place("a", journals=True), place("b", journals=True), place("c", journals=False))
    async with asyncio.timeout(120):
        while not await stands_at(here, str(len(pages))) or await behind(here):
            await asyncio.sleep(0.1)
        stop.set()
        deaths = sum(await places)
    async with here.db.read() as read:
        journalled = await read.value(text("SELECT count(*) FROM moment_event"))
        said = await read.value(text("SELECT count(*) FROM outbox WHERE kind = 'moment.found'"))
    assert journalled == sum(map(len, pages))
    assert await found(here) == expected(pages)
    assert said == len(expected(pages))
    assert deaths > 0


class Asked(Moments):
    """How many events the table was asked for."""

    given = 0

    async def read_on(self, read: Read, after: int, most: int) -> list[Journalled]:
        page = await super().read_on(read, after, most)
        self.given += len(page)
        return page


@pytest.mark.parametrize("lost", [None, 0, 1])
async def test_who_journals_reads_only_what_was_not_handed_over_back(here: Here, lost: int | None) -> None:
    """One page of three was lost after its commit, or none was."""
    await in_force(here)
    pages, stop, moments = stream(random.Random(1), 3), asyncio.Event(), Asked()
    matching = Matching(here.db, moments, Partitions(), here.desk, now, PACE)
    for number, page in enumerate(pages):
        async with here.db.begin() as tx:
            committed = await matching.journal.take(tx, page)
            await tx.commit()
        assert committed is not None
        if number != lost:
            committed()
    running = asyncio.create_task(matching.run("one", stop))
    async with asyncio.timeout(60):
        while await behind(here):
            await asyncio.sleep(0.05)
    stop.set()
    await running
    assert await found(here) == expected(pages)
    # Behind what is known in memory comes the table, and it gives all that there is.
    assert moments.given == {None: 0, 0: sum(map(len, pages)), 1: sum(map(len, pages[1:]))}[lost]


async def test_who_is_erased_is_handed_on_by_nobody(here: Here) -> None:
    """What the table lost in the transaction that forgets him, memory does not keep: neither the pages before it nor
    the one that tells of it."""
    pages: list[Told] = [[(here.event(7, "a.b"), 1), (here.event(8, "a.b"), 1)]]
    pages.append([(here.event(7, "a.b"), 2), (here.event(7, "subject.erased"), 2), (here.event(8, "a.b"), 2)])
    pages.append([(here.event(8, "a.b"), 3)])
    matching = Matching(here.db, Moments(), Partitions(), here.desk, now, PACE)
    stop, known = asyncio.Event(), list[list[int]]()

    async def watch(cursor: str) -> AsyncIterator[Followed[Told]]:
        for number, page in enumerate([*pages, None], 1):
            known.append([one.event.customer_key for one in matching.journal.tail.after(place, 100)[0]])
            yield Followed(str(number), page)
        await stop.wait()

    nobody: Any = None
    worker = Worker(
        here.db, nobody, nobody, nobody, matching, nobody, Peers(watch), "me", now,
        forgetting=Forgetting(Forgotten(), KeptDays(), 8, now),
    )  # fmt: skip
    async with here.db.begin() as tx:
        [place] = (await Moments().journal(tx, [(here.event(1, "a.b"), 0)]))[1]
        await tx.commit()
    following = asyncio.create_task(worker.follow_events(stop))
    async with asyncio.timeout(60):
        while not await stands_at(here, "4"):
            await asyncio.sleep(0.02)
    stop.set()
    await following
    async with here.db.read() as read:
        left = [one.event.customer_key for one in await Moments().read_on(read, place, 100)]
    assert left == [8, 8, 8]
    assert known == [[], [7, 8], [], []]  # behind a gap: the table is asked
