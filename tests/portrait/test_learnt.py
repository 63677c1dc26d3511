"""Segments and latent tags through a server: jobs over a published run, people who label and approve, domains."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
from sqlalchemy import text

from lifecircle.portrait import v1
from services.kit import jobs
from services.kit.db import Database
from services.kit.domains import Directory, Known
from services.portrait.api import RIGHTS, PortraitApi
from services.portrait.domain.latent.foresight import FORESEEN
from services.portrait.domain.segment import adjusted_rand
from services.portrait.domain.segment.naming import ARCHETYPES
from services.portrait.lake.packing import open_pack
from services.portrait.store import Audiences, Runs
from services.portrait.store.segments import Segments
from services.portrait.usecases.latent import SCORE
from services.portrait.usecases.segments import FEATURES, SEGMENT, WHERE_KNOWN
from tests.fixtures.serving import Serve, Served, refused
from tests.portrait.learnt import COUNT, GROUP, NOW, Work
from tests.portrait.test_segment import FEATURES as ARCHETYPAL

_TABLES = (
    "segment_member segment_name segmentation latent_label latent_model latent_score latent_value inferred_attribute "
    "customer_warning portrait run_file current_run run request job outbox"
)


async def empty(db: Database) -> None:
    async with db.begin() as tx:
        for table in _TABLES.split():
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()


@pytest.fixture
async def work(db: Database, tmp_path: Path) -> AsyncIterator[Work]:
    await empty(db)
    made = Work(db, tmp_path)
    await made.publish()
    yield made
    await empty(db)


@pytest.fixture
async def served(work: Work, serving: Serve) -> AsyncIterator[Served]:
    nobody: Any = None
    eight = (nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody)
    api = PortraitApi(*eight, asyncio.Event(), segment_desk=work.segments, latent_desk=work.latent)
    async with serving(
        "portrait",
        register=lambda server: v1.add_PortraitServiceServicer_to_server(api, server),
        rights=RIGHTS,
        background=[],
        known=Known(Directory(parents={"east": "", "west": ""})),
    ) as served:
        yield served


@pytest.fixture
def stub(served: Served) -> Callable[..., v1.PortraitServiceStub]:
    return lambda who, org="": v1.PortraitServiceStub(served.channel(roles={"operator"}, subject=who, org=org))


async def refusal(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return str(refused(raised.value)[1])


async def test_segments_are_made_by_brand_with_figures_and_stay_the_same_in_the_next_cycle(
    work: Work, stub: Any
) -> None:
    """R002-064, R002-002, R002-016, R002-018 to R002-021, R002-023, R002-024, R000-004."""
    ann = stub("ann")
    assert await refusal(ann.GetSegmentation(v1.GetSegmentationRequest())) == "SEGMENT_NOT_FOUND"
    asked = v1.CreateSegmentationRequest(request_id="r1", segments={"动感地带": 3, "全球通": 3})
    job = (await ann.CreateSegmentation(asked)).job
    assert (await ann.CreateSegmentation(asked)).job.job_id == job.job_id
    await work.drain()
    first = (await ann.GetSegmentation(v1.GetSegmentationRequest())).segmentation
    assert [(each.brand, each.segments) for each in first.brands] == [("全球通", 3), ("动感地带", 3)] or [
        (each.brand, each.segments) for each in first.brands
    ] == [("动感地带", 3), ("全球通", 3)]
    assert {each.customers for each in first.segments} == {50}
    gaming = next(
        each for each in first.segments if any(s.product_id == "GAME" and s.penetration == 1 for s in each.services)
    )
    game = next(each for each in gaming.services if each.product_id == "GAME")
    assert game.usage == 1.0  # 50 uses by 50 holders
    assert gaming.contents[0].category == "game"
    assert gaming.contents[0].share == 0.75
    knowing = [s for each in first.segments for s in each.services if s.product_id == "GAME" and s.asked]
    assert [(one.awareness, one.asked) for one in knowing] == [(0.5, 50)]
    found = (await ann.ListOpportunities(v1.ListOpportunitiesRequest(brand="动感地带"))).opportunities
    assert (found[0].product_id, found[0].customers, found[0].gap) == ("GAME", 50.0, 1.0)
    members = await ann.ListSegmentMembers(v1.ListSegmentMembersRequest(segment_id=gaming.segment_id, page_size=1000))
    assert list(members.customer_keys) == list(range(1, 51))
    async with work.db.read() as read:
        segment = await Audiences().segment(read, gaming.segment_id, {})
        assert segment is not None
        assert list(segment[1]) == list(range(1, 51)), "as an audience's atom"
        assert await Audiences().segment(read, "nobody", {}) is None
    paged = v1.ListSegmentMembersRequest(segment_id=gaming.segment_id, page_size=10)
    paged.page_token = (await ann.ListSegmentMembers(paged)).next_page_token
    named_one = v1.ListSegmentMembersRequest(
        segment_id=gaming.segment_id, segmentation_id=first.segmentation_id, page_size=10
    )
    named_one.page_token = (await ann.ListSegmentMembers(named_one)).next_page_token
    gaps = v1.ListOpportunitiesRequest(page_size=1)
    gaps.page_token = (await ann.ListOpportunities(gaps)).next_page_token
    halves = [
        list((await stub("eve", org).ListSegmentMembers(
            v1.ListSegmentMembersRequest(segment_id=gaming.segment_id, page_size=1000))).customer_keys)
        for org in ("east", "west")
    ]  # fmt: skip
    assert not set(halves[0]) & set(halves[1])
    assert sorted(halves[0] + halves[1]) == list(members.customer_keys)
    named = v1.UpdateSegmentRequest(request_id="n1", segment_id=gaming.segment_id, name="游戏迷")
    assert (await ann.UpdateSegment(named)).segment.name == "游戏迷"
    again = v1.CreateSegmentationRequest(request_id="r2", segments={"动感地带": 3, "全球通": 4})
    await ann.CreateSegmentation(again)
    await work.drain()
    second = (await ann.GetSegmentation(v1.GetSegmentationRequest())).segmentation
    assert second.segmentation_id != first.segmentation_id
    assert await refusal(ann.ListSegmentMembers(paged)) == "PAGES_CHANGED", "pages are of one segmentation"
    assert await refusal(ann.ListOpportunities(gaps)) == "PAGES_CHANGED"
    assert list((await ann.ListSegmentMembers(named_one)).customer_keys) == list(range(11, 21)), "that was named"
    kept = next(each for each in second.segments if each.segment_id == gaming.segment_id)
    assert (kept.name, kept.customers, kept.kept) == ("游戏迷", 50, 1.0)
    assert next(each.stability for each in second.brands if each.brand == "动感地带") == 1.0


async def test_the_eight_archetypes_are_found_and_named_by_columns_of_all_tables_of_a_run(
    work: Work, stub: Any
) -> None:
    """R002-017: roaming and ring-back tones, which stat columns or the wide table tell, make segments of their own."""
    truth, ann = await work.publish_archetypes(), stub("ann")
    wished = [*ARCHETYPAL[:-2], "call_roam_secs_30d", "product_music"]
    for number, features in enumerate(([], wished, ["no_such_column"])):
        asked = v1.CreateSegmentationRequest(request_id=f"e{number}", run_id="run-8", segments={"动感地带": 8})
        asked.features.extend(features)
        job = (await ann.CreateSegmentation(asked)).job
        await work.drain()
        if features == ["no_such_column"]:
            async with work.db.read() as read:
                assert (await jobs.get(read, job.job_id)).error == "SEGMENTATION_UNFIT"
            continue
        found = (await ann.GetSegmentation(v1.GetSegmentationRequest())).segmentation
        expected = features or [*FEATURES, *WHERE_KNOWN]
        assert list(found.features) == expected
        told = {each.name.split(" ", 1)[1] for each in found.segments}
        assert len(told) == 8
        assert told >= {name for name, _ in ARCHETYPES[:6]}, told
        async with work.db.read() as read:
            members = await Segments().all_members(read, found.segmentation_id)
        label = np.unique([members[key] for key in range(1, len(truth) + 1)], return_inverse=True)[1]
        assert adjusted_rand(label, truth) >= 0.95


async def scored_again(work: Work) -> None:
    """Scores the run with the live models, as if it had not been."""
    async with work.db.begin() as tx:
        await tx.execute(text("DELETE FROM latent_score"))
        await tx.execute(text("DELETE FROM job WHERE kind = :kind"), {"kind": SCORE})
        await tx.commit()
    await work.learning.plan()
    await work.drain()


async def paged_within_one_scoring(work: Work, ann: Any, second: v1.CustomerWarning) -> None:
    """The second page follows the first, until a run is scored in between."""
    paged = v1.ListWarningsRequest(page_size=1)
    paged.page_token = (await ann.ListWarnings(paged)).next_page_token
    assert (await ann.ListWarnings(paged)).warnings[0] == second
    async with work.db.begin() as tx:  # as the next scoring does
        await tx.execute(text("UPDATE latent_score SET score_time = score_time + interval '1 second'"))
        await tx.commit()
    assert await refusal(ann.ListWarnings(paged)) == "PAGES_CHANGED"


async def labelled(ann: Any) -> None:
    """Labels of who leaves: those of one group, and customer 1, who does not belong to it."""
    churn = v1.LATENT_TARGET_CHURN
    labels = [v1.CustomerLabel(customer_key=key, label="leaves" if GROUP[key - 1] == 5 else "stays")
              for key in range(1, COUNT + 1)]  # fmt: skip
    labels[0].label = "leaves"
    nobody = v1.CustomerLabel(customer_key=999, label="stays")
    told = await ann.LabelCustomers(v1.LabelCustomersRequest(
        request_id="l1", target=churn, labels=[*labels, nobody]))  # fmt: skip
    assert (told.labels, told.unknown) == (COUNT, 1)
    bare = v1.CreateLatentModelRequest(request_id="c0", target=churn, algorithm=v1.LATENT_ALGORITHM_SVM)
    assert await refusal(ann.CreateLatentModel(bare)) == "LATENT_OVERRIDE_UNEXPLAINED"


async def test_a_latent_tag_is_learnt_approved_by_another_and_scores_the_run(work: Work, stub: Any) -> None:
    """R000-031, R004-017, R004-019, R004-021, R002-007, R004-014, R000-004: four eyes, warnings, matrix, inferences.

    R002-060, R002-064: who names the labels gets a model with its figures; each customer gets a value.
    """
    ann, bob = stub("ann"), stub("bob")
    value, churn = v1.LATENT_TARGET_VALUE, v1.LATENT_TARGET_CHURN
    await labelled(ann)
    learn = [
        v1.CreateLatentModelRequest(request_id="c1", target=churn, algorithm=v1.LATENT_ALGORITHM_SVM, reason="a trial"),
        v1.CreateLatentModelRequest(request_id="c2", target=value, label_tag="VA01"),
    ]
    made = [(await ann.CreateLatentModel(each)).job.job_id for each in learn]
    await work.drain()
    for number, model_id in enumerate(made):
        model = (await ann.GetLatentModel(v1.GetLatentModelRequest(model_id=model_id))).model
        assert model.state == v1.LatentModel.STATE_CANDIDATE
        assert model.metrics["macro_f1"] > 0.9
        assert (model.version, model.metrics["calibration_error"] < 0.2) == (1, True)
        approve = v1.ApproveLatentModelRequest(request_id=f"a{number}", model_id=model_id, note="seen")
        assert await refusal(ann.ApproveLatentModel(approve)) == "LATENT_MODEL_NOT_APPROVED"
        live = (await bob.ApproveLatentModel(approve)).model
        assert (live.state, live.approver) == (v1.LatentModel.STATE_LIVE, "bob")
    assert "a trial" in (await ann.GetLatentModel(v1.GetLatentModelRequest(model_id=made[0]))).model.reason
    await work.learning.plan()
    await work.learning.plan()
    await work.drain()
    one = await ann.GetLatentValues(v1.GetLatentValuesRequest(customer_key=COUNT))
    assert {each.target: each.value for each in one.values} == {churn: "leaves", value: "低端"}
    assert {each.target: each.model_id for each in one.values} == dict(zip((churn, value), made, strict=True))
    assert all(each.run_id and 0 < each.probability <= 1 for each in one.values), "as of which run, and how likely"
    assert all(each.model_version == 1 and each.score_time.seconds for each in one.values)
    assert all(0 <= each.calibration_error < 0.2 for each in one.values)
    await scored_again(work)
    again = await ann.GetLatentValues(v1.GetLatentValuesRequest(customer_key=COUNT))
    assert [(each.value, each.probability) for each in again.values] == [
        (each.value, each.probability) for each in one.values
    ], "scored again it says the same"
    assert [(each.feature, each.inferred) for each in one.inferred] == [("age", True)]
    east = stub("eve", "east")
    assert (
        await refusal(east.GetLatentValues(v1.GetLatentValuesRequest(customer_key=COUNT - 1))) == "CUSTOMER_NOT_FOUND"
    )
    warned = (await ann.ListWarnings(v1.ListWarningsRequest(page_size=1000))).warnings
    await paged_within_one_scoring(work, ann, warned[1])
    kinds = [each.kind for each in warned]
    assert kinds.count(v1.CustomerWarning.KIND_CHURN) in range(45, 56)
    decline = [each for each in warned if each.kind == v1.CustomerWarning.KIND_DECLINE]
    assert [(each.customer_key, each.lead_days, each.evidence) for each in decline] == [(1, 30, "spending −50%")]
    async with work.db.read() as read:
        run_no = await read.value(text("SELECT run_no FROM current_run"))
        (file,) = await Runs().files(read, run_no, FORESEEN)
        counts = await read.value(text("SELECT counts FROM job WHERE kind = :kind"), {"kind": SCORE})
    told = v1.GetPortraitResponse.FromString(open_pack(file).get(COUNT) or b"").portrait
    assert told.churn.probability > 0.5
    assert [(each.kind, each.since_date.day) for each in told.churn.early] == [("CHURN", 30)]
    assert (told.life_cycle.stage, told.life_cycle.before, told.life_cycle.changed) == ("成熟", "", False)
    assert (counts["left"], counts["left_warned"]) == (0, 0)
    mine = (await east.ListWarnings(v1.ListWarningsRequest(page_size=1000))).warnings
    assert {each.customer_key % 2 for each in mine} == {0}
    others = (await stub("eve", "west").ListWarnings(v1.ListWarningsRequest(page_size=1000))).warnings
    assert len(mine) + len(others) == len(warned)
    cells = {
        (each.churn, each.value): each
        for each in (await ann.GetChurnValueMatrix(v1.GetChurnValueMatrixRequest())).cells
    }
    assert cells["high", "低端"].customers >= 45
    disagreed = (await ann.ListDisagreements(v1.ListDisagreementsRequest(target=churn))).disagreements
    assert [(each.customer_key, each.label, each.predicted) for each in disagreed] == [(1, "leaves", "stays")]


async def test_labels_that_cannot_be_learnt_from_fail_the_job_with_their_reason(work: Work, stub: Any) -> None:
    """R004-017: the refusal is told by the job."""
    ann = stub("ann")
    few = [v1.CustomerLabel(customer_key=key, label="a" if key < 4 else "b") for key in range(1, 40)]
    await ann.LabelCustomers(v1.LabelCustomersRequest(request_id="l", target=v1.LATENT_TARGET_LIFE_CYCLE, labels=few))
    job = (
        await ann.CreateLatentModel(v1.CreateLatentModelRequest(request_id="c", target=v1.LATENT_TARGET_LIFE_CYCLE))
    ).job
    await work.drain()
    async with work.db.read() as read:
        ended = await jobs.get(read, job.job_id)
    assert (ended.state, ended.error) == (jobs.State.FAILED, "LATENT_LABELS_UNFIT")


async def test_a_clustering_that_is_broken_off_ends_as_if_it_had_not_been(work: Work, stub: Any) -> None:
    """The job is begun again by another worker and publishes once."""
    ann = stub("ann")
    await ann.CreateSegmentation(v1.CreateSegmentationRequest(request_id="r1"))

    async def dies(running: jobs.Running) -> None:
        work.files["broken"] = []
        await work.clustering.cluster(running)

    stop = asyncio.Event()
    task = asyncio.create_task(jobs.work(work.db, {SEGMENT: dies}, owner="a", clock=lambda: NOW, stop=stop, poll=0.01))
    while "broken" not in work.files:
        await asyncio.sleep(0.005)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    async with work.db.begin() as tx:
        await tx.execute(text("UPDATE job SET lease_until = now() WHERE state = 'RUNNING'"))  # as if it had run out
        await tx.commit()
    await work.drain()
    listed = (await ann.ListSegmentations(v1.ListSegmentationsRequest())).segmentations
    assert len(listed) == 1
