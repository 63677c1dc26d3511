"""The whole demo: wall time per stage and peak memory per process, on a fresh state."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.local import platform

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "clients" / "python" / "examples"
CUSTOMERS, DAYS, SEED = 5000, 30, 7


def peak_mib(pid: int) -> int:
    """Gives the peak resident memory of a process in MiB (VmHWM), shared pages included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def measure(console: Console) -> dict[str, Any]:
    """Makes a city of 5,000 customers × 30 days, brings the platform up, makes the journey twice."""
    sys.path.insert(0, str(EXAMPLES))
    journey = importlib.import_module("journey")
    state = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    try:
        started = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "city",
            "--customers",
            str(CUSTOMERS),
            "--days",
            str(DAYS),
            "--seed",
            str(SEED),
        ]
        command += ["--out", str(state / "city" / "files"), "--truth", str(state / "city" / "truth")]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        city_seconds = time.monotonic() - started
        run, _ = platform.up(state, port=0)
        up_seconds = time.monotonic() - started - city_seconds
        first = asyncio.run(journey.travel(state, state / "city", console=console))
        first_seconds = time.monotonic() - started
        second = asyncio.run(journey.travel(state, state / "city", console=console))
        memory = {name: peak_mib(child.pid) for name, child in run.children.items()}
        same = all(first[name] == second[name] for name in ("effects", "leaderboard", "period", "plan", "truth"))
        return {
            "data": f"city, {CUSTOMERS} customers × {DAYS} days, seed {SEED}",
            "rows": first["ingest: operator files"],
            "wall_seconds": {
                "city": round(city_seconds, 1),
                "up": round(up_seconds, 1),
                "stages": first["seconds"],
                "whole demo": round(first_seconds, 1),
                "second journey": round(sum(second["seconds"].values()), 1),
            },
            "peak_memory_mib": memory,
            "second_journey_changes_nothing": same,
            "truth": first["truth"],
            "model": first["model"],
            "plan_gap": first["plan"].gap,
        }
    finally:
        platform.down(state)
        shutil.rmtree(state, ignore_errors=True)
