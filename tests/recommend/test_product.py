"""Eligibility, ownership from orders, associations, the cells of a matrix, features that may teach."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.recommend.domain import feature, matrix, ownership
from services.recommend.domain.association import associations
from services.recommend.domain.matrix import UNFIT
from services.recommend.domain.ownership import Orders
from services.recommend.domain.product import Catalogue, Terms
from services.recommend.lake import Features, Lake
from services.recommend.training.pairwise import pairwise
from tests.recommend.town import CATALOGUE, product, town

P = len(CATALOGUE)
holdings = hnp.arrays(bool, st.tuples(st.integers(1, 30), st.just(P)))


@given(holdings)
def test_what_is_eligible_is_not_owned_has_its_prerequisite_and_a_free_group(owned: Any) -> None:
    eligible = CATALOGUE.eligible(owned)
    for row, column in itertools.product(range(len(owned)), range(P)):
        each = CATALOGUE.products[column]
        mine = {CATALOGUE.ids[number] for number in np.flatnonzero(owned[row])}
        rivals = {
            other.product_id
            for other in CATALOGUE.products
            if each.exclusive_group and other.exclusive_group == each.exclusive_group
        }
        expected = (
            each.product_id not in mine
            and (not each.requires_product_id or each.requires_product_id in mine)
            and not rivals & mine
        )
        assert eligible[row, column] == expected


def test_dependents_are_followed_through_others() -> None:
    chain = Catalogue.of([product("A"), product("B", requires_product_id="A"), product("C", requires_product_id="B")])
    assert chain.dependents.tolist() == [[False, True, True], [False, False, True], [False, False, False]]


def test_a_withdrawn_product_and_one_whose_prerequisite_is_unknown_are_eligible_for_nobody() -> None:
    now = Catalogue.of([product("A"), product("C", requires_product_id="NEW")]).aligned(["A", "B", "C"])
    assert now.ids == ("A", "B", "C")
    assert now.eligible(np.zeros((1, 3), dtype=bool)).tolist() == [[True, False, False]]


rows = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from(CATALOGUE.ids), st.integers(0, 3), st.integers(0, 3), st.booleans()),
    max_size=40,
)


def orders(told: list[tuple[int, str, int, int, bool]]) -> Orders:
    key, product_id, order, time, opens = zip(*told, strict=True) if told else ((), (), (), (), ())
    return Orders(
        np.array(key, dtype=np.int64),
        np.array(product_id, dtype=object),
        np.array([f"O{number}" for number in order], dtype=object),
        np.array(time, dtype=np.int64),
        np.array(opens, dtype=bool),
    )


@given(rows, st.randoms(use_true_random=False))
def test_the_latest_order_counts_whatever_the_order_of_the_rows_and_however_often_they_come(
    told: list[tuple[int, str, int, int, bool]], random: Any
) -> None:
    owns: dict[tuple[int, str], tuple[int, str, bool]] = {}
    for key, product_id, order, time, opens in told:
        place = (time, f"O{order}", not opens)
        owns[key, product_id] = max(owns.get((key, product_id), place), place)
    expected = sorted((key, product_id) for (key, product_id), (_, _, cancelled) in owns.items() if not cancelled)
    shuffled = told + told
    random.shuffle(shuffled)
    customers = np.arange(1, 6)
    folded = ownership.fold(orders(shuffled), customers, CATALOGUE)
    found = [
        (int(customers[row]), CATALOGUE.ids[column]) for row, column in zip(*np.nonzero(folded.owned), strict=True)
    ]
    assert sorted(found) == expected


def test_holdings_of_unknown_customers_and_products_are_counted_and_left_out() -> None:
    told = orders([(1, "A1", 1, 1, True), (9, "A1", 2, 1, True), (9, "C1", 3, 1, True), (1, "ZZ", 4, 1, True)])
    folded = ownership.fold(told, np.array([1, 2]), CATALOGUE)
    assert (folded.owned.sum(), folded.unknown_customers, folded.unknown_products) == (1, 1, 1)


@given(holdings)
def test_lift_support_and_confidence_are_exactly_as_defined(owned: Any) -> None:
    """R002-004: associations of products as section C defines them."""
    found = {(each.left, each.right): each for each in associations(owned, CATALOGUE)}
    customers = len(owned)
    for left, right in itertools.permutations(range(P), 2):
        both = sum(1 for row in owned if row[left] and row[right])
        pair = CATALOGUE.ids[left], CATALOGUE.ids[right]
        if not both:
            assert pair not in found
            continue
        lefts, rights = sum(map(bool, owned[:, left])), sum(map(bool, owned[:, right]))
        each = found[pair]
        assert each.both == both
        assert each.support == both / customers
        assert each.confidence == both / lefts
        assert np.isclose(each.lift, (both / lefts) / (rights / customers), rtol=1e-12)
    lifts = [each.lift for each in associations(owned, CATALOGUE)]
    assert lifts == sorted(lifts, reverse=True)


def test_each_service_of_the_catalogue_can_follow_from_another() -> None:
    """R002-031: MMS, ring-back tone, SMS, mail, games, paper, entertainment, news: each is what a rule leads to."""
    names = ("彩信", "彩铃", "点对点短信", "手机邮箱", "游戏", "手机报", "WAP娱乐", "WAP新闻")
    sold = Catalogue.of([product(f"S{number}", name=name) for number, name in enumerate(names)])
    owned = np.arange(80)[:, None] // 5 % 8 == np.arange(8)  # each is held by ten
    owned |= np.roll(owned, 1, axis=1)  # with the one before it
    rules = [each for each in associations(owned, sold) if each.lift > 1]
    assert [each.name for each in sold.products] == list(names)
    assert {each.right for each in rules} == set(sold.ids)


def test_products_with_like_tags_are_alike() -> None:
    """R002-085: tags that product managers keep bring products together where all else about them is equal."""
    tags = {"A": ("短视频", "青年"), "B": ("短视频",), "C": ("家庭",), "D": ()}
    sold = Catalogue.of([product(one, terms=Terms(tags=words)) for one, words in tags.items()])
    rest = np.eye(len(sold), dtype=bool)
    odds = pairwise("content", np.zeros((8, len(sold)), dtype=bool), sold, 1).odds(np.zeros((4, 1), np.float32), rest)
    a, b, c, d = (sold.index[one] for one in "ABCD")
    assert odds[a, b] > odds[a, c]
    assert odds[b, a] > odds[b, d]


def test_who_matches_better_opens_more_often_decile_by_decile() -> None:
    """R001-017: success by decile of the match falls from the first to the last, and adds up to all of it."""
    dice = np.random.default_rng(4)
    score = dice.random(20_000)
    opened = dice.random(20_000) < score / 4
    told = matrix.bands(score, opened)
    assert [each.cells for each in told] == [2_000] * 10
    assert sum(each.opened for each in told) == opened.sum()
    rates = [each.rate for each in told]
    assert rates == sorted(rates, reverse=True)
    assert told[0].lift > 1.5 > 0.5 > told[-1].lift


def test_the_matrix_holds_what_fits_ranked_per_customer() -> None:
    ids = np.array([[2, 0, 1], [1, 2, 0]])
    scores = np.array([[0.9, 0.4, UNFIT], [UNFIT, UNFIT, UNFIT]], dtype=np.float32)
    found = matrix.cells(ids, scores)
    assert found.row.tolist() == [0, 0]
    assert found.product.tolist() == [2, 0]
    assert found.rank.tolist() == [1, 2]
    assert found.score.tolist() == np.array([0.9, 0.4], dtype=np.float32).tolist()


def test_a_matrix_is_written_to_the_cell_as_recorded(tmp_path: Path) -> None:
    """R001-141: scores of three customers and three products in, the rows of the matrix file out."""
    customers = Features(np.array([4, 7, 9]), np.array(["G1", "G2", "G1"], dtype=object), (), np.zeros((3, 0), "f4"))
    ids = np.array([[2, 0, 1], [1, 2, 0], [0, 1, 2]])
    scores = np.array([[0.75, 0.5, UNFIT], [UNFIT, UNFIT, UNFIT], [0.5, 0.25, 0.125]], dtype=np.float32)
    file = Lake(tmp_path.as_uri()).write_matrix("m", 0, customers, matrix.cells(ids, scores), ("A", "B", "C"))
    written = pq.read_table(file.uri.removeprefix("file://")).to_pylist()
    assert [tuple(row.values()) for row in written] == [
        (4, "G1", "C", 1, 0.75), (4, "G1", "A", 2, 0.5),
        (9, "G1", "A", 1, 0.5), (9, "G1", "B", 2, 0.25), (9, "G1", "C", 3, 0.125),
    ]  # fmt: skip
    assert file.rows == 5


def test_constant_unknown_and_leaking_columns_teach_nothing_and_are_named() -> None:
    place = town(200)
    columns = {
        "good": place.profile[:, 1],
        "same": np.ones(200),
        "unknown": np.full(200, np.nan),
        "sometimes": np.where(np.arange(200) % 2 == 0, 1.0, np.nan),
        "count": place.owned.sum(axis=1) * 2.0 + 1,
        "a1": place.owned[:, 0] * 1.0,
    }
    values = feature.cleaned(np.column_stack(list(columns.values())).astype(np.float32))
    choice = feature.choose(list(columns), values, place.owned)
    assert [list(columns)[number] for number in choice.kept] == ["good", "sometimes"]
    assert choice.dropped == {
        "same": "constant",
        "unknown": "never known",
        "count": "leaks the number of holdings",
        "a1": "leaks the ownership of a product",
    }


def test_what_is_not_finite_is_missing() -> None:
    values = feature.cleaned(np.array([[1.0, np.inf, -np.inf, np.nan]], dtype=np.float32))
    assert np.isnan(values).tolist() == [[False, True, True, True]]


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.sampled_from(["A1", "B1", "ZZ"]),
            st.integers(0, 2),
            st.sampled_from("xyz"),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_the_rule_over_numbers_is_the_rule_over_orders(rows: list[tuple[int, str, int, str, bool]]) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    orders = Orders(
        np.array(columns[0], np.int64), np.array(columns[1], object), np.array(columns[3], object),
        np.array(columns[2], np.int64), np.array(columns[4], bool),
    )  # fmt: skip
    wanted = ownership.latest(orders)
    known = np.array([each in CATALOGUE.index for each in wanted.product_id], dtype=bool)
    found = ownership.state(orders, CATALOGUE)
    assert found.customer_key.repeat(np.diff(found.first)).tolist() == wanted.customer_key[known].tolist()
    assert [CATALOGUE.ids[each] for each in found.column] == wanted.product_id[known].tolist()
    assert found.opens.tolist() == wanted.opens[known].tolist()
    assert found.time.tolist() == wanted.time[known].tolist()
