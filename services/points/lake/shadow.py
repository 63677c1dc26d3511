"""Runs the SQL that shadows the kernel, in DuckDB."""

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from services.points.domain.batch import REASONS, Events
from services.points.domain.rule_set import RuleSet
from services.points.domain.shadow import statements

MICROSECONDS = 1_000_000
FIELD = ("customer_key", "staff_id", "role", "share_bps", "begin", "until", "known_from", "known_to")

EventRow = tuple[int, str, str, str, str, int]
"""(place of the event, rule id, role, employee, period, milli-points)."""
PeriodRow = tuple[str, str, int, int | None, str, int]
"""(period, rule id, customer or 0, day as an ordinal, employee, milli-points)."""


@dataclass(frozen=True)
class Shadow:
    """What the SQL says; rows sorted."""

    lines: list[EventRow]
    period: list[PeriodRow]


def shadow(rules: RuleSet, events: Events, fields: pa.Table, threads: int = 1) -> Shadow:
    """Score events by SQL. `fields` has the columns of FIELD, times in microseconds."""
    connection = duckdb.connect(config={"threads": threads})
    try:
        load(connection, event_table(events), fields)
        for statement in statements(rules):
            connection.execute(statement)
        lines: list[Any] = connection.execute(
            "SELECT i, rule_id, role, staff_id, period_id, amount FROM line ORDER BY ALL"
        ).fetchall()
        period: list[Any] = connection.execute(
            "SELECT period_id, rule_id, customer_key, day, staff_id, amount FROM period_line ORDER BY ALL"
        ).fetchall()
        return Shadow(lines, period)
    finally:
        connection.close()


def load(connection: duckdb.DuckDBPyConnection, events: pa.Table, fields: pa.Table) -> None:
    """Make the two tables that the statements read."""
    for name, table in (("event", events), ("field", fields)):
        connection.register(f"{name}_rows", table)
        connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {name}_rows")


def event_table(events: Events) -> pa.Table:
    """Events as the SQL reads them."""
    doubts = pa.array(["" if reason is None else reason.value for reason in REASONS])
    months = (events.days.astype(np.int64) - 719_163).astype("datetime64[D]").astype("datetime64[M]")
    names, codes = np.unique(months, return_inverse=True)
    texts = {
        name: pa.DictionaryArray.from_arrays(pa.array(column.codes), pa.array(list(column.values), pa.string()))
        for name, column in (*events.texts.items(), ("staff_id", events.staff))
    }
    cells, grids = events.places()
    return pa.table(
        {
            "i": pa.array(np.arange(len(events)), pa.int64()),
            **{name: array.cast(pa.string()) for name, array in texts.items()},
            "customer_key": events.customers,
            "cell_key": cells,
            "grid_key": grids,
            "amount_fen": events.amounts,
            "time": events.times,
            "day": events.days,
            "period_id": pa.array([str(name) for name in names], pa.string()).take(pa.array(codes)),
            "known": events.known,
            "refund": events.refund,
            "origin": pa.array(events.origin.astype(np.int64), mask=events.origin < 0),
            "doubt": doubts.take(pa.array(events.doubt)),
        }
    )
