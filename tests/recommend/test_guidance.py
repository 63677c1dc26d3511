"""Associations with their significance, shortlists, product rules and drift as pure values; then the RPCs over them."""

import asyncio
import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import grpc.aio
import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from scipy import stats

from lifecircle.ingest import v1 as ingest
from lifecircle.recommend import v1
from services.kit import cursors
from services.kit.db import Database
from services.recommend.domain import association, matrix, ownership, shortlist
from services.recommend.domain.ownership import Orders
from services.recommend.domain.product import Catalogue, Terms
from services.recommend.domain.registry import Matrix
from services.recommend.domain.shortlist import Count, ExpertList, Weights
from services.recommend.lake import Features
from services.recommend.peers import Ingest
from tests.fixtures.counts import FULL
from tests.recommend.house import NOW, PLACE, House, reason
from tests.recommend.neighbours import neighbours, pair
from tests.recommend.town import CATALOGUE, DAY, FEATURES, product, town


def test_lift_is_the_definition_and_its_p_value_is_fishers() -> None:
    """R002-026, R002-027, R002-028, R002-029, R002-030: four tables, lift by definition, significance beside it.

    R002-068: associations with their measure and its significance.
    """
    place = town(400)
    values, names = place.profile, ("age", "dou_mb_1m", "mou_1m", "tag_HU01", "plan_tier", "noise")
    found = association.four_tables(place.owned, CATALOGUE, names, values, {"HU01": "居家圈"})
    assert {each.kind for each in found} == {"PRODUCT_PRODUCT", "BEARER_PRODUCT", "PERSON_PRODUCT", "DATA_VOICE"}
    one = next(each for each in found if (each.left, each.right) == ("C1", "C2"))
    left, right = place.owned[:, 5], place.owned[:, 6]
    assert one.lift == pytest.approx((left & right).sum() / left.sum() / (right.sum() / len(right)))
    table = [[(left & right).sum(), (left & ~right).sum()], [(~left & right).sum(), (~left & ~right).sum()]]
    assert one.p_value == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)
    circle = next(each for each in found if each.left == "tag_HU01=1")
    assert circle.left_name == "居家圈=1"


def test_the_false_discovery_rate_is_benjamini_and_hochbergs() -> None:
    p_value = np.array([0.01, 0.04, 0.03, 0.9, 0.02])
    assert association.false_discovery(p_value) == pytest.approx(stats.false_discovery_control(p_value))
    rng = np.random.default_rng(0)
    noise = association.associations(rng.random((500, 7)) < 0.3, CATALOGUE)
    assert not any(each.q_value <= association.FALSE_DISCOVERY for each in noise)


def test_a_shortlist_combines_the_expert_and_the_rates_by_their_weights() -> None:
    """R001-070, R001-071, R001-072, R001-073: three rates, the expert's place, and a list that can be made again."""
    expert = ExpertList("HU01", ("C", "A"), "王专家", "", NOW)
    counted = [
        Count("HU01", "A", 100, 50, 10, 40, 30),
        Count("HU01", "B", 100, 10, 1, 50, 10),
        Count("HU01", "C", 100, 0, 0, 0, 0),
    ]
    only = shortlist.shortlist(expert, counted, Weights(1, 0, 0, 0))
    assert [(each.product_id, each.score) for each in only] == [("C", 1.0), ("A", 0.5), ("B", 0.0)]
    opened = shortlist.shortlist(expert, counted, Weights(0, 0, 2, 0))
    assert [each.product_id for each in opened] == ["B", "A", "C"]
    whole = {each.product_id: each for each in shortlist.shortlist(expert, counted, Weights(0, 0, 0, 0))}
    assert whole["A"].score == pytest.approx((0.5 + 1.0 + 0.8 + 1.0) / 4)
    one = whole["A"]
    assert (one.expert_rank, one.accepted_rate, one.opened_rate, one.used_rate) == (2, 0.2, 0.4, 0.75)
    assert whole["B"].expert_rank == 0


