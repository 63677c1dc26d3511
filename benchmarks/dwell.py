"""Signalling → visits → dwell: the compiled kernel against the same job in SQL and against mobility libraries.

Every engine reads the same rows; DuckDB and PostgreSQL run the same SQL (tests/portrait/dwell_oracle.sql) and must give
the same table. The libraries find stays by their own rules, which is less than the job here (no slots, no dwell). All
figures are rows per CPU second; slow engines get fewer of the same customers, which favours them.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from deploy.local.postgres import Postgres
from services.portrait.domain import track
from services.portrait.domain.track import DwellDays, Rows, Rules

ROOT = Path(__file__).resolve().parent.parent
SQL = (ROOT / "tests" / "portrait" / "dwell_oracle.sql").read_text()
PEERS = ROOT / ".peers" / "bin" / "python"
CUSTOMERS, DAYS, PER_DAY = 4000, 10, 60
SQL_CUSTOMERS, LIBRARY_CUSTOMERS = 1500, 60
RULES = Rules(gap_minutes=120, silent_minutes=240, pingpong_minutes=5)
MILLIS = {name: getattr(RULES, f"{name}_minutes") * 60_000 for name in ("gap", "silent", "pingpong")}


def crowd(customers: int) -> tuple[Rows, np.ndarray[Any, Any]]:
    """Tracks of a crowd: six places each, 60 rows a day, flickers, roads, silences."""
    dice = np.random.default_rng(1)
    borders = (np.arange(DAYS)[:, None] * 86_400 + np.array([0, 6, 9, 12, 14, 18, 21]) * 3600).ravel()
    count = customers * DAYS * PER_DAY
    customer = np.repeat(np.arange(customers), DAYS * PER_DAY).astype(np.int32)
    pause = dice.choice([20, 90, 240, 900, 1800, 7200, 15_000], p=[0.1, 0.1, 0.2, 0.25, 0.3, 0.04, 0.01], size=count)
    clock = np.cumsum(pause.reshape(customers, -1), axis=1).ravel() % (DAYS * 86_400)
    own = dice.integers(-1, 600, (customers, 6))
    stay = np.cumsum(dice.random(count) < 0.15) % 6
    place = own[customer, np.where(dice.random(count) < 0.03, dice.integers(0, 6, count), stay)].astype(np.int32)
    rows = Rows(customer, clock.astype(np.int64) * 1000, place, np.arange(count, dtype=np.int32))
    return rows, np.append(borders, DAYS * 86_400).astype(np.int64) * 1000


def first(rows: Rows, customers: int) -> Rows:
    """The rows of the first customers."""
    kept = rows.customer < customers
    return Rows(rows.customer[kept], rows.time[kept], rows.place[kept], rows.line[kept])


def table(rows: Rows) -> pa.Table:
    """The rows as the oracle's table `signalling`."""
    return pa.table({"customer": rows.customer, "time": rows.time, "place": rows.place, "line": rows.line})


def digest(lines: Any) -> int:
    """A checksum of dwell rows (customer, place, day, slot, secs, visits, longest), whatever their order."""
    found = np.array(sorted(tuple(int(each) for each in line) for line in lines), dtype=np.int64)
    return int((found * np.array([3, 7, 11, 13, 17, 19, 23])).sum()) ^ len(found)


def of_kernel(dwell: DwellDays) -> int:
    """The checksum of the kernel's table."""
    columns = (dwell.customer, dwell.place, dwell.day, dwell.slot, dwell.secs, dwell.visits, dwell.longest)
    return digest(zip(*columns, strict=True))


def kernel(rows: Rows, customers: int, borders: Any) -> tuple[float, DwellDays]:
    """CPU seconds of the compiled kernel, the best of three."""
    best, dwell = float("inf"), None
    for _ in range(3):
        begun = time.process_time()
        _, dwell = track.follow(rows, customers, borders, RULES)
        best = min(best, time.process_time() - begun)
    assert dwell is not None
    return best, dwell


def from_parquet(path: Path, customers: int, borders: Any) -> float:
    """CPU seconds from a Parquet file to dwell, the best of three."""
    best = float("inf")
    for _ in range(3):
        begun = time.process_time()
        read = pq.read_table(path, use_threads=False)
        columns = [read[name].to_numpy() for name in ("customer", "time", "place", "line")]
        track.follow(Rows(*columns), customers, borders, RULES)
        best = min(best, time.process_time() - begun)
    return best


def in_duckdb(rows: Rows, borders: Any) -> tuple[float, int]:
    """CPU seconds of the SQL in DuckDB, and the checksum."""
    edges = pa.table({"border": np.arange(len(borders) - 1), "opens": borders[:-1], "closes": borders[1:]})
    with duckdb.connect(config={"threads": 1}) as engine:
        engine.register("given", table(rows))
        engine.execute("CREATE TABLE signalling AS SELECT * FROM given")
        engine.register("border", edges)
        begun = time.process_time()
        found = engine.execute(f"CREATE TABLE dwell AS {SQL}", MILLIS)
        seconds = time.process_time() - begun
        found = engine.execute("SELECT * FROM dwell")
        return seconds, digest(found.fetchall())


