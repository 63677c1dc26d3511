"""Reference data edited by hand, and numbers in lists."""

import asyncio
from datetime import UTC, date, datetime

import grpc.aio
import polars as pl
import pytest

from lifecircle.ingest import v1
from services.ingest.domain import editing
from services.kit import domains
from tests.fixtures.serving import refused, refused_fields
from tests.ingest.house import House
from tests.ingest.made import feed_of
from tests.ingest.test_api import privacy, served, stub

__all__ = ["privacy", "served", "stub"]

LAYER = (
    "shops|S1|鸿福路营业厅|point|POINT (113.7512 23.0208)|||20260101|\n"
    "shops|S2|东城营业厅|point|POINT (113.7801 23.0391)||||\n"
    "areas|A1|国贸商圈|area|POLYGON ((113.75 23.02, 113.76 23.02, 113.76 23.03, 113.75 23.02))||shop.mall||\n"
)
NAME = "MAPLAYER_20260901_001.TXT"
PLACES = "".join(f"PL0{number}|体育馆|spo.match.arena|莞城|113.75|23.04\n" for number in (1, 2, 3))


async def rows(stub: v1.IngestServiceStub, delivery_id: str) -> dict[str, dict[str, str]]:
    """The rows of a delivery by feature, page by page."""
    found: list[v1.FileRow] = []
    token = ""
    while True:
        asked = v1.ListRowsRequest(delivery_id=delivery_id, page_size=2, page_token=token)
        page = await stub.ListRows(asked)
        found += page.rows
        token = page.next_page_token
        if not token:
            return {each.values["feature_id"]: dict(each.values) for each in found}


def put(**values: str) -> v1.FileRow:
    return v1.FileRow(values=values)


async def test_points_and_areas_of_the_e_map_are_imported_and_edited(stub: v1.IngestServiceStub, house: House) -> None:
    """R001-098 … R001-101: what is edited supersedes what was imported; both are kept, readers see the later one."""
    first = await house.deliver(NAME, LAYER)
    before = await rows(stub, first.delivery_id)
    assert before["S1"]["geometry"] == "POINT (113.7512 23.0208)"
    assert (before["S1"]["valid_from"], before["S2"]["valid_from"]) == ("20260101", "")
    moved = before["A1"] | {"geometry": "POLYGON ((113.7 23, 113.8 23, 113.8 23.1, 113.7 23))"}
    new = put(layer="shops", feature_id="S3", name="万江营业厅", kind="point", geometry="POINT (113.7 23.0)")
    asked = v1.EditRowsRequest(
        delivery_id=first.delivery_id,
        puts=[v1.FileRow(values=moved), new],
        removes=[put(layer="shops", feature_id="S2")],
        reason="the shop in Dongcheng has closed",
        request_id="edit-1",
    )
    edit = (await stub.EditRows(asked)).delivery
    await house.work()
    assert (await stub.EditRows(asked)).delivery.delivery_id == edit.delivery_id
    latest = (await stub.GetDelivery(v1.GetDeliveryRequest(delivery_id=edit.delivery_id))).delivery
    assert (latest.state, latest.loaded_rows, latest.rejected_rows) == (v1.Delivery.STATE_LOADED, 3, 0)
    kept = (await stub.GetDelivery(v1.GetDeliveryRequest(delivery_id=first.delivery_id))).delivery
    assert kept.state == v1.Delivery.STATE_SUPERSEDED
    after = await rows(stub, edit.delivery_id)
    assert after == {"S1": before["S1"], "A1": moved, "S3": dict.fromkeys(before["S1"], "") | dict(new.values)}
    assert (await house.snapshot("map_layers"))["feature_id"].to_list() == ["S1", "A1", "S3"]
    told = await house.value("SELECT payload -> 'detail' ->> 'rows' FROM outbox WHERE kind = 'operation'")
    assert told == "2 put, 1 removed"
    back = v1.EditRowsRequest(
        delivery_id=edit.delivery_id,
        puts=[v1.FileRow(values=before["S2"]), v1.FileRow(values=before["A1"])],
        removes=[put(layer="shops", feature_id="S3")],
        reason="it has not closed after all",
        request_id="edit-2",
    )
    again = (await stub.EditRows(back)).delivery  # rows as they were before, yet a delivery of its own
    await house.work()
    assert await rows(stub, again.delivery_id) == before


