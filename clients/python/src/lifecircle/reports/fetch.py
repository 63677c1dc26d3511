"""Any report of the platform by its name: portrait's as they come, the others made of their service's answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from importlib import import_module, resources
from typing import Any

import yaml

from lifecircle.client import Lifecircle
from lifecircle.paging import items
from lifecircle.portrait import v1
from lifecircle.reports.withholding import withheld

_DEFINED = yaml.safe_load((resources.files(__package__) / "definitions.yaml").read_text(encoding="utf-8"))
_WEEKDAYS = ("", "周一", "周二", "周三", "周四", "周五", "周六", "周日")
_CHANNELS = {"SMS": "短信", "CALL": "外呼", "APP": "手机应用", "WEB": "网上营业厅", "STORE": "营业厅", "ORDER": "工单"}
Line = tuple[tuple[str, ...], int, tuple[int | float, ...]]


class ReportUnknown(ValueError):
    """There is no such report, or none of this period."""


async def names(platform: Lifecircle) -> list[tuple[str, str]]:
    """Every report: (id, title)."""
    own = [(each.report_id, each.title) async for each in items(platform.portrait.ListReports, v1.ListReportsRequest())]
    return own + [(entry["id"], entry["zh"]) for entry in _DEFINED["reports"]]


async def fetch(platform: Lifecircle, report_id: str, period: str = "", compare: bool = False) -> v1.Report:
    """A report of a period: a day or a month for portrait's, a matrix id or its day for recommend's.

    An empty period is the latest. contact's reports are over all campaigns and know no period. Raises ReportUnknown;
    a refused call raises as ever.
    """
    entry = next((each for each in _DEFINED["reports"] if each["id"] == report_id), None)
    if entry is None:
        request = v1.GetReportRequest(report_id=report_id, period=period, compare=compare)
        return (await platform.portrait.GetReport(request)).report
    report = v1.Report(
        report_id=report_id, title=entry["zh"], purpose=entry["purpose"], smallest_group=_DEFINED["smallest_group"]
    )
    now, before = "", ""
    if entry.get("period") == "matrix":
        now, before = await _matrices(platform, report, period, compare)
    elif period:
        raise ReportUnknown(f"{report_id} is over all campaigns; it has no period")
    answers: dict[tuple[str, str], list[Any]] = {}

    async def lines(table: dict[str, Any], matrix_id: str) -> list[Line]:
        key = table["call"], matrix_id
        if key not in answers:
            answers[key] = await _answer(platform, entry["service"], table, matrix_id)
        return _lines(table, answers[key])

    for table in entry["tables"]:
        then = await lines(table, before) if before else None
        report.tables.append(_table(table, await lines(table, now), then))
    return report


async def _matrices(platform: Lifecircle, report: v1.Report, period: str, compare: bool) -> tuple[str, str]:
    """The matrix of a period and the one before it; what they are is told in the report."""
    watch = import_module("lifecircle.recommend.v1").WatchMatricesRequest()
    known: list[Any] = []
    stream: AsyncIterator[Any] = platform.recommend.WatchMatrices(watch).__aiter__()
    async for seen in stream:  # the first message without a matrix is a checkpoint: all that is published was told
        if not seen.HasField("matrix"):
            break
        known.append(seen.matrix)

    def told(matrix: Any) -> tuple[str, str]:
        date = matrix.as_of_date
        return matrix.matrix_id, f"{date.year:04d}-{date.month:02d}-{date.day:02d}"

    fitting = [at for at, each in enumerate(known) if told(each)[0] == period or told(each)[1].startswith(period)]
    if not fitting:
        raise ReportUnknown(f"no matrix of {period or 'any period'} was published")
    matrix = known[fitting[-1]]
    report.run_id = matrix.matrix_id
    report.to_date.CopyFrom(matrix.as_of_date)
    if not compare or fitting[-1] == 0:
        return matrix.matrix_id, ""
    earlier = known[fitting[-1] - 1]
    report.compare_run_id = earlier.matrix_id
    report.compare_to_date.CopyFrom(earlier.as_of_date)
    return matrix.matrix_id, earlier.matrix_id


async def _answer(platform: Lifecircle, service: str, table: dict[str, Any], matrix_id: str) -> list[Any]:
    """What the service tells, line by line."""
    request = getattr(import_module(f"lifecircle.{service}.v1"), f"{table['call']}Request")()
    call = getattr(getattr(platform, service), table["call"])
    if matrix_id:
        request.matrix_id = matrix_id
        return list(getattr(await call(request), table["items"]))
    return [each async for each in items(call, request)]


def _lines(table: dict[str, Any], told: Sequence[Any]) -> list[Line]:
    """The lines of a table: dimensions, the count that they stand for, measures. With `sum` those of the same
    dimensions are one."""
    lines = [_line(table, number, each) for number, each in enumerate(told, start=1)]
    if not table.get("sum"):
        return lines
    summed: dict[tuple[str, ...], tuple[int, tuple[int | float, ...]]] = {}
    for key, people, measures in lines:
        many, before = summed.get(key, (0, (0,) * len(measures)))
        summed[key] = many + people, tuple(a + b for a, b in zip(before, measures, strict=True))
    return [(key, *rest) for key, rest in summed.items()]


def _line(table: dict[str, Any], number: int, told: Any) -> Line:
    if "number" in table:
        key: tuple[str, ...] = (str(number),)
    else:
        key = tuple(_word(told, column.get("path", column["name"])) for column in table["by"])
    measures = [
        _follow(told, column.get("path", column["name"])) / column.get("scale", 1) for column in table["measures"]
    ]
    return key, int(_follow(told, table["people"])), tuple(measures)


def _follow(told: Any, path: str) -> Any:
    for name in path.split("."):
        told = getattr(told, name)
    return told


def _word(told: Any, path: str) -> str:
    found = _follow(told, path)
    field = told.DESCRIPTOR.fields_by_name.get(path)
    if field is not None and field.enum_type is not None:
        name = str(field.enum_type.values_by_number[found].name).removeprefix(f"{path.upper()}_")
        return _CHANNELS.get(name, name)
    return _WEEKDAYS[found] if path == "weekday" else str(found)


def _table(entry: dict[str, Any], now: Sequence[Line], before: Sequence[Line] | None) -> v1.ReportTable:
    compares = before is not None and entry.get("compare", False)
    dimensions = [entry["number"]] if "number" in entry else entry["by"]
    made = v1.ReportTable(table_id=entry["id"], title=entry["zh"], note=entry.get("note", ""))
    for column in dimensions:
        made.columns.add(name=column["name"], title=column["zh"], kind=v1.ReportColumn.KIND_TEXT)
    for suffix, title in (("", ""), ("_before", "（上期）"), ("_change", "（变化）")) if compares else (("", ""),):
        for column in entry["measures"]:
            kind = v1.ReportColumn.Kind.Value(f"KIND_{column.get('kind', 'integer').upper()}")
            formula = f"{entry['call']}.{column.get('path', column['name'])}"
            made.columns.add(name=column["name"] + suffix, title=column["zh"] + title, kind=kind,
                             unit=column.get("unit", ""), formula=formula)  # fmt: skip
    earlier = {
        line[0]: (line[2], hidden) for line, hidden in zip(before or (), _hidden(entry, before or ()), strict=True)
    }
    for (key, _, measures), hidden in zip(now, _hidden(entry, now), strict=True):
        told: list[int | float | None] = list(measures)
        if compares:
            then, gone = earlier.get(key, ((), [False] * len(measures)))
            told += [*(then or [None] * len(measures))]
            told += [a - b for a, b in zip(measures, then, strict=True)] if then else [None] * len(measures)
            hidden += gone + [a or b for a, b in zip(hidden, gone, strict=True)]
        row = made.rows.add()
        row.cells.extend(v1.ReportCell(text=word) for word in key)
        kinds = [column.kind for column in made.columns][len(key) :]
        row.cells.extend(map(_cell, told, hidden, kinds))
        made.suppressed_rows += any(hidden)
    for chart in entry.get("charts", ()):
        form = v1.ReportChart.Kind.Value(f"KIND_{chart['kind'].upper()}")
        made.charts.add(kind=form, title=chart["zh"], x=chart["x"], y=chart["y"], series=chart.get("series", ""))
    return made


def _hidden(entry: dict[str, Any], lines: Sequence[Line]) -> list[list[bool]]:
    """Which measures of each line are withheld: all of one that stands for few people or would tell of such a one, and
    each that counts few by itself."""
    smallest, names = _DEFINED["smallest_group"], [column["name"] for column in entry.get("by", ())]
    within = [[names.index(name) for name in kept] for kept in entry.get("within", ())]
    gone = withheld([key for key, _, _ in lines], [people for _, people, _ in lines], within, smallest)
    counts = [column.get("unit") == "人" for column in entry["measures"]]
    return [
        [hidden or (counted and 0 < each < smallest) for counted, each in zip(counts, measures, strict=True)]
        for hidden, (_, _, measures) in zip(gone, lines, strict=True)
    ]


def _cell(told: int | float | None, hidden: bool, kind: int) -> v1.ReportCell:
    if hidden or told is None:
        return v1.ReportCell(suppressed=hidden)
    if kind == v1.ReportColumn.KIND_INTEGER:
        return v1.ReportCell(integer=round(told))
    return v1.ReportCell(number=round(told, 6))
