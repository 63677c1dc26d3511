"""Acceptance models and comparisons as jobs: learned from contacts alone, honest about time, resumed, and by RPC."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from lifecircle.recommend import v1
from services.kit import jobs
from services.recommend.domain import history, live
from services.recommend.domain.outcome import Answered, Gone, Outcome
from services.recommend.domain.ownership import Orders
from services.recommend.training import program
from services.recommend.usecases import Accepting, Comparing, Noting, Recipe
from services.recommend.usecases.asking import ACCEPTANCE, COMPARISON
from tests.recommend.house import NOW, PLACE, House, reason
from tests.recommend.town import CATALOGUE


def facts(first: int, days: int, product_id: str = "C1", seed: int = 1, taste: float = 1.5) -> list[Outcome]:
    """Everybody is asked on each of so many days; the young and the film fans accept."""
    rng, told = np.random.default_rng([seed, first]), []
    age = np.nan_to_num((PLACE.profile[:, 0] - 38) / 12)
    fan = np.nan_to_num(PLACE.profile[:, 4])
    chance = 1 / (1 + np.exp(taste * age - taste * fan + 0.5))
    for day in range(first, first + days):
        for number, key in enumerate(PLACE.keys.tolist()):
            result = "RESPONDED" if rng.random() < chance[number] else "REFUSED"
            name = f"{product_id}-{day}-{key}"
            time = NOW + timedelta(days=day, seconds=number)
            told.append(Outcome(name, key, product_id, "camp", "sms", result, False, time))
    return told


async def note(house: House, told: Sequence[Outcome]) -> None:
    async with house.db.begin() as tx:
        await Noting().take_outcomes(tx, told)
        await tx.commit()


async def forget(house: House, since: datetime) -> None:
    async with house.db.begin() as tx:
        await tx.execute(text("DELETE FROM contact_outcome WHERE time > :since"), {"since": since})
        await tx.commit()


async def done(house: House, folder: Path, stub: Any, job_id: str) -> v1.Job:
    """The job at its end, by a worker that trains in a thread."""

    async def train(place: Path, tell: Any) -> None:
        await asyncio.to_thread(program.main, place)
        await tell("learned")

    recipe = Recipe(20, 1, 10_000, folder / "scratch")
    accepting = Accepting(house.db, house.inputs, house.lake, train, recipe, house.tick, house.asking)
    comparing = Comparing(house.db, house.inputs, house.models, house.lake, house.tick)
    handlers = {ACCEPTANCE: accepting.learn, COMPARISON: comparing.compare}
    stop = asyncio.Event()
    working = asyncio.create_task(
        jobs.work(house.db, handlers, owner="test", clock=house.tick, stop=stop, poll=0.02, retry_seconds=0.01)
    )
    try:
        async with asyncio.timeout(60):
            while True:
                job: v1.Job = (await stub.GetJob(v1.GetJobRequest(job_id=job_id))).job
                if job.state not in (v1.Job.STATE_QUEUED, v1.Job.STATE_RUNNING):
                    return job
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await working


async def test_acceptance_is_learned_from_contacts_and_the_change_is_told(
    house: House,
    stub: Any,
    tmp_path: Path,
) -> None:
    """R000-044, R000-045, R001-069, R001-074, R001-076, R002-032: from answers to a served scorecard by RPC."""
    await house.learn()
    ask = v1.CreateJobRequest(acceptance=v1.AcceptanceSpec(seed=3), request_id="r0")
    early = (await stub.CreateJob(ask)).job
    assert (await done(house, tmp_path, stub, early.job_id)).error == "OUTCOMES_MISSING"
    await note(house, facts(1, 2))
    ask.request_id = "r1"
    first = (await stub.CreateJob(ask)).job
    assert first.acceptance.seed == 3
    assert (await stub.CreateJob(ask)).job.job_id == first.job_id
    told = await done(house, tmp_path, stub, first.job_id)
    assert told.state == v1.Job.STATE_SUCCEEDED, told
    assert dict(told.counts) == {"models": 1, "contacts": 2 * len(PLACE.keys)}
    model = (await stub.GetAcceptanceModel(v1.GetAcceptanceModelRequest(product_id="C1"))).model
    assert model.serves
    assert model.metrics["auc"] > 0.7
    assert model.metrics["ece"] < 0.15
    assert "auc_change" not in model.metrics
    report = json.loads(model.report)
    raises = {each["name"]: each["raises"] for each in report["drivers"]}
    assert not raises["age"]
    assert {"owns_C1"}.isdisjoint(raises)
    assert all(each["reason"] for each in report["variables"])
    assert [each["number"] for each in report["deciles"]] == list(range(1, 11))
    best = await stub.ListAcceptanceScores(v1.ListAcceptanceScoresRequest(product_id="C1", page_size=20))
    chances = [each.probability for each in best.scores]
    assert chances == sorted(chances, reverse=True)
    assert all(each.points == round(100 * each.probability) for each in best.scores)
    holders = {
        key for key, owns in zip(PLACE.keys.tolist(), PLACE.owned[:, CATALOGUE.index["C1"]], strict=True) if owns
    }
    assert holders.isdisjoint(each.customer_key for each in best.scores)
    # Calibration drift: what came since is held against the chances that were given.
    assert "live_contacts" not in model.metrics
    await note(house, [replace(each, result="REFUSED") for each in facts(7, 1)])
    drifted = (await stub.GetAcceptanceModel(v1.GetAcceptanceModelRequest(product_id="C1"))).model
    assert drifted.metrics["live_contacts"] == len(PLACE.keys) - len(holders)
    assert drifted.metrics["live_rate"] == drifted.metrics["live_ratio"] == 0.0
    await forget(house, NOW + timedelta(days=6))
    # More answers: the model after it is held against it on the latest contacts, which neither saw.
    await note(house, facts(3, 3))
    ask.request_id = "r2"
    later = (await stub.CreateJob(ask)).job
    assert later.job_id != first.job_id
    await done(house, tmp_path, stub, later.job_id)
    models = (await stub.ListAcceptanceModels(v1.ListAcceptanceModelsRequest(product_id="C1"))).models
    assert [each.job_id for each in models] == [later.job_id, first.job_id]
    assert models[0].serves is not models[1].serves
    change = models[0].metrics
    assert change["auc_change_low"] <= change["auc_change"] <= change["auc_change_high"]
    assert change["change_contacts"] == pytest.approx(len(PLACE.keys), rel=0.01)
    # Who is erased is not listed any more, though the file still stands.
    key = best.scores[0].customer_key
    async with house.db.begin() as tx:
        await Noting().take_gone(tx, [Gone(key, 0)])
        await tx.commit()
    again = await stub.ListAcceptanceScores(
        v1.ListAcceptanceScoresRequest(product_id="C1", page_token=best.next_page_token)
    )
    assert again.acceptance_model_id == models[1].acceptance_model_id  # a token keeps to its model
    assert key not in {each.customer_key for each in again.scores}
    nobody = stub.GetAcceptanceModel(v1.GetAcceptanceModelRequest(product_id="A1"))
    assert (await reason(nobody))[1] == "ACCEPTANCE_MODEL_NOT_FOUND"


async def test_a_challenger_is_promoted_by_answers_and_only_when_they_prove_it(
    house: House,
    stub: Any,
    tmp_path: Path,
) -> None:
    """R000-045: champion and challenger on live outcomes; the verdict decides, and the history stays."""
    await house.learn()
    await house.train("m1")
    await house.train("m2", promote=False)
    spec = v1.ComparisonSpec(challenger_id="m2", promote=True)
    none = (await stub.CreateJob(v1.CreateJobRequest(comparison=spec, request_id="c0"))).job
    assert (await done(house, tmp_path, stub, none.job_id)).error == "OUTCOMES_MISSING"
    await note(house, facts(1, 1, taste=3.0))
    job = (await stub.CreateJob(v1.CreateJobRequest(comparison=spec, request_id="c1"))).job
    told = await done(house, tmp_path, stub, job.job_id)
    assert told.state == v1.Job.STATE_SUCCEEDED, told
    found = (await stub.ListComparisons(v1.ListComparisonsRequest())).comparisons
    assert [each.comparison_id for each in found] == [job.job_id]
    assert found[0].difference == 0.0  # the same graph twice
    assert found[0].verdict == v1.Comparison.VERDICT_OPEN
    assert not found[0].promoted
    assert (await stub.GetModel(v1.GetModelRequest())).model.model_id == "m1"


def test_a_better_ranking_within_products_is_told_apart_and_rates_of_products_are_not() -> None:
    rng = np.random.default_rng(1)
    product = rng.integers(0, 2, 1200)
    wish = np.asarray(rng.normal(size=1200), dtype=np.float64)
    accepted = rng.random(1200) < 1 / (1 + np.exp(-(wish + 2.0 * product - 1.0)))
    customer = np.arange(1200) // 2
    good, rates = wish, np.asarray(2.0 * product, dtype=np.float64)
    assert live.within(rates, accepted, product) == 0.5
    assert live.compared(rates, good, accepted, product, customer).verdict == live.CHALLENGER
    assert live.compared(good, rates, accepted, product, customer).verdict == live.CHAMPION
    assert live.compared(good, 2.0 * good, accepted, product, customer).verdict == live.OPEN
    assert np.isnan(live.within(good, np.ones(1200, bool), product))


def test_nothing_that_happened_after_a_contact_teaches() -> None:
    days = [NOW.date() - timedelta(days=3), NOW.date()]
    assert [history.run_before(days, NOW + timedelta(days=each)) for each in (-3, -2, 0, 1)] == [-1, 0, 0, 1]
    start = int(NOW.timestamp() * 1000)
    orders = Orders(
        np.array([3, 3, 3, 6]), np.array(["A1", "A1", "B1", "A1"], object), np.array(["1", "2", "3", "4"], object),
        np.array([start - 10, start + 10, start + 10, start - 1]), np.array([True, False, True, True]),
    )  # fmt: skip
    answered = [
        Answered("a", 3, "C1", NOW, True),
        Answered("b", 3, "C1", NOW + timedelta(seconds=1), True),
        Answered("c", 9, "C1", NOW, False),
    ]
    owned = history.owned_before(answered, orders, CATALOGUE)
    assert [[CATALOGUE.ids[each] for each in np.flatnonzero(row)] for row in owned] == [["A1"], ["B1"], []]
