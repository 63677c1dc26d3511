"""Judging rows by their contract: text columns in, typed columns out, and for every bad row the first fault."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from services.ingest.domain import identity
from services.ingest.domain.feed import Column, Feed, Type, whole

REQUIRED_MISSING = "REQUIRED_MISSING"
TYPE_WRONG = "TYPE_WRONG"
CODE_UNKNOWN = "CODE_UNKNOWN"
OUT_OF_RANGE = "OUT_OF_RANGE"
PATTERN_WRONG = "PATTERN_WRONG"
TOO_LONG = "TOO_LONG"
OUT_OF_PERIOD = "OUT_OF_PERIOD"
NOT_AFTER = "NOT_AFTER"
DUPLICATE = "DUPLICATE"
CLEAR_NUMBER = "CLEAR_NUMBER"
REFERENCE_UNKNOWN = "REFERENCE_UNKNOWN"

NUMBER = "@number"
"""Name of the column that stands for the customer until the number has become a key."""
PARTY = "party"
"""Column of a feed of customers: the pseudonym that the customer's own number has where others name it."""

_SHAPES = {
    Type.INT: r"^-?[0-9]{1,18}$",
    Type.DECIMAL: r"^-?[0-9]{1,12}(\.[0-9]{1,12})?$",
    Type.PARTY: r"^[0-9+*#A-Fa-f]{1,32}$",
}
_DATE_SHAPES = {
    "YYYYMMDD": (r"^(19|20)[0-9]{6}$", "%Y%m%d"),
    "YYYYMM": (r"^(19|20)[0-9]{4}$", "%Y%m%d"),
    "YYYY-MM-DD": (r"^(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}$", "%Y-%m-%d"),
    "YYYYMMDDHHMMSS": (r"^(19|20)[0-9]{10}[0-5][0-9]$", "%Y%m%d%H%M%S"),
    "YYYY-MM-DD HH:MM:SS": (r"^(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-5][0-9]$", "%Y-%m-%d %H:%M:%S"),
}
_MASK = r"1[3-9][0-9]{9}"


@dataclass(frozen=True)
class Judged:
    """`good`: typed columns with `line`; `bad`: line, column, reason. Together they are the rows that came in."""

    good: pl.DataFrame
    bad: pl.DataFrame


