"""What a report is, as data: format `reports/1` (catalogue/reports.yaml), each report written once.

A table groups the rows of a source (a view of lake/reports.py, or a SELECT over views) by its dimensions and computes
its measures; the formula that is shown to the reader is the one that is computed. `people` are the counts of customers
that the figures of a line stand for: each must be 0 or at least the smallest group, or the line is withheld. `within`
names the sets of dimensions whose totals a reader knows, from the table itself or from another one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = ("text", "integer", "decimal", "share")
CHARTS = ("bar", "stack", "heat", "line")
_COLUMN = frozenset({"name", "zh", "kind", "unit", "formula", "compare"})
_TABLE = frozenset({"id", "zh", "note", "from", "where", "by", "measures", "people", "within", "total", "order", "most",
                    "charts", "needs_before"})  # fmt: skip
_REPORT = frozenset({"id", "zh", "purpose", "tables", "parts"})
_CHART = frozenset({"kind", "zh", "x", "y", "series"})


class ReportInvalid(ValueError):
    """A definition is wrong; the message says where."""


@dataclass(frozen=True)
class Column:
    """A dimension (kind text) or a measure, by an SQL expression over the source's rows."""

    name: str
    title: str
    kind: str
    formula: str
    unit: str = ""
    compare: bool = False
    """Whether it is told of the period before too."""


@dataclass(frozen=True)
class Chart:
    """Columns to draw, by name."""

    kind: str
    title: str
    x: str
    y: tuple[str, ...]
    series: str = ""


@dataclass(frozen=True)
class Table:
    """One table of a report."""

    table_id: str
    title: str
    source: str
    dimensions: tuple[Column, ...]
    measures: tuple[Column, ...]
    people: tuple[str, ...]
    note: str = ""
    where: str = ""
    within: tuple[tuple[int, ...], ...] = ()
    """Sets of dimensions, by position, of which the totals are known."""
    total: tuple[int, ...] | None = None
    """The dimensions that a line of totals keeps; None for no such lines."""
    order: str = ""
    most: int = 0
    """How many lines are shown, those that are withheld left out; 0 for all."""
    needs_before: bool = False
    charts: tuple[Chart, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Dimensions, then measures."""
        return (*self.dimensions, *self.measures)


@dataclass(frozen=True)
class Report:
    """A report; a composite has the tables of its parts."""

    report_id: str
    title: str
    purpose: str
    smallest_group: int
    tables: tuple[Table, ...] = field(default_factory=tuple)


def parse_reports(document: Mapping[str, Any]) -> dict[str, Report]:
    """Reports by id, in the order of their ids. Raises ReportInvalid with the path of the first fault."""
    if document.get("format") != "reports/1":
        raise ReportInvalid("format: must be reports/1")
    smallest = int(document["smallest_group"])
    if smallest < 2:
        raise ReportInvalid("smallest_group: must be at least 2")
    found: dict[str, Report] = {}
    for entry in document["reports"]:
        _known(entry, _REPORT, entry["id"])
        tables = [_table(each, f"{entry['id']}.{each['id']}") for each in entry.get("tables", ())]
        for part in entry.get("parts", ()):
            if part not in found:
                raise ReportInvalid(f"{entry['id']}.parts: no report {part} stands before it")
            tables += found[part].tables
        if entry["id"] in found or len({table.table_id for table in tables}) != len(tables) or not tables:
            raise ReportInvalid(f"{entry['id']}: its id and those of its tables must be there and be unique")
        found[entry["id"]] = Report(entry["id"], entry["zh"], entry["purpose"], smallest, tuple(tables))
    return dict(sorted(found.items()))


def _table(entry: Mapping[str, Any], at: str) -> Table:
    _known(entry, _TABLE, at)
    dimensions = tuple(_column({"kind": "text", **each}, at) for each in entry["by"])
    measures = tuple(_column({"compare": True, **each}, at) for each in entry["measures"])
    names = [column.name for column in (*dimensions, *measures)]
    if len(set(names)) != len(names):
        raise ReportInvalid(f"{at}: two columns have one name")
    if not entry.get("people"):
        raise ReportInvalid(f"{at}.people: how many customers does a line stand for?")

    def places(wanted: Sequence[str], where: str) -> tuple[int, ...]:
        for name in wanted:
            if name not in names[: len(dimensions)]:
                raise ReportInvalid(f"{at}.{where}: no dimension is named {name}")
        return tuple(names.index(name) for name in wanted)

    return Table(
        table_id=entry["id"],
        title=entry["zh"],
        note=entry.get("note", ""),
        source=entry["from"],
        where=entry.get("where", ""),
        dimensions=dimensions,
        measures=measures,
        people=tuple(entry["people"]),
        within=tuple(places(each, "within") for each in entry.get("within", ())),
        total=places(entry["total"], "total") if "total" in entry else None,
        order=entry.get("order", ""),
        most=int(entry.get("most", 0)),
        needs_before=bool(entry.get("needs_before", False)),
        charts=tuple(_chart(each, names, at) for each in entry.get("charts", ())),
    )


def _column(entry: Mapping[str, Any], at: str) -> Column:
    _known(entry, _COLUMN, at)
    kind = entry.get("kind", "integer")
    if kind not in KINDS:
        raise ReportInvalid(f"{at}.{entry['name']}: the kind must be one of {', '.join(KINDS)}")
    formula = entry.get("formula", entry["name"])
    compare = bool(entry.get("compare", False)) and kind != "text"
    return Column(entry["name"], entry["zh"], kind, formula, entry.get("unit", ""), compare)


def _chart(entry: Mapping[str, Any], names: Sequence[str], at: str) -> Chart:
    _known(entry, _CHART, at)
    chart = Chart(entry["kind"], entry["zh"], entry["x"], tuple(entry["y"]), entry.get("series", ""))
    missing = [name for name in (chart.x, *chart.y, *filter(None, [chart.series])) if name not in names]
    if chart.kind not in CHARTS or missing:
        raise ReportInvalid(f"{at}.charts: of {chart.title}: {', '.join(missing) or chart.kind} is not known")
    return chart


def _known(entry: Mapping[str, Any], allowed: frozenset[str], at: str) -> None:
    unknown = sorted(set(entry) - allowed)
    if unknown:
        raise ReportInvalid(f"{at}: not known: {', '.join(unknown)}")
