"""The largest auction: 10 million customers, 120 million candidates (arb-gen v1), over files in one process."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from benchmarks.arbitration import made


def measure(console: Console) -> dict[str, Any]:
    """Measures it once."""
    console.print("10,000,000 customers")
    return {
        "data": "arb-gen v1, seed 1: 40 offers × 3 channels, 12 candidates a customer",
        "10000000": made(10_000_000),
        "floors": {"gap": 1e-5, "cpu_seconds": 90, "peak_memory_bytes": 5_000_000_000, "violations": 0},
    }
