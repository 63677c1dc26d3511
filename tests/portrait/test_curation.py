"""The life of a tag, and the city: over a run that is really computed and published, through a server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc.aio
import polars as pl
import pytest
from google.type.date_pb2 import Date
from sqlalchemy import text

from lifecircle.portrait import v1
from services.kit.db import Database
from services.portrait.api import RIGHTS, PortraitApi
from services.portrait.domain.calendar import WorkCalendar
from services.portrait.domain.run import CITY_TABLES, TABLES, Run
from services.portrait.domain.tag import Catalogue
from services.portrait.lake import Beside, Lake, packing, read_base
from services.portrait.lake.trial import places_table
from services.portrait.store import Audiences, City, Moments, Runs, Tags
from services.portrait.store.latent import Latent
from services.portrait.store.projections import Contact, Projections
from services.portrait.store.runs import Published
from services.portrait.usecases.bucket import Outcome, Work, compute
from services.portrait.usecases.city import rows_of
from services.portrait.usecases.compute import Bearers, held
from services.portrait.usecases.reviews import ReviewDesk
from services.portrait.usecases.timing import TimingDesk
from tests.fixtures.serving import Serve, Served, refused
from tests.portrait.conftest import BUCKETS, Town
from tests.portrait.desks import desks, shelf

NOW = datetime(2026, 9, 15, tzinfo=UTC)
HOME = """
{code: XX01, zh: 园区客, family: 需求偏好圈, kind: flag, approval: four_eyes, sensitivity: sensitive,
 rule: {dwell: {place: ["lei.*"], except: [home, work], min_visit: 20, days_ge: 2}}, expect: [0.0, 0.9]}
"""


class PublishedRun:
    """What was computed: the run's number, its buckets, who bears which tag."""

    def __init__(self, run: Run, outcomes: list[Outcome], bearers: Bearers) -> None:
        self.run, self.outcomes, self.bearers = run, outcomes, bearers

    def table(self, name: str) -> pl.DataFrame:
        return pl.concat([pl.read_parquet(each.files[name].uri.removeprefix("file://")) for each in self.outcomes])


@pytest.fixture(scope="module")
def computed(
    town: Town, catalogue: Catalogue, calendar: WorkCalendar, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Work, list[Outcome], Lake]:
    lake = Lake(tmp_path_factory.mktemp("lake").as_uri())
    base = read_base(town.manifest, town.window, catalogue, calendar, Beside({"PL00001": "lei.green.park"}))
    work = Work("20260914-first", base, town.window, calendar, catalogue, BUCKETS)
    files = town.manifest["signalling"]
    mine = [[file for file in files if file.bucket == bucket] for bucket in range(BUCKETS)]
    return work, [compute(work, bucket, each, lake) for bucket, each in enumerate(mine)], lake


async def empty(db: Database) -> None:
    tables = (
        "dwell_area crowd place_task place_version tag_approval tag_version portrait tag_bitmap tag_bearer tag_count "
        "run_file current_run run request dwell_audit outbox"
    )
    async with db.begin() as tx:
        for table in tables.split():
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()


@pytest.fixture
async def published(db: Database, computed: tuple[Work, list[Outcome], Lake]) -> AsyncIterator[PublishedRun]:
    """The run, published as the job does it; nothing of it is left for other tests."""
    await empty(db)
    yield await _published(db, computed)
    await empty(db)


async def _published(db: Database, computed: tuple[Work, list[Outcome], Lake]) -> PublishedRun:
    work, outcomes, lake = computed
    bearers: Bearers = {}
    for outcome in outcomes:
        for pair, who in packing.bearers(outcome.files).items():
            bearers[pair] = bearers.get(pair, who) | who
    run = Run(work.run_id, work.window.from_date, work.window.to_date, len(work.base.customer_key), 1, 1, "ab" * 32)
    runs = Runs()
    async with db.begin() as tx:
        run_no = await runs.put(tx, Published(run, "job", "v", "d", {}), NOW)
        assert run_no is not None
        places = lake.write("places.parquet", places_table(work.base.places), -1)
        files = {kind: [each.files[kind] for each in outcomes] for kind in TABLES}
        await runs.put_files(tx, run_no, {**files, "places": [places]})
        rows = [(int(key), "G1") for key in work.base.customer_key]
        for key, org in rows:
            await tx.execute(
                text("INSERT INTO portrait (run_no, customer_key, org_id, body) VALUES (:run, :key, :org, '')"),
                {"run": run_no, "key": key, "org": org},
            )
        await Audiences().put_bitmaps(tx, run_no, bearers)
        told = {f"{code}={value}" if value else code: len(who) for (code, value), who in bearers.items()}
        await runs.put_counts(tx, run_no, told)
        await City().put(tx, run_no, rows_of(work, outcomes))
        await runs.make_current(tx, run_no)
        await tx.commit()
    assert set(CITY_TABLES) <= set(outcomes[0].files)
    return PublishedRun(run, outcomes, bearers)


