"""Rule sets as text: what they mean, and where they are wrong."""

import contextlib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import Refusal
from services.points.domain.rule_set import Span, canonical, checksum, in_force
from services.points.domain.rule_text import parse
from services.points.domain.scoring import Compiled
from tests.points.made import RULES

EXAMPLE = Path("services/points/examples/full_business.yaml")
TABLE = "tables:\n  sales:\n    component: development\n    to: staff\n    rows:\n"


def refused(text: str) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        parse(text)
    assert caught.value.reason == "RULE_SET_INVALID"
    return caught.value.metadata["place"], caught.value.message


@pytest.mark.parametrize(
    ("row", "place", "about"),
    [
        ("{id: A, fixed: -1}", "tables.sales[1].fixed", "whole number"),
        ("{id: A, fixed: 1.5}", "tables.sales[1].fixed", "whole number"),
        ("{id: A, fixed: 0x10}", "tables.sales[1].fixed", "decimal digits"),
        ("{id: A, fixed: 1e3}", "tables.sales[1].fixed", "whole number"),
        ("{id: A, num: 1, den: 0}", "tables.sales[1].den", "1 or more"),
        ("{id: A, den: 2}", "tables.sales[1].den", "without num"),
        ("{id: A, type: [NEW, SOLD]}", "tables.sales[1].type", "SOLD"),
        ("{id: A, type: [REFUND]}", "tables.sales[1].type", "takes back"),
        ("{id: A, type: NEW}", "tables.sales[1].type", "list"),
        ("{id: A, product: []}", "tables.sales[1].product", "leave the cell out"),
        ("{id: A, product: [1001]}", "tables.sales[1].product", "quotes"),
        ("{id: A, channel: [no]}", "tables.sales[1].channel", "quotes"),
        ("{id: A, channel: [app, app]}", "tables.sales[1].channel", "twice"),
        ("{id: A, amount_fen: {from: 9, to: 3}}", "tables.sales[1].amount_fen", "before it begins"),
        ("{id: A, amount_fen: {}}", "tables.sales[1].amount_fen", "from or to"),
        ("{id: A, date: {from: 2026-02-30}}", "tables.sales[1].date.from", "date"),
        ("{id: A, price: 3}", "tables.sales[1].price", "known"),
        ("{id: A, fixed: 1, fixed: 2}", "tables.sales[1].fixed", "twice"),
        ("{fixed: 1}", "tables.sales[1].id", "missing"),
        ("{id: 'a b'}", "tables.sales[1].id", "letters"),
        ("{id: A}\n      - {id: A}", "tables.sales[2].id", "tables.sales[1]"),
        ("{id: A, type: &t [NEW]}\n      - {id: B, type: *t}", "line 6", "aliases"),
        ("{id: A, num: 9000000000000000000}", "tables.sales[1].num", "more than"),
    ],
)
def test_a_bad_cell_is_refused_with_table_row_and_column(row: str, place: str, about: str) -> None:
    assert refused(f"{TABLE}      - {row}\n")[0] == place
    assert about in refused(f"{TABLE}      - {row}\n")[1]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "definition"),
        ("[1, 2]", "definition"),
        ("tables: {}", "tables"),
        ("tables: {sales: {component: stock, to: staff, rows: []}}", "tables.sales.rows"),
        ("tables: {sales: {component: fun, to: staff, rows: [{id: A}]}}", "tables.sales.component"),
        ("tables: {sales: {component: stock, rows: [{id: A}]}}", "tables.sales.to"),
        ("tables: {Sales: {component: stock, to: staff, rows: [{id: A}]}}", "tables.Sales"),
        ("tables: !!python/object/apply:os.system [ls]", "tables"),
        ("tables: {sales: [}", "line 1, column 18"),
        ("tables: {a: {component: stock, to: staff, rows: [{id: A, fixed: 1000000000001}]}}", "tables.a[1].num"),
    ],
)
def test_a_bad_definition_is_refused_with_its_place(text: str, place: str) -> None:
    assert refused(text)[0] == place


def test_bounds_are_proved_over_all_rows_that_may_give_together() -> None:
    row = "{{id: {0}, fixed: 600000000000}}"
    one = (
        "tables: {a: {component: stock, to: staff, hit: %s, rows: [" + row.format("A") + ", " + row.format("B") + "]}}"
    )
    parse(one % "first")
    assert refused(one % "collect")[0] == "tables"


def test_a_range_of_amounts_bounds_the_proof() -> None:
    text = "{most_amount_fen: 1000000, tables: {a: {component: stock, to: staff, rows: [{id: A, %s num: 100000000}]}}}"
    assert refused(text % "")[0] == "tables.a[1].num"
    parse(text % "amount_fen: {to: 5000},")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Refusal):
        parse(text)


def test_what_says_the_same_has_one_checksum() -> None:
    spaced = RULES.replace("[NEW], category", "[NEW],    category").replace(
        "hit: first\n", "hit:  first   # by order\n"
    )
    assert checksum(parse(RULES)) == checksum(parse(spaced))
    assert checksum(parse(RULES)) != checksum(parse(RULES.replace("fixed: 700", "fixed: 701")))


def test_the_canonical_form_holds_every_cell() -> None:
    text = canonical(parse(RULES))
    assert '"id":"AUTUMN"' in text
    assert f"[{date(2026, 9, 1).toordinal()},{date(2026, 9, 30).toordinal()}]" in text


def test_the_example_covers_every_type_of_event_and_both_components() -> None:
    rules = parse(EXAMPLE.read_text())
    types = {value for table in rules.tables for row in table.rows for value in row.sets.get("type", ())}
    assert types == {"NEW", "RENEW", "UPGRADE", "RETAIN", "CHURN", "ACTIVATE"}
    assert {table.component for table in rules.tables} == {"development", "stock"}
    assert len(Compiled(rules).rules) == sum(len(table.rows) for table in rules.tables)


def test_a_row_reads_as_one_line() -> None:
    _, row = parse(RULES).find("BROADBAND")
    assert row.text() == (
        "BROADBAND: type in {NEW} and category in {宽带} and channel in {store} "
        "gives 20,000 + amount_fen × 5 / 3 milli-points"
    )


def test_of_each_name_the_latest_version_scores_a_day() -> None:
    first, second = date(2026, 1, 1), date(2026, 7, 1)
    published = [("main", first, "v1"), ("main", second, "v2"), ("extra", second, "x1")]
    assert in_force(published, date(2025, 12, 31)) == []
    assert in_force(published, date(2026, 6, 30)) == ["v1"]
    assert in_force(published, second) == ["x1", "v2"]


def test_an_open_range_accepts_its_end() -> None:
    assert Span(None, 3).accepts(3)
    assert not Span(4, None).accepts(3)
