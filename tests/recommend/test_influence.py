"""Who calls whom: shares of the called, weight in circles, and the final list that puts all of it together."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pytest

from lifecircle.recommend import v1
from services.kit import jobs
from services.recommend.domain import call_graph, shortlist
from services.recommend.domain.call_graph import CallGraph
from services.recommend.domain.final_list import Circle, FinalWeights, final_list
from services.recommend.domain.shortlist import Count, ExpertList
from services.recommend.domain.snapshot import CALLS, CUSTOMERS, Delivery
from services.recommend.lake import Lake
from services.recommend.lake.calls import Calls
from services.recommend.usecases import Influencing
from services.recommend.usecases.asking import INFLUENCE
from tests.recommend.house import NOW, PLACE, House, reason
from tests.recommend.town import CATALOGUE, DAY, FEATURES, file

Row = tuple[int, int, int]
"""Customer key, party of the other end, direction."""


def party(key: int) -> int:
    """The pseudonym of a customer's number."""
    return 10**15 + key * 7


def graph_files(folder: Path, rows: Sequence[Row], day: date = DAY, number: int = 1) -> tuple[Delivery, Delivery]:
    """The feed of customers, and a day of calls between them."""
    keys = PLACE.keys.tolist()
    people = pa.table({"customer_key": keys, "party": [party(key) for key in keys]})
    customer, peer, direction = zip(*rows, strict=True)
    calls = pa.table(
        {
            "customer_key": pa.array(customer, pa.int64()),
            "peer": pa.array(peer, pa.int64()),
            "direction": pa.array(direction, pa.int8()),
        }
    )
    return (
        Delivery(f"people-{number}", CUSTOMERS, DAY, number, (file(folder / f"people-{number}.parquet", people),)),
        Delivery(f"calls-{number}", CALLS, day, number, (file(folder / f"calls-{number}.parquet", calls),)),
    )


def friends(seed: int = 5) -> list[Row]:
    """Everybody calls some others; every call stands in the records of both ends; some call strangers."""
    rng, rows = np.random.default_rng(seed), []
    keys = PLACE.keys.tolist()
    for number, key in enumerate(keys):
        for _ in range(int(rng.integers(0, 6))):
            other = keys[int(rng.integers(0, len(keys)) ** 2 / len(keys))]
            rows += [(key, party(other), 1), (other, party(key), 2)]
        if number % 3 == 0:
            rows.append((key, 77, 1))
    return rows


def reference(rows: Sequence[Row]) -> "nx.DiGraph[int]":
    """The same calls by another library: who called whom how often, by the caller's records."""
    known = {party(key): key for key in PLACE.keys.tolist()}
    graph: nx.DiGraph[int] = nx.DiGraph()
    for key, peer, direction in rows:
        other = known.get(peer, 0)
        if direction == 1 and other not in (0, key):
            before = graph.get_edge_data(key, other, {"weight": 0})["weight"]
            graph.add_edge(key, other, weight=before + 1)
    return graph


def made(folder: Path, lake: Lake, rows: Sequence[Row]) -> CallGraph:
    people, calls = graph_files(folder, rows)
    return Calls(lake, people.files, [(calls.period, each) for each in calls.files], {}).until(DAY, PLACE.keys)


def test_the_share_of_the_called_who_have_a_product_is_the_reference(tmp_path: Path) -> None:
    """R002-037: of the customers that somebody called, each once, the share that holds the product; strangers aside."""
    rows = friends()
    graph, told = reference(rows), made(tmp_path, Lake(tmp_path.as_uri()), rows)
    place = {key: number for number, key in enumerate(PLACE.keys.tolist())}
    shares = told.shares(PLACE.owned)
    for key, number in place.items():
        others = [place[other] for other in graph.successors(key)] if key in graph else []
        if others:
            assert shares[number] == pytest.approx(PLACE.owned[others].mean(axis=0), abs=1e-6)
        else:
            assert np.isnan(shares[number]).all()


