"""Audiences by RPC, and the whole portrait in one call: masked by role, from the pack as from Postgres."""

import io
from datetime import date, timedelta
from pathlib import Path

import grpc.aio
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap
from sqlalchemy import text

from lifecircle.portrait import v1
from services.portrait.api import encode_offers
from services.portrait.domain.calendar import Window
from services.portrait.domain.interest import Interest, interests
from services.portrait.domain.latent.foresight import FORESEEN
from services.portrait.domain.pack import Encoded, Pack, PackDamaged, packed_portrait, write
from services.portrait.domain.place import Places
from services.portrait.domain.run import AnchorValue, LakeFile, Portrait, TagValue
from services.portrait.domain.track import DwellDays
from services.portrait.lake import Lake, packing
from services.portrait.lake.interests import interests_of, interests_table
from services.portrait.store import Audiences, Moments, Runs
from services.portrait.store.forgetting import Forgotten
from services.portrait.store.projections import Contact, Projections
from services.portrait.store.runs import Published
from services.portrait.usecases.compute import PACK
from services.portrait.usecases.journey import Matrix
from tests.fixtures.serving import Served, refused
from tests.portrait.test_api import ENCODE, PORTRAITS, RUN, publish
from tests.portrait.test_matching import Here, here, now, served, stub

__all__ = ["here", "served"]  # fixtures


async def ready(here: Here) -> v1.Portrait:
    """A published run, in memory."""
    await publish(here.db)
    await here.indexes.refresh()
    await here.whole.refresh()
    return v1.Portrait()


async def test_an_audience_is_counted_by_text_with_its_parts(here: Here, served: Served) -> None:
    """R001-067, R001-066: by what people write; each part says where the audience becomes small."""
    await ready(here)
    ask = stub(served)
    request = v1.CountAudienceRequest(text='HU01 OR "价值分段" = 高端', sample_size=5, with_parts=True)
    found = (await ask.CountAudience(request)).audience
    assert (found.customers, list(found.sample_customer_keys), found.run_id) == (2, [7, 8], PORTRAITS[0].run_id)
    assert [(part.depth, part.text, part.customers) for part in found.parts] == [
        (0, "HU01 OR VA01 = 高端", 2),
        (1, "HU01", 1),
        (1, "VA01 = 高端", 1),
    ]
    again = (await ask.CountAudience(v1.CountAudienceRequest(expression=found.expression))).audience
    assert (again.customers, again.text) == (2, found.text)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await ask.CountAudience(v1.CountAudienceRequest(text="HU01 AND"))
    assert refused(raised.value)[1:] == (
        "AUDIENCE_INVALID",
        {"at": "8", "why": "expected a tag, a feature, NOT or (, found the end"},
    )


async def test_a_saved_audience_has_versions_and_can_be_frozen(here: Here, served: Served) -> None:
    await ready(here)
    ask = stub(served)

    async def save(told: str, request_id: str) -> v1.SavedAudience:
        request = v1.UpdateAudienceRequest(audience_id="people", title="人", text=told, request_id=request_id)
        return (await ask.UpdateAudience(request)).audience

    assert [(await save(told, told)).version for told in ("HU01", "HU01 ", "VA01")] == [1, 1, 2]
    old = (await ask.GetAudience(v1.GetAudienceRequest(audience_id="people", version=1))).audience
    assert (old.text, old.owner) == ("HU01", "test")
    listed = (await ask.ListAudiences(v1.ListAudiencesRequest())).audiences
    assert [(each.audience_id, each.version) for each in listed] == [("people", 2)]
    freeze = v1.FreezeAudienceRequest(text="AUDIENCE 'people' VERSION 1", purpose="campaign 9", request_id="f")
    frozen = (await ask.FreezeAudience(freeze)).frozen
    assert frozen == (await ask.FreezeAudience(freeze)).frozen
    assert frozen.customers == 1
    both = f"FROZEN '{frozen.frozen_id}' OR AUDIENCE 'people'"
    assert (await ask.CountAudience(v1.CountAudienceRequest(text=both))).audience.customers == 2
    for unknown in ("AUDIENCE 'nobody'", "LIST 'nobody'", "FROZEN 'nobody'"):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask.CountAudience(v1.CountAudienceRequest(text=unknown))
        assert refused(raised.value)[1:] == ("AUDIENCE_NOT_FOUND", {"audience_id": "nobody"})


