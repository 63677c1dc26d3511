"""Operator files through the real service: rows per CPU second to Parquet and to PostgreSQL, dlt on the same file
beside it.

CPU is that of the service's process and, where it says so, of PostgreSQL with all its backends; it holds everything
from the file to the commit: checksum, decoding, contract, keys, Parquet, rejects, manifest, events. The landed layer,
which a job of its own writes afterwards, is waited for before the next file and told apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc.aio
import psutil
from rich.console import Console
from sqlalchemy.engine import make_url

from deploy.local import platform
from deploy.local.services import service_pid
from lifecircle.ingest.v1 import Delivery, Feed, IngestServiceStub, ListDeliveriesRequest, UpdateFeedRequest

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / ".peers" / "bin" / "python"
WIDE_ROWS, ORDER_ROWS = 1_000_000, 1_000_000
PLAIN_ROWS = 200_000  # of dlt's slower way
FLOORS = {"parquet_rows_per_cpu_second": 250_000, "postgres_rows_per_cpu_second": 90_000, "ratio_to_dlt": 2.5}
DLT_DOES = (
    "types one column, leaves malformed rows out without a trace, merges by primary key in one table; no checksum or "
    "row count, no rules but the time's, no kept rejects, numbers in clear, no file for the lake, no order of events"
)
FEED = """
feed: bench
title: What a counter sells, in Chinese
file_name: BENCH_{period}_{sequence}.TXT
purpose: benchmarks
legal_basis: nobody is concerned
rejects: {share: 0.02, rows: 20}
columns:
  - {name: msisdn, type: msisdn, required: true}
  - {name: time, type: datetime, required: true, within_period: true}
  - {name: town, type: code, required: true, codes: [莞城, 东城, 南城, 万江]}
  - {name: shop, type: string, longest: 40, pattern: "[^0-9]+"}
  - {name: kind, type: code, required: true, codes: {"1": 1, "2": 2, "3": 3}}
  - {name: amount_fen, type: int, required: true, least: 0, most: 10000000}
  - {name: day, type: date}