@pytest.fixture
async def served(db: Database, serving: Serve, published: PublishedRun) -> AsyncIterator[Served]:
    nobody: Any = None
    tags, city = desks(db, lambda: NOW)
    timing = TimingDesk(db, Runs(), City(), Projections(), "Asia/Shanghai", lambda: NOW)
    reviews = ReviewDesk(db, Tags(), Latent(), Moments(), shelf(db, lambda: NOW), lambda: NOW)
    others = (nobody, nobody, nobody, nobody, nobody)
    api = PortraitApi(*others, tags, city, nobody, asyncio.Event(), timing_desk=timing, review_desk=reviews)
    async with serving(
        "portrait",
        register=lambda server: v1.add_PortraitServiceServicer_to_server(api, server),
        rights=RIGHTS,
        background=[],
    ) as served:
        yield served


@pytest.fixture
def stub(served: Served) -> Callable[[str], v1.PortraitServiceStub]:
    return lambda who: v1.PortraitServiceStub(served.channel(roles={"operator"}, subject=who))


async def refusal(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return str(refused(raised.value)[1])


async def test_a_new_tag_is_data_and_needs_both_approvals_by_other_people(stub: Any) -> None:
    """R001-066, R001-107, R001-108, R003-034, R004-018, R004-026: a rule is tried, approved, published, retired.

    R001-044: judgement, business rule and mining result stand in the version; without one of them it is not published.
    """
    ann, bob, eve = (stub(name) for name in ("ann", "bob", "eve"))
    create = v1.CreateTagVersionRequest(request_id="r1", definition=HOME, note="who rests there has leisure")
    made = (await ann.CreateTagVersion(create)).version
    again = (await ann.CreateTagVersion(create)).version
    assert made == again
    assert (made.code, made.version, made.author) == ("XX01", 1, "ann")
    assert made.state == v1.TagVersion.STATE_REVIEW

    def approval(number: int, aspect: Any) -> v1.ApproveTagVersionRequest:
        return v1.ApproveTagVersionRequest(request_id=f"a{number}", code="XX01", version=1, aspect=aspect, note="seen")

    mining, business = v1.TagApproval.ASPECT_MINING, v1.TagApproval.ASPECT_BUSINESS
    publish = v1.PublishTagVersionRequest(request_id="p1", code="XX01", version=1)
    assert await refusal(ann.ApproveTagVersion(approval(1, mining))) == "TAG_NOT_APPROVED"
    await bob.ApproveTagVersion(approval(2, mining))
    assert await refusal(ann.PublishTagVersion(publish)) == "TAG_NOT_APPROVED"
    await bob.ApproveTagVersion(approval(3, business))
    assert await refusal(ann.PublishTagVersion(publish)) == "TAG_NOT_APPROVED"  # one person for both is not four eyes
    bare = approval(9, business)
    bare.note = " "
    await eve.ApproveTagVersion(bare)
    assert await refusal(ann.PublishTagVersion(publish)) == "TAG_NOT_APPROVED"  # approved without grounds
    await eve.ApproveTagVersion(approval(4, business))
    assert (await ann.PublishTagVersion(publish)).version.state == v1.TagVersion.STATE_ACTIVE
    assert await refusal(eve.ApproveTagVersion(approval(5, mining))) == "TAG_VERSION_CLOSED"
    told = await ann.GetTag(v1.GetTagRequest(code="XX01"))
    assert told.version.note == "who rests there has leisure"
    assert {each.aspect: each.note for each in told.version.approvals} == {mining: "seen", business: "seen"}
    tag = told.tag
    assert list(tag.places) == ["lei.*"]
    assert "20分钟" in tag.track
    assert list(tag.lineage) == ["dwell_day"]
    assert tag.category == "位置信息"
    second = (await ann.CreateTagVersion(v1.CreateTagVersionRequest(request_id="r2", definition=HOME))).version
    assert second.version == 2
    versions = (await ann.ListTagVersions(v1.ListTagVersionsRequest(code="XX01"))).versions
    assert [each.version for each in versions] == [2, 1]
    assert await refusal(bob.PublishTagVersion(v1.PublishTagVersionRequest(request_id="p2", code="XX01", version=2)))
    assert json.loads(versions[0].definition)["version"] == 2
    gone = (await ann.RetireTag(v1.RetireTagRequest(request_id="g1", code="XX01", note="no use"))).version
    assert gone.state == v1.TagVersion.STATE_RETIRED
    assert await refusal(ann.GetTag(v1.GetTagRequest(code="XX01"))) == "TAG_NOT_FOUND"


async def test_a_shipped_tag_is_retired_unless_another_looks_at_it(stub: Any) -> None:
    ann = stub("ann")
    assert await refusal(ann.RetireTag(v1.RetireTagRequest(request_id="g1", code="BE01"))) == "TAG_INVALID"
    await ann.RetireTag(v1.RetireTagRequest(request_id="g2", code="BE10", note="too wide"))
    assert await refusal(ann.GetTag(v1.GetTagRequest(code="BE10"))) == "TAG_NOT_FOUND"


async def test_what_cannot_be_used_is_refused(stub: Any) -> None:
    """Whatever YAML can say: a part of itself, a day as a key, no number, no such day, a thousand levels."""
    tag = "code: XX02, zh: a, family: f, kind: flag, rule"
    strange = "hint: &a [*a]", "2026-01-01: x", "hint: .nan", "hint: .inf", "hint: 2026-13-45"
    sound = "{stat: {age: 'ge 20'}}"
    definitions = [f"{{{tag}: {sound}, {each}}}" for each in strange]
    definitions += [f"{{{tag}: {'{not: ' * 500}{sound}{'}' * 500}}}", "[" * 3000, "[1]", "{code: [}"]
    for each in (*definitions, f"{{{tag}: {{stat: {{shoes: ge 3}}}}}}", f"{{{tag}: {{not: &a {{not: *a}}}}}}"):
        assert await refusal(stub("a").CountTag(v1.CountTagRequest(definition=each))) == "TAG_INVALID", each[:80]


async def test_a_trial_of_the_live_rule_differs_from_nothing_and_of_another_by_what_it_says(
    stub: Any, published: PublishedRun, catalogue: Catalogue
) -> None:
    """A dry run over the run's own files gives the run's own bearers, for every kind of rule."""
    shipped = {
        "HU01": "{anchor: {role: work, class: [off.biz.tower]}}",
        "PR05": "{dwell: {place: [fun.av.cinema], except: [home, work], min_visit: 30, days_ge: 3}}",
        "PR19": "{attend: {type: [concert], events_ge: 1, overlap_ge: 60, window: 365d}}",
        "CA01": "{stat: {mou_1m: ge p80}}",
        "BE12": "{anchor: {distance_km: [home, work], ge: 12}}",
    }
    for code, rule in shipped.items():
        definition = f"{{code: {code}, zh: t, family: f, kind: flag, rule: {rule}}}"
        told = await stub("ann").CountTag(v1.CountTagRequest(definition=definition))
        live = len(published.bearers.get((code, ""), ()))
        (count,) = told.counts or [v1.TagCount()]
        if code == "HU01":  # the trial leaves out what else the live rule asks for
            assert (count.lost, count.live_customers) == (0, live)
        else:
            assert (count.customers, count.gained, count.lost) == (live, 0, 0), code
        assert told.base_customers == published.run.customers


async def test_coverage_outside_of_its_band_is_told_and_holds_a_run(
    db: Database, stub: Any, published: PublishedRun, catalogue: Catalogue
) -> None:
    told = held(catalogue, published.bearers, published.run.customers)
    bands = {tag.code: tag.expect for tag in catalogue.tags}
    assert all(bands[line.split()[0]] is not None for line in told)
    run = replace(published.run, run_id="20260915-held", to_date=date(2026, 9, 15), held=("HU01 0.9 not in 0..0.3",))
    async with db.begin() as tx:
        await Runs().put(tx, Published(run, "job2", "v", "d", {}), NOW)
        await tx.commit()
    listed = (await stub("ann").ListRuns(v1.ListRunsRequest())).runs
    assert (listed[0].run_id, list(listed[0].held)) == (run.run_id, list(run.held))
    release = v1.ReleaseRunRequest(request_id="l1", run_id=run.run_id, note="a new district")
    assert not (await stub("ann").ReleaseRun(release)).run.held
    release.request_id = "l2"
    assert await refusal(stub("ann").ReleaseRun(release)) == "RUN_NOT_HELD"
    late = replace(run, run_id="20260831-held", to_date=date(2026, 8, 31))
    async with db.begin() as tx:
        await Runs().put(tx, Published(late, "job3", "v", "d", {}), NOW)
        await tx.commit()
    release = v1.ReleaseRunRequest(request_id="l3", run_id=late.run_id, note="checked late")
    assert not (await stub("ann").ReleaseRun(release)).run.held
    async with db.read() as read:
        current = await Runs().current(read)
    assert current is not None
    assert current[1].run_id == run.run_id, "a month that is released late takes no reader back in time"


async def test_what_a_customer_was_tagged_is_told_as_of_a_day_and_audited(
    db: Database, stub: Any, published: PublishedRun
) -> None:
    """R001-003, R004-025: the history of tags is asked by day, with a purpose."""
    key = 6
    asked = v1.ListTagHistoryRequest(customer_key=key, purpose="complaint 17", page_size=1000)
    past = (await stub("ann").ListTagHistory(asked)).tags
    expected = published.table("tags").filter(customer_key=key)["code"].to_list()
    assert [each.tag.code for each in past] == expected
    asked.as_of_date.CopyFrom(Date(year=2026, month=3, day=1))
    assert not (await stub("ann").ListTagHistory(asked)).tags
    async with db.read() as read:
        seen = await read.rows(text("SELECT caller, purpose FROM dwell_audit WHERE customer_key = 6"))
    assert ("ann", "complaint 17") in [tuple(row) for row in seen]


async def test_a_track_is_told_in_order_and_its_look_is_audited(stub: Any, published: PublishedRun, town: Town) -> None:
    """R001-030, R001-031: one customer's visits of a span, page by page."""
    key = 6
    mine = published.table("visits").filter(customer_key=key).sort("start")
    request = v1.ListTrackRequest(customer_key=key, purpose="lost phone", page_size=7)
    found: list[v1.Visit] = []
    while True:
        page = await stub("ann").ListTrack(request)
        found += page.visits
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [each.place_id for each in found] == mine["place_id"].to_list()
    noon = datetime(2026, 9, 3, 4, tzinfo=UTC)
    request = v1.ListTrackRequest(customer_key=key, purpose="lost phone")
    request.from_time.FromDatetime(noon)
    request.to_time.FromDatetime(noon + timedelta(1))
    some = (await stub("ann").ListTrack(request)).visits
    assert 0 < len(some) < len(found)
    assert all(each.end_time.ToDatetime(tzinfo=UTC) > noon for each in some)


async def test_dwell_areas_add_up_and_hide_small_groups(stub: Any, published: PublishedRun) -> None:
    """R001-032, R001-036, R001-037: the ranked table by slot equals the tracks; groups below ten are not told."""
    dwell = published.table("dwell").filter(pl.col("slot") == "night", pl.col("workday"))
    by_place = dwell.group_by("place_id").agg(pl.col("customer_key").n_unique().alias("who"), pl.col("secs").sum())
    expected = {row["place_id"]: (row["who"], row["secs"]) for row in by_place.to_dicts() if row["who"] >= 10}
    asked = v1.ListDwellAreasRequest(slot="night", day_type="workday", page_size=1000)
    found = (await stub("ann").ListDwellAreas(asked)).areas
    assert {each.place_id: (each.customers, each.dwell_seconds) for each in found} == expected
    assert [each.dwell_seconds for each in found] == sorted((each.dwell_seconds for each in found), reverse=True)
    asked.class_selector = "res.*"
    homes = (await stub("ann").ListDwellAreas(asked)).areas
    assert {each.place_class.split(".")[0] for each in homes} <= {"res"}


async def test_peaks_and_troughs_are_those_of_the_visits(stub: Any, published: PublishedRun, town: Town) -> None:
    """R001-032, R001-061, R001-062: presence by hour of a class of places, and when it is busiest."""
    hours = (await stub("ann").GetCrowd(v1.GetCrowdRequest(class_selector="off.*", day_type="workday"))).hours
    visits = published.table("visits").filter(pl.col("place_class").str.starts_with("off."))
    secs = [0] * 24
    zone = timedelta(hours=8)
    for row in visits.to_dicts():
        at, end = (datetime.fromtimestamp(row[name] / 1000, UTC) + zone for name in ("start", "end"))
        while at < end:
            upto = min(at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1), end)
            if at.date().weekday() < 5:
                secs[at.hour] += int((upto - at).total_seconds())
            at = upto
    days = sum((town.window.day(number)).weekday() < 5 for number in range(town.window.days))
    for hour, each in enumerate(hours):
        assert each.people == pytest.approx(secs[hour] / 3600 / days, rel=0.01, abs=0.01)
    assert {each.hour for each in hours if each.peak} & {9, 10, 11, 14, 15, 16}
    assert hours[3].trough


