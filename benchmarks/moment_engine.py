"""The moment engine in memory: events per core-second with 50, 200 and 1,000 value-indexed rules, one process."""

from __future__ import annotations

import random
import time
from typing import Any

from rich.console import Console

from services.portrait.domain.moment import (
    Absent,
    All,
    Counted,
    Dwell,
    Engine,
    Event,
    EventMatch,
    Happened,
    Pattern,
    Rule,
    Sequence,
    Test,
)

EVENTS, CUSTOMERS, VALUES, SEED, ROUNDS = 200_000, 20_000, 400, 7, 3
TYPES = ("location.changed", "internet.access", "behaviour.web", "voice.call")


def rules(count: int, dice: random.Random) -> list[Rule]:
    """Makes rules of every kind in turn, each on a value of its own."""

    def match(kind: str) -> EventMatch:
        return EventMatch((kind,), (Test("v", "one_of", (str(dice.randrange(VALUES)),)),))

    def pattern(number: int) -> Pattern:
        kind = number % 6
        if kind == 0:
            return Happened(match("behaviour.web"))
        if kind == 1:
            return Sequence((match("behaviour.web"), match("internet.access")), 600_000)
        if kind == 2:
            return All((Dwell(match("location.changed"), 600_000), Happened(match("internet.access"), 1_800_000)))
        if kind == 3:
            return Counted(match("voice.call"), 3, 3_600_000)
        if kind == 4:
            return All((Happened(match("behaviour.web"), 3 * 86_400_000), Happened(match("location.changed"))))
        return Absent(match("behaviour.web"), match("internet.access"), 900_000)

    return [Rule(f"r{number}", 1, pattern(number), cool_down=3_600_000) for number in range(count)]


def events(dice: random.Random) -> list[Event]:
    """Makes an hour of events; one in ten comes up to 5 s late."""
    return [
        Event(
            f"e{number}",
            TYPES[dice.randrange(4)],
            dice.randrange(CUSTOMERS),
            number * 18 - (dice.randrange(5000) if dice.random() < 0.1 else 0),
            {"v": str(dice.randrange(VALUES)), "host": "example.com", "kb": 12},
        )
        for number in range(EVENTS)
    ]


def once(count: int) -> dict[str, float]:
    """Runs all events through one engine; gives events per core-second, matches and bytes of state."""
    engine = Engine()
    engine.set_rules(rules(count, random.Random(SEED)))
    told = events(random.Random(SEED + 1))
    found, began = 0, time.process_time()
    for number, event in enumerate(told):
        found += len(engine.apply(event, number * 18))
    spent = time.process_time() - began
    return {"events_per_core_second": EVENTS / spent, "matches": found, "customers": engine.customers}


def measure(console: Console) -> dict[str, Any]:
    """Measures the three sizes and gives the best of three rounds of each."""
    figures: dict[str, Any] = {}
    for count in (50, 200, 1000):
        rounds = [once(count) for _ in range(ROUNDS)]
        best = max(rounds, key=lambda one: one["events_per_core_second"])
        figures[f"{count}_rules"] = {name: round(value) for name, value in best.items()}
        console.print(f"{count} rules: {best['events_per_core_second']:,.0f} events per core-second")
    return {
        "data": f"{EVENTS} events, {CUSTOMERS} customers, {len(TYPES)} types × {VALUES} values, six kinds of rule",
        "floor": {"200_rules": 100_000},
        **figures,
    }
