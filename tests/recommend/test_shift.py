"""What contacts taught is what is served: the chance to accept, in the matrix and in answers alike."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lifecircle.recommend import v1
from services.kit import jobs
from services.recommend.domain import ownership, shift
from services.recommend.domain.matrix import UNFIT
from services.recommend.domain.outcome import Outcome
from services.recommend.domain.ownership import Orders
from services.recommend.training import program
from services.recommend.usecases import Accepting, Recipe, Scoring
from services.recommend.usecases.asking import ACCEPTANCE, MATRIX
from tests.recommend.house import NOW, PLACE, House
from tests.recommend.test_acceptances import facts, note
from tests.recommend.test_influence import friends, graph_files, reference
from tests.recommend.town import CATALOGUE


def test_a_shift_makes_the_score_the_chance_and_keeps_what_is_not_eligible_last() -> None:
    rng = np.random.default_rng(3)
    readiness, chance = rng.random((2, 50, 6)).astype(np.float32) * 0.98 + 0.01
    readiness[rng.random(readiness.shape) < 0.3] = UNFIT
    ids = np.argsort(-readiness, axis=1, kind="stable")
    scores = np.take_along_axis(readiness, ids, axis=1)
    chance[:, 4] = np.nan
    known = shift.shifts(shift.by_product(ids, scores), chance)
    usual = shift.usual(known)
    assert usual[4] == pytest.approx(np.nanmean(known[:, [0, 1, 2, 3, 5]], axis=0).mean(), abs=1e-5)
    moved, told = shift.shifted(ids, scores, shift.filled(known, usual))
    assert (np.diff(told, axis=1) <= 0).all()
    again = shift.by_product(moved, told)
    fit = readiness > UNFIT
    assert (np.isnan(again) == ~fit).all()
    taught = fit & ~np.isnan(chance)
    assert again[taught] == pytest.approx(chance[taught], abs=1e-6)
    # Where nothing was taught the order of the graph stays as it was.
    column, rows = 4, np.flatnonzero(fit[:, 4])
    assert np.argsort(again[rows, column]).tolist() == np.argsort(readiness[rows, column]).tolist()
    assert shift.usual(np.full((3, 2), np.nan, np.float32)).tolist() == [0.0, 0.0]


handled = (ACCEPTANCE, MATRIX)


async def worked(house: House, folder: Path, stub: Any) -> None:
    """All queued jobs of acceptance and matrices at their end."""

    async def train(place: Path, tell: Any) -> None:
        await asyncio.to_thread(program.main, place)
        await tell("learned")

    recipe = Recipe(20, 1, 10_000, folder / "scratch")
    accepting = Accepting(house.db, house.inputs, house.lake, train, recipe, house.tick, house.asking)
    scoring = Scoring(house.db, house.inputs, house.models, house.matrices, house.lake, house.tick)
    stop = asyncio.Event()
    handlers = {ACCEPTANCE: accepting.learn, MATRIX: scoring.score}
    working = asyncio.create_task(
        jobs.work(house.db, handlers, owner="test", clock=house.tick, stop=stop, poll=0.02, retry_seconds=0.01)
    )
    try:
        async with asyncio.timeout(90):
            under_way = {v1.Job.STATE_QUEUED, v1.Job.STATE_RUNNING}
            while under_way & await _states(stub):
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await working


async def _states(stub: Any) -> set[v1.Job.State.ValueType]:
    found = (await stub.ListJobs(v1.ListJobsRequest())).jobs
    return {each.state for each in found if each.WhichOneof("spec") in handled}


async def scores(stub: Any, key: int) -> dict[str, v1.Recommendation]:
    answer = await stub.Recommend(v1.RecommendRequest(customer_key=key, most=100))
    return {each.product_id: each for each in answer.recommendations}


async def test_the_served_score_is_the_chance_of_the_acceptance_model(house: House, stub: Any, tmp_path: Path) -> None:
    """R001-074, R001-077, R004-011: answers, matrix and acceptance scores agree for everybody; nothing is skewed."""
    await house.learn()
    await house.train("m1")
    some = PLACE.keys[:40].tolist()
    before = {key: await scores(stub, key) for key in some}
    assert not any(each.acceptance_model_id for told in before.values() for each in told.values())
    await note(house, [*facts(1, 2), *facts(1, 2, "B1", seed=4)])
    asked = v1.CreateJobRequest(acceptance=v1.AcceptanceSpec(seed=3), request_id="a")
    await stub.CreateJob(asked)
    await worked(house, tmp_path, stub)
    got = await stub.GetMatrix(v1.GetMatrixRequest())  # begun by itself once acceptance was learned
    models = (await stub.ListAcceptanceModels(v1.ListAcceptanceModelsRequest())).models
    assert dict(got.matrix.acceptance_model_ids) == {each.product_id: each.acceptance_model_id for each in models}
    assert set(got.matrix.acceptance_model_ids) == {"C1", "B1"}
    house.forget()
    cells = {
        (row["customer_key"], row["product_id"]): (row["rank"], row["score"])
        for file in got.files
        for row in pq.read_table(file.uri.removeprefix("file://")).to_pylist()
    }
    chances: dict[tuple[int, str], float] = {}
    for product_id in ("C1", "B1"):
        page = await stub.ListAcceptanceScores(v1.ListAcceptanceScoresRequest(product_id=product_id, page_size=1000))
        chances |= {(each.customer_key, product_id): each.probability for each in page.scores}
    after = {key: await scores(stub, key) for key in some}
    for key, told in after.items():
        assert set(told) == set(before[key])
        for product_id, each in told.items():
            rank, score = cells[key, product_id]
            assert each.rank == rank
            assert each.score == pytest.approx(score, abs=1e-6)
            if (key, product_id) in chances:
                assert each.score == pytest.approx(chances[key, product_id], abs=1e-6)
                assert each.acceptance_model_id == got.matrix.acceptance_model_ids[product_id]
            else:
                assert not each.acceptance_model_id
                assert each.score != pytest.approx(before[key][product_id].score, abs=1e-4)
    # What is ordered afterwards moves the chance as it moves the graph: by the same log-odds.
    key = next(key for key in some if {"C1", "A1"} <= set(after[key]))
    async with house.db.begin() as tx:
        time = np.array([int(NOW.timestamp() * 1000)])
        one = Orders(np.array([key]), np.array(["A1"], object), np.array(["x"], object), time, np.array([True]))
        await house.knowledge.fold_orders(tx, ownership.latest(one))
        await tx.commit()
    later = await scores(stub, key)
    assert "A1" not in later
    assert later["C1"].score != after[key]["C1"].score
    # A champion that no matrix was made with answers by itself, as before.
    await house.train("m2", seed=2)
    house.forget()
    async with asyncio.timeout(30):
        while (await stub.Recommend(v1.RecommendRequest(customer_key=key))).model_id != "m2":
            house.forget()
            await asyncio.sleep(0.02)
    assert not any(each.acceptance_model_id for each in (await scores(stub, key)).values())


async def test_what_the_called_have_is_a_feature_of_acceptance(house: House, stub: Any, tmp_path: Path) -> None:
    """R002-035, R002-037: who calls holders of a product accepts it more; the model finds it and says so."""
    await house.learn()
    rows = friends()
    async with house.db.begin() as tx:
        for delivery in graph_files(house.folder, rows):
            await house.taking.take_delivery(tx, delivery)
        await tx.commit()
    graph, column = reference(rows), CATALOGUE.index["C1"]
    owns = dict(zip(PLACE.keys.tolist(), PLACE.owned[:, column].tolist(), strict=True))
    called = {key: list(graph.successors(key)) if key in graph else [] for key in owns}
    share = {key: np.mean([owns[each] for each in others]) if others else np.nan for key, others in called.items()}
    rng = np.random.default_rng(8)
    told: list[Outcome] = []
    for each in facts(1, 3):
        mine = share[each.customer_key]
        likely = 0.3 if np.isnan(mine) else 0.1 + 0.8 * mine
        told.append(replace(each, result="RESPONDED" if rng.random() < likely else "REFUSED"))
    await note(house, told)
    await stub.CreateJob(v1.CreateJobRequest(acceptance=v1.AcceptanceSpec(seed=3), request_id="a"))
    await worked(house, tmp_path, stub)
    model = (await stub.GetAcceptanceModel(v1.GetAcceptanceModelRequest(product_id="C1"))).model
    report = json.loads(model.report)
    assert {"called_customers", *(f"called_have_{each}" for each in CATALOGUE.ids)} <= {
        each["name"] for each in report["variables"]
    }
    assert {each["name"]: each["raises"] for each in report["drivers"]}["called_have_C1"]
    assert model.metrics["auc"] > 0.7
