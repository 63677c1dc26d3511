"""PortraitService over a real server: who may call, what comes back, what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from typing import Any

import grpc
import grpc.aio
import pyarrow as pa
import pytest
import yaml
from google.type.date_pb2 import Date
from pyroaring import BitMap
from sqlalchemy import text

from lifecircle.portrait import v1
from services.kit import outbox
from services.kit.db import Database
from services.portrait.api import RIGHTS, PortraitApi, encode_contacts, encode_offers, encoder
from services.portrait.domain.readiness import Delivery, ReadinessRule
from services.portrait.domain.run import AnchorValue, Portrait, Run, TagValue
from services.portrait.domain.tag import Catalogue, parse
from services.portrait.lake import Lake
from services.portrait.lake.results import ResultReader
from services.portrait.store import Audiences, HotPortraits, Moments, Planning, Projections, Runs
from services.portrait.store.runs import Published
from services.portrait.usecases import AudienceDesk, Indexes, Journeys, MomentDesk, Plans, Reading, WholePortraits
from services.portrait.usecases.compute import PUBLISHED, event_of
from tests.fixtures.serving import Serve, Served, refused, refused_fields
from tests.portrait.conftest import HERE
from tests.portrait.desks import desks

ENCODE = encoder(parse(yaml.safe_load((HERE / "catalogue" / "tags.yaml").read_text(encoding="utf-8"))))
NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULE = ReadinessRule("signalling", {"customers": 1}, "window", 2)
RUN = Run("20260902-abc", date(2026, 9, 1), date(2026, 9, 2), 2, 10, 4, "ab" * 32)
TAG = TagValue("HU01", "", 1, 1.0, "大厦", "days=9", date(2026, 9, 2), date(2026, 11, 16))
HOME = AnchorValue("home", "PL1", "花园", "res.house.community", "莞城", 2, 7200, 0.9)
BEARERS = {
    ("@all", ""): BitMap([7, 8]),
    ("@org", "G1"): BitMap([7]),
    ("@org", "G2"): BitMap([8]),
    ("HU01", ""): BitMap([7]),
    ("VA01", ""): BitMap([8]),
    ("VA01", "高端"): BitMap([8]),
}
PORTRAITS = [
    Portrait(7, "G1", RUN.run_id, (HOME,), (TAG,), {"age": 34.0}),
    Portrait(8, "G2", RUN.run_id, (), (), {}),
]


@pytest.fixture
async def served(
    db: Database, serving: Serve, catalogue: Catalogue, ids: Callable[[], str], tmp_path: Any
) -> AsyncIterator[Served]:
    async with db.begin() as tx:
        for table in ("portrait", "tag_bitmap", "tag_count", "run_file", "current_run", "run", "delivery", "planned"):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()
    stop, hot, clock = asyncio.Event(), HotPortraits(db.dedicated), lambda: NOW
    whole = WholePortraits(db, Runs(), hot, Projections(), encode_contacts, clock)
    indexes = Indexes(db, Runs(), Audiences())
    desk = AudienceDesk(db, Audiences(), indexes, catalogue, clock, ids)
    moments = MomentDesk(db, Moments(), desk, clock)
    journeys = Journeys(db, Moments(), Projections(), Audiences(), encode_offers, tmp_path.as_uri(), clock)
    plans = Plans(db, Planning(), RULE, catalogue.digest, clock, ids)
    tags, city = desks(db, clock)
    nobody: Any = None
    reading = Reading(db, Runs(), whole, catalogue, clock)
    api = PortraitApi(reading, plans, desk, moments, journeys, tags, city, nobody, stop)
    async with serving(
        "portrait",
        register=lambda server: v1.add_PortraitServiceServicer_to_server(api, server),
        rights=RIGHTS,
        background=[hot.run, whole.run, indexes.run],
    ) as served:
        yield served
        stop.set()


async def publish(db: Database) -> None:
    runs = Runs()
    async with db.begin() as tx:
        run_no = await runs.put(tx, Published(RUN, "job", "v", "d", {}), NOW)
        assert run_no is not None
        rows = [(each.customer_key, each.org_id, ENCODE(each, ())) for each in PORTRAITS]
        await runs.copy_portraits(tx, run_no, rows)
        await Audiences().put_bitmaps(tx, run_no, BEARERS)
        await runs.put_counts(tx, run_no, {"HU01": 1, "VA01": 1, "VA01=高端": 1})
        await runs.make_current(tx, run_no)
        await tx.commit()


def stub(served: Served, role: str = "operator") -> v1.PortraitServiceStub:
    return v1.PortraitServiceStub(served.channel(roles={role}))


async def refusal(call: Any) -> tuple[str, str, Any]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return refused(raised.value)


async def test_a_stranger_is_refused(served: Served) -> None:
    strange = v1.PortraitServiceStub(served.channel())
    code, reason, _ = await refusal(strange.GetPortrait(v1.GetPortraitRequest(customer_key=7)))
    assert (code, reason) == ("UNAUTHENTICATED", "STRANGER")


def test_every_method_says_who_may_call_it() -> None:
    service = v1.portrait_service_pb2.DESCRIPTOR.services_by_name["PortraitService"]
    assert {method.name for method in service.methods} == set(RIGHTS)


async def test_a_viewer_may_read_but_neither_compute_nor_look_at_dwell(served: Served) -> None:
    viewer = stub(served, "viewer")
    assert (await refusal(viewer.ListDwell(v1.ListDwellRequest(customer_key=7, purpose="why"))))[1] == "NOT_ALLOWED"
    span = v1.ComputeSpec(from_date=Date(year=2026, month=9, day=1), to_date=Date(year=2026, month=9, day=2))
    assert (await refusal(viewer.CreateJob(v1.CreateJobRequest(compute=span, request_id="r"))))[1] == "NOT_ALLOWED"
    await viewer.ListTags(v1.ListTagsRequest())


OUTPUTS = (
    "GetPortrait", "BatchGetPortraits", "ListDwell", "ListTrack", "ListDwellAreas", "GetCrowd", "ListTagHistory",
    "ListAudienceMembers", "ExportAudience", "GetAudienceProfile", "ListJourney", "GetSnapshot",
)  # fmt: skip


async def test_who_may_have_which_output_is_a_matrix_that_is_kept(served: Served) -> None:
    """R001-113: data and reports by level: each output for each role, refused exactly where the matrix says so."""
    roles = sorted({"viewer", "operator", "administrator"}.union(*(RIGHTS[each] for each in OUTPUTS)))
    told: set[tuple[str, str]] = set()
    for role in roles:
        for output in OUTPUTS:
            call = getattr(stub(served, role), output)(getattr(v1, f"{output}Request")())
            try:
                [_ async for _ in call] if output.startswith("Export") else await call
            except grpc.aio.AioRpcError as error:
                if refused(error)[1] == "NOT_ALLOWED":
                    continue
            told.add((role, output))
    assert told == {(role, output) for role in roles for output in OUTPUTS if role in RIGHTS[output]}
    assert 0 < len(told) < len(roles) * len(OUTPUTS)


async def test_a_portrait_comes_back_whole(served: Served, db: Database) -> None:
    """R001-045: a tag is shown with its landmark."""
    await publish(db)
    portrait = (await stub(served).GetPortrait(v1.GetPortraitRequest(customer_key=7))).portrait
    assert (portrait.customer_key, portrait.org_id, portrait.run_id) == (7, "G1", RUN.run_id)
    assert portrait.anchors[0].role == v1.Anchor.ROLE_HOME
    assert portrait.anchors[0].place_name == "花园"
    assert (portrait.tags[0].code, portrait.tags[0].landmark, portrait.tags[0].evidence) == ("HU01", "大厦", "days=9")
    assert portrait.tags[0].expire_date == Date(year=2026, month=11, day=16)
    assert dict(portrait.features) == {"age": 34.0}


async def test_a_portrait_for_json_comes_in_one_piece(served: Served, db: Database) -> None:
    """Envoy's transcoder refuses the parts that gRPC merges; its header says that it makes JSON of the answer."""
    await publish(db)
    call = served.channel(roles={"operator"}).unary_unary("/lifecircle.portrait.v1.PortraitService/GetPortrait")
    asked = v1.GetPortraitRequest(customer_key=7).SerializeToString()
    parts, whole = await call(asked), await call(asked, metadata=(("x-envoy-original-path", "/any"),))
    told = v1.GetPortraitResponse.FromString(parts)
    assert whole == told.SerializeToString(deterministic=True)
    assert whole != parts


