"""Metrics against values computed by hand, baselines against naive ones, calibration."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.recommend.domain import acceptance, baseline, evaluation


def test_the_rank_counts_only_what_is_allowed_and_ties_go_to_the_lower_index() -> None:
    scores = np.array([[0.9, 0.5, 0.5, 0.1]] * 3)
    allowed = np.array([[True] * 4, [False, True, True, True], [True] * 4])
    hidden = np.array([2, 2, 1])
    assert evaluation.ranks(scores, allowed, hidden).tolist() == [3, 2, 2]


def test_ndcg_and_hit_count_every_customer_once() -> None:
    rank, customer = np.array([1, 3, 6, 2]), np.array([7, 7, 9, 11])
    first = (1.0 + 1 / math.log2(4)) / 2
    assert evaluation.ndcg(rank, customer).tolist() == pytest.approx([first, 0.0, 1 / math.log2(3)])
    assert evaluation.hit(rank, customer).tolist() == [0.5, 0.0, 0.0]


def test_ndcg_of_all_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6]] * 2)
    relevant = np.array([[False, True, False, True], [True, True, False, False]])
    both = 1 + 1 / math.log2(3)
    found = evaluation.ndcg_of_all(scores, relevant, most=3)
    assert found.tolist() == pytest.approx([1 / math.log2(3) / both, 1.0])


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_auc_is_the_chance_that_a_positive_scores_higher(told: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in told], dtype=float)
    positive = np.array([yes for _, yes in told])
    pairs = [(x > y) + (x == y) / 2 for x in scores[positive] for y in scores[~positive]]
    found = evaluation.auc(scores, positive)
    assert math.isnan(found) if not pairs else found == pytest.approx(np.mean(pairs))


def test_brier_and_calibration_error_by_hand() -> None:
    chance, held = np.array([0.2, 0.2, 0.8, 0.8]), np.array([False, True, True, True])
    assert acceptance.brier(chance, held) == pytest.approx((0.04 + 0.64 + 0.04 + 0.04) / 4)
    assert acceptance.calibration_error(chance, held, bins=2) == pytest.approx((0.3 + 0.2) / 2)


@given(hnp.arrays(bool, st.tuples(st.integers(5, 25), st.just(5))), st.integers(1, 30))
@settings(max_examples=50)
def test_user_knn_skips_neighbours_who_hold_nothing_new(owned: Any, neighbours: int) -> None:
    rest = owned[0] & np.array([True, True, False, False, False])
    votes = baseline.user_knn(owned, rest[None, :], neighbours)[0]
    similar = []
    for row in owned:
        if (row & ~rest).any():
            length = math.sqrt(max(row.sum(), 1)) * max(math.sqrt(rest.sum()), 1.0)
            similar.append(((row & rest).sum() / length, row))
    if not similar:
        assert votes[~rest].max() < 1e-6  # nothing but the tie-break by popularity
        return
    # The whole neighbourhood, whose votes do not depend on how ties are cut.
    whole = baseline.user_knn(owned, rest[None, :], len(owned))[0]
    expected = sum((similarity + 1e-6) * row for similarity, row in similar)
    assert np.allclose(whole, expected + 1e-9 * owned.sum(axis=0))


def test_with_segments_on_neighbours_come_from_the_customers_own_segment_alone() -> None:
    """R000-036: what other segments hold changes nothing but ties."""
    rng = np.random.default_rng(2)
    owned, rest = rng.random((60, 6)) < 0.5, rng.random((10, 6)) < 0.3
    segment, asked = np.arange(60) % 3, np.arange(10) % 3
    found = baseline.segment_votes(owned, segment, rest, asked, [5])[0]
    for each in range(3):
        mine = asked == each
        alone = baseline.user_knn_curve(owned[segment == each], rest[mine], [5])[0]
        assert found[mine] == pytest.approx(alone, abs=1e-6)
    others = np.where((segment == 0)[:, None], owned, rng.random(owned.shape) < 0.5)
    again = baseline.segment_votes(others, segment, rest, asked, [5])[0]
    assert found[asked == 0] == pytest.approx(again[asked == 0], abs=1e-6)
    assert found[asked == 1] != pytest.approx(again[asked == 1], abs=1e-6)


def test_item_knn_and_ease_find_the_companion() -> None:
    owned = np.array([[1, 1, 0, 0]] * 20 + [[0, 0, 1, 1]] * 30, dtype=bool)
    rest = np.array([[True, False, False, False]])
    for score in (baseline.item_knn, baseline.ease):
        found = score(owned, rest)[0]
        assert found[1] > max(found[2], found[3])
    assert baseline.popularity(owned, rest)[0].tolist() == [20, 20, 30, 30]


def test_calibration_finds_a_planted_sigmoid_and_leaves_a_product_without_cases_to_the_others() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(size=(6000, 3)) * 2
    held = rng.random(odds.shape) < 1 / (1 + np.exp(-(0.7 * odds - 0.5)))
    asked = np.ones_like(held)
    asked[:, 2] = False
    fitted = acceptance.calibrate(odds, held, asked, np.ones(len(odds), dtype=bool))
    assert fitted.slope[1] == pytest.approx([0.7] * 3, abs=0.06)
    assert fitted.intercept[1] == pytest.approx([-0.5] * 3, abs=0.1)
    assert fitted.slope[0].tolist() == [1.0] * 3  # nobody owned nothing: as it came
    told = fitted.apply(odds, np.ones(len(odds), dtype=bool))
    assert acceptance.calibration_error(told[:, 0], held[:, 0]) < 0.03


@given(hnp.arrays(float, (4, 4), elements=st.floats(0, 1)), st.booleans())
def test_a_higher_share_gives_higher_odds(shares: Any, owns: bool) -> None:
    shares[:, -1] = 1.0 if not owns else shares[:, -1]
    odds = acceptance.log_odds(shares, np.full(4, owns))
    order = np.argsort(shares[:, :-1], axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(odds, order, axis=1), axis=1) >= 0).all()
    assert np.isfinite(odds).all()
