"""The wide table of features: one scan per feed, one conditional aggregate per item (DuckDB)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from services.portrait.domain.wide import Item, by_source

_ZERO = ("count", "days", "sum", "distinct", "both", "told")
"""Kinds that are 0 for a customer without rows; the others are not known then."""


def wide_table(
    items: Sequence[Item],
    feeds: Mapping[str, pa.Table | Sequence[Path]],
    customers: pa.Array,
    to_date: date,
    zone: str,
    lines: pa.Table | None = None,
) -> pa.Table:
    """A row for each customer, a column for each item whose feed is there.

    `feeds` have a column `customer` and the columns that the items name; their times are instants, local times, or
    dates. `lines` says of called numbers (peer) of which class they are (peer_class), how many customers call them
    (callers) and whether several do (shared); items that need what it has not are left out.
    """
    chosen = {
        source: [item for item in each if not item.needs or (lines is not None and item.needs in lines.column_names)]
        for source, each in by_source(items).items()
        if source in feeds
    }
    chosen = {source: each for source, each in chosen.items() if each}
    with duckdb.connect(config={"memory_limit": "2GB"}) as engine:
        engine.execute(f"SET TimeZone = '{zone}'")
        engine.register("base", pa.table({"customer": customers}))
        if lines is not None:
            engine.register("lines", lines)
        engine.execute("CREATE TABLE wide AS SELECT customer, row_number() OVER () AS position FROM base")
        columns = ["w.customer"]
        joins = []
        for number, (source, each) in enumerate(chosen.items()):
            given = feeds[source]
            if isinstance(given, pa.Table):
                engine.register(f"feed_{number}", given)
                rows = f"feed_{number}"
            else:
                files = ", ".join(f"'{path}'" for path in given)
                rows = f"read_parquet([{files}])"
            engine.execute(f"CREATE TABLE t{number} AS {scan(each, rows, to_date, lines is not None)}")
            joins.append(f"LEFT JOIN t{number} ON t{number}.customer = w.customer")
            columns += [
                f'coalesce(t{number}."{item.name}", 0) AS "{item.name}"' if item.kind in _ZERO
                else f't{number}."{item.name}"'
                for item in each
            ]  # fmt: skip
        sql = f"SELECT {', '.join(columns)} FROM wide w {' '.join(joins)} ORDER BY w.position"
        return engine.sql(sql).to_arrow_table()


def scan(items: Iterable[Item], rows: str, to_date: date, classed: bool) -> str:
    """SQL of the one pass over a feed's rows."""
    listed = list(items)
    time = listed[0].time
    joined = "LEFT JOIN lines USING (peer)" if classed and any(item.needs for item in listed) else ""
    told = ", ".join(f'{_aggregate(item)} AS "{item.name}"' for item in listed)
    longest = max(item.days for item in listed)
    return (
        f"SELECT customer, {told} FROM (SELECT *, date_diff('day', {time}::DATE, DATE '{to_date}') AS ago, "
        f"hour({time}::TIMESTAMP) AS clock FROM (SELECT * REPLACE ({time}::TIMESTAMP AS {time}) FROM {rows}) {joined}) "
        f"WHERE ago BETWEEN 0 AND {longest - 1} GROUP BY customer"
    )


def _aggregate(item: Item) -> str:
    window = f"ago < {item.days}"
    cond = " AND ".join([window, *_where(item)])
    column = f'"{item.column}"'
    if item.kind == "count":
        return f"count(*) FILTER (WHERE {cond})"
    if item.kind == "days":
        return f"bit_count(coalesce(bit_or(1::HUGEINT << ago::HUGEINT) FILTER (WHERE {cond}), 0::HUGEINT))"
    if item.kind in ("sum", "mean"):
        name = "sum" if item.kind == "sum" else "avg"
        return f"{name}({column}) FILTER (WHERE {cond})::DOUBLE / {item.per}"
    if item.kind == "distinct":
        return f"count(DISTINCT {column}) FILTER (WHERE {cond})"
    if item.kind == "told":  # a supplier who says that it is not so is as sure as one who says nothing
        said = f"CASE WHEN value = 'N' THEN 0 ELSE coalesce({column}, 1) END"
        return f"max({said}) FILTER (WHERE {cond})::DOUBLE"
    if item.kind == "recency":
        return f"min(ago) FILTER (WHERE {cond})"
    if item.kind == "top5":
        counts = f"map_values(histogram({column}) FILTER (WHERE {cond}))"
        return (
            f"list_sum(list_slice(list_reverse_sort({counts}), 1, 5))::DOUBLE / "
            f"nullif(count({column}) FILTER (WHERE {cond}), 0)"
        )
    if item.kind == "both":
        ways = (f"list(DISTINCT {column}) FILTER (WHERE {cond} AND direction = {way})" for way in (1, 2))
        return f"len(list_intersect({', '.join(f'coalesce({way}, [])' for way in ways)}))"
    if item.kind == "entropy":
        return f"entropy({column}) FILTER (WHERE {cond})"
    part, whole = (f"sum({column})", f"sum({column})") if item.kind == "share" else ("count(*)", "count(*)")
    return f"coalesce({part} FILTER (WHERE {cond}), 0)::DOUBLE / nullif({whole} FILTER (WHERE {window}), 0)"


def _where(item: Item) -> list[str]:
    terms = []
    column, values = item.where
    if column:
        told = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in values)
        terms.append(f'"{column}" IN ({told})')
    begin, end = item.hours
    if begin > end:
        terms.append(f"(clock >= {begin} OR clock < {end})")
    elif end:
        terms.append(f"clock >= {begin} AND clock < {end}")
    return terms
