"""The points kernel against a rules engine and SQL, on the same events and rules, in one run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
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
from services.points import offline
from services.points.domain import batch
from services.points.domain.batch import Coded, Events, Result
from services.points.domain.rule_set import RuleSet
from services.points.domain.rule_text import dump, parse
from services.points.domain.scoring import Compiled
from services.points.domain.shadow import statements
from services.points.domain.shares import compile_shares
from services.points.lake.shadow import event_table, load

ROOT = Path(__file__).resolve().parent.parent
EVENTS, PEER_EVENTS, STAFF, SEED = 1_000_000, 20_000, 3_000, 7
CATEGORIES = ["宽带", "电视", "家庭", "漫游", "流量", "语音", "音乐", "数字"]
CHANNELS = ["store", "call", "app", "online"]
TYPES = ["NEW", "RENEW", "UPGRADE", "RETAIN", "CHURN", "ACTIVATE"]
FIRST_DAY = 739_860  # 2026-09-01 as a proleptic ordinal
MIDNIGHT = (FIRST_DAY - 719_163) * 86_400_000_000 - 8 * 3_600_000_000


def rules_of(count: int) -> RuleSet:
    """Makes `count` rules in FIRST tables of ten, or ten tables, with three caps per employee: a day and two months."""
    lines = ["most_amount_fen: 10000000", "tables:"]
    number = 0
    size = max(10, count // 10)
    for table in range(count // size):
        component = "development" if table % 2 == 0 else "stock"
        kind = TYPES[table % len(TYPES)]
        lines += [f"  t{table}:", f"    component: {component}", "    to: staff", "    rows:"]
        for row in range(size):
            low = 2_000 * (table // 6 % 8) + 200 * (row % 10)
            cells = f"type: [{kind}], category: [{CATEGORIES[row % 8]}], amount_fen: {{from: {low}}}"
            channel = f", channel: [{CHANNELS[row % 4]}]" if row % 3 == 0 else ""
            gives = f"fixed: {1000 + number}, num: {1 + row % 10}, den: 7"
            lines.append(f"      - {{id: R{number}, {cells}{channel}, {gives}}}")
            number += 1
    lines += [
        "caps:",
        "  - {id: DAY, component: development, per: employee, window: day, most: 60000}",
        "  - {id: MONTH, component: development, per: employee, window: month, most: 900000}",
        "  - {id: STOCK, component: stock, per: employee, window: month, most: 700000}",
    ]
    return parse("\n".join(lines))


def events_of(count: int, seed: int = SEED, day: int | None = None) -> Events:
    """Draws events of September, or of one day of it, in order of time."""
    dice = np.random.default_rng(seed)
    span = 86_400_000_000
    times = np.sort(dice.integers(0, span if day is not None else 30 * span, count)) + MIDNIGHT + (day or 0) * span

    def coded(values: list[str]) -> Coded:
        return Coded(dice.integers(0, len(values), count).astype(np.int32), values)

    texts = {"type": coded(TYPES), "product": coded([f"P{n}" for n in range(16)]), "category": coded(CATEGORIES),
             "channel": coded(CHANNELS), "staff_role": coded(["manager", "store", "caller"]),
             "customer_type": Coded(np.zeros(count, np.int32), [""])}  # fmt: skip
    days = ((times + 8 * 3_600_000_000) // span + 719_163).astype(np.int32)
    none = np.zeros(count, np.int32)
    return Events(
        texts, coded([f"S{n:05d}" for n in range(STAFF)]), dice.integers(1, 200_000, count),
        dice.integers(0, 20_000, count), days, times, np.zeros(count, np.int64), none.astype(bool), none - 1, none,
        Coded(none, [""]), Coded(none, [""]),
    )  # fmt: skip


def best(work: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """CPU seconds of the best of some runs, and what it gave."""
    found, least = None, float("inf")
    for _ in range(times):
        began = time.process_time()
        found = work()
        least = min(least, time.process_time() - began)
    return least, found


def measure(console: Console) -> dict[str, Any]:
    """Measures every engine on the same events and gives events per core-second and ratios."""
    rules, events = rules_of(30), events_of(EVENTS)
    compiled, shares = Compiled(rules), compile_shares(rules, {})
    batch.run(compiled, shares, events_of(1000))
    seconds, result = best(lambda: batch.run(compiled, shares, events))
    kernel = EVENTS / seconds
    console.print(f"kernel, 30 rules, 3 caps: {kernel / 1e6:.2f} M events per core-second")
    many = Compiled(rules_of(1000))
    thousand = EVENTS / best(lambda: batch.run(many, shares, events))[0]
    console.print(f"kernel, 1,000 rules: {thousand / 1e6:.2f} M")
    match = EVENTS / best(lambda: compiled.run(batch.codes_of(compiled, events), events.amounts))[0]
    sql_seconds = _duckdb(rules, events, result)
    console.print(f"DuckDB SQL with caps: {EVENTS / sql_seconds / 1e6:.2f} M, the same milli-points")
    zen = _zen(rules, events, compiled)
    console.print(f"zen-engine evaluate_batch, without caps: {zen / 1e3:.1f} k")
    postgres = _postgres(rules, events_of(200_000), console)
    files = _files(rules, events, console)
    return {
        "data": f"{EVENTS:,} events × 30 rules with three caps, {STAFF:,} employees; CPU time",
        "kernel_events_per_core_second": round(kernel),
        "kernel_1000_rules_events_per_core_second": round(thousand),
        "match_alone_events_per_core_second": round(match),
        "parquet_to_parquet_events_per_core_second": round(files),
        "duckdb_sql_events_per_core_second": round(EVENTS / sql_seconds),
        "postgres_sql_events_per_core_second": round(postgres),
        "zen_events_per_core_second": round(zen),
        "ratio": {"zen": round(kernel / zen, 1), "duckdb": round(kernel * sql_seconds / EVENTS, 1),
                  "postgres": round(kernel / postgres, 1)},
        "floor": {"kernel": 8e6, "kernel_1000": 2e6, "files": 1.5e6, "zen": 500, "duckdb": 15, "postgres": 100},
    }  # fmt: skip


def _no_fields() -> pa.Table:
    names = ("customer_key", "share_bps", "begin", "until", "known_from", "known_to")
    return pa.table(
        {n: pa.array([], pa.int64()) for n in names} | {n: pa.array([], pa.string()) for n in ("staff_id", "role")}
    )


def _zen(rules: RuleSet, events: Events, compiled: Compiled) -> float:
    """Events per core-second of zen-engine on the same rules as decision tables; the sum without caps is compared."""
    with tempfile.TemporaryDirectory() as folder:
        few = events.take(slice(0, PEER_EVENTS))
        pq.write_table(event_table(few), Path(folder) / "events.parquet")
        tables = [
            [{"sets": {n: sorted(v) for n, v in row.sets.items()}, "low": row.spans["amount_fen"].low,
              "fixed": row.fixed, "num": row.num, "den": row.den} for row in table.rows]
            for table in rules.tables
        ]  # fmt: skip
        (Path(folder) / "rules.json").write_text(json.dumps(tables))
        command = [str(ROOT / ".peers/bin/python"), str(ROOT / "benchmarks/peers/zen_tables.py"), folder]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    gifts = compiled.run(batch.codes_of(compiled, few), few.amounts)[2]
    assert said["milli_points"] == int(gifts.sum()), "zen-engine gives other points"
    return float(PEER_EVENTS / said["cpu_seconds"])


def _duckdb(rules: RuleSet, events: Events, wanted: Result) -> float:
    """CPU seconds of the shadow's statements in DuckDB on one thread, the tables loaded; the points are compared."""
    connection = duckdb.connect(config={"threads": 1})
    load(connection, event_table(events), _no_fields())
    began = time.process_time()
    for statement in statements(rules):
        connection.execute(statement)
    seconds = time.process_time() - began
    found = sums_of(wanted, rules)
    for table, lines in found.items():
        assert connection.execute(_SUMS.format(table)).fetchall() == lines, f"DuckDB gives other points in {table}"
    connection.close()
    return seconds