async def test_events_come_in_files_and_by_hand_and_one_told_twice_is_one(
    stub: v1.IngestServiceStub, house: House
) -> None:
    """R001-049: a file and a person both tell of events, each source is kept, and an event that comes again is one."""
    await house.deliver("PLACE_20260901_001.TXT", PLACES)
    event = "{}|{}|{}|PL0{}|20260920193000|20260920213000\n"
    match, fair = event.format("E1", "cba", "CBA", 1), event.format("E2", "jobfair", "招聘会", 2)
    first = await house.deliver("CITYEVT_20260901_001.TXT", match + fair + match)
    asked = v1.EditRowsRequest(
        delivery_id=first.delivery_id,
        puts=[
            put(event_id=key, type=kind, name="报纸", place_id="PL03", start_time="20260925140000",
                end_time="20260925180000")
            for key, kind in (("E2", "jobfair"), ("E3", "flower"))
        ],
        reason="the newspaper of 5 September",
        request_id="news",
    )  # fmt: skip
    edit = (await stub.EditRows(asked)).delivery
    await house.work()
    known = await house.snapshot("city_events")
    assert sorted(zip(known["event_id"], known["place_id"], strict=True)) == [
        ("E1", "PL01"),
        ("E2", "PL03"),
        ("E3", "PL03"),
    ]
    assert (first.file_name, edit.delivery_id != first.delivery_id) == ("CITYEVT_20260901_001.TXT", True)
    told = "SELECT payload -> 'detail' ->> 'reason' FROM outbox WHERE kind = 'operation'"
    assert await house.value(told) == "the newspaper of 5 September"


async def test_an_event_in_the_city_has_an_end_after_its_start_and_a_place_that_is_known(
    stub: v1.IngestServiceStub, house: House
) -> None:
    """R001-048: start, end, type and place are kept, listed, changed, removed; what cannot be is refused."""
    await house.deliver("PLACE_20260901_001.TXT", PLACES)
    row = "{}|concert|演唱会|{}|20260920193000|{}\n".format
    told = [row(key, place, end) for key, place, end in (
        ("E1", "PL01", "20260920213000"), ("E2", "PL01", "20260920193000"), ("E3", "PL01", "20260919230000"),
        ("E4", "PL09", "20260920213000"), ("E5", "PL02", "20260920193001"), ("E7", "PL03", "20260921000000"),
    )]  # fmt: skip
    first = await house.deliver("CITYEVT_20260901_001.TXT", "".join(told))
    assert (first.source_rows, first.loaded_rows, first.rejected_rows) == (6, 3, 3)
    rejects = await house.rows("SELECT line, column_name, reason, message FROM reject ORDER BY line")
    assert rejects == [
        (2, "end_time", "NOT_AFTER", "end_time is not after start_time"),
        (3, "end_time", "NOT_AFTER", "end_time is not after start_time"),
        (4, "place_id", "REFERENCE_UNKNOWN", "place_id is not known in places.place_id"),
    ]
    listed = await stub.ListRows(v1.ListRowsRequest(delivery_id=first.delivery_id))
    concert = {row.values["event_id"]: dict(row.values) for row in listed.rows}["E1"]
    assert (concert["type"], concert["place_id"]) == ("concert", "PL01")
    for change, field in (
        ({"end_time": concert["start_time"]}, "end_time"),
        ({"start_time": "20260921000000"}, "end_time"),
        ({"place_id": "PL09"}, "place_id"),
        ({"type": ""}, "type"),
    ):
        asked = v1.EditRowsRequest(
            delivery_id=first.delivery_id, puts=[v1.FileRow(values=concert | change)], reason="tests", request_id="bad"
        )
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.EditRows(asked)
        assert refused(error.value)[:2] == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert refused_fields(error.value) == [f"puts[0].values.{field}"]
    asked = v1.EditRowsRequest(
        delivery_id=first.delivery_id,
        puts=[v1.FileRow(values=concert | {"end_time": "20260920220000"}), put(**concert | {"event_id": "E6"})],
        removes=[put(event_id="E5"), put(event_id="E7")],
        reason="it ends half an hour later",
        request_id="good",
    )
    await stub.EditRows(asked)
    await house.work()
    known = await house.snapshot("city_events")
    ends = dict(zip(known["event_id"], known["end_time"].dt.to_string("%H:%M"), strict=True))
    assert ends == {"E1": "14:00", "E6": "13:30"}


