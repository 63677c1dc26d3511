"""What cells are, and how they are written for people."""

from __future__ import annotations

import re

from lifecircle.portrait import v1

Value = str | int | float | None
SUPPRESSED = "＊"
TEXT, INTEGER, DECIMAL, SHARE = (
    v1.ReportColumn.KIND_TEXT, v1.ReportColumn.KIND_INTEGER, v1.ReportColumn.KIND_DECIMAL, v1.ReportColumn.KIND_SHARE,
)  # fmt: skip


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def value(cell: v1.ReportCell) -> Value:
    """A cell's value; None for one that is not known, SUPPRESSED for one that is withheld. A word has no control
    characters, which a name from an operator's file may have and no workbook takes."""
    if cell.suppressed:
        return SUPPRESSED
    name = cell.WhichOneof("value")
    found: Value = getattr(cell, name) if name else None
    return _CONTROL.sub("", found) if isinstance(found, str) else found


def shown(told: Value, column: v1.ReportColumn) -> str:
    """A value as people read it: 1,234 · 12.34 · 56.7% · — for what is not known."""
    if told is None:
        return "—"
    if isinstance(told, str):
        return told
    if column.kind == SHARE:
        return f"{told:.1%}"
    return f"{told:,}" if column.kind == INTEGER else f"{told:,.2f}"


def heading(column: v1.ReportColumn) -> str:
    """A column's title with its unit."""
    return f"{column.title}（{column.unit}）" if column.unit else column.title


def facts(report: v1.Report) -> list[tuple[str, str]]:
    """What a reader must know before he reads: period, comparison, whose customers, the smallest group."""
    told = [("报表编号", report.report_id)]
    if report.HasField("to_date"):
        span = day(report.from_date) + " 至 " if report.HasField("from_date") else ""
        told.append(("数据周期", span + day(report.to_date)))
    told.append(("数据版本", report.run_id or "—"))
    if report.compare_run_id:
        when = f"{day(report.compare_to_date)}，" if report.HasField("compare_to_date") else ""
        told.append(("对比上期", f"{when}{report.compare_run_id}"))
    told.append(("客户范围", report.org_id or "全网"))
    told.append(("最小组人数", f"{report.smallest_group}（少于此数的组以{SUPPRESSED}代替，为防倒推可能多隐去一组）"))
    return told


def day(date: object) -> str:
    """A google.type.Date as 2026-09-30."""
    return f"{date.year:04d}-{date.month:02d}-{date.day:02d}"  # type: ignore[attr-defined]
