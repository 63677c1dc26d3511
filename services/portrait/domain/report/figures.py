"""The figures of a report: lines as computed, withheld where they must be, beside those of the period before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from services.portrait.domain.report.definition import Column, Table
from services.portrait.domain.report.suppression import suppressed

TOTAL = "合计"
DECIMALS = 6


class Withheld(Enum):
    """Stands in the place of a figure that is not told."""

    YES = "*"


WITHHELD = Withheld.YES

Value = str | int | float | None | Withheld


@dataclass(frozen=True)
class Measured:
    """A line as it was computed: its dimensions, the counts of people behind it, its measures."""

    key: tuple[str, ...]
    people: tuple[int, ...]
    measures: tuple[int | float | None, ...]
    total: bool = False


@dataclass(frozen=True)
class Line:
    """A line as it is told."""

    values: tuple[Value, ...]
    total: bool = False


@dataclass(frozen=True)
class Part:
    """A table with its lines; `columns` are those of the definition, and those of the comparison."""

    table: Table
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    withheld: int
    """How many lines have figures that are not told."""


def part_of(table: Table, measured: Sequence[Measured], smallest: int) -> Part:
    """The lines of a table, those of small groups withheld and at the end; of one with `most`, only what is told."""
    lines = [line for line in measured if not line.total]
    hidden = suppressed([line.key for line in lines], [line.people for line in lines], table.within, smallest)
    told = [_line(line, False, table) for line, gone in zip(lines, hidden, strict=True) if not gone]
    if table.most:
        told = told[: table.most]
    else:  # their place in an order by a figure would tell of the figure
        kept = [line for line, gone in zip(lines, hidden, strict=True) if gone]
        told += [_line(line, True, table) for line in sorted(kept, key=lambda line: line.key)]
    totals = [line for line in measured if line.total]
    for line in totals:
        told.append(_line(line, any(0 < count < smallest for count in line.people), table))
    return Part(table, table.columns, tuple(told), sum(WITHHELD in line.values for line in told))


def compared(now: Part, before: Part | None) -> Part:
    """A table with, for each measure that is compared, its value before and the difference, where both are told.

    A group that is gone now has a line with what it was before, unless the table shows only the first lines.
    """
    marked = [place for place, column in enumerate(now.columns) if column.compare]
    columns = list(now.columns)
    for place in marked:
        column = now.columns[place]
        columns.append(replace(column, name=f"{column.name}_before", title=f"{column.title}（上期）", compare=False))
        change = f"{column.name} - {column.name}_before"
        columns.append(replace(column, name=f"{column.name}_change", title=f"{column.title}（变化）", compare=False,
                               formula=change))  # fmt: skip
    width = len(now.table.dimensions)
    earlier = {(line.values[:width], line.total): line for line in before.lines} if before is not None else {}
    lines = []
    for line in now.lines:
        then = earlier.pop((line.values[:width], line.total), None)
        lines.append(replace(line, values=(*line.values, *_beside(line, then, marked))))
    if not now.table.most:
        empty = (None,) * len(now.table.measures)
        gone = [replace(then, values=(*then.values[:width], *empty)) for then in earlier.values() if not then.total]
        lines += [
            replace(line, values=(*line.values, *_beside(line, earlier[line.values[:width], False], marked)))
            for line in gone
        ]
    return replace(now, columns=tuple(columns), lines=tuple(lines), withheld=sum(WITHHELD in x.values for x in lines))


def to_json(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Parts as they are kept."""
    return [
        {
            "id": part.table.table_id,
            "columns": [column.name for column in part.columns],
            "withheld": part.withheld,
            "lines": [[line.total, *([["*"] if v is WITHHELD else v for v in line.values])] for line in part.lines],
        }
        for part in parts
    ]


def from_json(kept: Sequence[Mapping[str, Any]], tables: Mapping[str, Table]) -> list[Part]:
    """What to_json() kept, of the same definition."""
    parts = []
    for each in kept:
        table = tables[each["id"]]
        whole = compared(Part(table, table.columns, (), 0), None).columns
        known = {column.name: column for column in whole}
        lines = [
            Line(tuple(WITHHELD if value == ["*"] else value for value in values), total)
            for total, *values in each["lines"]
        ]
        columns = tuple(known[name] for name in each["columns"])
        parts.append(Part(table, columns, tuple(lines), each["withheld"]))
    return parts


def _line(line: Measured, hidden: bool, table: Table) -> Line:
    measures: tuple[Value, ...] = tuple(
        WITHHELD if hidden else _rounded(value, column)
        for value, column in zip(line.measures, table.measures, strict=True)
    )
    return Line((*line.key, *measures), line.total)


def _rounded(value: int | float | None, column: Column) -> int | float | None:
    if value is None or value != value:  # NaN: a mean over nobody
        return None
    return round(value) if column.kind == "integer" else round(float(value), DECIMALS)


def _beside(line: Line, then: Line | None, marked: Sequence[int]) -> tuple[Value, ...]:
    told: list[Value] = []
    for place in marked:
        now, before = line.values[place], then.values[place] if then is not None else None
        told.append(before)
        if isinstance(now, Withheld) or isinstance(before, Withheld):
            told.append(WITHHELD)
        elif isinstance(now, int | float) and isinstance(before, int | float):
            told.append(round(now - before, DECIMALS))
        else:
            told.append(None)
    return tuple(told)