async def test_an_edit_that_is_bad_late_or_of_something_else_is_refused(
    stub: v1.IngestServiceStub, house: House
) -> None:
    first = await house.deliver(NAME, LAYER)
    events = await house.deliver("ORDER_20260901_001.TXT", "O1|13800000001|P01|open|20260901120000\n")
    good = put(layer="shops", feature_id="S9", kind="point", geometry="POINT (1 2)")

    async def refusal(delivery_id: str, *puts: v1.FileRow, request_id: str = "r") -> tuple[str, str, list[str]]:
        asked = v1.EditRowsRequest(delivery_id=delivery_id, puts=puts, reason="tests", request_id=request_id)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.EditRows(asked)
        return *refused(error.value)[:2], refused_fields(error.value)

    for bad, field in (
        (put(layer="shops", feature_id="S9", kind="circle", geometry="POINT (1 2)"), "puts[0].values.kind"),
        (put(layer="shops", feature_id="S9", kind="point", geometry="here"), "puts[0].values.geometry"),
        (put(layer="shops", feature_id="S9", kind="point", geometry="POINT (1 2)", name="a|b"), "puts[0].values"),
        (put(layer="shops", feature_id="S9", colour="red"), "puts[0].values"),
    ):
        assert await refusal(first.delivery_id, bad) == ("INVALID_ARGUMENT", "INVALID_FIELD", [field])
    assert (await refusal(first.delivery_id))[1] == "INVALID_FIELD"
    assert (await refusal(events.delivery_id, good))[1] == "NOT_EDITABLE"
    assert (await refusal("nothing", good))[1] == "DELIVERY_NOT_FOUND"
    asked = v1.EditRowsRequest(delivery_id=first.delivery_id, puts=[good], reason="tests", request_id="one")
    await stub.EditRows(asked)  # the load waits: a second edit of the same file would undo it
    assert (await refusal(first.delivery_id, good, request_id="two"))[1] == "NOT_EDITABLE"
    await house.work()
    assert (await refusal(first.delivery_id, good, request_id="three"))[1] == "NOT_EDITABLE"


def test_conformed_rows_are_said_as_their_file_says_them() -> None:
    feed = feed_of(
        {"name": "id", "type": "string"},
        {"name": "kind", "type": "code", "codes": {"A": 1, "B": 2}},
        {"name": "lac", "type": "int"},
        {"name": "cell", "type": "int"},
        {"name": "lon", "type": "decimal"},
        {"name": "month", "type": "date", "layout": "YYYYMM"},
        {"name": "at", "type": "datetime", "layout": "YYYY-MM-DD HH:MM:SS"},
        unique=["id"],
        target={"cell_id": ["lac", "cell"]},
    )
    assert editing.is_editable(feed)
    conformed = pl.DataFrame(
        {
            "id": ["x", "y"],
            "kind": [2, None],
            "cell_id": [(40976 << 28) + 7, None],
            "lon": [113.75, 0.0000001],
            "month": [date(2026, 9, 1), None],
            "at": pl.Series([datetime(2026, 8, 31, 16, tzinfo=UTC), None], dtype=pl.Datetime("ms", "UTC")),
            "line": [1, 2],
        }
    )
    assert [row[:-1] for row in editing.as_text(conformed, feed, "Asia/Shanghai").rows()] == [
        ("x", "B", "40976", "7", "113.75", "202609", "2026-09-01 00:00:00"),
        ("y", "", "", "", "0.0000001", "", ""),
    ]