_SUMS = "SELECT rule_id, staff_id, count(*), CAST(sum(amount) AS BIGINT) FROM {} GROUP BY 1, 2 ORDER BY 1, 2"


def sums_of(result: Result, rules: RuleSet) -> dict[str, list[tuple[str, str, int, int]]]:
    """Lines and milli-points by rule and employee, as the statements leave them in their two tables."""
    names = [row.rule_id for table in rules.tables for row in table.rows]
    found = {}
    for table, of, part in (("line", names, result), ("period_line", [c.rule_id for c in rules.caps], result.period)):
        keys, place = np.unique(np.stack([part.rule, part.staff]), axis=1, return_inverse=True)
        counts = np.bincount(place.ravel())
        sums = np.zeros(len(counts), np.int64)
        np.add.at(sums, place.ravel(), part.amount)
        rows = zip(keys[0].tolist(), keys[1].tolist(), counts.tolist(), sums.tolist(), strict=True)
        found[table] = sorted((of[rule], result.staff_ids[staff], n, s) for rule, staff, n, s in rows)
    return found


def _postgres(rules: RuleSet, events: Events, console: Console) -> float:
    """Events per core-second of the same statements in PostgreSQL, by its backend's CPU time; the points compared."""
    wanted = sums_of(batch.run(Compiled(rules), compile_shares(rules, {}), events), rules)

    async def run(url: str) -> float:
        connection = await asyncpg.connect(url)
        for name, table in (("event", event_table(events)), ("field", _no_fields())):
            columns = ", ".join(f'"{field.name}" {_POSTGRES_TYPES[str(field.type)]}' for field in table.schema)
            await connection.execute(f"CREATE TEMP TABLE {name} ({columns})")
            rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
            await connection.copy_records_to_table(name, records=rows)
        await connection.execute("ANALYZE event; SET max_parallel_workers_per_gather = 0; SET jit = off")
        server = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
        before = server.cpu_times()
        for statement in statements(rules):
            await connection.execute(_in_postgres(statement), timeout=240)
        after = server.cpu_times()
        for name, lines in wanted.items():
            found = await connection.fetch(_SUMS.format(name).replace("_id", '_id COLLATE "C"'))
            assert [tuple(row) for row in found] == lines, f"PostgreSQL gives other points in {name}"
        await connection.close()
        return after.user + after.system - before.user - before.system

    with tempfile.TemporaryDirectory() as folder:
        server = Postgres.start(Path(folder) / "data", settings={"fsync": "off", "work_mem": "256MB"})
        try:
            seconds = asyncio.run(run(server.url))
        finally:
            server.stop()
    console.print(f"PostgreSQL, the same statements: {len(events) / seconds / 1e3:.0f} k, the same milli-points")
    return len(events) / seconds


