"""A hundred million events drawn, scored, and diffed, in bounded memory: bucket by bucket of employees.

An employee's month is independent of everybody else's, so a bucket of 3,000 employees holds all that its tiers and caps
look at, and only one bucket is in memory. Each is scored by the rules and by the same rules with one row changed; the
differences are summed by rule and employee, as a recalculation reports them. Every tenth bucket is also scored by
SQL, which has to say the same.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.points_rules import _duckdb, events_of, rules_of
from services.points.domain import batch
from services.points.domain.batch import Coded, Events
from services.points.domain.rule_set import RuleSet
from services.points.domain.scoring import Compiled
from services.points.domain.shares import compile_shares

TOTAL, BUCKET, STAFF, CHECKED = int(os.environ.get("BENCH_EVENTS", "100000000")), 1_000_000, 3_000, 10


def bucket(number: int) -> Events:
    """Draws a month of one bucket's employees."""
    events = events_of(BUCKET, seed=number + 1)
    names = [f"S{number:04d}{n:04d}" for n in range(STAFF)]
    return replace(events, staff=Coded(events.staff.codes, names))


def changed(rules: RuleSet) -> RuleSet:
    """The same with a tenth more for the first row of the first table."""
    first = rules.tables[0]
    row = replace(first.rows[0], fixed=first.rows[0].fixed * 11 // 10)
    return replace(rules, tables=(replace(first, rows=(row, *first.rows[1:])), *rules.tables[1:]))


def sums(result: batch.Result, rules: int) -> np.ndarray:
    """Milli-points by (rule, employee), what the caps take last."""
    out = np.zeros((rules + 1, len(result.staff_ids)), np.int64)
    np.add.at(out, (result.rule, result.staff), result.amount)
    np.add.at(out[-1], result.period.staff, result.period.amount)
    return out


def measure(console: Console) -> dict[str, Any]:
    """Measures the whole run; the size is BENCH_EVENTS."""
    before, after = rules_of(30), changed(rules_of(30))
    old, new, shares = Compiled(before), Compiled(after), compile_shares(before, {})
    spent, moved, lines, differ = {"drawn": 0.0, "scored": 0.0, "diffed": 0.0, "checked by SQL": 0.0}, 0, 0, 0
    began = time.perf_counter()

    def clock(what: str, since: float) -> float:
        now = time.process_time()
        spent[what] += now - since
        return now

    buckets = TOTAL // BUCKET
    for number in range(buckets):
        at = time.process_time()
        events = bucket(number)
        at = clock("drawn", at)
        one, other = batch.run(old, shares, events), batch.run(new, shares, events)
        at = clock("scored", at)
        change = sums(other, len(old.rules)) - sums(one, len(old.rules))
        differ += int(np.count_nonzero(change))
        moved += int(change.sum())
        lines += len(one.event)
        at = clock("diffed", at)
        if number % CHECKED == 0:
            _duckdb(before, events, one)
            clock("checked by SQL", at)
        if number % 10 == 9:
            console.print(f"{number + 1} of {buckets} buckets, {time.perf_counter() - began:.0f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "data": f"{buckets * BUCKET:,} events × 30 rules with three caps, {buckets * STAFF:,} employees, scored twice",
        "wall_seconds": round(time.perf_counter() - began),
        "cpu_seconds": {name: round(seconds, 1) for name, seconds in spent.items()},
        "lines": lines,
        "employees_and_rules_that_differ": differ,
        "moved_milli_points": moved,
        "peak_memory_mb": peak // 1024,
        "floor_memory_mb": 2048,
    }