class Judge:
    """The compiled contract of one delivery: `period` is its day, `zone` the business time zone of its local times.

    `known` are the values that columns with a reference may have; a column that is not in it is not looked up.
    """

    def __init__(self, feed: Feed, period: date, zone: str, known: Mapping[str, pl.Series] | None = None) -> None:
        known = known or {}
        self._feed = feed
        self._values = [_value(column, zone).alias(column.name) for column in feed.columns]
        told = feed.target.event.id if feed.target.event else ()
        values = {column.name: _value(column, zone) for column in feed.columns}
        self._faults = [
            _fault(
                column, zone, period, known.get(column.name), values.get(column.after), of_id=column.name in told
            ).alias(f"\0{column.name}")
            for column in feed.columns
        ]
        self._seen = pl.DataFrame(schema=dict.fromkeys(feed.unique, pl.String))

    def judge(self, rows: pl.DataFrame) -> Judged:
        """Judge text rows. A repeated `unique` key is the fault of the later row, also over batches."""
        judged = rows.select("line", *self._values, *self._faults)  # together: each value is parsed once
        names = judged.columns[1 + len(self._values) :]
        good = judged.select(pl.all_horizontal(pl.col(names).is_null())).to_series()
        whole = bool(good.all())
        report = _report((judged.clear() if whole else judged.filter(~good)).select("line", *names), names)
        values = judged.drop(names) if whole else judged.drop(names).filter(good)
        if self._feed.unique:
            kept, repeated = self._first_of_key(rows if whole else rows.filter(good))
            values = values.filter(values["line"].is_in(kept["line"].implode())) if repeated.height else values
            report = pl.concat([report, repeated]).sort("line")
        return Judged(_conformed(values, self._feed), report)

    def _first_of_key(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        keys = list(self._feed.unique)
        rows = rows.select("line", *keys)
        fresh = rows.join(self._seen, on=keys, how="anti", nulls_equal=True, maintain_order="left")
        fresh = fresh.unique(keys, keep="first", maintain_order=True)
        self._seen = pl.concat([self._seen, fresh.select(keys)])
        repeated = rows.filter(~pl.col("line").is_in(fresh["line"].implode())).select(
            "line", column=pl.lit(keys[0]), reason=pl.lit(DUPLICATE)
        )
        return fresh, repeated


def _value(column: Column, zone: str) -> pl.Expr:
    """The typed value of a text column; null where it does not parse."""
    text = pl.col(column.name)
    match column.type:
        case Type.INT | Type.MSISDN:
            return text.cast(pl.Int64, strict=False)
        case Type.DECIMAL:
            return text.cast(pl.Float64, strict=False)
        case Type.DATE:
            full = text + "01" if column.layout == "YYYYMM" else text
            return full.str.to_date(_DATE_SHAPES[column.layout][1], strict=False)
        case Type.DATETIME:
            local = _local(column).dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
            return local.dt.convert_time_zone("UTC")
        case Type.CODE:
            codes = dict(column.codes or {})
            whole = all(isinstance(value, int) for value in codes.values())
            kind = pl.Int8 if whole else pl.String
            values = codes if whole else {code: str(value) for code, value in codes.items()}
            return text.replace_strict(values, default=None, return_dtype=kind)
        case Type.PARTY:  # a pseudonym once it is keyed; text until then
            return text.str.replace(r"^(?:\+|00)86(1[3-9][0-9]{9})$", "$1")
        case Type.STRING:
            if column.masked:
                return identity.masked_all(text.str.replace_all(_MASK, identity.MASK))
            free = column.masked is None and not column.pattern
            return identity.masked_all(text) if free else text


def _local(column: Column) -> pl.Expr:
    return pl.col(column.name).str.to_datetime(_DATE_SHAPES[column.layout][1], time_unit="ms", strict=False)


def _fault(
    column: Column, zone: str, period: date, known: pl.Series | None, after: pl.Expr | None, *, of_id: bool
) -> pl.Expr:
    """The reason why a text breaks the column's rules, or null. The first rule that is broken speaks.

    `known`: the values that a reference may have. `after`: what the value must lie after. `of_id`: it is a part of the
    id of an event, which must not hold a number and cannot be masked.
    """
    text, value = pl.col(column.name), _value(column, zone)
    broken: list[tuple[pl.Expr, str]] = []
    if column.type is Type.CODE:
        broken.append((value.is_null(), CODE_UNKNOWN))
    elif column.type is Type.MSISDN:  # ^1[0-9]{10}$, without an expression
        broken.append((value.is_null() | (text.str.len_bytes() != 11) | (value < 10**10), TYPE_WRONG))
        broken.append((value >= 2 * 10**10, TYPE_WRONG))
    elif column.type is not Type.STRING:
        shape = _SHAPES[column.type] if column.type in _SHAPES else _DATE_SHAPES[column.layout][0]
        broken.append((value.is_null() | ~text.str.contains(shape), TYPE_WRONG))
    else:
        broken.append((text.str.len_chars() > column.longest, TOO_LONG))
    if column.pattern:
        broken.append((~text.str.contains(whole(column.pattern)), PATTERN_WRONG))
    if column.least is not None:
        broken.append((value < column.least, OUT_OF_RANGE))
    if column.most is not None:
        broken.append((value > column.most, OUT_OF_RANGE))
    if column.within_period:
        start = datetime.combine(period, datetime.min.time())
        inside = _local(column).is_between(start, start + timedelta(days=1), closed="left")
        broken.append((~inside, OUT_OF_PERIOD))
    if after is not None:
        broken.append((value <= after, NOT_AFTER))
    if known is not None:
        broken.append((~text.is_in(known.implode()), REFERENCE_UNKNOWN))
    if of_id and column.type in (Type.STRING, Type.INT):
        broken.append((identity.holds_numbers(text), CLEAR_NUMBER))
    chosen: pl.Expr = pl.lit(None, dtype=pl.String)
    for wrong, reason in reversed(broken):
        chosen = pl.when(wrong).then(pl.lit(reason)).otherwise(chosen)
    missing = pl.lit(REQUIRED_MISSING) if column.required else pl.lit(None, dtype=pl.String)
    return pl.when(text.is_null()).then(missing).otherwise(chosen)


def _report(bad: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The first column at fault, and its reason, of rows that have one."""
    which = [pl.when(pl.col(name).is_not_null()).then(pl.lit(name.removeprefix("\0"))) for name in names]
    return bad.select("line", column=pl.coalesce(which), reason=pl.coalesce(names))


def _conformed(rows: pl.DataFrame, feed: Feed) -> pl.DataFrame:
    """Columns as they stand in the lake, apart from the number, in a fixed order, `line` last."""
    rename = {feed.msisdn.name: NUMBER} if feed.msisdn else {}
    rows = rows.rename(rename)
    names = [rename.get(column.name, column.name) for column in feed.columns]
    if feed.target.cell_id:
        lac, cell = feed.target.cell_id
        rows = rows.with_columns(cell_id=pl.col(lac) * (1 << 28) + pl.col(cell))
        names = [("cell_id" if name == lac else name) for name in names if name != cell]
    return rows.select(*names, "line")
