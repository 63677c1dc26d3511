"""What analysts keep and ask: project records, samples, forecasts, priorities; and the small neural recommender."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.type.date_pb2 import Date
from sqlalchemy import text

from lifecircle.recommend import v1
from services.kit.errors import Refusal
from services.recommend.domain import forecast, sample
from services.recommend.domain.matrix import Cells
from services.recommend.domain.project import REQUIRED, Project, Step, blank_steps
from services.recommend.domain.registry import Matrix
from services.recommend.lake import workbench
from services.recommend.training import program
from tests.recommend.house import NOW, PLACE, House, reason
from tests.recommend.test_serving import pack
from tests.recommend.town import CATALOGUE, FEATURES, town

BLANK = Project("p", "彩铃增量销售", "li", "who takes a tone", (), date(2026, 12, 1), blank_steps(), NOW)


def step(kind: str, done: bool = True, **changes: str) -> Step:
    return Step(kind, {**dict.fromkeys(REQUIRED[kind], "lake://x"), **changes}, "li", "", done)


def test_a_step_is_over_with_its_artefacts_and_after_the_steps_before_it() -> None:
    """R002-057, R002-011, R002-012: six steps of mining, then three of marketing, each with what it must leave."""
    found = BLANK
    with pytest.raises(Refusal, match="success_criteria"):
        found.reported(Step("BUSINESS_UNDERSTANDING", {"objectives": "x"}, done=True))
    with pytest.raises(Refusal, match="business_understanding"):
        found.reported(step("MODELLING"))
    for kind in REQUIRED:
        found = found.reported(step(kind))
    assert all(each.done for each in found.steps)
    again = found.reported(step("DATA_PREPARATION", done=False))
    assert [each.done for each in again.steps] == [True, True, *[False] * 7]
    assert again.steps[5].artefacts == found.steps[5].artefacts


async def test_a_project_is_kept_reported_and_listed_by_its_review(stub: Any, house: House) -> None:
    told = v1.Project(name="n", owner="li", goal="g", model_ids=["m1"], review_date=Date(year=2026, month=12, day=1))
    ask = v1.CreateProjectRequest(project=told, request_id="p1")
    made = (await stub.CreateProject(ask)).project
    assert (await stub.CreateProject(ask)).project == made
    assert [each.missing[0] for each in made.steps] == [names[0] for names in REQUIRED.values()]
    kind = v1.ProjectStep.KIND_BUSINESS_UNDERSTANDING
    update = v1.UpdateProjectStepRequest(
        project_id=made.project_id, step=v1.ProjectStep(kind=kind, done=True), request_id="p2"
    )
    assert (await reason(stub.UpdateProjectStep(update)))[1] == "STEP_INCOMPLETE"
    update.step.artefacts.update({"objectives": "more tones", "success_criteria": "lift 2"})
    update.review_date.CopyFrom(Date(year=2026, month=11, day=1))
    after = (await stub.UpdateProjectStep(update)).project
    assert (await stub.UpdateProjectStep(update)).project == after
    assert after.steps[0].done
    assert after.steps[0].HasField("update_time")
    ask = v1.CreateProjectRequest(project=told, request_id="p3")
    other = (await stub.CreateProject(ask)).project
    first = await stub.ListProjects(v1.ListProjectsRequest(page_size=1))
    second = await stub.ListProjects(v1.ListProjectsRequest(page_size=1, page_token=first.next_page_token))
    assert [first.projects[0], *second.projects] == [after, other]
    assert not second.next_page_token
    due = await stub.ListProjects(v1.ListProjectsRequest(review_until=Date(year=2026, month=11, day=15)))
    assert [each.project_id for each in due.projects] == [made.project_id]
    bad = v1.ListProjectsRequest(review_until=Date(year=2026, month=2, day=30))
    assert (await reason(stub.ListProjects(bad)))[1] == "INVALID_FIELD"
    missing = stub.GetProject(v1.GetProjectRequest(project_id="nope"))
    assert (await reason(missing)) == ("NOT_FOUND", "PROJECT_NOT_FOUND")


async def test_the_same_project_goes_from_mining_to_marketing_and_links_what_each_step_left(stub: Any) -> None:
    """R002-011: goal, data, model, test and opportunity. R002-012: scheme, its implementation and its benefit."""
    told = v1.Project(name="n", owner="li", goal="g", review_date=Date(year=2026, month=12, day=1))
    made = (await stub.CreateProject(v1.CreateProjectRequest(project=told, request_id="m0"))).project
    for kind, names in REQUIRED.items():
        step_ = v1.ProjectStep(kind=v1.ProjectStep.Kind.Value(f"KIND_{kind}"), done=True)
        step_.artefacts.update({name: f"lake://{kind}/{name}" for name in names})
        asked = v1.UpdateProjectStepRequest(project_id=made.project_id, step=step_, request_id=kind)
        await stub.UpdateProjectStep(asked)
    kept = (await stub.GetProject(v1.GetProjectRequest(project_id=made.project_id))).project
    assert all(each.done and not each.missing for each in kept.steps)
    assert kept.steps[4].artefacts["assessment"] == "lake://EVALUATION/assessment"
    assert [v1.ProjectStep.Kind.Name(each.kind)[5:] for each in kept.steps[6:]] == [
        "SCHEME_DESIGN",
        "SCHEME_IMPLEMENTATION",
        "BENEFIT_EVALUATION",
    ]
    assert kept.steps[7].artefacts["campaign"] == "lake://SCHEME_IMPLEMENTATION/campaign"


def test_the_stated_error_holds_as_often_as_it_says() -> None:
    """R002-062: estimates within the stated error of the full figures, in about 95 of 100 samples."""
    rng = np.random.default_rng(1)
    stratum = rng.integers(0, 4, 5000)
    owned = rng.random((5000, 3)) < np.column_stack([0.1 + 0.2 * stratum, 0.02 + 0.0 * stratum, 0.9 - 0.1 * stratum])
    inside, widths = [], []
    for seed in range(60):
        rows = sample.drawn(stratum, 300, seed)
        assert len(rows) == pytest.approx(300, abs=4)
        told = sample.estimates(stratum, rows, owned[rows], ["a", "b", "c"])
        inside += [abs(each.share - owned[:, place].mean()) <= each.error for place, each in enumerate(told)]
        widths += [each.error for each in told]
    assert 0.9 <= np.mean(inside) <= 1.0
    assert max(widths) < 0.07
    assert np.array_equal(sample.drawn(stratum, 300, 5), sample.drawn(stratum, 300, 5))
    names, place = sample.strata_of(np.append(rng.normal(size=99), np.nan).astype(np.float32))
    assert len(names) == 5
    assert names[place[-1]] == "unknown"


async def test_a_sample_is_drawn_of_the_run_that_answers(stub: Any, house: House) -> None:
    await house.learn()
    none = v1.GetSampleRequest(size=60, seed=3)
    assert (await reason(stub.GetSample(none)))[1] == "INPUTS_INCOMPLETE"
    await pack(house)
    found = await stub.GetSample(none)
    assert found == await stub.GetSample(none)
    assert {each.name for each in found.strata} == {f"G{number}" for number in range(5)}
    assert sum(each.customers for each in found.strata) == len(PLACE.keys)
    assert sum(each.drawn for each in found.strata) == len(found.customer_keys)
    close = [
        abs(each.share - PLACE.owned[:, CATALOGUE.index[each.product_id]].mean()) <= 1.5 * each.error
        for each in found.estimates
    ]
    assert len(close) == len(CATALOGUE)
    assert sum(close) >= len(close) - 1
    by_age = await stub.GetSample(v1.GetSampleRequest(size=60, seed=3, column="age"))
    assert len(by_age.strata) == 5
    wrong = v1.GetSampleRequest(size=60, seed=3, column="agee")
    assert (await reason(stub.GetSample(wrong)))[1] == "COLUMN_UNKNOWN"


def test_the_method_nearest_on_past_days_forecasts_and_its_error_is_told() -> None:
    """R002-058: a back-test on what was known before each origin.

    R002-069: the forecast comes with the error of its back-test.
    """
    days = np.arange(84)
    noise = np.random.default_rng(1).normal(0, 2, 84)
    week = 40 + 25 * np.isin(days % 7, (5, 6)) + noise
    found = forecast.forecast(week, 14)
    assert found is not None
    assert found.backtests[0].method == "weekly"
    assert found.backtests[0].chosen
    assert [each.mean_error for each in found.backtests] == sorted(each.mean_error for each in found.backtests)
    ahead = np.arange(84, 98)
    assert np.abs(found.expected - (40 + 25 * np.isin(ahead % 7, (5, 6)))).max() < 8
    assert ((found.low <= found.expected) & (found.expected <= found.high)).all()
    flat = forecast.forecast(50 + 5 * noise, 3)
    assert flat is not None
    assert flat.backtests[0].method in ("mean", "smoothed")
    assert forecast.forecast(week[:20], 7) is None


async def test_forecasts_and_priorities_by_rpc(stub: Any, house: House) -> None:
    """R002-069: history, forecast and the error of the back-test; products by what they would bring."""
    await house.learn()
    await house.train()
    async with house.db.begin() as tx:
        stmt = text("INSERT INTO ownership VALUES (:key, 'A1', 'G1', true, :time, 'o')")
        for number in range(70):
            time = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=number // 2)
            await tx.execute(stmt, {"key": 10_000 + number, "time": time})
        matrix = Matrix("x1", "m1", "run-1", NOW.date(), 1, 3, NOW)
        run = await house.inputs.run(tx, "run-1")
        assert run is not None
        features = house.lake.features(run.files)
        cells = Cells(
            np.array([0, 0, 1]),
            np.array([0, 3, 0]),
            np.array([1, 2, 1], np.int16),
            np.array([0.5, 0.2, 0.3], np.float32),
        )
        file = house.lake.write_matrix("x1", 0, features, cells, CATALOGUE.ids)
        await house.matrices.publish(tx, matrix, [file])
        await tx.commit()
    found = await stub.GetForecast(v1.GetForecastRequest(product_id="A1", days=7))
    assert [each.openings for each in found.history[-35:]] == [2.0] * 35
    assert [each.openings for each in found.forecast] == pytest.approx([2.0] * 7, abs=0.5)
    assert found.forecast[0].date == Date(year=2027, month=2, day=5)
    assert found.backtests[0].mean_error < 0.5
    assert (await reason(stub.GetForecast(v1.GetForecastRequest(product_id="nope"))))[1] == "PRODUCT_NOT_FOUND"
    told = await stub.ListPriorities(v1.ListPrioritiesRequest())
    assert told.matrix_id == "x1"
    assert [(each.product_id, each.rank, each.customers) for each in told.priorities] == [("A1", 1, 2), ("B1", 2, 1)]
    assert told.priorities[0].expected_gain_fen == round(2 * 0.4 * 8000)
    assert not told.priorities[0].learned_from_contacts
    first = await stub.ListPriorities(v1.ListPrioritiesRequest(page_size=1))
    second = await stub.ListPriorities(v1.ListPrioritiesRequest(page_size=1, page_token=first.next_page_token))
    assert [*first.priorities, *second.priorities] == list(told.priorities)
    assert not second.next_page_token


def test_the_small_neural_recommender_becomes_the_same_graph_with_its_metric(tmp_path: Path) -> None:
    """R002-078: selectable, trained on a CPU, parity proved in the program itself."""
    place = town(700)
    task = workbench.Task(FEATURES, place.profile, place.owned, CATALOGUE, 1, 10, 1, 700, "neural")
    workbench.write_input(tmp_path, task)
    program.main(tmp_path)
    report = workbench.read_report(tmp_path)
    assert report is not None
    assert report["algorithm"] == "neural"
    assert report["metrics"]["parity"] == 1.0
    assert report["metrics"]["ndcg@5"] > report["metrics"]["popularity_ndcg@5"]
    assert report["metrics"]["weight_log_linear"] == 1.0
    again = replace(task, threads=2)
    workbench.write_input(tmp_path / "again", again)
    program.main(tmp_path / "again")
    other = workbench.read_report(tmp_path / "again")
    assert other is not None
    assert other["sha256"] == report["sha256"]