"""


def drop(landing: Path, name: str, blocks: Iterator[bytes]) -> tuple[int, int]:
    """Writes a file and its control file; gives rows and bytes."""
    rows = size = 0
    md5 = hashlib.md5(usedforsecurity=False)
    with (landing / f".{name}").open("wb") as file:
        for block in blocks:
            file.write(block)
            md5.update(block)
            rows, size = rows + block.count(b"\n"), size + len(block)
    (landing / f".{name}").rename(landing / name)
    (landing / name).with_suffix(".CHK").write_text(f"{name}|{rows}|{md5.hexdigest()}|{size}\n")
    return rows, size


def wide(count: int) -> Iterator[bytes]:
    """Rows of the feed `bench`, about 92 bytes each; one in 200 is broken, in five ways."""
    dice = random.Random(1)
    towns, shops = ("莞城", "东城", "南城", "万江"), ("鸿福路营业厅", "旗峰公园旁指定专营店", "国贸城自助服务点")
    for _ in range(count // 10_000):
        lines = []
        for row in range(10_000):
            number = 13_900_000_000 + dice.randrange(100_000)
            second = dice.randrange(86_400)
            at = f"20260901{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"
            line = f"{number}|{at}|{towns[row & 3]}|{shops[row % 3]}|{1 + row % 3}|{dice.randrange(10**6)}|20260831"
            lines.append(spoil(line, row // 200) if row % 200 == 7 else line)
        yield ("\n".join(lines) + "\n").encode("gb18030")


def numbers() -> Iterator[bytes]:
    """Rows of the feed `bench`, one for every number of the other files but the signalling."""
    for first in (13_800_000_000, 13_900_000_000):
        rows = [f"{first + at}|20260901120000|莞城|自助服务点|1|1|20260831" for at in range(100_000)]
        yield ("\n".join(rows) + "\n").encode("gb18030")


def spoil(line: str, kind: int) -> str:
    """One thing wrong with a row: the number, the time, a code, a range, the columns."""
    parts = line.split("|")
    where, value = ((0, "1380013800"), (1, "20260230120000"), (4, "9"), (5, "-1"), (6, "x|y"))[kind % 5]
    parts[where] = value
    return "|".join(parts)


def orders(count: int) -> Iterator[bytes]:
    """Rows of the feed `orders`, which become events; one in 1,000 is broken, in five ways."""
    for low in range(0, count, 10_000):
        lines = [_order(row) for row in range(low, low + 10_000)]
        yield ("\n".join(lines) + "\n").encode("gb18030")


def _order(row: int) -> str:
    parts = [f"O{row}", f"{13_800_000_000 + row % 100_000}", f"P{row % 16:02d}", "open", "20260901120000"]
    if row % 1000 == 0:  # the number, the code, the time, the length, the columns
        at, value = ((1, "138"), (3, "pause"), (4, "20260230"), (0, "O" * 65), (2, "P|1"))[row // 1000 % 5]
        parts[at] = value
    return "|".join(parts)


class Bench:
    """One running service, and what its processes spent."""

    def __init__(self, state: Path) -> None:
        self.run, _ = platform.up(state, chosen=("ingest",), port=0, mutual=False)
        self.landing = next(state.rglob("landing"))
        self.service, self.postgres = service_pid(self.run, "ingest"), self.run.children["postgres"].pid
        self.url = make_url(self.run.database_url).render_as_string(False)

    def spent(self) -> tuple[float, float]:
        """CPU seconds of the service and of PostgreSQL so far."""
        return spent(self.service), spent(self.postgres)

    def load(self, name: str, blocks: Iterator[bytes]) -> dict[str, float]:
        """Loads one file; gives its rows, seconds and CPU."""
        Path(f"/proc/{self.service}/clear_refs").write_text("5")  # the most memory counts from here
        before = self.spent()
        start = time.monotonic()
        rows, size = drop(self.landing, name, blocks)
        made = time.monotonic() - start
        found = asyncio.run(self._loaded(name))
        after = self.spent()
        memory = self.most_memory()
        landed = self.landed(found.delivery_id)
        assert found.state == Delivery.STATE_LOADED, found
        assert found.source_rows == rows == found.loaded_rows + found.rejected_rows
        return {
            "rows": rows,
            "megabytes": round(size / 1e6, 1),
            "rejected": found.rejected_rows,
            "seconds": round(time.monotonic() - start - made, 2),
            "service_cpu_seconds": round(after[0] - before[0], 2),
            "postgres_cpu_seconds": round(after[1] - before[1], 2),
            "most_memory_megabytes": memory,
            "landed_layer_cpu_seconds": round(sum(landed) - sum(after), 2),
        }

    def most_memory(self) -> int:
        """The most resident memory of the service since a load began, in MB."""
        status = Path(f"/proc/{self.service}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024

    def landed(self, delivery_id: str) -> tuple[float, float]:
        """Waits until the landed layer of a delivery is written; gives what was spent until then."""

        async def ended() -> bool:
            connection = await asyncpg.connect(self.url)
            try:
                state = "SELECT state FROM ingest.job WHERE kind = 'land' AND key = $1"
                return bool(await connection.fetchval(state, delivery_id) == "SUCCEEDED")
            finally:
                await connection.close()

        while not asyncio.run(ended()):
            time.sleep(0.2)
        return self.spent()

    async def register(self, definition: str) -> None:
        """Registers a feed."""
        async with self._channel() as channel:
            request = UpdateFeedRequest(feed=Feed(feed_id="bench", definition=definition), request_id="bench")
            await IngestServiceStub(channel).UpdateFeed(request, metadata=self._token("operator"))

    async def _loaded(self, name: str) -> Delivery:
        async with self._channel() as channel:
            stub = IngestServiceStub(channel)
            while True:
                request = ListDeliveriesRequest(file_name=name)
                answer = await stub.ListDeliveries(request, metadata=self._token("operator"))
                if answer.deliveries and answer.deliveries[0].state > Delivery.STATE_LOADING:
                    return answer.deliveries[0]
                await asyncio.sleep(0.2)

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.run.replicas['ingest'][0]}")

    def _token(self, who: str) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.run.keys.token(who).read_text().strip()}")]


def spent(pid: int) -> float:
    """CPU seconds of a process, its children, and those of them that have ended."""
    process = psutil.Process(pid)
    times = [process.cpu_times()]
    for each in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ends at this moment, and counts among the ended
            times.append(each.cpu_times())
    ended = process.cpu_times()
    return sum(each.user + each.system for each in times) + ended.children_user + ended.children_system


def peer(bench: Bench, path: Path, way: str) -> dict[str, float]:
    """dlt on a file, in one of its ways; its own CPU and PostgreSQL's."""
    before = spent(bench.postgres)
    command = [str(PEER), str(ROOT / "benchmarks/peers/dlt_file.py"), str(path), bench.url, way]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    cpu = said["cpu_seconds"] + spent(bench.postgres) - before
    return {"rows": said["rows"], "cpu_seconds": round(cpu, 2), "rows_per_cpu_second": round(said["rows"] / cpu)}


