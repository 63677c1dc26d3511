"""Points as a process: ScoreEvents with 1,000 events a call, for the score alone and with posting; late events.

CPU is the server's own, by its process. A late event is one ScoreEvent for a month of which its employee has
hundreds of entries, in a ledger of hundreds of thousands: the answer comes when its tiers and caps stand anew.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import grpc.aio
import numpy as np
import psutil
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from sqlalchemy.engine import make_url

from benchmarks.points_rules import CATEGORIES, CHANNELS, STAFF, TYPES, rules_of
from deploy.local import platform
from deploy.local.services import service_pid
from lifecircle.points import v1
from services.points.domain.rule_set import checksum
from services.points.domain.rule_text import dump, parse

ALONE, CALLS, EVENTS, PRODUCTS, LATE, COPIES, SEED = 100, 24, 1_000, 16, 300, 24, 7
TIER = """
tiers:
  - {id: TENTH, component: development, of: count, type: [NEW], tables: [t0], steps: [{from: 10, bps: 11000}]}
"""
FIRST = datetime(2026, 9, 1, tzinfo=UTC)
CLONE = """
INSERT INTO points.business_event (source, source_event_id, event_id, org_id, type, customer_key, product_id, staff_id,
    channel, amount_fen, origin_event_id, occur_time, receive_time, business_date, delivery_id, line, state,
    tried_revision, category, staff_role)
SELECT source, source_event_id || '-' || $1, event_id || '-' || $1, org_id, type, customer_key, product_id, staff_id,
    channel, amount_fen, origin_event_id, occur_time, receive_time, business_date, delivery_id, line, state,
    tried_revision, category, staff_role FROM points.business_event WHERE position('-' IN source_event_id) = 0
"""
CLONE_ENTRIES = """
INSERT INTO points.points_entry (entry_id, account, staff_id, org_id, milli_points, source, source_event_id, event_id,
    rule_set_id, rule_set_sha256, rule_id, component, role, share_bps, assignment_id, period_id, occur_time, post_time,
    kind, accrual_id, customer_key, business_date, event_type, product_id, category, channel)
SELECT entry_id || '-' || $1, account, staff_id, org_id, milli_points, source, source_event_id || '-' || $1,
    event_id || '-' || $1, rule_set_id, rule_set_sha256, rule_id, component, role, share_bps, assignment_id, period_id,
    occur_time, post_time, kind, accrual_id, customer_key, business_date, event_type, product_id, category, channel