def test_only_the_calls_of_the_days_before_count_and_merged_customers_are_one(tmp_path: Path) -> None:
    one, two, three = PLACE.keys[:3].tolist()
    lake = Lake(tmp_path.as_uri())
    people, _ = graph_files(tmp_path, [(one, party(two), 1)])
    days = []
    for number, (day, row) in enumerate(
        ((DAY + timedelta(days=1), (one, party(two), 1)), (DAY - timedelta(days=30), (one, party(two), 1)),
         (DAY - timedelta(days=29), (one, party(three), 1)), (DAY, (three, party(one), 2))), 2
    ):  # fmt: skip
        days += [(day, each) for each in graph_files(tmp_path, [row], day, number)[1].files]
    found = Calls(lake, people.files, days, {}).until(DAY, PLACE.keys).calls.toarray()
    assert np.argwhere(found).tolist() == [[0, 2]]
    assert found[0, 2] == 1.0  # in the records of both ends, and one call
    merged = Calls(lake, people.files, days, {three: two}).until(DAY, PLACE.keys).calls.toarray()
    assert np.argwhere(merged).tolist() == [[0, 1]]
    erased = Calls(lake, people.files, days, {three: 0}).until(DAY, PLACE.keys).calls
    assert erased.nnz == 0


def test_influence_in_a_circle_is_pagerank_on_the_calls_between_its_members(tmp_path: Path) -> None:
    """R001-085: the same ranks as another library's, and who is spoken with by all has the most weight."""
    rows = friends()
    told, graph = made(tmp_path, Lake(tmp_path.as_uri()), rows), reference(rows)
    members = np.flatnonzero(PLACE.profile[:, 3] > 0.5)
    keys = PLACE.keys[members].tolist()
    both = nx.Graph()
    for one, other, data in graph.subgraph(keys).edges(data=True):
        before = both.get_edge_data(one, other, {"weight": 0})["weight"]
        both.add_edge(one, other, weight=before + data["weight"])
    expected = nx.pagerank(both, alpha=0.85, tol=1e-9, max_iter=1000)
    found = call_graph.influence("HU01", members, told.spoken)
    best = max(expected.values())
    assert len(found.row) == len(expected) > 20
    for row, score, peers, reach in zip(found.row, found.score, found.peers, found.reach, strict=True):
        key = int(PLACE.keys[row])
        assert score == pytest.approx(expected[key] / best, abs=1e-6)
        assert peers == both.degree(key)
        assert reach == pytest.approx(both.degree(key) / (len(members) - 1))
    assert found.score.tolist() == sorted(found.score, reverse=True)
    star = CallGraph.of(5, np.array([0, 1, 2, 3, 3]), np.array([4, 4, 4, 4, 3]), np.array([1, 1, 1, 1, 9]))
    hub = call_graph.influence("X", np.arange(5), star.spoken)
    assert (hub.row[0], hub.score[0], hub.reach[0], hub.peers[0]) == (4, 1.0, 1.0, 4)
    nobody = call_graph.influence("X", np.array([0, 1]), star.spoken)
    assert len(nobody.row) == 0


def test_a_final_list_shows_every_component_and_its_weights_mean_what_they_say() -> None:
    """R001-084: experts, model, circles and influence, each shown, each able to decide alone."""
    counted = [Count("HU01", "A", 100, 50, 10, 40, 30), Count("HU01", "B", 100, 10, 9, 50, 49)]
    circles = [
        Circle(ExpertList("HU01", ("C", "A"), "王专家", "", NOW), counted),
        Circle(None, [Count("PR01", "C", 10, 0, 0, 0, 0)]),
    ]
    scores, social = {"A": 0.4, "B": 0.1, "C": 0.2}, {"B": 0.1, "A": 0.05, "Z": 1.0}
    for weights, order in (
        (FinalWeights(1, 0, 0, 0), ["C", "A", "B"]),
        (FinalWeights(0, 1, 0, 0), ["A", "C", "B"]),
        (FinalWeights(0, 0, 1, 0), ["B", "A", "C"]),
        (FinalWeights(0, 0, 0, 1), ["B", "A", "C"]),
    ):
        assert [each.product_id for each in final_list(scores, circles, social, weights)] == order
    whole = {each.product_id: each for each in final_list(scores, circles, social, FinalWeights(0, 0, 0, 0))}
    one = whole["A"]
    assert (one.expert, one.model, one.influence) == (0.5, 1.0, 0.5)
    assert one.score == pytest.approx((one.expert + one.model + one.circle + one.influence) / 4)
    assert sorted(each.rank for each in whole.values()) == [1, 2, 3]
    assert final_list({}, circles, social, FinalWeights()) == []


