"""Bids online by prices, as a part of what hindsight would have won: frozen, with the pace of the day, and made anew.

100,000 customers of arb-gen v1 arrive in random order; yesterday's prices are those of others of the same town.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console

from services.contact.domain.arbitration import dual
from tests.contact import day

CUSTOMERS, STEPS = 100_000, 300


def measure(console: Console) -> dict[str, Any]:
    """Plays a day as forecast, and one whose acceptances are a fifth lower."""
    prices = dual.solve(day.made(1, 1, CUSTOMERS)).prices
    order = np.random.default_rng(0).permutation(CUSTOMERS)
    found: dict[str, Any] = {"data": f"arb-gen v1, seed 1, {CUSTOMERS} arrivals, prices moved {STEPS} times a day"}
    for name, factor in (("as_forecast", 1.0), ("a_fifth_lower", 0.8)):
        with console.status(name):
            today = day.made(1, 0, CUSTOMERS, factor=factor)
            bound = dual.look(today, dual.solve(today).prices).bound
            limits = np.concatenate([today.capacity, today.most])
            ended = {
                "frozen": day.played(today, prices, order, STEPS, paced=False),
                "paced": day.played(today, prices, order, STEPS),
                "made_anew": day.played(today, prices, order, STEPS, again_after=0.05),
            }
            found[name] = {which: round(100 * one.won / bound, 2) for which, one in ended.items()}
            found[name]["limits_exceeded"] = int(
                sum((one.used > np.where(limits < 0, CUSTOMERS, limits)).sum() for one in ended.values())
            )
    return found | {"unit": "% of the hindsight bound", "floors": {"as_forecast paced": 99.5, "limits_exceeded": 0}}
