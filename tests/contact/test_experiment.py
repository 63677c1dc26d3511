"""Fair comparison: hashes that do not move, and intervals as the textbooks have them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contact.domain.experiment import held_out, newcombe, shares, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_wilson_interval_is_that_of_newcombe_1998(successes: int, trials: int, low: float, high: float) -> None:
    rate = wilson(successes, trials)
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_a_difference_is_that_of_newcombe_1998(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    _, found_low, found_high = newcombe(wilson(*first), wilson(*second))
    assert (round(found_low, 4), round(found_high, 4)) == (low, high)


@given(st.integers(0, 500), st.integers(0, 500))
def test_an_interval_holds_its_share_and_narrows_with_more_trials(successes: int, failures: int) -> None:
    trials = successes + failures
    rate = wilson(successes, trials)
    assert 0.0 <= rate.low <= rate.rate <= rate.high <= 1.0
    if trials:
        more = wilson(10 * successes, 10 * trials)
        assert more.high - more.low < rate.high - rate.low


def test_of_no_trials_nothing_is_known() -> None:
    rate = wilson(0, 0)
    assert (rate.rate, rate.low, rate.high) == (0.0, 0.0, 1.0)
    assert newcombe(rate, rate) == (0.0, -1.0, 1.0)


KEYS = np.arange(1, 100_001)


def test_shares_are_evenly_spread_and_those_of_two_salts_independent() -> None:
    one, other = shares("holdout", KEYS), shares("control 秋季", KEYS)
    assert one.min() >= 0
    assert one.max() < 1
    counts, _ = np.histogram(one, 20, (0, 1))
    assert math.sqrt(((counts - 5_000) ** 2 / 5_000).sum()) < math.sqrt(43.8)  # chi square, 19 d.f., 0.1 %
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.011
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.011  # neighbours in key are not neighbours in share


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_larger_share_holds_the_smaller_one(one: int, other: int) -> None:
    few, many = (held_out("x", KEYS[:500], bps) for bps in sorted((one, other)))
    assert not np.any(few & ~many)


def test_who_is_held_out_stays_held_out_whoever_else_is_asked_about() -> None:
    whole = held_out("holdout", KEYS, 200)
    assert np.array_equal(held_out("holdout", KEYS[500:600], 200), whole[500:600])
    assert 1_800 < whole.sum() < 2_200


def test_the_hash_is_the_same_for_ever() -> None:
    known = [0.8501518459688395, 0.8824515327638196, 0.6584086746147713]
    assert shares("holdout", np.array([1, 2, 10_000_000])).tolist() == known