async def test_members_are_paged_and_exported_as_arrow_with_their_tags(here: Here, served: Served) -> None:
    """R001-065, R001-068, R001-115, R002-005, R003-041: the list carries all tags, and goes to planning."""
    await ready(here)
    ask = stub(served)
    page = await ask.ListAudienceMembers(v1.ListAudienceMembersRequest(text="EVERYBODY", page_size=1, with_tags=True))
    assert [(one.customer_key, list(one.tags)) for one in page.members] == [(7, ["HU01"])]
    rest = v1.ListAudienceMembersRequest(text="EVERYBODY", page_size=1, page_token=page.next_page_token, with_tags=True)
    assert [(one.customer_key, list(one.tags)) for one in (await ask.ListAudienceMembers(rest)).members] == [
        (8, ["VA01=高端"])
    ]
    parts = [part async for part in ask.ExportAudience(v1.ExportAudienceRequest(text="EVERYBODY", purpose="plan 4"))]
    table = pa.ipc.open_stream(io.BytesIO(b"".join(part.arrow for part in parts))).read_all()
    assert table.to_pylist() == [
        {"customer_key": 7, "org_id": "G1", "tags": ["HU01"]},
        {"customer_key": 8, "org_id": "G2", "tags": ["VA01=高端"]},
    ]
    async with here.db.read() as read:
        audits = await read.rows(text("SELECT what, customers, purpose FROM access_audit"))
    assert [tuple(row) for row in audits] == [("audience EVERYBODY", 2, "plan 4")]


async def test_audiences_are_compared_with_the_base_and_with_each_other(here: Here, served: Served) -> None:
    await ready(here)
    ask = stub(served)
    profile = await ask.GetAudienceProfile(v1.GetAudienceProfileRequest(text="HU01"))
    assert (profile.customers, profile.base_customers) == (1, 2)
    assert {(line.code, line.value): line.customers for line in profile.lines} == {
        ("HU01", ""): 0, ("VA01", ""): 0, ("VA01", "高端"): 0,
    }, "groups below ten are not shown"  # fmt: skip
    tag = v1.AudienceExpression(tag=v1.AudienceExpression.TagIs(code="HU01"))
    everybody = v1.AudienceExpression(everybody=v1.AudienceExpression.Everybody())
    met = await ask.GetAudienceOverlap(v1.GetAudienceOverlapRequest(expressions=[tag, everybody]))
    assert (list(met.customers), met.any, met.all) == ([1, 2], 2, 1)
    assert (met.overlaps[0].customers, met.overlaps[0].jaccard) == (1, 0.5)


async def test_the_users_of_a_service_are_told_beside_those_who_do_not_use_it(here: Here, served: Served) -> None:
    """R002-006: how each tag is distributed over the users of a service, and over its non-users."""
    users, dear = set(range(1, 21)), {*range(1, 16), *range(21, 31)}
    everybody = set(range(1, 61))
    named = {("@all", ""): everybody, ("@org", "G1"): everybody, ("HU01", ""): users, ("VA01", "高端"): dear}
    async with here.db.begin() as tx:
        run_no = await Runs().put(tx, Published(RUN, "job", "v", "d", {}), now())
        assert run_no is not None
        await Audiences().put_bitmaps(tx, run_no, {name: BitMap(who) for name, who in named.items()})
        await Runs().put_counts(tx, run_no, {"HU01": 20, "VA01=高端": 25})
        await Runs().make_current(tx, run_no)
        await tx.commit()
    await here.indexes.refresh()
    service = v1.AudienceExpression(tag=v1.AudienceExpression.TagIs(code="HU01"))
    others = v1.AudienceExpression()
    getattr(others, "not").CopyFrom(service)
    asked = v1.GetAudienceProfileRequest(expression=service, base=others)
    told = await stub(served).GetAudienceProfile(asked)
    assert (told.customers, told.base_customers) == (20, 40)
    (line,) = [each for each in told.lines if (each.code, each.value) == ("VA01", "高端")]
    assert (line.customers, line.share, line.base_share, round(line.index)) == (15, 0.75, 0.25, 300)


