"""Fields of cells and grids: who answers for a place earns by what happens there and no customer's holder claims."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.points import v1
from services.kit.db import Database
from services.points.api import RIGHTS, PointsApi
from services.points.domain.field import Assignment, holders, place_key
from services.points.domain.reference import PLACE_FIELDS, File, Snapshot
from services.points.lake import Lake
from tests.fixtures.postgres import Fresh
from tests.fixtures.serving import Serve, Served, refused_fields
from tests.points import ingest
from tests.points.desk import Desk, count, forget
from tests.points.made import NOON, ZONE, event, owned, placed
from tests.points.test_api import no, stub


@pytest.fixture
async def desk(db: Database, database: Fresh) -> Desk:
    forget(database)
    desk = Desk(db)
    await desk.learn()
    await desk.publish()
    return desk


@pytest.fixture
async def served(serving: Serve, desk: Desk) -> AsyncIterator[Served]:
    api = PointsApi(desk.corrections, desk.analysis, desk.rules, desk.scoring, desk.reading, desk.periods, desk.clock)
    register: Callable[[grpc.aio.Server], None] = lambda server: v1.add_PointsServiceServicer_to_server(api, server)  # noqa: E731
    async with serving("points", register=register, rights=RIGHTS) as served:
        yield served


def test_an_event_falls_into_the_field_of_its_customer_then_its_cell_then_its_grid() -> None:
    rows = [owned(7, "S1", 100, until=20), placed("cell", "C1", "S2", 100, until=25), placed("grid", "G1", "S3", 100)]
    fields = {row.customer_key: [Assignment(n, row, NOON, None)] for n, row in enumerate(rows)}
    subjects = event(cell_id="C1", grid_id="G1").subjects

    def whose(day: int) -> list[str]:
        return [each.row.staff_id for each in holders(fields, subjects, datetime(2026, 9, day, tzinfo=ZONE))]

    assert [whose(day) for day in (10, 20, 25)] == [["S1"], ["S2"], ["S3"]]
    assert len({place_key("cell", "A"), place_key("grid", "A"), place_key("grid", "B"), 0}) == 4
    assert max(place_key("cell", "A"), place_key("grid", "A")) < 0


async def test_cells_and_grids_have_holders_as_valid_and_as_known(desk: Desk) -> None:
    """R000-019: a transfer in mid month splits at the instant; what nobody answers for is unassigned, none is lost."""
    desk.told.place_rows = [
        placed("grid", "G1", "S1", until=15), placed("grid", "G1", "S2", since=15), placed("cell", "C1", "S3", 7000),
        placed("grid", "G1", "S1", since=10),
    ]  # fmt: skip
    await desk.learn(PLACE_FIELDS)
    assert await count(desk.db, "responsibility_field_refused") == 1
    turn = datetime(2026, 9, 15, tzinfo=ZONE)
    late = {"receive_time": turn + timedelta(days=3), "type": "RENEW", "customer_key": 9, "amount_fen": 0}
    await desk.take(
        event(1, grid_id="G1", occur_time=turn - timedelta(microseconds=1), **late),
        event(2, grid_id="G1", occur_time=turn, **late),
        event(3, grid_id="G1", cell_id="C1", occur_time=turn, **late),
        event(4, grid_id="G1", cell_id="C1", occur_time=turn, **(late | {"customer_key": 8})),
        event(5, grid_id="G7", occur_time=turn, **late),
    )
    given = {(e.source_event_id, e.account): e.milli_points for e in (await desk.ledger()).values()
             if e.milli_points > 0}  # fmt: skip
    assert given == {
        ("E1", "staff:S1"): 1001, ("E2", "staff:S2"): 1001, ("E3", "staff:S3"): 701, ("E3", "unassigned"): 300,
        ("E4", "staff:S3"): 1001, ("E5", "unassigned"): 1001,
    }  # fmt: skip
    desk.clock.advance(minutes=5)
    before = desk.clock()
    desk.clock.advance(minutes=5)
    desk.told.place_rows = [placed("grid", "G1", "S3")]
    await desk.learn(PLACE_FIELDS, "fields")  # a customer's field stands though places are told anew
    now = await desk.reading.assignments(place_key("grid", "G1"), None, None, 10)
    then = await desk.reading.assignments(place_key("grid", "G1"), before, None, 10)
    assert [each.row.staff_id for each in now] == ["S3"]
    assert [each.row.staff_id for each in then] == ["S1", "S2"]
    assert len(await desk.reading.assignments(7, None, None, 10)) == 2
    entry = next(e for e in (await desk.ledger()).values() if e.staff_id == "S1")
    assert "S1 is owner of grid G1 with 100.00 %" in (await desk.reading.explain(entry.entry_id)).assignment_text


async def test_a_place_is_asked_for_and_told_by_rpc(served: Served, desk: Desk) -> None:
    desk.told.place_rows = [placed("grid", "G1", "S1"), placed("cell", "C1", "S2")]
    await desk.learn(PLACE_FIELDS)
    desk.clock.advance(minutes=1)
    caller = stub(served)
    found = (await caller.ListAssignments(v1.ListAssignmentsRequest(cell_id="C1"))).assignments
    assert [(each.customer_key, each.cell_id, each.grid_id, each.staff_id) for each in found] == [(0, "C1", "", "S2")]
    for wrong in (v1.ListAssignmentsRequest(), v1.ListAssignmentsRequest(cell_id="C1", grid_id="G1")):
        assert refused_fields(await no(caller.ListAssignments(wrong))) == ["customer_key"]
    told = v1.BusinessEvent(source="shop", source_event_id="E1", type="RENEW", customer_key=9, grid_id="G1",
                            occur_time=Timestamp(seconds=int(NOON.timestamp())))  # fmt: skip
    entries = (await caller.ScoreEvent(v1.ScoreEventRequest(event=told))).entries
    assert "staff:S1" in [entry.account for entry in entries]


async def test_the_feed_of_places_is_read_from_the_lake(tmp_path: Path) -> None:
    peer = ingest.Ingest(tmp_path)
    columns = {name: ingest.FIELDS[name][:1] for name in ("staff_id", "role", "share_bps", "valid_from", "valid_to",
                                                          "line")}  # fmt: skip
    peer.deliver(PLACE_FIELDS, {"subject_type": ["grid"], "subject_id": ["G1"], **columns})
    files = [File(file.uri, file.delivery_id, file.sha256) for file in peer.files[PLACE_FIELDS]]
    [row] = Lake().fields(Snapshot(PLACE_FIELDS, files), ZONE)
    assert (row.customer_key, row.place, row.staff_id) == (place_key("grid", "G1"), "grid G1", "S1")