@pytest.fixture
def api(stub: v1.RecommendServiceStub) -> v1.RecommendServiceStub:
    return stub


async def weighed(house: House, stub: Any, job_id: str) -> v1.Job:
    """The job at its end."""
    influencing = Influencing(house.db, house.inputs, house.lake, house.tick)
    stop = asyncio.Event()
    handlers = {INFLUENCE: influencing.weigh}
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


async def test_influence_and_the_final_list_are_answered_by_rpc(api: Any, house: House) -> None:
    """R001-084, R001-085: from delivered calls to weight in circles, and to a list with every component."""
    await house.learn()
    await house.train()
    ask = v1.CreateJobRequest(influence=v1.InfluenceSpec(), request_id="i0")
    assert await reason(api.CreateJob(ask)) == ("FAILED_PRECONDITION", "INPUTS_INCOMPLETE")
    key = next(int(one) for one, owns in zip(PLACE.keys, PLACE.owned, strict=True) if owns.sum() == 2)
    without = await api.GetFinalList(v1.GetFinalListRequest(customer_key=key))
    assert [each.influence for each in without.entries] == [0.0] * len(without.entries)
    assert not without.influences
    async with house.db.begin() as tx:
        for delivery in graph_files(house.folder, friends()):
            await house.taking.take_delivery(tx, delivery)
        counted = shortlist.counts(FEATURES, PLACE.profile, PLACE.owned, PLACE.owned, CATALOGUE.ids)
        await house.guiding.put_counts(tx, counted)
        await tx.commit()
    first = (await api.CreateJob(ask)).job
    assert (await api.CreateJob(ask)).job.job_id == first.job_id
    done = await weighed(house, api, first.job_id)
    assert done.state == v1.Job.STATE_SUCCEEDED, done
    assert done.counts["links"] > 100
    page = await api.ListInfluences(v1.ListInfluencesRequest(circle="HU01", page_size=5))
    rest = await api.ListInfluences(v1.ListInfluencesRequest(circle="HU01", page_token=page.next_page_token))
    ranks = [each.rank for each in (*page.influences, *rest.influences)]
    assert ranks == list(range(1, len(ranks) + 1))
    assert page.influences[0].score == 1.0
    assert {each.circle for each in page.influences} == {"HU01"}
    leader = page.influences[0].customer_key
    asked = v1.GetFinalListRequest(customer_key=leader, most=100, weights=v1.FinalWeights(model=3, influence=1))
    told = await api.GetFinalList(asked)
    assert (told.weights.model, told.weights.influence) == (0.75, 0.25)
    assert {each.circle for each in told.influences} >= {"", "HU01"}
    plain = await api.Recommend(v1.RecommendRequest(customer_key=leader, most=100))
    scores = {each.product_id: each.score for each in plain.recommendations}
    assert {each.product_id for each in told.entries} == set(scores)
    best = max(scores.values())
    for each in told.entries:
        assert each.model == pytest.approx(scores[each.product_id] / best)
        assert each.score == pytest.approx(0.75 * each.model + 0.25 * each.influence)
    assert max(each.influence for each in told.entries) == 1.0
    assert any(each.circle > 0 for each in told.entries)
    assert told.attribution_token
    nobody = api.GetFinalList(v1.GetFinalListRequest(customer_key=10**9))
    assert await reason(nobody) == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")