def peers(bench: Bench, state: Path) -> dict[str, Any]:
    """dlt in both ways, and what it gives for that."""
    if not PEER.exists():
        return {}
    found: dict[str, Any] = {"does": DLT_DOES}
    for way, rows in (("arrow", ORDER_ROWS), ("rows", PLAIN_ROWS)):
        path = state / f"{way}.txt"
        path.write_bytes(b"".join(orders(rows)))
        found[way] = peer(bench, path, way)
    return found


def measure(console: Console) -> dict[str, Any]:
    """Measures all of it in one run."""
    state = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    try:
        bench = Bench(state)
        asyncio.run(bench.register(FEED))
        bench.load(
            "BENCH_20260902_001.TXT", (block.replace(b"20260901", b"20260902") for block in wide(20_000))
        )  # warm
        # Numbers are met once for ever: what is measured is a day on which they are known, as nearly all are.
        met = bench.load("BENCH_20260903_001.TXT", (block.replace(b"20260901", b"20260903") for block in numbers()))
        console.print("numbers met for the first time", met)
        parquet = bench.load("BENCH_20260901_001.TXT", wide(WIDE_ROWS))
        console.print("file to Parquet", parquet)
        postgres = bench.load("ORDER_20260901_001.TXT", orders(ORDER_ROWS))
        console.print("file to PostgreSQL", postgres)
        dlt = peers(bench, state)
        console.print("dlt", dlt)
        return {**summary(parquet, postgres, dlt), "numbers_met": met}
    finally:
        platform.down(state)
        shutil.rmtree(state, ignore_errors=True)


def summary(parquet: dict[str, float], postgres: dict[str, float], dlt: dict[str, Any]) -> dict[str, Any]:
    """Rows per CPU second, and what they are to reach."""
    both = postgres["service_cpu_seconds"] + postgres["postgres_cpu_seconds"]
    reached: dict[str, float] = {
        "parquet_rows_per_cpu_second": round(parquet["rows"] / parquet["service_cpu_seconds"]),
        "postgres_rows_per_cpu_second": round(postgres["rows"] / both),
    }
    for way in ("arrow", "rows") if dlt else ():
        ratio = reached["postgres_rows_per_cpu_second"] / dlt[way]["rows_per_cpu_second"]
        reached[{"arrow": "ratio_to_dlt", "rows": "ratio_to_dlt_by_rows"}[way]] = round(ratio, 2)
    return {**reached, "floors": FLOORS, "parts": {"parquet": parquet, "postgres": postgres, "dlt": dlt}}
