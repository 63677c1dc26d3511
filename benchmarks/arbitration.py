"""The auction over files against OR-Tools PDLP on the same instance (100 k), and how its cost grows (arb-gen v1).

`ARB_CUSTOMERS=10000000` measures the largest instance too, `ARB_DAYS=1` the hard variant of 1,000,000 customers.
"""

from __future__ import annotations

import json
import os
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
_KEPT = ("gap", "violations", "contacts", "candidates", "cpu_seconds", "wall_seconds", "peak_memory_bytes")


def arbitrated(folder: Path) -> dict[str, Any]:
    """Run the verb on an instance; gives the figures of its report."""
    words = [f"--{name}={folder / f'{name}.parquet'}" for name in ("candidates", "customers")]
    words += [f"--limits={folder}/limits.yaml", f"--out={folder}/plan.parquet", f"--report={folder}/report.json"]
    command = [sys.executable, "-m", "services.contact", "arbitrate", *words]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    report = json.loads((folder / "report.json").read_text())
    return {name: report[name] for name in (*_KEPT, "objective")}


def pdlp(folder: Path, tolerance: str) -> dict[str, Any]:
    """Solve the same with OR-Tools PDLP on one thread."""
    script = ROOT / "benchmarks" / "peers" / "pdlp.py"
    command = [str(PEER), str(script), str(folder), tolerance]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


def measure(console: Console) -> dict[str, Any]:
    """Measures 100 k against PDLP, then the larger ones alone."""
    state = Path(tempfile.mkdtemp(prefix="lifecircle-arbitration-"))
    sizes = [100_000, 1_000_000, *([int(os.environ["ARB_CUSTOMERS"])] if "ARB_CUSTOMERS" in os.environ else [])]
    found: dict[str, Any] = {"data": "arb-gen v1, seed 1: 40 offers × 3 channels, 12 candidates a customer"}
    try:
        for size in sizes:
            console.print(f"{size:,} customers")
            folder = state / str(size)
            arb_gen.write(size, 1, folder)
            found[f"{size}"] = arbitrated(folder)
            if size == sizes[0] and PEER.exists():
                for tolerance in ("1e-4", "1e-6"):
                    console.print(f"PDLP to {tolerance}")
                    peer = pdlp(folder, tolerance)
                    ratio = round(peer["cpu_seconds"] / found[f"{size}"]["cpu_seconds"], 1)
                    found[f"pdlp {tolerance}"] = peer | {"cpu_ratio": ratio}
            shutil.rmtree(folder)
        if os.environ.get("ARB_DAYS"):
            arb_gen.write(1_000_000, 1, state / "days", days=True)
            found["1000000 on 7 days"] = arbitrated(state / "days")
        return found | {"floors": {"1000000 gap": 1e-5, "1000000 cpu_seconds": 10, "pdlp 1e-4": 13, "pdlp 1e-6": 30}}
    finally:
        shutil.rmtree(state, ignore_errors=True)
