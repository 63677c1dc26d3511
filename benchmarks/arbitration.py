"""The auction over files against OR-Tools PDLP on the same instance (100 k), and how its cost grows (arb-gen v1).

PDLP to 1e-6 is stopped when it has spent more than the goal's multiple of our CPU time: its ratio is then a bound from
below (`reason` says so), and the whole ends within minutes. Ten million customers and the variant on days are
benchmarks of their own: arbitration_ten_million, arbitration_days.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import arb_gen

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / ".peers" / "bin" / "python"
GOALS = {"1e-4": 20, "1e-6": 50}
_KEPT = ("gap", "violations", "contacts", "candidates", "cpu_seconds", "wall_seconds", "peak_memory_bytes")


def arbitrated(folder: Path) -> dict[str, Any]:
    """Run the verb on an instance; gives the figures of its report."""
    words = [f"--{name}={folder / f'{name}.parquet'}" for name in ("candidates", "customers")]
    words += [f"--limits={folder}/limits.yaml", f"--out={folder}/plan.parquet", f"--report={folder}/report.json"]
    command = [sys.executable, "-m", "services.contact", "arbitrate", *words]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    report = json.loads((folder / "report.json").read_text())
    return {name: report[name] for name in (*_KEPT, "objective")}


def pdlp(folder: Path, tolerance: str, seconds: float) -> dict[str, Any]:
    """Solve the same with OR-Tools PDLP on one thread, for at most so many seconds."""
    script = ROOT / "benchmarks" / "peers" / "pdlp.py"
    command = [str(PEER), str(script), str(folder), tolerance, str(seconds)]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


def made(customers: int, *, days: bool = False) -> dict[str, Any]:
    """Write an instance, arbitrate it, and give the report's figures."""
    folder = Path(tempfile.mkdtemp(prefix="lifecircle-arbitration-"))
    try:
        arb_gen.write(customers, 1, folder, days=days)
        return arbitrated(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(console: Console) -> dict[str, Any]:
    """Measures 100 k against PDLP, then 1 M alone."""
    folder = Path(tempfile.mkdtemp(prefix="lifecircle-arbitration-"))
    found: dict[str, Any] = {"data": "arb-gen v1, seed 1: 40 offers × 3 channels, 12 candidates a customer"}
    try:
        console.print("100,000 customers")
        arb_gen.write(100_000, 1, folder)
        ours = found["100000"] = arbitrated(folder)
        for tolerance, goal in GOALS.items() if PEER.exists() else ():
            console.print(f"PDLP to {tolerance}")
            peer = pdlp(folder, tolerance, 60 if tolerance == "1e-4" else 1.2 * goal * ours["cpu_seconds"])
            ratio = round(peer["cpu_seconds"] / ours["cpu_seconds"], 1)
            found[f"pdlp {tolerance}"] = peer | {"cpu_ratio": ratio, "goal": goal}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print("1,000,000 customers")
    found["1000000"] = made(1_000_000)
    grown = found["1000000"]["cpu_seconds"] / found["1000000"]["candidates"]
    found["cpu_microseconds_each_candidate_at_1000000"] = round(1e6 * grown, 3)
    floors = {"100000 gap": 2e-4, "1000000 gap": 1e-5, "1000000 cpu_seconds": 10, "pdlp 1e-4": 13, "pdlp 1e-6": 30}
    return found | {"floors": floors}