_POSTGRES_TYPES = {"int64": "bigint", "int32": "integer", "string": "text", "bool": "boolean"}


def _in_postgres(statement: str) -> str:
    """A statement of the shadow in PostgreSQL's words: whole numbers divide as they are, tables are made anew."""
    made = statement.replace("//", "/").replace("HUGEINT", "BIGINT")
    if made.startswith("CREATE OR REPLACE TEMP TABLE held_by"):
        return "DROP TABLE IF EXISTS held_by; " + made.replace("OR REPLACE ", "", 1)
    return made


def _files(rules: RuleSet, events: Events, console: Console) -> float:
    """Events per core-second of `replay` from Parquet to Parquet, in a process that is warm."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        table = event_table(events)
        columns = {
            "source": pa.array(["boss"] * len(events)), "source_event_id": [f"E{n:09d}" for n in range(len(events))],
            "type": table["type"], "customer_key": table["customer_key"], "product_id": table["product"],
            "category": table["category"], "channel": table["channel"], "staff_id": table["staff_id"],
            "staff_role": table["staff_role"], "amount_fen": table["amount_fen"],
            "occur_time": table["time"].cast(pa.timestamp("us", tz="UTC")),
        }  # fmt: skip
        pq.write_table(pa.table(columns), place / "events.parquet", row_group_size=1 << 18)
        (place / "rules.yaml").write_text(dump(rules))
        arguments = [f"--rules={place / 'rules.yaml'}", f"--events={place / 'events.parquet'}"]
        seconds, code = best(lambda: offline.replay([*arguments, f"--out={place / 'entries.parquet'}"]))
        assert code == 0
    console.print(f"parquet → parquet: {len(events) / seconds / 1e6:.2f} M")
    return len(events) / seconds
