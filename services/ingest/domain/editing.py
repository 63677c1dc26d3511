"""Rows of reference data as a file says them, so that people can edit what a supplier delivered."""

from collections.abc import Mapping, Sequence

import polars as pl

from services.ingest.domain.feed import Column, Feed, Type

_LAYOUTS = {
    "YYYYMMDD": "%Y%m%d",
    "YYYYMM": "%Y%m",
    "YYYY-MM-DD": "%Y-%m-%d",
    "YYYYMMDDHHMMSS": "%Y%m%d%H%M%S",
    "YYYY-MM-DD HH:MM:SS": "%Y-%m-%d %H:%M:%S",
}

_CELLS = 1 << 28

Row = Mapping[str, str]
"""Values by column name as the file writes them; what is missing is empty."""


def is_editable(feed: Feed) -> bool:
    """Whether it is reference data: rows that can be told apart, without persons, and told to nobody as events."""
    target = feed.target
    told = feed.msisdn or feed.parties or target.event or target.customers or target.bucketed
    return bool(feed.unique) and not told


def as_text(rows: pl.DataFrame, feed: Feed, zone: str) -> pl.DataFrame:
    """Conformed rows of an editable feed as its file says them, `line` last; "" for what is missing."""
    if feed.target.cell_id:
        lac, cell = feed.target.cell_id
        whole = pl.col("cell_id")
        rows = rows.with_columns((whole // _CELLS).alias(lac), (whole % _CELLS).alias(cell))
    texts = [_text(column, zone).fill_null("").alias(column.name) for column in feed.columns]
    return rows.select(*texts, "line")


def _text(column: Column, zone: str) -> pl.Expr:
    value = pl.col(column.name)
    match column.type:
        case Type.DATE:
            return value.dt.strftime(_LAYOUTS[column.layout])
        case Type.DATETIME:
            return value.dt.convert_time_zone(zone).dt.strftime(_LAYOUTS[column.layout])
        case Type.DECIMAL:
            return value.map_elements(_decimal, return_dtype=pl.String)
        case Type.CODE:
            codes = {str(value): code for code, value in (column.codes or {}).items()}
            return value.cast(pl.String).replace_strict(codes, default=None, return_dtype=pl.String)
        case _:
            return value.cast(pl.String)


def _decimal(value: float) -> str:
    """Digits as a contract takes them: no exponent, at most twelve behind the point."""
    return f"{value:.12f}".rstrip("0").rstrip(".")


def as_rows(puts: Sequence[Row], feed: Feed) -> pl.DataFrame:
    """Rows as the judge of a contract takes them: text, null where nothing stands, `line` their number from 1."""
    columns = {column.name: [row.get(column.name) or None for row in puts] for column in feed.columns}
    return pl.DataFrame(
        {"line": range(1, len(puts) + 1), **columns},
        schema={"line": pl.Int32, **dict.fromkeys(columns, pl.String)},
    )


def edited(rows: pl.DataFrame, puts: Sequence[Row], removes: Sequence[Row], feed: Feed) -> list[tuple[str, ...]]:
    """The rows of a file after an edit, in their order; those that are new stand at the end."""
    names = [column.name for column in feed.columns]
    left = {_key(row, feed): tuple(row[name] for name in names) for row in rows.to_dicts()}
    for row in removes:
        left.pop(_key(row, feed), None)
    for row in puts:
        left[_key(row, feed)] = tuple(row.get(name, "") for name in names)
    return list(left.values())


def problems_of(puts: Sequence[Row], removes: Sequence[Row], feed: Feed) -> list[tuple[str, str]]:
    """What cannot stand in a file of the feed, by field of the request."""
    known = {column.name for column in feed.columns}
    problems = []
    for field, rows, wanted in (("puts", puts, known), ("removes", removes, set(feed.unique))):
        for at, row in enumerate(rows):
            if unknown := sorted(set(row) - wanted):
                problems.append((f"{field}[{at}].values", f"has columns that are none: {', '.join(unknown)}"))
            if any({feed.delimiter, "\n", "\r", "\0"} & set(text) for text in row.values()):
                problems.append((f"{field}[{at}].values", "must not hold a delimiter, a line end or NUL"))
    return problems


def as_file(rows: Sequence[Sequence[str]], feed: Feed) -> bytes:
    """The bytes of a file with these rows. Raises UnicodeEncodeError for what its encoding does not know."""
    head = [feed.delimiter.join(column.name for column in feed.columns)] if feed.header else []
    return "".join(f"{line}\n" for line in [*head, *map(feed.delimiter.join, rows)]).encode(feed.encoding)


def _key(row: Row, feed: Feed) -> tuple[str, ...]:
    return tuple(row.get(name, "") for name in feed.unique)
