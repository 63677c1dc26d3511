"""The demo's scores are the textbook's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import truth

pairs = st.lists(st.tuples(st.integers(0, 5).map(float), st.floats(0.01, 0.99)), min_size=1, max_size=12)


@given(pairs)
def test_auc_is_the_expected_mann_whitney_statistic(found: list[tuple[float, float]]) -> None:
    wins = total = 0.0
    for accepted_score, accepted in found:
        for refused_score, refused in found:
            weight = accepted * (1 - refused)
            total += weight
            wins += weight * ((accepted_score > refused_score) + 0.5 * (accepted_score == refused_score))
    assert truth.auc(found) == pytest.approx(wins / total)


def test_auc_of_a_score_that_says_nothing_is_one_half() -> None:
    assert truth.auc([(1.0, 0.2), (1.0, 0.9), (1.0, 0.4)]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("right", "said", "planted", "score"), [(0, 0, 0, 1.0), (0, 3, 0, 0.0), (2, 2, 2, 1.0), (1, 2, 2, 0.5)]
)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(right: int, said: int, planted: int, score: float) -> None:
    assert truth.f1(right, said, planted) == score