async def test_an_unknown_customer_is_not_found(served: Served, db: Database) -> None:
    await publish(db)
    told = await refusal(stub(served).GetPortrait(v1.GetPortraitRequest(customer_key=99)))
    assert told == ("NOT_FOUND", "CUSTOMER_NOT_FOUND", {"customer_key": "99"})


async def test_a_missing_key_names_its_field(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub(served).GetPortrait(v1.GetPortraitRequest())
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused_fields(raised.value) == ["customer_key"]


async def test_a_batch_stands_in_the_order_asked_without_the_unknown(served: Served, db: Database) -> None:
    await publish(db)
    answer = await stub(served).BatchGetPortraits(v1.BatchGetPortraitsRequest(customer_keys=[8, 99, 7, 8]))
    assert [each.customer_key for each in answer.portraits] == [8, 7, 8]


async def test_tags_are_paged_by_code_with_their_bearers(served: Served, db: Database, catalogue: Catalogue) -> None:
    await publish(db)
    seen, token = [], ""
    while True:
        page = await stub(served).ListTags(v1.ListTagsRequest(page_size=30, page_token=token))
        seen += list(page.tags)
        token = page.next_page_token
        if not token:
            break
    assert [tag.code for tag in seen] == sorted(tag.code for tag in catalogue.tags)
    assert {tag.code: tag.customers for tag in seen if tag.customers} == {"HU01": 1, "VA01": 1}
    told = await refusal(stub(served).ListTags(v1.ListTagsRequest(page_token="x")))
    assert told[:2] == ("INVALID_ARGUMENT", "BAD_PAGE_TOKEN")


async def test_an_audience_is_counted_and_an_unknown_tag_refused(served: Served, db: Database) -> None:
    await publish(db)
    ask = stub(served).CountAudience
    found = (await ask(v1.CountAudienceRequest(all_of=["VA01=高端"], none_of=["HU01"], sample_size=3))).audience
    assert (found.customers, list(found.sample_customer_keys)) == (1, [8])
    for unknown in ("NO01", "VA01=富豪"):
        told = await refusal(ask(v1.CountAudienceRequest(all_of=[unknown])))
        assert told == ("NOT_FOUND", "TAG_NOT_FOUND", {"code": unknown})


async def test_before_the_first_run_there_is_none(served: Served) -> None:
    told = await refusal(stub(served).GetSnapshot(v1.GetSnapshotRequest(table="features")))
    assert told[:2] == ("NOT_FOUND", "RUN_NOT_FOUND")
    told = await refusal(stub(served).GetSnapshot(v1.GetSnapshotRequest(table="features", run_id="x")))
    assert told == ("NOT_FOUND", "RUN_NOT_FOUND", {"run_id": "x"})


def compute(request_id: str, first: tuple[int, int, int], last: tuple[int, int, int]) -> v1.CreateJobRequest:
    days = [Date(year=year, month=month, day=day) for year, month, day in (first, last)]
    return v1.CreateJobRequest(compute=v1.ComputeSpec(from_date=days[0], to_date=days[1]), request_id=request_id)


async def known(db: Database) -> None:
    async with db.begin() as tx:
        for number in (1, 2):
            await Planning().put_delivery(tx, Delivery("signalling", date(2026, 9, number), 1, f"s{number}"))
        await Planning().put_delivery(tx, Delivery("customers", date(2026, 9, 1), 1, "c"))
        await tx.commit()


async def test_the_same_inputs_are_the_same_job_until_it_is_cancelled(served: Served, db: Database) -> None:
    await known(db)
    ask = stub(served)
    first = (await ask.CreateJob(compute("r1", (2026, 9, 1), (2026, 9, 2)))).job
    assert first.state == v1.Job.STATE_QUEUED
    assert (await ask.CreateJob(compute("r1", (2026, 9, 1), (2026, 9, 2)))).job == first
    assert (await ask.CreateJob(compute("r2", (2026, 9, 1), (2026, 9, 2)))).job == first
    told = await refusal(ask.CreateJob(compute("r1", (2026, 9, 1), (2026, 9, 1))))
    assert told[:2] == ("ABORTED", "REQUEST_ID_REUSED")
    cancelled = (await ask.CancelJob(v1.CancelJobRequest(job_id=first.job_id, request_id="r3"))).job
    assert cancelled.state == v1.Job.STATE_CANCELLED
    again = (await ask.CreateJob(compute("r4", (2026, 9, 1), (2026, 9, 2)))).job
    assert again.job_id != first.job_id
    assert (await ask.GetJob(v1.GetJobRequest(job_id=again.job_id))).job == again
    listed = (await ask.ListJobs(v1.ListJobsRequest(page_size=1))).jobs
    assert [each.job_id for each in listed] in ([again.job_id], [first.job_id])


async def test_a_span_without_its_feeds_says_what_is_missing(served: Served, db: Database) -> None:
    await known(db)
    told = await refusal(stub(served).CreateJob(compute("r9", (2026, 9, 2), (2026, 9, 3))))
    assert told == ("FAILED_PRECONDITION", "FEEDS_INCOMPLETE", {"missing": "signalling 2026-09-03"})
    for first, last in (((2026, 9, 2), (2026, 9, 1)), ((2026, 1, 1), (2026, 9, 1))):
        told = await refusal(stub(served).CreateJob(compute(f"r{first}", first, last)))
        assert told[:2] == ("INVALID_ARGUMENT", "SPAN_INVALID")
    told = await refusal(stub(served).CreateJob(compute("rx", (2026, 2, 30), (2026, 9, 1))))
    assert told[:2] == ("INVALID_ARGUMENT", "INVALID_FIELD")
    told = await refusal(stub(served).GetJob(v1.GetJobRequest(job_id="none")))
    assert told == ("NOT_FOUND", "JOB_NOT_FOUND", {"job_id": "none"})


async def test_every_look_at_dwell_is_audited(served: Served, db: Database, tmp_path: Any) -> None:
    await publish(db)
    day = pa.array([date(2026, 9, 1)] * 3, pa.date32())
    columns = {
        "customer_key": [7, 7, 8],
        "date": day,
        "workday": [True] * 3,
        "slot": ["am", "pm", "am"],
        "place_id": ["PL1"] * 3,
        "place_class": ["off.biz.tower"] * 3,
        "secs": [600, 7200, 5],
    }
    file = Lake(tmp_path.as_uri()).write("dwell.parquet", pa.table(columns), 0)
    async with db.begin() as tx:
        current = await Runs().current(tx)
        assert current is not None
        await Runs().put_files(tx, current[0], {"dwell": [file]})
        await tx.commit()
    ask = stub(served)
    first = await ask.ListDwell(v1.ListDwellRequest(customer_key=7, purpose="complaint 12", page_size=1))
    assert [(line.slot, line.dwell_seconds, line.grade) for line in first.lines] == [("pm", 7200, 3)]
    rest = await ask.ListDwell(
        v1.ListDwellRequest(customer_key=7, purpose="complaint 12", page_size=2, page_token=first.next_page_token)
    )
    assert [line.slot for line in rest.lines] == ["am"]
    assert not rest.next_page_token
    told = await refusal(ask.ListDwell(v1.ListDwellRequest(customer_key=99, purpose="complaint 12")))
    assert told[1] == "CUSTOMER_NOT_FOUND"
    async with db.read() as read:
        audits = await read.rows(text("SELECT caller, customer_key, org_id, purpose FROM dwell_audit"))
    assert {tuple(row) for row in audits} == {("test", 7, "G1", "complaint 12")}
    assert len(audits) == 2
    assert ResultReader().dwell_of(file, 8)[0].dwell_seconds == 5


async def test_published_runs_are_followed_with_their_figures(served: Served, db: Database) -> None:
    async with db.begin() as tx:
        await outbox.put(tx, PUBLISHED, RUN.run_id, event_of(RUN))
        await tx.commit()
    async for seen in stub(served, "service").WatchRuns(v1.WatchRunsRequest()):
        assert (seen.run.run_id, seen.run.customers, seen.run.sha256) == (RUN.run_id, 2, "ab" * 32)
        assert seen.run.to_date == Date(year=2026, month=9, day=2)
        assert seen.cursor
        break
    told = None
    try:
        async for _ in stub(served).WatchRuns(v1.WatchRunsRequest(cursor="nonsense")):
            pass
    except grpc.aio.AioRpcError as error:
        told = refused(error)
    assert told is not None
    assert told[1] == "CURSOR_INVALID"
