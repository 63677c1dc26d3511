"""Moments end to end: PublishEvents → ingest's log → journal → leased partitions → WatchMoments, with real processes.

Events are published at a steady rate by this process. Latency is from when ingest received the event that completed a
match to when portrait found it, and to when this process heard of it on WatchMoments. Every match is compared with the
engine run over the same events in one go, and for some customers with the slow reference matcher of the tests.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc.aio
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
from tests.portrait.reference_matcher import Reference

RATE, SECONDS, BATCH, CUSTOMERS, VALUES, RULES, SEED = 10_000, 120, 500, 20_000, 400, 60, 7
PROBED = 12
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


def event(number: int, dice: random.Random) -> Told:
    """Makes one event that happens now."""
    told = Told(
        source="bench",
        source_event_id=f"b{number}",
        type=("behaviour.web", "internet.access")[number % 2],
        customer_key=dice.randrange(1, CUSTOMERS + 1),
    )
    told.occur_time.FromMilliseconds(int(time.time() * 1000))
    told.attributes.update({"v": str(dice.randrange(VALUES)), "host": "example.com"})
    return told


async def published(stub: PortraitServiceStub) -> None:
    """Publishes the rules and waits until they are in force."""
    for rule in rules():
        told = MomentRule(rule_id=rule.rule_id, pattern=message(rule.pattern))
        told.stale_after.seconds = rule.stale_after // 1000
        await stub.CreateMomentRule(CreateMomentRuleRequest(rule=told, request_id=f"c {rule.rule_id}"))
        await stub.PublishMomentRule(PublishMomentRuleRequest(rule_id=rule.rule_id, request_id=f"p {rule.rule_id}"))
    await asyncio.sleep(3.0)


async def lane(ingest: str, portrait: str, tokens: dict[str, str], console: Console) -> dict[str, Any]:
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
                due = began + number * BATCH / RATE
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                first = number * BATCH
                yield PublishEventsRequest(
                    batch_id=str(number), events=[event(first + each, dice) for each in range(BATCH)]
                )

        listening = asyncio.create_task(listen())
        began, written = time.perf_counter(), 0
        async for answer in IngestServiceStub(to_ingest).PublishEvents(batches(), metadata=headers("ingest")):
            written += answer.written
        took, before = time.perf_counter() - began, -1
        console.print(f"{written} events in {took:.1f} s")
        while len(heard) != before:
            before = len(heard)
            await asyncio.sleep(_SETTLE_SECONDS / 3)
        listening.cancel()
    return {"events": written, "events_per_second": written / took, "heard": heard}


class _Called:
    """A channel whose calls carry a token."""

    def __init__(self, channel: grpc.aio.Channel, headers: tuple[tuple[str, str], ...]) -> None:
        self._channel, self._headers = channel, headers

    def __getattr__(self, name: str) -> Any:
        shape = getattr(self._channel, name)
        return lambda *args, **kwargs: (
            lambda request, **rest: shape(*args, **kwargs)(request, metadata=self._headers, **rest)
        )


async def judge(url: str, heard: dict[str, float]) -> dict[str, Any]:
    """Compares what was found with the engine in one go and the slow reference; gives the latencies too."""
    connection = await asyncpg.connect(url)
    journal = await connection.fetch("SELECT * FROM portrait.moment_event ORDER BY seq")
    found = await connection.fetch("SELECT * FROM portrait.moment")
    await connection.close()
    engine, expected = Engine(), set()
    engine.set_rules(rules())
    told: dict[int, list[tuple[Event, int]]] = {}
    received: dict[tuple[int, int], int] = {}
    for row in journal:
        fields = {"v": row["fields"].partition('"v":"')[2].partition('"')[0]}
        one = Event(row["event_id"], row["type"], row["customer_key"], row["occur_ms"], fields)
        told.setdefault(one.customer_key, []).append((one, row["receive_ms"]))
        key = (one.customer_key, one.time)
        received[key] = max(received.get(key, 0), row["receive_ms"])
        expected |= {match.match_id for match in engine.apply(one, row["receive_ms"])}
    ids = {row["moment_id"] for row in found}
    differing = 0
    for customer in random.Random(SEED).sample(sorted(told), min(PROBED, len(told))):
        slow = Reference(rules())
        for one, when in told[customer]:
            slow.apply(one, when)
        mine = {
            (r["rule_id"], r["version"], r["match_ms"], r["start_event_id"])
            for r in found
            if r["customer_key"] == customer
        }
        differing += len(mine ^ set(slow.delivered))
    known = [(row["moment_id"], received[row["customer_key"], row["match_ms"]], row["found_ms"]) for row in found]
    to_found = sorted(found_ms - when for _, when, found_ms in known)
    to_heard = sorted(1000 * heard[key] - when for key, when, _ in known if key in heard)
    return {
        "journalled": len(journal),
        "matches": len(found),
        "heard": len(heard),
        "differing_from_the_engine_in_one_go": len(ids ^ expected),
        "differing_from_the_slow_reference": differing,
        "customers_probed_by_the_slow_reference": PROBED,
        "event_to_match_ms": _quantiles(to_found),
        "event_to_watcher_ms": _quantiles(to_heard),
    }


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
        said = asyncio.run(lane(targets[0], targets[1], tokens, console))
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
