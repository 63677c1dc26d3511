"""A day of signalling through the real service into the conformed layer, in bounded memory and disk.

`ROWS=100000000 python -m benchmarks ingest_hundred` (default 10 million): the day comes in files of at most ten million
rows; each is reconciled, landed and bucketed by customer, and its operator file removed, before the next one is made.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from benchmarks.ingest_file import Bench
from deploy.local import platform

ROWS = int(os.environ.get("ROWS", "10_000_000"))
FILE_ROWS = 10_000_000
CUSTOMERS, CELLS = 1_200_000, 2000
MOST_MEMORY_MB, MOST_DISK_MB = 1024, 12_000


def signalling(first: int, count: int, total: int) -> Iterator[bytes]:
    """Rows of the feed `signalling` from `first` on: 1.2 million customers, in the order of time."""
    for low in range(first, first + count, 500_000):
        row = pl.int_range(low, min(low + 500_000, first + count), dtype=pl.Int64)
        second = row * 86_000 // total
        at = 20_260_901_000_000 + second // 3600 * 10_000 + second // 60 % 60 * 100 + second % 60
        number = 13_800_000_000 + row * 7919 % CUSTOMERS
        rows = pl.select(number, at=at, what=1 + row % 5, lac=pl.lit(40_976), cell=row % CELLS)
        yield rows.write_csv(separator="|", include_header=False).encode()


def used(folder: Path) -> int:
    """Megabytes of the files below a folder."""
    sizes = 0
    for path in folder.rglob("*"):
        try:
            sizes += path.stat().st_size
        except FileNotFoundError:  # taken away meanwhile
            continue
    return sizes // 1_000_000


def measure(console: Console) -> dict[str, Any]:
    """Loads the day; gives rows/s, rows per CPU second, the most memory and the most disk."""
    state = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    try:
        bench = Bench(state)
        parts: list[dict[str, float]] = []
        disk = 0
        for number, first in enumerate(range(0, ROWS, FILE_ROWS), 1):
            count = min(FILE_ROWS, ROWS - first)
            parts.append(bench.load(f"SIGNAL_20260901_{number:03d}.TXT", signalling(first, count, ROWS)))
            disk = max(disk, used(state))
            for loaded in (bench.landing / ".archive").glob("*/*"):
                shutil.rmtree(loaded)
            console.print(f"{first + count:,} of {ROWS:,} rows, {disk} MB of disk at most", parts[-1])
        return summary(parts, disk, bench.most_memory())
    finally:
        platform.down(state)
        shutil.rmtree(state, ignore_errors=True)


def summary(parts: list[dict[str, float]], disk: int, memory: float) -> dict[str, Any]:
    """The whole day from its files; `memory` is the most after the last load."""
    rows, seconds = (sum(part[name] for part in parts) for name in ("rows", "seconds"))
    cpu = sum(part["service_cpu_seconds"] for part in parts)
    return {
        "rows": rows,
        "rows_per_second": round(rows / seconds),
        "rows_per_cpu_second": round(rows / cpu),
        "most_memory_megabytes": max(memory, *(part["most_memory_megabytes"] for part in parts)),
        "most_disk_megabytes": disk,
        "floors": {"most_memory_megabytes": MOST_MEMORY_MB, "most_disk_megabytes": MOST_DISK_MB},
        "parts": parts,
    }
