"""The dwell core once more, in SQL: DuckDB's windows give the same sums as the compiled kernel."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from services.portrait.domain.track import Rows, Rules, follow

RULES = Rules(gap_minutes=120, silent_minutes=240, pingpong_minutes=5)
SQL = (Path(__file__).parent / "dwell_oracle.sql").read_text()


def crowd(seed: int, customers: int, days: int) -> tuple[Rows, np.ndarray]:
    """Tracks of a crowd: six places each, about 60 rows a day, flickers, roads, silences, rows of one instant."""
    dice = np.random.default_rng(seed)
    borders = (np.arange(days)[:, None] * 86_400 + np.array([0, 6, 9, 12, 14, 18, 21]) * 3600).ravel()
    borders = np.append(borders, days * 86_400).astype(np.int64) * 1000
    count = customers * days * 60
    customer = np.repeat(np.arange(customers), days * 60).astype(np.int32)
    pause = dice.choice(
        [0, 20, 90, 240, 900, 1800, 7200, 8000, 15_000],
        p=[0.05, 0.1, 0.1, 0.15, 0.2, 0.3, 0.05, 0.03, 0.02],
        size=count,
    )
    time = np.cumsum(pause.reshape(customers, -1), axis=1).ravel() % (days * 86_400)
    own = dice.integers(-1, 40, (customers, 6))
    stay = np.cumsum(dice.random(count) < 0.15) % 6
    place = own[customer, np.where(dice.random(count) < 0.06, dice.integers(0, 6, count), stay)].astype(np.int32)
    return Rows(customer, time.astype(np.int64) * 1000, place, np.arange(count, dtype=np.int32)), borders


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_sums_are_those_of_duckdb(seed: int) -> None:
    """R000-032: windowed aggregates equal a SQL reference."""
    rows, borders = crowd(seed, customers=60, days=6)
    _, dwell = follow(rows, 60, borders, RULES)
    table = pa.table({"customer": rows.customer, "time": rows.time, "place": rows.place, "line": rows.line})
    edges = pa.table({"border": np.arange(len(borders) - 1), "opens": borders[:-1], "closes": borders[1:]})
    with duckdb.connect() as engine:
        engine.register("signalling", table)
        engine.register("border", edges)
        minutes = (RULES.gap_minutes, RULES.silent_minutes, RULES.pingpong_minutes)
        params = dict(zip(("gap", "silent", "pingpong"), (each * 60_000 for each in minutes), strict=True))
        expected = engine.execute(SQL, params).fetchall()
    found = zip(
        dwell.customer, dwell.place, dwell.day, dwell.slot, dwell.secs, dwell.visits, dwell.longest, strict=True
    )
    assert sorted(tuple(int(each) for each in row) for row in found) == sorted(expected)
    assert len(expected) > 1000