@pytest.mark.parametrize("mapped", [False, True])
async def test_the_whole_portrait_in_one_call_masked_by_role(
    here: Here, served: Served, tmp_path: Path, mapped: bool
) -> None:
    """R000-035, R002-075, R003-035, R003-040: one view returns all; what is sensitive only for those who may see it.

    R004-034: preferences, tendency to buy, contribution, cost and contact strategy are fields of it.
    """
    await publish(here.db)
    if mapped:
        turned_to = (Interest("fun.av.ktv", "KTV", 3.5),)
        values = [(each.customer_key, packed_portrait(ENCODE(each, turned_to))) for each in PORTRAITS]
        async with here.db.begin() as tx:
            current = await Runs().current(tx)
            assert current is not None
            pack = packing.write_pack(tmp_path.as_uri(), "portraits.pack", values)
            await Runs().put_files(tx, current[0], {PACK: [pack]})
            await tx.commit()
    cells = pa.table({"customer_key": [7, 7], "product_id": ["P1", "P2"], "score": [0.5, 0.4], "rank": [1, 2]})
    file = Lake(tmp_path.as_uri()).write("matrix.parquet", cells, 0)

    async def files(matrix_id: str) -> list[object]:
        return [file]

    async with here.db.begin() as tx:
        contacts = [
            Contact(f"c{day}", 7, now() - timedelta(days=day), "refused", "sms", "camp", cost_fen=5)
            for day in range(25)
        ]
        await here.journeys.take_contacts(tx, contacts)
        await here.journeys.take_matrix(tx, Matrix("m1"), files)  # type: ignore[arg-type]
        await tx.commit()
    await here.whole.refresh()
    ask, viewer = stub(served), stub(served, "viewer")
    full = (await ask.GetPortrait(v1.GetPortraitRequest(customer_key=7))).portrait
    assert (full.anchors[0].place_name, full.anchors[0].town, full.masked) == ("花园", "莞城", False)
    assert [each.product_id for each in full.offers] == ["P1", "P2"]
    assert [each.contact_id for each in full.contacts][:2] == ["c0", "c1"]
    assert len(full.contacts) == 20
    assert (full.marketing.purchase_tendency, full.marketing.cost_fen, full.marketing.channel) == (0.5, 100, "sms")
    assert full.marketing.channel_answer == pytest.approx(1 / 22)
    assert full.marketing.contribution_fen == full.worth.arpu_fen
    assert full.tags[0].category != v1.TAG_CATEGORY_UNSPECIFIED
    assert [each.topic for each in full.interests] == (["fun.av.ktv"] if mapped else [])
    seen = (await viewer.GetPortrait(v1.GetPortraitRequest(customer_key=7))).portrait
    assert (seen.anchors[0].place_name, seen.anchors[0].place_id, seen.anchors[0].town) == ("", "", "莞城")
    assert seen.masked
    assert not seen.interests
    both = (await ask.BatchGetPortraits(v1.BatchGetPortraitsRequest(customer_keys=[8, 7]))).portraits
    assert [each.customer_key for each in both] == [8, 7]
    assert both[1] == full
    assert encode_offers("m", [])


