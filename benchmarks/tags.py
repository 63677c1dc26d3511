"""Signalling files of the lake → all tags of the catalogue, with anchors, evidence and every file that a run publishes.

The service's own bucket computation (usecases/bucket.py) over a city's month, two buckets at a time as on two cores.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from services.portrait.domain import track
from services.portrait.domain.calendar import Window, parse_calendar
from services.portrait.domain.tag import parse
from services.portrait.lake import Lake, read_base
from services.portrait.usecases.bucket import Work, compute
from tests.portrait.conform import conform

HERE = Path(__file__).resolve().parent.parent / "services" / "portrait"
CUSTOMERS, DAYS, BUCKETS, FIRST = 9600, 30, 4, date(2026, 9, 1)
FLOOR, GOAL = 1_200_000, 5_000_000


def measure(console: Console) -> dict[str, Any]:
    """Rows of signalling per second, by the clock and by the CPU, of the better of two runs by the clock; the first of
    all, which compiles, is not counted."""
    catalogue = parse(yaml.safe_load((HERE / "catalogue" / "tags.yaml").read_text(encoding="utf-8")))
    calendar = parse_calendar((HERE / "calendar.csv").read_text(encoding="utf-8"))
    window = Window(FIRST, FIRST + timedelta(days=DAYS - 1), "Asia/Shanghai")
    track.warm()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = ["--customers", str(CUSTOMERS), "--days", str(DAYS), "--start", FIRST.isoformat(), "--quiet"]
        command = [sys.executable, "-m", "city", *size, "--out", str(folder / "city"), "--truth", str(folder / "truth")]
        subprocess.run(command, check=True, cwd=HERE.parents[1])
        manifest = conform(folder / "city", folder / "lake", BUCKETS)
        signalling = manifest["signalling"]
        rows = sum(file.rows for file in signalling)
        found: list[tuple[float, float]] = []
        for attempt in ("compiling", "first", "second"):
            wall, cpu = time.perf_counter(), time.process_time()
            base = read_base(manifest, window, catalogue, calendar)
            work = Work(f"bench-{attempt}", base, window, calendar, catalogue, BUCKETS)
            lake = Lake((folder / attempt).as_uri())
            with ThreadPoolExecutor(2) as threads:
                done = threads.map(
                    lambda bucket, work=work, lake=lake: compute(
                        work, bucket, [file for file in signalling if file.bucket == bucket], lake
                    ),
                    range(BUCKETS),
                )
                tags = sum(outcome.files["tags"].rows for outcome in done)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            found.append((wall, cpu))
            console.print(f"{attempt}: {rows / wall / 1e6:.2f} M rows/s by the clock, {rows / cpu / 1e6:.2f} M a core")
    wall, cpu = min(found[1:])
    console.print(f"{rows / wall / 1e6:.2f} M rows/s by the clock; floor {FLOOR / 1e6}, goal {GOAL / 1e6}")
    return {
        "rows": rows,
        "tags_in_catalogue": len(catalogue.tags),
        "tag_values": tags,
        "rows_per_second_wall": round(rows / wall),
        "rows_per_cpu_second": round(rows / cpu),
        "floor": {"rows_per_second_wall": FLOOR, "goal": GOAL},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
