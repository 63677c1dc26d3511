"""A report as an Excel workbook: a sheet for each table, and one that says what the figures mean."""

from __future__ import annotations

import io
import re
import zipfile

from openpyxl import Workbook
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from lifecircle.portrait import v1
from lifecircle.reports.values import DECIMAL, INTEGER, SHARE, Value, facts, heading, value

_FORMATS = {INTEGER: "#,##0", DECIMAL: "#,##0.00", SHARE: "0.0%"}
_HEAD = PatternFill("solid", fgColor="F3F6F9")
_STAMP = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")
_FIXED = (1980, 1, 1, 0, 0, 0)
_BAD = re.compile(r"[\[\]:*?/\\]")


def to_excel(report: v1.Report) -> bytes:
    """The workbook; the same report gives the same bytes."""
    book = Workbook()
    about = book.active
    assert isinstance(about, Worksheet), "a new workbook has a sheet"
    about.title = "说明"
    _about(about, report)
    for number, table in enumerate(report.tables, start=1):
        _sheet(book.create_sheet(f"{number} {_BAD.sub(' ', table.title)}"[:31]), table)
    raw = io.BytesIO()
    book.save(raw)
    return _timeless(raw.getvalue())


def _about(sheet: Worksheet, report: v1.Report) -> None:
    rows: list[tuple[Value, ...]] = [(report.title,), (report.purpose,), (), *facts(report), (), ("表", "列", "口径")]
    rows += [
        (table.title, heading(column), column.formula)
        for table in report.tables
        for column in table.columns
        if column.formula
    ]
    for number, row in enumerate(rows, start=1):
        for place, told in enumerate(row, start=1):
            _put(sheet, number, place, told)
    sheet["A1"].font = Font(bold=True, size=14)
    for letter, width in (("A", 22), ("B", 30), ("C", 90)):
        sheet.column_dimensions[letter].width = width


def _sheet(sheet: Worksheet, table: v1.ReportTable) -> None:
    for place, column in enumerate(table.columns, start=1):
        _put(sheet, 1, place, heading(column))
        head = sheet.cell(1, place)
        head.font, head.fill, head.alignment = Font(bold=True), _HEAD, Alignment(wrap_text=True)
        sheet.column_dimensions[get_column_letter(place)].width = 16
    for number, row in enumerate(table.rows, start=2):
        for place, (cell, column) in enumerate(zip(row.cells, table.columns, strict=True), start=1):
            _put(sheet, number, place, value(cell))
            if column.kind in _FORMATS:
                sheet.cell(number, place).number_format = _FORMATS[column.kind]
            if row.total:
                sheet.cell(number, place).font = Font(bold=True)
    sheet.freeze_panes = "A2"
    if table.rows:
        sheet.auto_filter.ref = sheet.dimensions


def _put(sheet: Worksheet, row: int, column: int, told: Value) -> None:
    """A value as it is: a word that begins with = is no formula."""
    cell = sheet.cell(row, column, told)
    if isinstance(told, str):
        cell.data_type = "s"


def _timeless(raw: bytes) -> bytes:
    """The same archive without the time of its making."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist()):
            new.writestr(zipfile.ZipInfo(name, _FIXED), _STAMP.sub(rb"\g<1>2000-01-01T00:00:00Z", old.read(name)),
                         zipfile.ZIP_DEFLATED)  # fmt: skip
    return made.getvalue()