async def test_each_thing_that_changes_a_whole_portrait_is_seen_at_the_next_look(
    here: Here, served: Served, tmp_path: Path
) -> None:
    """One question says whether anything changed: a run, a contact, offers, what is foreseen, who is forgotten."""
    ask = stub(served)

    async def seen() -> tuple[int, int, float]:
        await here.whole.refresh()
        told = (await ask.GetPortrait(v1.GetPortraitRequest(customer_key=7))).portrait
        return len(told.contacts), len(told.offers), told.churn.probability

    await here.whole.refresh()
    await publish(here.db)
    assert await seen() == (0, 0, 0.0)
    for number in (1, 2):
        async with here.db.begin() as tx:
            await here.journeys.take_contacts(tx, [Contact(f"c{number}", 7, now(), "refused", "sms", "camp")])
            await tx.commit()
        assert await seen() == (number, 0, 0.0)
    cells = pa.table({"customer_key": [7], "product_id": ["P1"], "score": [0.5], "rank": [1]})
    file = Lake(tmp_path.as_uri()).write("matrix.parquet", cells, 0)

    async def files(matrix_id: str) -> list[object]:
        return [file]

    async with here.db.begin() as tx:
        await here.journeys.take_matrix(tx, Matrix("m1"), files)  # type: ignore[arg-type]
        await tx.commit()
    assert await seen() == (2, 1, 0.0)
    likely = v1.GetPortraitResponse()
    likely.portrait.churn.probability = 0.75
    async with here.db.begin() as tx:
        current = await Runs().current(tx)
        assert current is not None
        pack = packing.write_pack(tmp_path.as_uri(), "foreseen.pack", [(7, likely.SerializeToString())])
        await Runs().put_files(tx, current[0], {FORESEEN: [pack]})
        await tx.commit()
    assert await seen() == (2, 1, 0.75)
    async with here.db.begin() as tx:
        await Forgotten().put(tx, 7, "e", now())
        await tx.commit()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await seen()
    assert refused(raised.value)[:2] == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")


def test_no_tag_of_a_masked_portrait_tells_where_the_customer_lives() -> None:
    """R003-040: landmark and evidence are left out where they name the place of an anchor, and only there."""
    day, home = date(2026, 9, 30), AnchorValue("home", "PL1", "花园小区", "res.house.community", "莞城", 9, 7200, 0.9)
    told = [
        TagValue("HU04", "", 1, 1.0, "花园小区", "home=花园小区; days=9", day, day),
        TagValue("HU01", "", 1, 1.0, "大厦", "常驻花园小区 (days=9)", day, day),
        TagValue("HU05", "", 1, 1.0, "中学", "days=9", day, day),
        TagValue("PR01", "", 1, 1.0, "球场", "days=4", day, day),
    ]
    made = ENCODE(Portrait(7, "G1", "run", (home,), tuple(told), {}), ())
    clear, masked = (v1.GetPortraitResponse.FromString(made.body + each).portrait for each in (made.clear, made.masked))
    assert {each.code: (each.landmark, each.evidence) for each in clear.tags} == {
        each.code: (each.landmark, each.evidence) for each in told
    }
    assert {each.code: (each.landmark, each.evidence) for each in masked.tags} == {
        "PR01": ("球场", "days=4"),
        "HU04": ("", "home=＊; days=9"),
        "HU01": ("大厦", "常驻＊ (days=9)"),
    }
    assert "花园小区".encode() not in made.body + made.masked
    assert all(each.category for each in (*clear.tags, *masked.tags))


async def test_a_journey_goes_from_visit_to_feedback_and_every_look_is_audited(here: Here, served: Served) -> None:
    """R003-083: the path from visit to display to feedback, the latest step first."""
    told = [
        here.event(7, "behaviour.web", page="home")._replace(time=1_000),
        here.event(7, "display.shown", offer_id="O1")._replace(time=2_000),
        here.event(7, "product.ordered", product_id="P1")._replace(time=4_000),
        here.event(8, "behaviour.web")._replace(time=1_500),
    ]
    async with here.db.begin() as tx:
        await Moments().journal(tx, [(event, event.time) for event in told])
        await Projections().put_contacts(tx, [Contact("c1", 7, now().replace(year=2001), "responded", "app", "camp")])
        await tx.commit()
    ask = stub(served)
    asked = v1.ListJourneyRequest(customer_key=7, purpose="complaint 3", page_size=2)
    first = await ask.ListJourney(asked)
    rest = await ask.ListJourney(
        v1.ListJourneyRequest(customer_key=7, purpose="complaint 3", page_size=2, page_token=first.next_page_token)
    )
    stages, stage = v1.JourneyStep, v1.JourneyStep.Stage.Name
    assert [(stage(step.stage), step.event_id) for step in (*first.steps, *rest.steps)] == [
        ("STAGE_FEEDBACK", "c1"),
        ("STAGE_ORDER", "e3"),
        ("STAGE_DISPLAY", "e2"),
        ("STAGE_VISIT", "e1"),
    ]
    async with here.db.read() as read:
        assert await read.value(text("SELECT count(*) FROM access_audit WHERE what = 'journey 7'")) == 2
    visits = [here.event(7, "behaviour.web")._replace(time=9_000) for _ in range(25)]
    async with here.db.begin() as tx:
        await Moments().journal(tx, [(event, event.time) for event in visits])
        await tx.commit()
    asked = v1.ListJourneyRequest(customer_key=7, purpose="complaint 3", page_size=2, stages=[stages.STAGE_ORDER])
    assert [step.event_id for step in (await ask.ListJourney(asked)).steps] == ["e3"], "behind many visits"
    seen, asked = list[str](), v1.ListJourneyRequest(customer_key=7, purpose="complaint 3", page_size=7)
    while True:
        page = await ask.ListJourney(asked)
        seen += [step.event_id for step in page.steps]
        asked.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert sorted(seen) == sorted(["c1", "e1", "e2", "e3", *(event.event_id for event in visits)])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub(served, "viewer").ListJourney(asked)
    assert refused(raised.value)[1] == "NOT_ALLOWED"


