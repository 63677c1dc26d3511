"""Counting audiences of 3–5 tags over 10 M customers × 200 tags in memory, against DuckDB over columns of the same."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from pyroaring import BitMap, FrozenBitMap
from rich.console import Console

from services.portrait.domain.audience import AllOf, AnyOf, AtLeast, Expression, Not, TagIs, members

CUSTOMERS, TAGS, ASKED, SEED = 10_000_000, 200, 200, 7
PEER_CUSTOMERS, PEER_ASKED = 1_000_000, 20


@dataclass
class Memory:
    """A source of bitmaps; only tags are asked."""

    base: FrozenBitMap
    tags: Mapping[str, FrozenBitMap]

    def everybody(self) -> FrozenBitMap:
        """Every customer."""
        return self.base

    def tag(self, code: str, value: str) -> FrozenBitMap:
        """Who bears a tag."""
        return self.tags[code]

    def feature(self, name: str, least: float | None, most: float | None) -> BitMap:
        """Not asked here."""
        raise KeyError(name)

    def saved(self, audience_id: str, version: int) -> Expression:
        """Not asked here."""
        raise KeyError(audience_id)

    def listed(self, kind: str, list_id: str) -> BitMap:
        """Not asked here."""
        raise KeyError(list_id)


def bearers(dice: np.random.Generator, customers: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Draws who bears a tag: 0.1 % to 30 % of the customers, half of the tags clustered by key."""
    share = float(10 ** dice.uniform(-3, -0.5))
    if dice.random() < 0.5:
        starts = np.sort(dice.choice(customers // 1000, max(1, int(share * customers / 1000)), replace=False))
        return (starts[:, None] * 1000 + np.arange(1, 1001)).ravel().astype(np.uint32)
    return np.flatnonzero(dice.random(customers, dtype=np.float32) < share).astype(np.uint32) + 1


def expression(dice: np.random.Generator) -> Expression:
    """Draws an audience of 3 to 5 tags."""
    tags = [TagIs(f"T{number:03d}") for number in dice.choice(TAGS, int(dice.integers(3, 6)), replace=False)]
    shape = int(dice.integers(4))
    if shape == 0:
        return AllOf(tuple(tags))
    if shape == 1:
        return AllOf((AnyOf(tuple(tags[:2])), *tags[2:]))
    if shape == 2:
        return AllOf((*tags[:-1], Not(tags[-1])))
    return AtLeast(2, tuple(tags))


def sql(told: Expression) -> str:
    """Says an audience as a condition over boolean columns."""
    if isinstance(told, TagIs):
        return told.code
    if isinstance(told, Not):
        return f"NOT ({sql(told.part)})"
    assert isinstance(told, AllOf | AnyOf | AtLeast)
    parts = [f"({sql(part)})" for part in told.parts]
    if isinstance(told, AtLeast):
        return " + ".join(f"{part}::int" for part in parts) + f" >= {told.count}"
    return (" AND " if isinstance(told, AllOf) else " OR ").join(parts)


def measure(console: Console) -> dict[str, Any]:
    """Measures both; the peer over a tenth of the customers, since its columns of 10 M would not fit beside."""
    dice = np.random.default_rng(SEED)
    tags, size, columns = {}, 0, {}
    for number in range(TAGS):
        keys = bearers(dice, CUSTOMERS)
        whole = BitMap(keys)
        whole.run_optimize()
        size += len(whole.serialize())
        tags[f"T{number:03d}"] = FrozenBitMap(whole)
        column = np.zeros(PEER_CUSTOMERS, dtype=np.bool_)
        column[keys[keys <= PEER_CUSTOMERS] - 1] = True
        columns[f"T{number:03d}"] = column
    source = Memory(FrozenBitMap(BitMap(range(1, CUSTOMERS + 1))), tags)
    asked = [expression(dice) for _ in range(ASKED)]
    spent = [_timed(told, source) for told in asked]
    one = FrozenBitMap(tags["T000"])
    began = time.process_time()
    for other in tags.values():
        one.intersection_cardinality(other)
    profile = 1000 * (time.process_time() - began)
    small = Memory(
        FrozenBitMap(BitMap(range(1, PEER_CUSTOMERS + 1))),
        {code: FrozenBitMap(BitMap(np.flatnonzero(column).astype(np.uint32) + 1)) for code, column in columns.items()},
    )
    ratios = _peer(columns, small, asked[:PEER_ASKED])
    spent.sort()
    figures = {
        "data": f"{CUSTOMERS} customers × {TAGS} tags, {size >> 20} MB serialised; {ASKED} audiences of 3–5 tags",
        "count_and_first_1000_ms": {"p50": spent[len(spent) // 2], "p99": spent[int(len(spent) * 0.99)]},
        "one_tag_against_all_ms": round(profile, 2),
        "times_duckdb_columns": ratios,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "floor": {"p50_ms": 3, "p99_ms": 25, "times_duckdb_columns": 50},
    }
    console.print(figures)
    return figures


def _timed(told: Expression, source: Memory) -> float:
    """Counts an audience and takes its first thousand; gives the CPU milliseconds, the best of three."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        found = members(told, source)
        _ = len(found), found[:1000]
        spent.append(1000 * (time.process_time() - began))
    return round(min(spent), 3)


def _peer(columns: dict[str, Any], small: Memory, asked: list[Expression]) -> dict[str, float]:
    """Gives how many times the CPU DuckDB needs for the same counts over the same million customers."""
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.register("arrow", pa.table({**columns, "k": np.arange(1, PEER_CUSTOMERS + 1)}))
    connection.execute("CREATE TABLE bearer AS SELECT * FROM arrow")
    ratios = []
    for told in asked:
        ours = _timed(told, small)
        began = time.process_time()
        (count,) = connection.execute(f"SELECT count(*) FROM bearer WHERE {sql(told)}").fetchone() or (0,)
        connection.execute(f"SELECT k FROM bearer WHERE {sql(told)} ORDER BY k LIMIT 1000").fetchall()
        theirs = 1000 * (time.process_time() - began)
        assert count == len(members(told, small)), "both count alike"
        ratios.append(theirs / max(ours, 0.001))
    ratios.sort()
    return {"low": round(ratios[0], 1), "median": round(statistics.median(ratios), 1), "high": round(ratios[-1], 1)}