def test_rules_as_data_rule_products_out() -> None:
    """R001-083: prerequisites, exclusions, withdrawal and cool-down are terms, and no code."""
    terms = {
        "A1": Terms(excluded_product_ids=("C1",)),
        "C2": Terms(prerequisite_product_ids=("C1", "B1")),
        "B1": Terms(withdrawn=True),
        "A2": Terms(cool_down_days=30),
    }
    catalogue = Catalogue.of(CATALOGUE.products).with_terms(terms)
    owned = np.zeros((2, len(catalogue)), dtype=bool)
    owned[1, catalogue.index["C1"]] = True
    free = {catalogue.ids[n] for n in np.flatnonzero(catalogue.eligible(owned)[0])}
    assert free == {"A1", "A2", "A3", "C1"}
    assert not catalogue.eligible(owned)[1, [catalogue.index["A1"], catalogue.index["C2"]]].any()
    assert catalogue.dependents[catalogue.index["C1"], catalogue.index["C2"]]
    day = 86_400_000
    gone = Orders(
        np.array([5, 5, 9]),
        np.array(["A2", "A2", "A2"], dtype=object),
        np.array(["o1", "c1", "c2"], dtype=object),
        np.array([0, 10 * day, 45 * day]),
        np.array([True, False, False]),
    )
    state = ownership.state(gone, catalogue)
    cool = state.of(np.array([5, 9])).cooling(catalogue, 50 * day)
    assert not state.of(np.array([6, 7])).owned.any()
    assert state.of(np.zeros(0, dtype=np.int64)).owned.shape == (0, len(catalogue))
    assert cool[:, catalogue.index["A2"]].tolist() == [False, True]
    assert ownership.ever(gone, np.array([5, 9]), catalogue)[:, catalogue.index["A2"]].tolist() == [True, False]


def test_another_population_shows_as_drift() -> None:
    """R000-048: the stability index is small for the same population and large for another, or for new gaps."""
    rng = np.random.default_rng(1)
    edges, shares = matrix.classes(rng.normal(size=5000).astype(np.float32))
    same = rng.normal(size=4000).astype(np.float32)
    assert matrix.stability(edges, shares, same) < 0.02
    assert matrix.stability(edges, shares, same + 1) > 0.25
    assert matrix.stability(edges, shares, np.where(same > 0, np.float32(np.nan), same)) > 0.25


@pytest.fixture
def api(stub: v1.RecommendServiceStub) -> v1.RecommendServiceStub:
    return stub


async def test_a_bad_model_rolls_back_by_one_call(api: Any, house: House) -> None:
    """R000-045: shadow, champion, retired, and back; the answers follow; the card and the report are there."""
    await house.learn()
    await house.train("good")
    await house.train("next", seed=2, promote=False)
    shadow = await api.ShadowModel(v1.ShadowModelRequest(model_id="next", request_id="1"))
    assert shadow.model.state == v1.Model.STATE_SHADOW
    promoted = await api.PromoteModel(v1.PromoteModelRequest(model_id="next", request_id="2"))
    assert promoted.model.state == v1.Model.STATE_CHAMPION
    assert await reason(api.RetireModel(v1.RetireModelRequest(model_id="next", request_id="3"))) == (
        "FAILED_PRECONDITION", "MODEL_STATE"
    )  # fmt: skip
    for _ in range(2):  # the same request again changes nothing
        back = await api.PromoteModel(v1.PromoteModelRequest(request_id="4"))
        assert (back.model.model_id, back.model.state) == ("good", v1.Model.STATE_CHAMPION)
    house.forget()
    answer = await api.Recommend(v1.RecommendRequest(customer_key=int(PLACE.keys[0])))
    assert answer.model_id == "good"
    whole = (await api.GetModel(v1.GetModelRequest())).model
    assert "## How good" in whole.card
    assert '"curve"' in whole.report
    unknown = api.PromoteModel(v1.PromoteModelRequest(model_id="none", request_id="5"))
    assert await reason(unknown) == ("NOT_FOUND", "MODEL_NOT_FOUND")


async def test_terms_hold_from_the_next_answer_on(api: Any, house: House) -> None:
    await house.learn()
    await house.train()
    request = v1.RecommendRequest(customer_key=int(PLACE.keys[0]), most=100)
    before = [each.product_id for each in (await api.Recommend(request)).recommendations]
    terms = v1.ProductTerms(withdrawn=True, tags=["短视频"], frequency=v1.ProductTerms.FREQUENCY_MONTHLY)
    told = v1.UpdateProductTermsRequest(product_id=before[0], terms=terms, request_id="t1")
    assert (await api.UpdateProductTerms(told)).product.terms == terms
    assert (await api.UpdateProductTerms(told)).product.terms == terms
    house.forget()
    after = [each.product_id for each in (await api.Recommend(request)).recommendations]
    assert after == before[1:]
    strange = v1.ProductTerms(excluded_product_ids=["nope"])
    asked = v1.UpdateProductTermsRequest(product_id="A1", terms=strange, request_id="t2")
    assert await reason(api.UpdateProductTerms(asked)) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")