@given(st.dictionaries(st.integers(1, 500), st.tuples(*[st.binary(max_size=20)] * 3).filter(lambda one: bool(one[0]))))
def test_a_pack_gives_back_what_was_packed(kept: dict[int, tuple[bytes, bytes, bytes]]) -> None:
    sink = io.BytesIO()
    values = {key: Encoded(*told) for key, told in kept.items()}
    assert write([(key, packed_portrait(told)) for key, told in values.items()], sink) == len(kept)
    pack = Pack(memoryview(sink.getvalue()))
    for key in range(-1, 502):
        told = values.get(key)
        assert pack.portrait(key, True) == (None if told is None else told.body + told.clear)
        assert pack.portrait(key, False) == (None if told is None else told.body + told.masked)
    with pytest.raises(PackDamaged):
        Pack(memoryview(sink.getvalue()[:-1]))


def test_interests_leave_out_duty_and_name_what_they_are() -> None:
    hours = [("res.house.community", 300.0), ("fun.av.cinema", 2.0), ("spo.fit.gym", 9.0), ("lei.green.park", 0.4)]
    found = interests(hours, {"fun.av.cinema": ("娱乐", "影音", "电影院")})
    assert [(each.topic, each.name) for each in found] == [("spo.fit.gym", "spo.fit.gym"), ("fun.av.cinema", "电影院")]


def test_an_hour_at_a_place_is_worth_half_after_thirty_days_however_long_the_window_is(tmp_path: Path) -> None:
    """R004-015: the interest score decays with its half-life and rises with evidence, from run to run."""
    lake, key = Lake(tmp_path.as_uri()), np.array([1, 2, 3])
    first, hour = date(2026, 7, 1), 3600
    places = Places(["P0"], ["x"], ["t"], ["spo.fit.gym"], np.zeros(1), np.zeros(1))

    def run(window: Window, rows: list[tuple[int, int]], before: list[LakeFile]) -> LakeFile:
        """Dwell of an hour each: (customer, day)."""
        columns = [np.array(column, dtype=np.int32) for column in zip(*rows, strict=True)]
        none, one = np.zeros(len(rows), np.int32), np.ones(len(rows), np.int32)
        dwell = DwellDays(columns[0], none, columns[1], none, one * hour, one, one * hour)
        return lake.write(f"{window.to_date}.parquet", interests_table(key, dwell, places, window, before), 0)

    zone = "Asia/Shanghai"
    july = run(Window(first, first + timedelta(days=30), zone), [(0, 0), (0, 30), (1, 30)], [])
    told = interests_of(july, {})
    assert [(each.topic, each.weight) for each in told[1]] == [("spo.fit.gym", 1.5)]
    assert [each.weight for each in told[2]] == [1.0]
    overlapping = Window(first + timedelta(days=30), first + timedelta(days=60), zone)
    august = interests_of(run(overlapping, [(0, 0), (0, 30), (2, 30)], [july]), {})
    assert {who: each[0].weight for who, each in august.items() if each} == {1: 0.75 + 1.0, 2: 0.5, 3: 1.0}
