"""Events: rows become them, and what may not be kept in one is found."""

import json
from datetime import UTC, date, datetime

import polars as pl
import pytest

from services.ingest.domain import event, schema
from tests.ingest.made import DAY, feed_of, shipped
from tests.ingest.test_contract import judged


def test_a_business_event_keeps_its_columns_as_text_and_not_the_number() -> None:
    rows = pl.DataFrame(
        {
            "event_id": ["E1"],
            "time": pl.Series([datetime(2026, 9, 1, 4, tzinfo=UTC)], dtype=pl.Datetime("ms", "UTC")),
            "type": ["NEW"],
            "customer_key": [7],
            "product_id": ["P01"],
            "staff_id": ["13912345678"],
            "channel": ["store"],
            "amount_fen": [3900],
            "origin_event_id": pl.Series([None], dtype=pl.String),
            "line": [3],
        }
    )
    told = event.from_rows(rows, shipped("business_events")).to_dicts()[0]
    assert (told["source_event_id"], told["type"], told["customer_key"], told["line"]) == ("E1", "business.NEW", 7, 3)
    assert told["attributes"] == (
        '{"time": "2026-09-01T04:00:00Z", "type": "NEW", "channel": "store", "event_id": "E1", '
        '"staff_id": "***********", "amount_fen": "3900", "product_id": "P01"}'
    )


def test_a_service_that_is_ordered_or_given_up_is_an_event_of_its_contract() -> None:
    """R003-019: orders become events of one type; their attributes are the columns that the contract names."""
    feed = shipped("orders")
    columns = {column.name for column in feed.columns} - {"msisdn"}
    actions = enumerate(("open", "cancel", "x"), start=1)
    rows = "".join(f"{number}|13800000001|P01|{action}|20260901120000\n" for number, action in actions)
    good, bad, _ = judged(rows.encode(), feed, DAY, 1000)
    told = event.from_rows(good.with_columns(customer_key=pl.lit(7, pl.Int64)), feed).to_dicts()
    assert {(one["type"], one["customer_key"]) for one in told} == {("product.ordered", 7)}
    assert [one["source_event_id"] for one in told] == ["1:open", "2:cancel"]
    assert [set(json.loads(one["attributes"])) for one in told] == [columns, columns]
    assert [(line, column) for line, column, _ in bad.rows()] == [(3, "action")]


GOOD: dict[str, dict[str, object]] = {
    "internet.access": {"host": "v.example.cn", "category": "video", "seconds": 61, "kb": "900", "anything": [1]},
    "location.changed": {"lac": "40976", "cell": 1.0},
    "voice.call": {"direction": "out", "seconds": 0, "peer_class": "bank"},
}


@pytest.mark.parametrize("kind", GOOD)
def test_going_online_moving_and_calling_are_events_of_a_schema(kind: str) -> None:
    """R003-017, R003-018, R003-020: what the network tells has the attributes of its type, or is kept aside."""
    at = datetime(2026, 9, 1, tzinfo=UTC)

    def found(attributes: dict[str, object], of: str = kind) -> list[tuple[str, str]]:
        return event.problems_of(event.Told("dpi", "1", of, 7, at, attributes))

    assert found(GOOD[kind]) == []
    ((path, told),) = found({"anything": "else"})
    assert path == "event.attributes"
    assert kind in told
    for name, field in schema.SCHEMAS[kind].fields.items():
        for wrong in ("", -1, 1.5, None, True, ["x"], float("inf"), float("nan")):
            assert found({**GOOD[kind], name: wrong}) == [(f"event.attributes.{name}", field.told)], (name, wrong)
    assert found({}, "behaviour.web") == [], "a type without a schema is as its source means it"


def test_an_id_of_several_columns_names_the_customer_by_his_key() -> None:
    feed = feed_of(
        {"name": "who", "type": "msisdn"},
        {"name": "day", "type": "date"},
        {"name": "time", "type": "datetime"},
        target={"event": {"type": "a.b", "id": ["who", "day"], "time": "time"}},
    )
    rows = pl.DataFrame(
        {
            "customer_key": [None, 5],
            "day": [date(2026, 9, 1)] * 2,
            "time": [datetime(2026, 9, 1, tzinfo=UTC)] * 2,
            "line": [1, 2],
        }
    )
    told = event.from_rows(rows.with_columns(pl.col("customer_key").cast(pl.Int64)), feed)
    assert told["source_event_id"].to_list() == [":2026-09-01", "5:2026-09-01"]
    assert told["customer_key"].to_list() == [0, 5]


@pytest.mark.parametrize(
    ("attributes", "paths"),
    [
        ({"note": "13900000001"}, ["event.attributes.note"]),
        ({"note": "+8613900000001"}, ["event.attributes.note"]),
        ({"a": {"b": [1, 13900000001.0]}}, ["event.attributes.a.b[1]"]),
        ({"note": "call 13912345678 now"}, ["event.attributes.note"]),
        ({"note": "phone13912345678"}, ["event.attributes.note"]),
        ({"a": {"13912345678": 1}}, ["event.attributes.a"]),
        ({"13912345678": 1}, ["event.attributes"]),
        ({"order": "20260901139123456780", "amount": "13900", "short": "1391234567"}, []),
        ({"contact": "0a13912345678bcdef0123456789abcd", "id": "01990000-0000-7000-8000-a13912345678"}, []),
        ({str(number): 1 for number in range(65)}, ["event.attributes"]),
        ({"a": "x" * 40_000}, ["event.attributes"]),
        ({"a": "x\0"}, ["event.attributes"]),
    ],
)
def test_a_clear_number_and_too_much_of_anything_are_no_attributes(
    attributes: dict[str, object], paths: list[str]
) -> None:
    told = event.Told("boss", "E1", "a.b", 0, datetime(2026, 9, 1, tzinfo=UTC), attributes)
    assert [path for path, _ in event.problems_of(told)] == paths


def test_a_clear_number_in_the_source_s_own_id_is_named() -> None:
    told = event.Told("boss", "E-13912345678", "a.b", 0, datetime(2026, 9, 1, tzinfo=UTC), {})
    assert [path for path, _ in event.problems_of(told)] == ["event.source_event_id"]


def test_names_that_are_none_and_ids_that_are_too_long_are_found() -> None:
    told = event.Told("Boss", "E" * 129, "new", -1, datetime(2026, 9, 1, tzinfo=UTC), {})
    found = [path for path, _ in event.problems_of(told)]
    assert found == ["event.source", "event.type", "event.source_event_id", "event.customer_key"]
    kept = event.unfit("s13912345678", "E-13912345678\0", event.problems_of(told))
    assert (kept.reason, kept.source, kept.source_event_id) == ("INVALID_FIELD", "s" + "*" * 11, "E-" + "*" * 11)