async def test_the_map_says_what_it_lacks_and_a_class_is_given_by_hand(
    stub: Any, published: PublishedRun, computed: tuple[Work, list[Outcome], Lake]
) -> None:
    """R001-027, R001-028: the tree, the queue by traffic, and a class that holds from a day on."""
    ann = stub("ann")
    classes = (await ann.ListPlaceClasses(v1.ListPlaceClassesRequest(page_size=1000))).classes
    assert len(classes) >= 43
    assert ["教育", "学校", "高等院校"] in [list(each.names) for each in classes]
    tasks = (await ann.ListPlaceTasks(v1.ListPlaceTasksRequest(page_size=1000))).tasks
    assert [each.traffic for each in tasks] == sorted((each.traffic for each in tasks), reverse=True)
    assert {v1.PlaceTask.KIND_UNMAPPED_CELL, v1.PlaceTask.KIND_DOUBTFUL_ROW} <= {each.kind for each in tasks}
    first = Date(year=2026, month=9, day=1)
    asked = v1.ClassifyPlaceRequest(request_id="c1", place_id="PL00001", class_code="zoo.cage", from_date=first)
    assert await refusal(ann.ClassifyPlace(asked)) == "PLACE_CLASS_UNKNOWN"
    asked.class_code = "lei.green.park"
    assert (await ann.ClassifyPlace(asked)).version.version == 1
    asked.request_id = "c2"
    assert (await ann.ClassifyPlace(asked)).version.version == 2
    told = (await ann.ListPlaceVersions(v1.ListPlaceVersionsRequest(place_id="PL00001"))).versions
    assert [each.version for each in told] == [2, 1]
    places = computed[0].base.places
    known = dict(zip(places.place_id, places.class_code, strict=True))
    assert known.get("PL00001", "lei.green.park") == "lei.green.park"


