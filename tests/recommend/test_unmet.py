"""Where a new product or bundle would fit a form of life: circles that want more of something than everybody does."""

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lifecircle.recommend import v1
from services.recommend.domain import matrix, shortlist
from services.recommend.domain.outcome import Gone
from services.recommend.domain.registry import Matrix
from services.recommend.domain.unmet import FEWEST, Wanted, needs
from services.recommend.usecases import Noting
from tests.recommend.house import PLACE, House, reason
from tests.recommend.test_serving import pack
from tests.recommend.town import CATALOGUE, DAY, FEATURES

CIRCLES = {"HU01": 3, "PR01": 4}


def test_a_need_is_more_than_usual_of_enough_customers_who_could_still_open_it() -> None:
    could = np.array([[100.0, 100, FEWEST - 1, 0], [50, 0, 50, 0], [200, 200, 200, 0]])
    score = np.array([[40.0, 10, FEWEST - 1, 0], [5, 0, 20, 0], [60, 20, 40, 0]])
    found = needs(("A", "B"), ("p", "q", "r", "s"), Wanted(np.array([120, 60, 300]), could, score))
    assert [(each.circle, each.product_id, each.members, each.customers) for each in found] == [
        ("A", "p", 120, 100), ("B", "r", 60, 50)
    ]  # fmt: skip
    assert found[0].chance == pytest.approx(0.4)
    assert found[0].usual == pytest.approx(0.3)
    assert found[0].lift == pytest.approx(4 / 3)
    assert found[0].extra == pytest.approx(10.0)


async def laid(house: House) -> list[dict[str, Any]]:
    """A matrix in which the circle HU01 wants B1 and C1 more than others; its rows."""
    rng = np.random.default_rng(4)
    async with house.db.begin() as tx:
        run = await house.inputs.run(tx, "run-1")
        assert run is not None
        files = []
        for source in run.files:
            features = house.lake.features([source])
            score = rng.uniform(0.05, 0.25, (len(features.customer_key), len(CATALOGUE))).astype(np.float32)
            home = features.values[:, CIRCLES["HU01"]] > 0.5
            for name, more in (("B1", 0.5), ("C1", 0.2)):
                score[home, CATALOGUE.index[name]] += np.float32(more)
            score[rng.random(score.shape) < 0.3] = matrix.UNFIT
            ids = np.argsort(-score, axis=1, kind="stable")
            cells = matrix.cells(ids, np.take_along_axis(score, ids, axis=1))
            files.append(house.lake.write_matrix("x1", source.bucket, features, cells, CATALOGUE.ids))
        made = Matrix("x1", "m1", "run-1", DAY, len(PLACE.keys), sum(each.rows for each in files), house.tick())
        await house.matrices.publish(tx, made, files)
        counted = shortlist.counts(FEATURES, PLACE.profile, PLACE.owned, PLACE.owned, CATALOGUE.ids)
        await house.guiding.put_counts(tx, counted)
        await tx.commit()
    return [row for each in files for row in pq.read_table(each.uri.removeprefix("file://")).to_pylist()]


async def test_needs_that_are_not_met_are_listed_by_what_meeting_them_brings(stub: Any, house: House) -> None:
    """R001-011: the report of circles and products in which more is wanted than usual; the bundles stand beside."""
    await house.learn()
    await house.train()
    early = stub.ListUnmetNeeds(v1.ListUnmetNeedsRequest())
    assert (await reason(early))[1] == "INPUTS_INCOMPLETE"
    await pack(house)
    assert (await reason(stub.ListUnmetNeeds(v1.ListUnmetNeedsRequest())))[1] == "MATRIX_NOT_FOUND"
    rows = await laid(house)
    terms = v1.ProductTerms(bundled_product_ids=["A1"])
    await stub.UpdateProductTerms(v1.UpdateProductTermsRequest(product_id="B1", terms=terms, request_id="t"))
    house.forget()
    gone = int(PLACE.keys[7])
    async with house.db.begin() as tx:
        await Noting().take_gone(tx, [Gone(gone, 0)])
        await tx.commit()
    told = (await stub.ListUnmetNeeds(v1.ListUnmetNeedsRequest())).needs
    assert [(each.circle, each.product_id) for each in told[:2]] == [("HU01", "B1"), ("HU01", "C1")]
    assert [each.rank for each in told] == list(range(1, len(told) + 1))
    gains = [each.extra_gain_fen for each in told]
    assert gains == sorted(gains, reverse=True)
    # By hand, from the rows of the files.
    of: dict[str, set[int]] = {
        name: {key for key, flag in zip(PLACE.keys.tolist(), PLACE.profile[:, place] > 0.5, strict=True) if flag}
        - {gone} for name, place in CIRCLES.items()
    }  # fmt: skip
    by_product: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        if row["customer_key"] != gone:
            by_product[row["product_id"]].append((row["customer_key"], row["score"]))
    for each in told:
        mine = [score for key, score in by_product[each.product_id] if key in of[each.circle]]
        everyone = [score for _, score in by_product[each.product_id]]
        assert each.members == len(of[each.circle])
        assert each.customers == len(mine)
        assert each.chance == pytest.approx(np.mean(mine), abs=1e-6)
        assert each.usual_chance == pytest.approx(np.mean(everyone), abs=1e-6)
        assert each.lift == pytest.approx(each.chance / each.usual_chance)
        assert each.extra_openings == pytest.approx(len(mine) * (np.mean(mine) - np.mean(everyone)), abs=1e-3)
        assert each.extra_gain_fen == round(each.extra_openings * 8000)
        held = PLACE.owned[PLACE.profile[:, CIRCLES[each.circle]] > 0.5, CATALOGUE.index[each.product_id]]
        assert each.holders == held.sum()
    assert (told[0].circle_name, told[0].product_name) == ("居家圈", "产品B1")
    assert list(told[0].bundled_product_ids) == ["A1"]
    one = await stub.ListUnmetNeeds(v1.ListUnmetNeedsRequest(circle="HU01", page_size=1))
    rest = await stub.ListUnmetNeeds(v1.ListUnmetNeedsRequest(circle="HU01", page_token=one.next_page_token))
    assert one.matrix_id == "x1"
    assert [(each.product_id, each.rank) for each in (*one.needs, *rest.needs)] == [
        (each.product_id, rank) for rank, each in enumerate((each for each in told if each.circle == "HU01"), 1)
    ]
    strange = stub.ListUnmetNeeds(v1.ListUnmetNeedsRequest(circle="ZZ99"))
    assert (await reason(strange))[1] == "CIRCLE_NOT_FOUND"