async def test_lists_show_masked_numbers_and_clear_ones_only_to_who_may_know_them(
    stub: v1.IngestServiceStub, privacy: v1.IngestServiceStub, house: House
) -> None:
    """R000-006: 138****1234 in a list; unmasking is for the right role only and leaves an audit row."""
    profile = "{}|{}|M|1980|brand|plan|20200101|phone|A|active\n"
    placed = [("13800001234", "east"), ("13911112222", "west"), ("13711112222", "west")]
    await house.deliver("CUST_20260901_001.TXT", "".join(profile.format(*each) for each in placed))
    keys = [1, 2, 3]
    masked = await stub.ListIdentities(v1.ListIdentitiesRequest(page_size=2))
    assert [(each.msisdn, each.masked, each.org_id) for each in masked.identities] == [
        ("138****1234", True, "east"),
        ("139****2222", True, "west"),
    ]
    rest = await stub.ListIdentities(v1.ListIdentitiesRequest(page_size=2, page_token=masked.next_page_token))
    assert [each.msisdn for each in rest.identities] == ["137****2222"]
    west = await privacy.ListIdentities(v1.ListIdentitiesRequest(org_id="west"))
    assert [each.msisdn for each in west.identities] == ["139****2222", "137****2222"]
    assert await house.value("SELECT count(*) FROM disclosure") == 0
    clear = v1.ListIdentitiesRequest(customer_keys=keys[:2], purpose="a customer asks what is kept of him")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.ListIdentities(clear)
    assert refused(error.value)[:2] == ("PERMISSION_DENIED", "NOT_ALLOWED")
    told = await privacy.ListIdentities(clear)
    assert [(each.msisdn, each.masked) for each in told.identities] == [("13800001234", False), ("13911112222", False)]
    audit = await house.rows("SELECT caller, method, purpose, asked, customer_keys FROM disclosure")
    assert audit == [("officer", "ListIdentities", clear.purpose, 2, keys[:2])]


async def test_a_limited_caller_learns_numbers_of_his_own_customers_only(house: House) -> None:
    """R000-006: the vault has no organisation; the profile says whose a customer is."""
    profile = "{}|{}|M|1980|brand|plan|20200101|phone|A|active\n"
    placed = [("13800001234", "east"), ("13911112222", "west")]
    await house.deliver("CUST_20260901_001.TXT", "".join(profile.format(*each) for each in placed))
    await house.deliver("SIGNAL_20260901_001.TXT", "13700000000|20260901000000|4|40976|1\n" * 2)  # of no organisation

    async def seen(domain: frozenset[str] | None) -> tuple[list[int], list[int], list[int]]:
        domains.enter(domain)
        cases = house.identities
        asked = [number for number, _ in placed]
        resolved = await cases.resolve([*asked, "13700000000"], purpose="t", caller="t")
        revealed = [
            key async for part in cases.reveal([1, 2, 3], purpose="t", caller="t") for key, _ in part.identities
        ]
        listed = await cases.page([], org_id="", purpose="", caller="t", after=0, size=10)
        return resolved, revealed, [each.customer_key for each in listed]

    assert await asyncio.create_task(seen(None)) == ([1, 2, 3], [1, 2, 3], [1, 2])
    assert await asyncio.create_task(seen(frozenset({"west"}))) == ([0, 2, 0], [2], [2])
    assert await asyncio.create_task(seen(frozenset())) == ([0, 0, 0], [], [])