async def test_how_a_product_is_sold_is_kept_and_judged(stub: Any, house: House) -> None:
    """R002-048: for whom, 10 yuan a month, one issue a day, three days free, by text message or on the pages."""
    await house.learn()
    terms = v1.ProductTerms(
        target="每天坐车上班的人",
        frequency=v1.ProductTerms.FREQUENCY_MONTHLY,
        issues_per_day=1,
        free_trial_days=3,
        how_to_order="发送KTSJB到10086",
        order_ways=[v1.ProductTerms.ORDER_WAY_SMS, v1.ProductTerms.ORDER_WAY_INTERNET],
    )
    asked = v1.UpdateProductTermsRequest(product_id="A1", terms=terms, request_id="s1")
    assert (await stub.UpdateProductTerms(asked)).product.terms == terms
    kept = (await stub.GetProduct(v1.GetProductRequest(product_id="A1"))).product
    assert (kept.terms, kept.fee_fen) == (terms, CATALOGUE.products[CATALOGUE.index["A1"]].fee_fen)
    sms = v1.ProductTerms.ORDER_WAY_SMS
    for wrong in (
        {"free_trial_days": -1},
        {"issues_per_day": 1441},
        {"order_ways": [sms, sms]},
        {"order_ways": [0]},
        {"frequency": 9},
    ):
        asked = v1.UpdateProductTermsRequest(product_id="A1", terms=v1.ProductTerms(**wrong), request_id="s2")
        assert await reason(stub.UpdateProductTerms(asked)) == ("INVALID_ARGUMENT", "INVALID_FIELD")


async def test_an_experts_list_is_kept_and_makes_the_shortlist(api: Any, house: House) -> None:
    """R001-021: the shortlist of a circle names the bundle that each of its products is sold in."""
    await house.learn()
    bundle = v1.ProductTerms(bundled_product_ids=["A1", "B1"])
    await api.UpdateProductTerms(v1.UpdateProductTermsRequest(product_id="C1", terms=bundle, request_id="b1"))
    for number, products in enumerate((["A1"], ["C1", "B1"])):
        given = v1.ExpertList(circle="HU01", product_ids=products, author="王专家")
        made = await api.CreateExpertList(v1.CreateExpertListRequest(list=given, request_id=f"e{number}"))
        again = await api.CreateExpertList(v1.CreateExpertListRequest(list=given, request_id=f"e{number}"))
        assert made == again
    page = await api.ListExpertLists(v1.ListExpertListsRequest(circle="HU01", page_size=1))
    assert list(page.lists[0].product_ids) == ["C1", "B1"]
    rest = await api.ListExpertLists(v1.ListExpertListsRequest(circle="HU01", page_token=page.next_page_token))
    assert [list(each.product_ids) for each in rest.lists] == [["A1"]]
    counted = shortlist.counts(FEATURES, PLACE.profile, PLACE.owned, PLACE.owned, CATALOGUE.ids)
    async with house.db.begin() as tx:
        await house.guiding.put_counts(tx, counted)
        await tx.commit()
    told = await api.GetShortlist(v1.GetShortlistRequest(circle="HU01", weights=v1.Weights(expert=1, opened=3)))
    assert len(told.entries) == len(CATALOGUE)
    bundles = {each.product_id: list(each.bundled_product_ids) for each in told.entries if each.bundled_product_ids}
    assert bundles == {"C1": ["A1", "B1"]}
    assert (told.weights.expert, told.weights.opened) == (0.25, 0.75)
    members = int((PLACE.profile[:, 3] > 0.5).sum())
    assert {each.members for each in told.entries} == {members}
    unknown = api.GetShortlist(v1.GetShortlistRequest(circle="ZZ99"))
    assert await reason(unknown) == ("NOT_FOUND", "CIRCLE_NOT_FOUND")