async def test_one_customers_track_is_not_for_everybody(served: Served) -> None:
    """R001-117: the base table of tracks is restricted."""
    viewer = v1.PortraitServiceStub(served.channel(roles={"viewer"}))
    assert await refusal(viewer.ListTrack(v1.ListTrackRequest(customer_key=1, purpose="curious"))) == "NOT_ALLOWED"


async def test_contacts_are_advised_by_scene_slot_wave_and_answer(served: Served, db: Database) -> None:
    """R002-063: the time and the channel of a contact, from the scene, the slot, the crowd and what was answered."""
    told = [Contact(f"c{each}", 6, NOW - timedelta(days=3, hours=2), "responded", "app", "k") for each in range(6)] + [
        Contact(f"d{each}", 7, NOW - timedelta(days=3), "refused", "sms", "k") for each in range(6)
    ]
    async with db.begin() as tx:
        await Projections().put_contacts(tx, told)
        await tx.commit()
    operator = v1.PortraitServiceStub(served.channel(roles={"operator"}))
    request = v1.BatchGetContactTimesRequest(customer_keys=[6, 7, 999_999], times=10)
    found = (await operator.BatchGetContactTimes(request)).customers
    assert [each.customer_key for each in found] == [6, 7]
    for customer in found:
        scores = [time.score for time in customer.times]
        assert scores == sorted(scores, reverse=True)
        assert {time.slot for time in customer.times} <= {"am", "noon", "pm", "eve", "night"}
        for time in customer.times:
            assert 0 < time.score <= 1
            assert 9 <= time.from_hour < time.to_hour <= 24
            assert time.scene.count(".") == 2
    assert {each.day_type for each in found[0].times} == {"workday", "weekend"}
    channels = {each.channel: (each.answer, each.contacts) for each in found[0].channels}
    assert found[0].channels[0].channel == "app"
    assert channels["app"][1] == 6
    assert channels["app"][0] > channels["sms"][0]
    assert not (await operator.BatchGetContactTimes(v1.BatchGetContactTimesRequest(customer_keys=[999_999]))).customers