FROM points.points_entry WHERE position('-' IN entry_id) = 0
"""


async def load(url: str) -> None:
    """Puts in what ingest would have told, and a published version of thirty rules, three caps and a tier."""
    rules = parse(dump(rules_of(30)).rstrip() + TIER)
    connection = await asyncpg.connect(url, server_settings={"search_path": "points"})
    async with connection.transaction():
        roles = ("manager", "store", "caller")
        staff = [(f"S{n:05d}", f"G{n // 100:02d}", roles[n % 3]) for n in range(STAFF)]
        await connection.copy_records_to_table("staff", records=staff)
        products = [(f"P{n}", f"P{n}", CATEGORIES[n % 8]) for n in range(PRODUCTS)]
        await connection.copy_records_to_table("product", records=products)
        await connection.execute(
            "INSERT INTO reference_feed SELECT unnest(ARRAY['organisations', 'staff', 'products', 'fields']), '1', 1,"
            " 0, now()"
        )
        await connection.execute(
            "INSERT INTO rule_set (rule_set_id, name, version, state, definition, sha256, effective_date, author,"
            " publisher, create_time, publish_time, approver) VALUES ('r1', 'main', 1, 'PUBLISHED', $1, $2, $3, 'a',"
            " 'b', now(), now(), 'b')",
            dump(rules), checksum(rules), date(2026, 1, 1),
        )  # fmt: skip
    await connection.close()


def drawn(count: int, seed: int) -> list[v1.BusinessEvent]:
    """Draws events of September."""
    dice = np.random.default_rng(seed)
    seconds = int(FIRST.timestamp()) + dice.integers(0, 29 * 86_400, count)
    codes = dice.integers(0, (len(TYPES), PRODUCTS, STAFF, len(CHANNELS), 20_000, 200_000), (count, 6))
    return [
        v1.BusinessEvent(
            source="bench", source_event_id=f"E{seed}x{number}", type=TYPES[kind], product_id=f"P{product}",
            staff_id=f"S{staff:05d}", channel=CHANNELS[channel], customer_key=customer, amount_fen=amount,
            occur_time=Timestamp(seconds=second),
        )
        for number, (second, (kind, product, staff, channel, customer, amount)) in enumerate(
            zip(seconds.tolist(), codes.tolist(), strict=True))
    ]  # fmt: skip


def cpu(*pids: int) -> float:
    """Gives the CPU seconds of processes and their children."""
    every = {each.pid: each for pid in pids for each in (psutil.Process(pid), *psutil.Process(pid).children(True))}
    return sum(each.cpu_times().user + each.cpu_times().system for each in every.values())


async def scored(
    stub: v1.PointsServiceStub, metadata: Any, pids: tuple[int, ...], alone: bool, seed: int
) -> tuple[float, float]:
    """Events per core-second of the server, and of the server with PostgreSQL."""
    calls = ALONE if alone else CALLS
    batches = [drawn(EVENTS, seed + number) for number in range(calls + 2)]
    requests = [v1.ScoreEventsRequest(events=events, score_only=alone) for events in batches]
    for request in requests[:2]:
        await stub.ScoreEvents(request, metadata=metadata, timeout=60)
    before = [cpu(pids[0]), cpu(*pids)]
    for request in requests[2:]:
        answer = await stub.ScoreEvents(request, metadata=metadata, timeout=60)
        assert not any(one.reason for one in answer.results)
    return calls * EVENTS / (cpu(pids[0]) - before[0]), calls * EVENTS / (cpu(*pids) - before[1])


async def late(stub: v1.PointsServiceStub, metadata: Any, url: str) -> dict[str, Any]:
    """Milliseconds of single events for a month that has hundreds of thousands of entries."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")
    for number in range(1, COPIES):
        for statement in (CLONE, CLONE_ENTRIES):
            await connection.execute(statement, str(number), timeout=120)
    for statement in ("VACUUM ANALYZE points.business_event", "VACUUM ANALYZE points.points_entry", "CHECKPOINT"):
        await connection.execute(statement, timeout=120)  # so that what is measured is no aftermath of the copying
    entries = await connection.fetchval("SELECT count(*) FROM points.points_entry")
    await connection.close()
    taken = []
    for event in drawn(LATE + 20, 9_000):
        began = time.perf_counter()
        answer = await stub.ScoreEvent(v1.ScoreEventRequest(event=event), metadata=metadata, timeout=60)
        assert not answer.HasField("suspense")
        taken.append(1000 * (time.perf_counter() - began))
    p50, p99 = (float(each) for each in np.percentile(taken[20:], [50, 99]))
    return {"entries": entries, "entries_of_an_employee_month": entries // STAFF, "p50_ms": round(p50, 1),
            "p99_ms": round(p99, 1), "floor_p99_ms": 50}  # fmt: skip


async def online(
    target: str, token: str, pids: tuple[int, int], url: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measures the calls of one server."""
    metadata = (("authorization", f"Bearer {token}"),)
    async with grpc.aio.insecure_channel(target) as channel:
        stub = v1.PointsServiceStub(channel)
        alone, _ = await scored(stub, metadata, pids, True, 1_000)
        say(f"ScoreEvents(1000), the score alone: {alone / 1e3:.1f} k events per core-second")
        posted, whole = await scored(stub, metadata, pids, False, 5_000)
        say(f"posted: {posted / 1e3:.1f} k, with PostgreSQL {whole / 1e3:.1f} k")
        found = await late(stub, metadata, url)
        say(f"late events: {found}")
    return {
        "data": f"{ALONE} calls for the score alone, {CALLS} that post, {EVENTS:,} events each × 30 rules, three caps"
        f" and a tier; {LATE} late events, one by one",
        "score_only_events_per_server_core_second": round(alone),
        "posting_events_per_server_core_second": round(posted),
        "posting_events_per_core_second_with_postgres": round(whole),
        "late_event": found,
        "floor": {"score_only": 80_000},
    }


def measure(console: Console) -> dict[str, Any]:
    """Measures one process of points beside its PostgreSQL."""
    state = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    try:
        run, _ = platform.up(state, chosen=("points",), port=0, mutual=False)
        url = make_url(run.database_url).render_as_string(False)
        asyncio.run(load(url))
        token = run.keys.token("operator").read_text().strip()
        pids = (service_pid(run, "points"), run.children["postgres"].pid)
        target = f"127.0.0.1:{run.replicas['points'][0]}"
        return asyncio.run(online(target, token, pids, url, console.print))
    finally:
        platform.down(state)
        shutil.rmtree(state, ignore_errors=True)
