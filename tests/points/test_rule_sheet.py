"""A workbook that an analyst spoiled is refused with sheet, row and column; one that he edited counts as he meant."""

import io
from collections.abc import Callable
from datetime import date

import openpyxl
import pytest
from openpyxl.workbook import Workbook

from services.kit.errors import Refusal
from services.points.domain.rule_set import Span, checksum
from services.points.domain.rule_sheet import dump, parse
from services.points.domain.rule_text import parse as parse_text
from tests.points.made import RULES

WHOLE = (
    RULES
    + """
weights: {development: 6000, stock: 4000}
splits:
  shared: {staff: 6000, owner: 4000}
multipliers:
  shop: {tables: [sales], rows: [{id: SHOP, channel: [store], bps: 12500}]}
tiers:
  - {id: THREE, component: development, of: count, type: [NEW], tables: [sales], steps: [{from: 3, bps: 11000}]}
caps:
  - {id: MONTH, component: development, per: employee, window: month, most: 150000}
"""
)


def edited(change: Callable[[Workbook], None]) -> bytes:
    """The workbook of WHOLE after somebody changed it in Excel."""
    book = openpyxl.load_workbook(io.BytesIO(dump(parse_text(WHOLE))))
    change(book)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def cell(sheet: str, row: int, column: str, value: object) -> Callable[[Workbook], None]:
    """Writes one cell; the column by its name."""

    def change(book: Workbook) -> None:
        head = [each.value for each in book[sheet][1]]
        book[sheet].cell(row, head.index(column) + 1).value = value

    return change


@pytest.mark.parametrize(
    ("sheet", "row", "column", "value", "place", "about"),
    [
        ("rows", 3, "fixed", -1, "sheet rows, row 3, column M (fixed)", "whole number"),
        ("rows", 3, "fixed", 10.5, "sheet rows, row 3, column M (fixed)", "whole number"),
        ("rows", 2, "fixed", "viel", "sheet rows, row 2, column M (fixed)", "whole number"),
        ("rows", 2, "fixed", "=1+1", "sheet rows, row 2, column M", "formula"),
        ("rows", 4, "type", "UPGRADE, SOLD", "sheet rows, row 4, column C (type)", "SOLD"),
        ("rows", 2, "amount_from", "much", "sheet rows, row 2, column I (amount_from)", "whole number"),
        ("rows", 5, "date_to", date(2026, 8, 1), "column K (date_from)", "before it begins"),
        ("rows", 2, "table", "purchases", "sheet rows, row 2, column A (table)", "does not stand on the sheet tables"),
        ("rows", 3, "id", "BROADBAND", "sheet rows, row 3, column B (id)", "BROADBAND"),
        ("tables", 2, "component", "fun", "sheet tables, row 2, column B (component)", "fun"),
        ("tables", 2, "to", "nobody", "sheet tables, row 2, column C (to)", "nobody"),
        ("splits", 2, "bps", 6001, "sheet splits, row 2", "10,000"),
        ("factors", 2, "bps", -5, "sheet factors, row 2", "whole number"),
        ("steps", 2, "tier", "FOUR", "sheet steps, row 2, column A (tier)", "does not stand on the sheet tiers"),
        ("caps", 2, "per", "town", "sheet caps, row 2, column C (per)", "town"),
        ("caps", 2, "most", None, "sheet caps, row 2, column F (most)", "missing"),
        ("rule_set", 4, "value", 7000, "sheet rule_set, row", "10,000"),
    ],
)
def test_a_bad_cell_is_refused_with_sheet_row_and_column(
    sheet: str, row: int, column: str, value: object, place: str, about: str
) -> None:
    with pytest.raises(Refusal) as caught:
        parse(edited(cell(sheet, row, column, value)))
    assert caught.value.reason == "RULE_SET_INVALID"
    assert place in caught.value.metadata["place"]
    assert about in caught.value.message


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda book: book.create_sheet("prices"), "sheet prices"),
        (lambda book: book["rows"].cell(1, 3, "kind"), "sheet rows, row 1, column C"),
        (lambda book: book["rows"].cell(1, 4, "type"), "sheet rows, row 1, column D"),
    ],
)
def test_a_sheet_or_column_that_is_not_known_is_refused(change: Callable[[Workbook], None], place: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse(edited(change))
    assert caught.value.metadata["place"] == place


def test_what_an_analyst_edits_counts() -> None:
    """R000-016: a row's cells changed in Excel are those that score."""

    def change(book: Workbook) -> None:
        for column, value in (("fixed", 21_000), ("amount_from", 100.0), ("channel", "store, app"),
                              ("date_from", date(2026, 9, 5))):  # fmt: skip
            cell("rows", 2, column, value)(book)

    rules = parse(edited(change))
    _, row = rules.find("BROADBAND")
    assert (row.fixed, row.sets["channel"], row.spans["amount_fen"]) == (21_000, {"store", "app"}, Span(100, None))
    assert checksum(rules) != checksum(parse_text(WHOLE)) == checksum(parse(edited(lambda book: None)))