async def test_the_matrix_is_read_both_ways_compared_and_exported(api: Any, house: House) -> None:
    """R001-079, R001-080, R001-109, R001-114, R001-119, R001-125, R002-005."""
    await house.learn()
    await house.train()
    scores = np.random.default_rng(2).random((40, 7)).astype(np.float32)
    for number, name in enumerate(("x1", "x2")):
        told = scores + np.float32(0.1) * number
        order = np.argsort(-told, axis=1)
        ranked = np.take_along_axis(told, order, axis=1)
        ranked[:, 6 - number :] = matrix.UNFIT
        files = []
        for bucket in range(4):
            keys = np.arange(bucket, 40, 4) + 4
            features = Features(keys, np.array(["G1"] * len(keys), dtype=object), (), np.zeros((len(keys), 0), "f4"))
            cells = matrix.cells(order[bucket::4], ranked[bucket::4])
            files.append(house.lake.write_matrix(name, bucket, features, cells, CATALOGUE.ids))
        async with house.db.begin() as tx:
            made = Matrix(name, "m1", "run-1", DAY, 40, sum(f.rows for f in files), house.tick(), {"age": 0.02})
            await house.matrices.publish(tx, made, files)
            await tx.commit()
    seen: list[Any] = []
    token = ""
    while True:
        asked = v1.ListBestCustomersRequest(product_id="B1", matrix_id="x1", page_size=9, page_token=token)
        page = await api.ListBestCustomers(asked)
        seen += page.cells
        token = page.next_page_token
        if not token:
            break
    assert [each.score for each in seen] == sorted((each.score for each in seen), reverse=True)
    assert {each.product_id for each in seen} == {"B1"}
    mine = (await api.ListCustomerProducts(v1.ListCustomerProductsRequest(customer_key=9))).cells
    assert [each.rank for each in mine] == list(range(1, 6))
    assert {each.customer_key for each in mine} == {9}
    compared = await api.GetMatrixChanges(v1.GetMatrixChangesRequest())
    assert (compared.later.matrix_id, compared.earlier.matrix_id) == ("x2", "x1")
    assert sum(each.disappeared for each in compared.changes) == 40
    assert sum(each.appeared for each in compared.changes) == 0
    assert sum(each.first_after for each in compared.changes) == 40
    assert all(each.mean_change == pytest.approx(0.1, abs=1e-5) for each in compared.changes)
    assert compared.later.drift == {"age": 0.02}
    report = await api.GetMatrixReport(v1.GetMatrixReportRequest(matrix_id="x1"))
    assert [each.product_id for each in report.rows] == list(CATALOGUE.ids)
    assert sum(each.first for each in report.rows) == 40
    assert sum(each.customers for each in report.rows) == report.matrix.cells
    opened = {(each.customer_key, each.product_id) for each in seen[:6]}
    async with house.db.begin() as tx:
        rows = [(key, name, f"L{key}", True) for key, name in opened]
        day = int(datetime(2026, 10, 5, tzinfo=UTC).timestamp() * 1000)
        told_orders = Orders(
            np.array([each[0] for each in rows]),
            np.array([each[1] for each in rows], dtype=object),
            np.array([each[2] for each in rows], dtype=object),
            np.array([day] * len(rows)),
            np.ones(len(rows), dtype=bool),
        )
        await house.knowledge.fold_orders(tx, told_orders)
        await tx.commit()
    effect = await api.GetMatrixEffect(v1.GetMatrixEffectRequest(matrix_id="x1", bands=4))
    assert sum(each.cells for each in effect.bands) == report.matrix.cells
    assert sum(each.opened for each in effect.bands) == 6
    assert effect.bands[0].rate == max(each.rate for each in effect.bands)
    assert effect.auc > 0.5
    call = api.ExportMatrix(v1.ExportMatrixRequest(matrix_id="x1", product_ids=["B1", "C1"], most_rank=3))
    whole = b"".join([piece.piece async for piece in call])
    table = pa.ipc.open_stream(io.BytesIO(whole)).read_all()
    assert set(table["product_id"].to_pylist()) == {"B1", "C1"}
    assert max(table["rank"].to_pylist()) <= 3
    missing = api.ListCustomerProducts(v1.ListCustomerProductsRequest(customer_key=9, matrix_id="none"))
    assert await reason(missing) == ("NOT_FOUND", "MATRIX_NOT_FOUND")


def test_terms_are_kept_with_a_product() -> None:
    told = replace(product("X"), terms=Terms(tags=("a",)))
    assert Catalogue.of([told]).with_terms({}).products[0].terms is None
    assert told.prerequisites == ()


async def test_an_order_that_happens_changes_the_next_answer_within_a_second(
    api: Any,
    house: House,
    db: Database,
) -> None:
    """R002-086: from ingest's event to another answer in less than a second, by the worker's own follower."""
    await house.learn()
    await house.train()
    key = int(PLACE.keys[0])
    request = v1.RecommendRequest(customer_key=key, most=100)
    before = [each.product_id for each in (await api.Recommend(request)).recommendations]
    city, portrait_ = pair()
    stop = asyncio.Event()
    async with neighbours(city, portrait_) as door, grpc.aio.insecure_channel(door) as channel:
        peer = Ingest(ingest.IngestServiceStub(channel), house.taking.read_ahead)
        following = asyncio.create_task(
            cursors.follow(
                db, consumer="orders", owner="me", watch=peer.orders, handle=house.taking.take_orders, stop=stop
            )
        )
        await asyncio.sleep(0.5)
        occur = Timestamp()
        occur.FromDatetime(NOW)
        told = {"product_id": before[0], "order_id": "live-1", "action": "open"}
        city.events.append(
            ingest.Event(
                event_id="1",
                source="boss",
                source_event_id="live-1:open",
                type="product.ordered",
                customer_key=key,
                occur_time=occur,
                attributes=json_format.ParseDict(told, Struct()),
            )
        )
        async with asyncio.timeout(1 if FULL else 10):  # a second on a machine of one's own
            while before[0] in [each.product_id for each in (await api.Recommend(request)).recommendations]:
                await asyncio.sleep(0.02)
        stop.set()
        await following
