"""What a caller asks of the products he is to be given: filters, and where and by what occasion he asks."""

from typing import Any

import numpy as np
import pytest

from lifecircle.recommend import v1
from services.kit import paging
from services.recommend.domain.product import Terms
from services.recommend.domain.wish import Wish
from tests.recommend.house import PLACE, House, reason
from tests.recommend.town import CATALOGUE, product

SMS, INTERNET = v1.ProductTerms.ORDER_WAY_SMS, v1.ProductTerms.ORDER_WAY_INTERNET


@pytest.mark.parametrize(
    ("wish", "fits"),
    [
        (Wish(), "ABC"),
        (Wish(categories=("流量",)), "ABC"),
        (Wish(categories=("视频",)), ""),
        (Wish(tags=("青年", "短视频")), "A"),
        (Wish(most_fee_fen=1500), "AB"),
        (Wish(excluded=("A",)), "BC"),
        (Wish(order_way="SMS"), "AC"),
        (Wish(order_way="INTERNET", most_fee_fen=1500), "B"),
        (Wish(basket=("A",), place="p"), "ABC"),
    ],
)
def test_a_product_fits_when_it_is_all_that_is_asked_for(wish: Wish, fits: str) -> None:
    sold = [
        product("A", terms=Terms(tags=("短视频",), order_ways=("SMS",))),
        product("B", fee_fen=1500, terms=Terms(tags=("家庭",), order_ways=("INTERNET",))),
        product("C", fee_fen=1501),  # nobody says how it is ordered
    ]
    assert "".join(each.product_id for each, fit in zip(sold, wish.of(sold), strict=True) if fit) == fits
    assert wish.plain == (fits == "ABC" and not wish.categories)


async def names(stub: Any, key: int, **asked: Any) -> list[str]:
    told = await stub.Recommend(v1.RecommendRequest(customer_key=key, most=100, **asked))
    return [each.product_id for each in told.recommendations]


@pytest.mark.parametrize("no_profile", [False, True])
async def test_filters_leave_out_and_the_order_stays(stub: Any, house: House, no_profile: bool) -> None:
    await house.learn()
    await house.train()
    terms = v1.ProductTerms(tags=["短视频"], order_ways=[SMS])
    for each in ("A1", "C1"):
        await stub.UpdateProductTerms(v1.UpdateProductTermsRequest(product_id=each, terms=terms, request_id=each))
    house.forget()
    key = int(PLACE.keys[np.flatnonzero(~PLACE.owned[:, [0, 3, 5, 6]].any(axis=1))[0]])
    whole = await names(stub, key, no_profile=no_profile)
    assert {"A1", "C1", "C2", "B1"} <= set(whole)
    asked: list[tuple[dict[str, Any], set[str]]] = [
        ({"tags": ["短视频"]}, {"A1", "C1"}),
        ({"excluded_product_ids": ["C1", "nobody sells it"]}, set(whole) - {"C1"}),
        ({"most_fee_fen": 999}, set()),
        ({"context": v1.RecommendContext(order_way=INTERNET)}, set(whole) - {"A1", "C1"}),
        ({"context": v1.RecommendContext(order_way=SMS), "categories": ["视频"]}, {"C1", "C2"}),
    ]
    for wish, left in asked:
        assert await names(stub, key, no_profile=no_profile, **wish) == [each for each in whole if each in left]


@pytest.mark.parametrize("no_profile", [False, True])
async def test_a_basket_counts_as_held_and_the_place_is_in_the_token(stub: Any, house: House, no_profile: bool) -> None:
    """R002-086: what he looks at changes the answer at once: what it opens the door to, and what it rules out."""
    await house.learn()
    await house.train()
    number = np.flatnonzero(~PLACE.owned[:, CATALOGUE.index["B1"]])[0]
    key = int(PLACE.keys[number])
    before = await names(stub, key, no_profile=no_profile)
    assert "B1" in before
    assert "B2" not in before
    context = v1.RecommendContext(basket_product_ids=["B1"], place="cart")
    after = await stub.Recommend(
        v1.RecommendRequest(customer_key=key, most=100, no_profile=no_profile, context=context)
    )
    told = [each.product_id for each in after.recommendations]
    assert "B1" not in told
    assert "B2" in told
    assert paging.decode(after.attribution_token)["place"] == "cart"
    strange = v1.RecommendContext(basket_product_ids=["nope"])
    asked = v1.RecommendRequest(customer_key=key, no_profile=no_profile, context=strange)
    assert await reason(stub.Recommend(asked)) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
