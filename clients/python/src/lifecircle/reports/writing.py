"""Files of a report."""

from __future__ import annotations

from pathlib import Path

from lifecircle.portrait import v1
from lifecircle.reports.excel import to_excel
from lifecircle.reports.html import to_html
from lifecircle.reports.values import day


def write(report: v1.Report, folder: Path) -> tuple[Path, Path]:
    """Writes REPORT_DAY.html and .xlsx into a folder, which is made; gives both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{report.report_id}_{day(report.to_date)}" if report.HasField("to_date") else report.report_id
    page, book = folder / f"{stem}.html", folder / f"{stem}.xlsx"
    page.write_text(to_html(report), encoding="utf-8")
    book.write_bytes(to_excel(report))
    return page, book
