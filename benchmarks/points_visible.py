"""Points end to end: PublishEvents → ingest's log → WatchEvents → points' ledger, real processes, a steady rate.

An event is accepted when ingest has acknowledged its batch, and visible when a reader of the ledger first sees it
there, scored, with its month's tiers and caps: this process looks every 20 ms.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc.aio
import numpy as np
from rich.console import Console
from sqlalchemy.engine import make_url

from benchmarks.points_online import PRODUCTS, load
from benchmarks.points_rules import CHANNELS, STAFF, TYPES
from deploy.local import platform
from lifecircle.ingest.v1 import Event, IngestServiceStub, PublishEventsRequest

RATE, SECONDS, WARM_SECONDS, BATCH, SEED = 500, 60, 5, 50, 7
_LOOK_SECONDS = 0.02
_SEEN = """
SELECT source_event_id, arrival FROM points.business_event WHERE state = 'SCORED' AND arrival > $1 ORDER BY arrival
"""


def event(number: int, dice: np.random.Generator) -> Event:
    """Makes business that happens now."""
    made = Event(source="boss", source_event_id=f"V{number}", type=f"business.{TYPES[dice.integers(len(TYPES))]}")
    made.occur_time.GetCurrentTime()
    made.attributes.update({
        "product_id": f"P{dice.integers(PRODUCTS)}", "staff_id": f"S{dice.integers(STAFF):05d}",
        "channel": CHANNELS[dice.integers(len(CHANNELS))], "amount_fen": str(dice.integers(1, 200_000)),
    })  # fmt: skip
    return made


async def publish(target: str, token: str, accepted: dict[str, float]) -> None:
    """Publishes at the rate, and notes when each event was acknowledged."""
    dice = np.random.default_rng(SEED)
    sent: list[list[str]] = []

    async def batches() -> AsyncIterator[PublishEventsRequest]:
        began = time.perf_counter()
        for number in range(RATE * (SECONDS + WARM_SECONDS) // BATCH):
            events = [event(number * BATCH + place, dice) for place in range(BATCH)]
            await asyncio.sleep(max(0.0, began + number * BATCH / RATE - time.perf_counter()))
            sent.append([one.source_event_id for one in events])
            yield PublishEventsRequest(batch_id=str(number), events=events)

    async with grpc.aio.insecure_channel(target) as channel:
        metadata = (("authorization", f"Bearer {token}"),)
        heard = 0
        async for answer in IngestServiceStub(channel).PublishEvents(batches(), metadata=metadata):
            assert answer.written == BATCH, answer
            accepted.update(dict.fromkeys(sent[heard], time.perf_counter()))
            heard += 1


async def look(url: str, seen: dict[str, float], wanted: int) -> None:
    """Notes when each event first stands in the ledger."""
    connection = await asyncpg.connect(url)
    place = 0
    async with asyncio.timeout(SECONDS + 120):
        while len(seen) < wanted:
            rows = await connection.fetch(_SEEN, place)
            seen.update(dict.fromkeys((row["source_event_id"] for row in rows), time.perf_counter()))
            place = rows[-1]["arrival"] if rows else place
            await asyncio.sleep(_LOOK_SECONDS)
    await connection.close()


async def followed(target: str, token: str, url: str) -> dict[str, Any]:
    """Publishes and looks at once."""
    accepted: dict[str, float] = {}
    seen: dict[str, float] = {}
    total = RATE * (SECONDS + WARM_SECONDS)
    await asyncio.gather(publish(target, token, accepted), look(url, seen, total))
    first = RATE * WARM_SECONDS
    waits = [seen[f"V{number}"] - accepted[f"V{number}"] for number in range(first, total)]
    p50, p99, most = (float(each) for each in np.percentile(waits, [50, 99, 100]))
    connection = await asyncpg.connect(url)
    entries = await connection.fetchval("SELECT count(*) FROM points.points_entry")
    await connection.close()
    return {"data": f"{RATE} events/s for {SECONDS} s in batches of {BATCH}, thirty rules, three caps and a tier",
            "entries": entries, "p50_seconds": round(p50, 2), "p99_seconds": round(p99, 2),
            "most_seconds": round(most, 2), "floor_p99_seconds": 5}  # fmt: skip


def measure(console: Console) -> dict[str, Any]:
    """Measures ingest and points as processes over one PostgreSQL."""
    state = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    try:
        run, _ = platform.up(state, chosen=("ingest", "points"), port=0, mutual=False)
        url = make_url(run.database_url).render_as_string(False)
        asyncio.run(load(url))
        token = run.keys.token("ingest").read_text().strip()
        found = asyncio.run(followed(f"127.0.0.1:{run.replicas['ingest'][0]}", token, url))
        console.print(f"visible: {found}")
        return found
    finally:
        platform.down(state)
        shutil.rmtree(state, ignore_errors=True)
