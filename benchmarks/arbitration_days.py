"""The hard auction: a million customers on 7 days, at most one contact a day, the same channel 3 days apart."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from benchmarks.arbitration import made


def measure(console: Console) -> dict[str, Any]:
    """Measures it once."""
    console.print("1,000,000 customers on 7 days")
    return {
        "data": "arb-gen v1, seed 1, days: 21 capacities of channel and day, 40 offers",
        "1000000": made(1_000_000, days=True),
        "floors": {"gap": 1e-3, "violations": 0},
    }