async def _in_postgres(url: str, rows: Rows, borders: Any) -> tuple[float, int]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TEMP TABLE signalling (customer int, time bigint, place int, line int)")
        await connection.execute("CREATE TEMP TABLE border (border int, opens bigint, closes bigint)")
        columns = (rows.customer.tolist(), rows.time.tolist(), rows.place.tolist(), rows.line.tolist())
        await connection.copy_records_to_table("signalling", records=zip(*columns, strict=True))
        edges = zip(range(len(borders) - 1), borders[:-1].tolist(), borders[1:].tolist(), strict=True)
        await connection.copy_records_to_table("border", records=edges)
        await connection.execute("ANALYZE signalling; ANALYZE border; SET work_mem = '256MB'")
        await connection.execute("SET max_parallel_workers_per_gather = 0; SET jit = off")
        sql = SQL.replace(" // ", " / ").replace("any_value(", "min(").replace("GROUP BY ALL", "GROUP BY 1, 2, 3, 4")
        sql = sql.replace("arg_max(until, n)", "(array_agg(until ORDER BY n DESC))[1]")
        sql = sql.replace("enters::INTEGER", "(enters)::int").replace("sum(length) / 1000", "div(sum(length), 1000)")
        for name, value in MILLIS.items():
            sql = sql.replace(f"${name}", str(value))
        backend = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
        before = backend.cpu_times()
        await connection.execute(f"CREATE TEMP TABLE dwell AS {sql}")
        after = backend.cpu_times()
        found = await connection.fetch("SELECT * FROM dwell")
        return after.user + after.system - before.user - before.system, digest(found)
    finally:
        await connection.close()


def in_postgres(folder: Path, rows: Rows, borders: Any) -> tuple[float, int]:
    """CPU seconds of the SQL in one PostgreSQL backend, and the checksum."""
    server = Postgres.start(folder / "postgres")
    try:
        return asyncio.run(_in_postgres(server.url, rows, borders))
    finally:
        server.stop()


def by_library(tool: str, folder: Path, rows: Rows) -> dict[str, Any]:
    """What a mobility library says of the same rows; positions are those of the places."""
    dice = np.random.default_rng(2)
    lon, lat = 113.5 + dice.random(601), 22.8 + dice.random(601)
    path = folder / f"{tool}.parquet"
    order = np.lexsort((rows.line, rows.time, rows.customer))
    columns: dict[str, Any] = {"customer": rows.customer, "time": rows.time, "place": rows.place}
    places = {"lon": lon[rows.place], "lat": lat[rows.place]}
    pq.write_table(pa.table({name: each[order] for name, each in (columns | places).items()}), path)
    command = [str(PEERS), str(ROOT / "benchmarks" / "peers" / "mobility.py"), tool, str(path)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    told: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return told


def measure(console: Console) -> dict[str, Any]:
    """Rows per CPU second of every engine, and the ratios of this run."""
    track.warm()
    rows, borders = crowd(CUSTOMERS)
    seconds, _ = kernel(rows, CUSTOMERS, borders)
    rate = len(rows.customer) / seconds
    console.print(f"kernel {rate / 1e6:.1f} M rows a core second")
    few = first(rows, SQL_CUSTOMERS)
    _, dwell = kernel(few, SQL_CUSTOMERS, borders)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(table(rows), folder / "rows.parquet", compression="zstd")
        parquet = len(rows.customer) / from_parquet(folder / "rows.parquet", CUSTOMERS, borders)
        duck, duck_sum = in_duckdb(few, borders)
        postgres, postgres_sum = in_postgres(folder, few, borders)
        libraries = {tool: by_library(tool, folder, first(rows, LIBRARY_CUSTOMERS)) for tool in ("skmob", "trackintel")}
    assert of_kernel(dwell) == duck_sum == postgres_sum, "the engines do not agree"
    rates = {
        "kernel": rate,
        "parquet_to_dwell": parquet,
        "duckdb": len(few.customer) / duck,
        "postgres": len(few.customer) / postgres,
        **{tool: told["rows_per_cpu_second"] for tool, told in libraries.items()},
    }
    return {
        "rows": len(rows.customer),
        "rows_per_cpu_second": {name: round(each) for name, each in rates.items()},
        "kernel_over": {name: round(rate / each, 1) for name, each in rates.items() if name != "kernel"},
        "checksums_equal": ["kernel", "duckdb", "postgres"],
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "python": sys.version.split()[0],
    }
