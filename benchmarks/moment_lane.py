"""Moments end to end: PublishEvents → ingest's log → journal → leased partitions → WatchMoments, with real processes.

Events are published at a steady rate by this process. Latency is from when ingest received the event that completed a
match to when portrait found it, and to when this process heard of it on WatchMoments. Every match is compared with the
engine run over the same events in one go, and for some customers with the slow reference matcher of the tests.
`SECONDS=600 python -m benchmarks moment_lane` is the form of ten minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc.aio
import psutil
from google.protobuf.struct_pb2 import Struct
from rich.console import Console

from deploy.local import platform
from lifecircle.ingest.v1 import Event as Told
from lifecircle.ingest.v1 import IngestServiceStub, PublishEventsRequest
from lifecircle.portrait.v1 import (
    CreateMomentRuleRequest,
    MomentRule,
    PortraitServiceStub,
    PublishMomentRuleRequest,
    WatchMomentsRequest,
)
from services.portrait.api.moments import message
from services.portrait.domain.moment import Counted, Engine, Event, EventMatch, Happened, Rule, Sequence, Test
from services.portrait.domain.moment.pattern import matches_of
from tests.portrait.reference_matcher import Reference, passes

RATE, BATCH, CUSTOMERS, VALUES, RULES, SEED = 10_000, 500, 20_000, 400, 60, 7
SECONDS = int(os.environ.get("SECONDS", "120"))
PROBED, PROBED_MS = 60, 60_000
"""Customers of whom the slow reference is asked, and for how long from the first event on: its cost grows steeply."""
_PAGE = 20_000
_SETTLE_SECONDS = 9.0


def rules() -> list[Rule]:
    """Makes rules on values of their own; none by the clock, so that the outcome does not depend on the load."""
    dice = random.Random(SEED)

    def match(kind: str) -> EventMatch:
        return EventMatch((kind,), (Test("v", "one_of", (str(dice.randrange(VALUES)),)),))

    made = []
    for number in range(RULES):
        web, net = match("behaviour.web"), match("internet.access")
        pattern = (Happened(web), Sequence((web, EventMatch(net.types)), 600_000), Counted(web, 2, 3_600_000))[
            number % 3
        ]
        made.append(Rule(f"rule-{number}", 1, pattern, stale_after=7 * 86_400_000))
    return made


def _attributes() -> list[Struct]:
    made = []
    for value in range(VALUES):
        made.append(Struct())
        made[-1].update({"v": str(value), "host": "example.com"})
    return made


ATTRIBUTES = _attributes()
"""Made once, by value: the publisher has the same two cores as what is measured."""


def event(number: int, dice: random.Random) -> Told:
    """Makes one event that happens now."""
    told = Told(
        source="bench",
        source_event_id=f"b{number}",
        type=("behaviour.web", "internet.access")[number % 2],
        customer_key=dice.randrange(1, CUSTOMERS + 1),
        attributes=ATTRIBUTES[dice.randrange(VALUES)],
    )
    now = time.time_ns()
    told.occur_time.seconds, told.occur_time.nanos = now // 10**9, now % 10**9 // 10**6 * 10**6
    return told


async def published(stub: PortraitServiceStub) -> None:
    """Publishes the rules and waits until they are in force."""
    for rule in rules():
        told = MomentRule(rule_id=rule.rule_id, pattern=message(rule.pattern))
        told.stale_after.seconds = rule.stale_after // 1000
        await stub.CreateMomentRule(CreateMomentRuleRequest(rule=told, request_id=f"c {rule.rule_id}"))
        await stub.PublishMomentRule(PublishMomentRuleRequest(rule_id=rule.rule_id, request_id=f"p {rule.rule_id}"))
    await asyncio.sleep(3.0)


async def lane(state: Path, ingest: str, portrait: str, tokens: dict[str, str], console: Console) -> dict[str, Any]:
    """Publishes at the rate and listens; gives the rate that was reached and what was heard when."""
    heard: dict[str, float] = {}
    dice = random.Random(SEED)

    def headers(role: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {tokens[role]}"),)

    async with grpc.aio.insecure_channel(ingest) as to_ingest, grpc.aio.insecure_channel(portrait) as to_portrait:
        stub = PortraitServiceStub(_Called(to_portrait, headers("operator")))  # type: ignore[arg-type]
        await published(stub)

        async def listen() -> None:
            async for seen in stub.WatchMoments(WatchMomentsRequest()):
                if seen.HasField("moment"):
                    heard[seen.moment.moment_id] = time.time()

        async def batches() -> AsyncIterator[PublishEventsRequest]:
            began = time.perf_counter()
            for number in range(RATE * SECONDS // BATCH):
                if number % (10 * RATE // BATCH) == 0:
                    console.print(f"{number * BATCH} of {RATE * SECONDS} events, {len(heard)} matches heard of")
                due = began + number * BATCH / RATE
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                first = number * BATCH
                yield PublishEventsRequest(
                    batch_id=str(number), events=[event(first + each, dice) for each in range(BATCH)]
                )

        listening = asyncio.create_task(listen())
        began, written, used = time.perf_counter(), 0, spent(state)
        async for answer in IngestServiceStub(to_ingest).PublishEvents(batches(), metadata=headers("ingest")):
            written += answer.written
        took, before = time.perf_counter() - began, -1
        console.print(f"{written} events in {took:.1f} s")
        while len(heard) != before:
            before = len(heard)
            await asyncio.sleep(_SETTLE_SECONDS / 3)
        listening.cancel()
        used = {kind: seconds - used.get(kind, 0.0) for kind, seconds in spent(state).items()}
    each = {kind: round(1e6 * seconds / written, 1) for kind, seconds in used.items()}
    return {"events": written, "events_per_second": written / took, "cpu_us_per_event": each, "heard": heard}


class _Called:
    """A channel whose calls carry a token."""

    def __init__(self, channel: grpc.aio.Channel, headers: tuple[tuple[str, str], ...]) -> None:
        self._channel, self._headers = channel, headers

    def __getattr__(self, name: str) -> Any:
        shape = getattr(self._channel, name)
        return lambda *args, **kwargs: (
            lambda request, **rest: shape(*args, **kwargs)(request, metadata=self._headers, **rest)
        )


class Probe:
    """The slow reference over one customer: each rule by itself, of the events that one of its matches lets pass; no
    other can change what it says. A match rests on what came before it, so the first minute can be judged by itself."""

    def __init__(self) -> None:
        self._of_rule = [(Reference([rule]), list(matches_of(rule.pattern))) for rule in rules()]

    def apply(self, event: Event, received: int) -> None:
        """Takes one event."""
        for reference, matches in self._of_rule:
            if any(passes(event, match) for match in matches):
                reference.apply(event, received)

    @property
    def delivered(self) -> set[tuple[str, int, int, str]]:
        """(rule, version, time, first event) of what it found."""
        return {each for reference, _ in self._of_rule for each in reference.delivered}


async def judge(url: str, heard: dict[str, float]) -> dict[str, Any]:
    """Compares what was found with the engine in one go and the slow reference; gives the latencies too. The journal is
    read page by page: ten minutes are six million events."""
    connection = await asyncpg.connect(url)
    found = await connection.fetch("SELECT * FROM portrait.moment")
    until = await connection.fetchval("SELECT min(occur_ms) FROM portrait.moment_event") + PROBED_MS
    slow = {customer: Probe() for customer in random.Random(SEED).sample(range(1, CUSTOMERS + 1), PROBED)}
    received = {(row["customer_key"], row["match_ms"]): 0 for row in found}
    engine, expected, journalled = Engine(), set(), 0
    engine.set_rules(rules())
    async with connection.transaction():
        async for row in connection.cursor("SELECT * FROM portrait.moment_event ORDER BY seq", prefetch=_PAGE):
            journalled += 1
            when, fields = row["receive_ms"], {"v": row["fields"].partition('"v":"')[2].partition('"')[0]}
            one = Event(row["event_id"], row["type"], row["customer_key"], row["occur_ms"], fields)
            key = (one.customer_key, one.time)
            if key in received:
                received[key] = max(received[key], when)
            if one.customer_key in slow and one.time < until:
                slow[one.customer_key].apply(one, when)
            expected |= {match.match_id for match in engine.apply(one, when)}
    await connection.close()
    delivered = {(customer, *each) for customer, one in slow.items() for each in one.delivered}
    probes = {
        (row["customer_key"], row["rule_id"], row["version"], row["match_ms"], row["start_event_id"])
        for row in found
        if row["customer_key"] in slow and row["match_ms"] < until
    }
    known = [(row["moment_id"], received[row["customer_key"], row["match_ms"]], row["found_ms"]) for row in found]
    to_found = sorted(found_ms - when for _, when, found_ms in known)
    to_heard = sorted(1000 * heard[key] - when for key, when, _ in known if key in heard)
    by_minute: dict[int, list[float]] = defaultdict(list)
    for _, when, found_ms in known:
        by_minute[(when - until + PROBED_MS) // 60_000].append(found_ms - when)
    return {
        "journalled": journalled,
        "matches": len(found),
        "heard": len(heard),
        "differing_from_the_engine_in_one_go": len({row["moment_id"] for row in found} ^ expected),
        "differing_from_the_slow_reference": len(delivered ^ probes),
        "probed_by_the_slow_reference": f"{PROBED} customers for {PROBED_MS // 1000} s, {len(delivered)} matches",
        "event_to_match_ms": _quantiles(to_found),
        "event_to_watcher_ms": _quantiles(to_heard),
        "event_to_match_p99_ms_by_minute": [_quantiles(sorted(by_minute[each]))["p99"] for each in sorted(by_minute)],
    }


def spent(state: Path) -> dict[str, float]:
    """CPU seconds so far of this process, its services and its database, whose files lie in `state`, by kind."""
    own = psutil.Process()
    roots = [own, *(each for each in psutil.process_iter() if str(state) in _command(each))]
    found: dict[str, float] = defaultdict(float)
    for one in {each for root in roots for each in [root, *root.children(recursive=True)]}:
        with contextlib.suppress(psutil.NoSuchProcess):
            times, words = one.cpu_times(), _command(one)
            kinds = ("services.ingest", "services.portrait", "postgres")
            kind = "publisher and watcher" if one == own else next((kind for kind in kinds if kind in words), "others")
            found[kind] += times.user + times.system
    return found


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def _quantiles(sorted_ms: list[float]) -> dict[str, float]:
    return (
        {f"p{part}": round(sorted_ms[int(len(sorted_ms) * part / 100)], 1) for part in (50, 95, 99)}
        if sorted_ms
        else {}
    )


def measure(console: Console) -> dict[str, Any]:
    """Measures one bounded run on a fresh state."""
    state = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    try:
        run, _ = platform.up(state, chosen=("ingest", "portrait"), port=0, mutual=False)
        asyncio.run(_prepare(run.database_url))
        tokens = {role: run.keys.token(role).read_text().strip() for role in ("ingest", "operator")}
        targets = [f"127.0.0.1:{run.replicas[service][0]}" for service in ("ingest", "portrait")]
        said = asyncio.run(lane(state, targets[0], targets[1], tokens, console))
        heard = said.pop("heard")
        figures = {
            "data": f"{RATE} events/s for {SECONDS} s, {CUSTOMERS} customers, {RULES} rules, real ingest and portrait",
            **said,
            **asyncio.run(judge(run.database_url, heard)),
            "floor": {"events_per_second": 10_000, "event_to_match_p99_ms": 1000, "differing": 0},
        }
        console.print(figures)
        return figures
    finally:
        platform.down(state)
        shutil.rmtree(state, ignore_errors=True)


async def _prepare(url: str) -> None:
    """Makes customers known to ingest, with identities that nobody can reveal."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO ingest.vault (customer_key, token, sealed, key_version) "
        "SELECT n, decode(md5(n::text), 'hex'), '', 1 "
        f"FROM generate_series(1, {CUSTOMERS}) n"
    )
    await connection.close()
