"""What a page is made of: plain values, which templates/ turns into HTML.

A page has sections. Each asks the platform by itself and gives blocks, so that a service that is away, or a right that
is missing, takes away one section and leaves the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lifecircle.portrait import v1
from lifecircle.reports.html import figure
from lifecircle.reports.values import INTEGER, TEXT, Value, heading, shown, value

KINDS = {
    "text": v1.ReportColumn.KIND_TEXT,
    "id": v1.ReportColumn.KIND_TEXT,
    "integer": v1.ReportColumn.KIND_INTEGER,
    "decimal": v1.ReportColumn.KIND_DECIMAL,
    "share": v1.ReportColumn.KIND_SHARE,
}
"""Kinds of columns; an id is text that is no language, and is set as such."""
CHARTS = {
    "bar": v1.ReportChart.KIND_BAR,
    "stack": v1.ReportChart.KIND_STACK,
    "line": v1.ReportChart.KIND_LINE,
    "heat": v1.ReportChart.KIND_HEAT,
}


@dataclass(frozen=True)
class Asked:
    """One request: the platform as the signed-in user, the same with a long deadline, and what the address asks."""

    platform: Any
    patient: Any
    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """A field's value, "" when it is not given."""
        return self.values.get(name, "").strip()

    def number(self, name: str) -> int:
        """A field's value as a number from 0 to 2^63 - 1. Raises Unreadable."""
        told = self[name] or "0"
        if not told.isdecimal() or int(told) >= 1 << 63:
            raise Unreadable(f"“{told}”不是编号，请输入数字。")
        return int(told)


class Unreadable(ValueError):
    """A field's value cannot be read; the message says so in Chinese."""


class Code(str):
    """Text in no language of people's: an id, a formula, a rule as it was written."""

    __slots__ = ()


@dataclass(frozen=True)
class Facts:
    """Names with values."""

    pairs: Sequence[tuple[str, Any]]
    kind: str = "facts"


@dataclass(frozen=True)
class Note:
    """A sentence; `tone` is "", "away" or "denied"."""

    text: str
    tone: str = ""
    kind: str = "note"


@dataclass(frozen=True)
class Document:
    """A text as it was written, such as a model's card."""

    text: str
    kind: str = "document"


@dataclass(frozen=True)
class Link:
    """Something to open or to download."""

    text: str
    href: str
    kind: str = "link"


@dataclass(frozen=True)
class Branch:
    """A node of a tree: what it says, its weight as a share of the whole, and what is below."""

    text: str
    note: str = ""
    share: float = 0.0
    below: Sequence[Branch] = ()
    kind: str = "tree"


@dataclass(frozen=True)
class Cell:
    """One cell as it is shown."""

    text: str
    numeric: bool
    code: bool = False
    href: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the platform's reports, with what a page adds: links, ids, and the token of its next page.

    `links` gives an address by column, with {} where the cell's value stands.
    """

    table: v1.ReportTable
    links: Mapping[str, str]
    ids: frozenset[str] = frozenset()
    next_page: str = ""
    kind: str = "table"

    @property
    def heads(self) -> list[Cell]:
        """The heading of each column."""
        return [Cell(heading(column), column.kind != TEXT) for column in self.table.columns]

    @property
    def rows(self) -> list[list[Cell]]:
        """Every row's cells."""
        return [[self._cell(*pair) for pair in zip(row.cells, self.table.columns, strict=True)]
                for row in self.table.rows]  # fmt: skip

    @property
    def figures(self) -> list[str]:
        """The charts, as Plotly's JSON."""
        drawn = [figure(self.table, chart) for chart in self.table.charts if self.table.rows]
        return [each.to_json() for each in drawn if each is not None]

    def _cell(self, cell: v1.ReportCell, column: v1.ReportColumn) -> Cell:
        told: Value = value(cell)
        linked = column.name in self.links and told not in (None, "")
        href = self.links[column.name].format(quote(str(told), safe="")) if linked else ""
        is_id = column.name in self.ids
        text = str(told) if is_id and told is not None else shown(told, column)
        return Cell(text, column.kind != TEXT, is_id, href)


Block = Facts | Note | Document | Link | Branch | Table


def table(
    title: str,
    columns: str,
    rows: Sequence[Sequence[Value]],
    *,
    note: str = "",
    charts: Sequence[tuple[str, str, str, Sequence[str], str]] = (),
    links: Mapping[str, str] | None = None,
    next_page: str = "",
) -> Table:
    """Makes a table of "name title kind, …" (kind is one of KINDS, text by default).

    A chart is (one of CHARTS, its title, the column along, the columns of figures, the column of series or "").
    """
    made = v1.ReportTable(table_id="", title=title, note=note)
    told_of = [(*each.split(), "text")[:3] for each in columns.split(", ")]
    for name, heading_, kind in told_of:
        made.columns.add(name=name, title=heading_, kind=KINDS[kind])
    for row in rows:
        line = made.rows.add()
        for told, (_, _, kind) in zip(row, told_of, strict=True):
            line.cells.append(_report_cell(told, KINDS[kind]))
    for form, chart_title, x, y, series in charts:
        made.charts.add(kind=CHARTS[form], title=chart_title, x=x, y=y, series=series)
    return Table(made, links or {}, frozenset(name for name, _, kind in told_of if kind == "id"), next_page)


def _report_cell(told: Value, kind: v1.ReportColumn.Kind.ValueType) -> v1.ReportCell:
    if told is None:
        return v1.ReportCell()
    if kind == TEXT:
        return v1.ReportCell(text=str(told))
    return v1.ReportCell(integer=int(told)) if kind == INTEGER else v1.ReportCell(number=float(told))


@dataclass(frozen=True)
class Field:
    """A field of a page's form; a section that needs it waits until it is filled in."""

    name: str
    label: str
    hint: str = ""
    kind: str = "text"


Load = Callable[[Asked], Awaitable[Sequence[Block]]]


@dataclass(frozen=True)
class Section:
    """A part of a page: who is asked (a service of the mesh), how, and which fields must be filled in before."""

    title: str
    service: str
    load: Load
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A page: its address, its title, whose it is, and what stands on it. A page that is not `listed` is linked."""

    path: str
    title: str
    group: str
    sections: tuple[Section, ...]
    form: tuple[Field, ...] = ()
    listed: bool = True
