"""What slots show, from memory: calls per core-second for one slot and for five, p99, and how fair the turns are."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console

from services.contact.domain.slot import APPROVED, DATA, ROTATE, Board, Content, Rotation, Schedule, Slot, showings

SLOTS, CONTENTS, CALLS = 50, 20, 20_000
NOW = datetime(2026, 10, 1, tzinfo=UTC)


def board() -> Board:
    """Makes 50 slots that rotate, each with 20 contents in force of weights 1 to 4."""
    names = [f"slot{number:02d}" for number in range(SLOTS)]
    slots = {name: Slot(name, name, "web", 0, 0, DATA, ROTATE, "欢迎") for name in names}
    contents: dict[str, Content] = {}
    schedules: dict[str, list[Schedule]] = {name: [] for name in names}
    for name in names:
        for number in range(CONTENTS):
            made = f"{name}-{number:02d}"
            contents[made] = Content(made, name, made, 1, "半价", "", "", f"P{number:02d}", "li", APPROVED)
            span = (NOW, NOW + timedelta(days=1))
            schedules[name].append(Schedule(made, name, made, *span, 0, 1 + number % 4, False, ""))
    return Board(slots, contents, schedules)


def timed(of: Board, slot_ids: list[str]) -> dict[str, Any]:
    """Calls for these slots as often as said, and measures each call."""
    rotation, seconds, seen = Rotation(), [], Counter[str]()
    began = time.process_time()
    for _ in range(CALLS):
        start = time.perf_counter()
        found = showings(of, rotation, slot_ids, NOW, "")
        seconds.append(time.perf_counter() - start)
        seen[found[0].content.name if found[0].content else ""] += 1
    cpu = time.process_time() - began
    weights = {one.content_id: one.weight for one in of.schedules[slot_ids[0]]}
    worst = max(abs(seen[name] / CALLS - weight / sum(weights.values())) for name, weight in weights.items())
    return {
        "calls_per_core_second": round(CALLS / cpu),
        "p50_microseconds": round(1e6 * sorted(seconds)[CALLS // 2], 1),
        "p99_microseconds": round(1e6 * sorted(seconds)[CALLS * 99 // 100], 1),
        "largest_unfairness_of_the_first_slot": round(worst, 6),
    }


def measure(console: Console) -> dict[str, Any]:
    """Measures one slot and five slots a call, in one process."""
    of = board()
    figures: dict[str, Any] = {"data": f"{SLOTS} slots × {CONTENTS} contents in force, {CALLS:,} calls"}
    for name, count in (("one_slot", 1), ("five_slots_without_duplicates", 5)):
        with console.status(name):
            figures[name] = timed(of, [f"slot{number:02d}" for number in range(count)])
    return figures
