"""The pilot: sizes, ratios, mismatched cells, looks at any time, rounds that learn; and A/A a thousand times."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contact.domain.experiment import held_out, newcombe, shares, wilson
from services.contact.domain.pilot import (
    Cells,
    Pilot,
    checked,
    corrected,
    findings,
    mismatch,
    sample_size,
    sequence,
    success_ratio,
)
from services.kit.errors import Refusal
from tests.fixtures.counts import seeds

PILOT = Pilot(share_bps=1_000, tolerance=0.2, least_trials=1_000)


def test_an_a_a_test_cries_wolf_once_in_twenty() -> None:
    """R002-041: 1,000 pilots whose sides are treated alike show a difference at 95 % in 5 % ± 1.4 of them."""
    customers, false_alarms = np.arange(1, 4_001), 0
    for seed in range(1_000):
        control = held_out(f"control A/A {seed}", customers, 5_000)
        opened = np.random.default_rng(seed).random(len(customers)) < 0.08
        sides = [wilson(int(opened[side].sum()), int(side.sum())) for side in (~control, control)]
        _, low, high = newcombe(sides[0], sides[1])
        false_alarms += not low <= 0 <= high
    assert 36 <= false_alarms <= 64


def test_whoever_looks_after_every_hundred_customers_is_deceived_by_a_p_value_and_not_by_the_sequence() -> None:
    """R002-082: monitoring may go on day by day; the confidence sequence stays within its 5 %."""
    fixed = anytime = 0
    rounds = seeds(300, 2_000)
    for seed in rounds:
        dice = np.random.default_rng(seed)
        treated = np.cumsum(dice.random(10_000) < 0.1)
        control = np.cumsum(dice.random(10_000) < 0.1)
        looks = [(wilson(int(treated[at - 1]), at), wilson(int(control[at - 1]), at)) for at in range(200, 10_001, 100)]
        fixed += any(not low <= 0 <= high for low, high in (newcombe(*look)[1:] for look in looks))
        anytime += any(not low <= 0 <= high for low, high in (sequence(*look) for look in looks))
    assert fixed / len(rounds) > 0.2
    assert anytime / len(rounds) <= 0.05


def test_the_sequence_finds_a_real_difference() -> None:
    low, high = sequence(wilson(600, 10_000), wilson(300, 10_000))
    assert 0 < low < 0.03 < high


@pytest.mark.parametrize(
    ("base", "expected", "treated"),
    [(0.5, 0.6, 388), (0.05, 0.1, 435), (0.1, 0.12, 3_841)],
)
def test_sample_sizes_are_those_of_the_tables(base: float, expected: float, treated: int) -> None:
    """R004-027: the sample size is computed for power (Fleiss, without continuity correction)."""
    needed = sample_size(base, expected)
    assert needed.treated == pytest.approx(treated, abs=2)
    assert needed.control == needed.treated


@pytest.mark.parametrize("control_share", [0.5, 0.2])
def test_a_pilot_of_that_size_sees_the_difference_four_times_out_of_five(control_share: float) -> None:
    """R004-027: the power that was asked for is the power that one gets, also with a small control."""
    needed, dice = sample_size(0.05, 0.08, control_share=control_share), np.random.default_rng(7)
    seen = 0
    for _ in range(2_000):
        treated = wilson(int(dice.binomial(needed.treated, 0.08)), needed.treated)
        control = wilson(int(dice.binomial(needed.control, 0.05)), needed.control)
        seen += newcombe(treated, control)[1] > 0
    assert seen / 2_000 == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    ("ratio", "treated", "earlier", "row"),
    [(2.83, 283, 100, 42), (2.95, 295, 100, 43), (3.56, 356, 100, 44), (3.29, 329, 100, 45), (2.29, 229, 100, 46)],
)
def test_the_ratio_to_the_earlier_way_is_computed_from_counts(
    ratio: float, treated: int, earlier: int, row: int
) -> None:
    """R002-042, R002-043, R002-044, R002-045, R002-046: such ratios come out of pilot data, with their interval."""
    found = success_ratio(wilson(treated, 10_000), wilson(earlier, 10_000))
    assert round(found.ratio, 2) == ratio, f"R002-0{row}"
    assert 1 < found.low < ratio < found.high


@given(st.integers(1, 200), st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_a_ratio_and_its_interval_turn_over_with_its_sides(a: int, b: int) -> None:
    one, other = success_ratio(wilson(a, 1_000), wilson(b, 800)), success_ratio(wilson(b, 800), wilson(a, 1_000))
    assert one.ratio * other.ratio == pytest.approx(1)
    assert one.low * other.high == pytest.approx(1)
    assert one.low <= one.ratio <= one.high


def test_a_ratio_to_nothing_says_that_it_knows_no_upper_end() -> None:
    assert success_ratio(wilson(5, 100), wilson(0, 100)).high == math.inf
    assert success_ratio(wilson(5, 100), wilson(0, 0)).ratio == 0
    assert success_ratio(wilson(0, 100), wilson(5, 100)).low == 0


def test_cells_that_were_not_filled_as_planned_are_noticed() -> None:
    assert mismatch((9_000, 1_000), (9, 1)) == 1.0
    assert mismatch((9_050, 950), (9, 1)) == pytest.approx(0.0956, abs=1e-3)
    assert mismatch((9_200, 800), (9, 1)) < 1e-10
    assert mismatch((500, 300, 200), (5, 3, 2)) == 1.0
    block = findings(PILOT, Cells(9_200, 460, 800, 20, 460.0), 1_000).blocks
    assert block == (f"sample ratio mismatch: p = {mismatch((9_200, 800), (9, 1)):.2g}",)


def test_the_hash_fills_pilot_control_and_holdout_cells_as_planned_and_apart_from_each_other() -> None:
    customers = np.arange(200_000)
    pilot = held_out("pilot 秋季", customers, 1_000)
    control = held_out("control 秋季", customers[pilot], 2_000)
    holdout = held_out("holdout", customers[pilot], 500)
    assert mismatch((int(pilot.sum()), int((~pilot).sum())), (1, 9)) > 0.001
    assert mismatch((int(control.sum()), int((~control).sum())), (2, 8)) > 0.001
    both = [int((control & holdout).sum()), int((control & ~holdout).sum())]
    assert mismatch(both, (5, 95)) > 0.001
    assert bool(np.all(shares("pilot 秋季", customers)[pilot] < 0.1))


@pytest.mark.parametrize(
    ("opened", "sent", "says"),
    [(400, 10_000, ""), (330, 10_000, ""), (300, 10_000, "disagrees"), (600, 10_000, "disagrees"), (30, 900, "needed")],
)
def test_the_gate_opens_when_the_pilot_agrees_with_the_prediction(opened: int, sent: int, says: str) -> None:
    """R004-028: within the tolerance, or with the prediction inside the interval; else it is blocked and says why."""
    found = findings(PILOT, Cells(sent, opened, sent // 9, 10, 0.04 * sent), 1_000)
    assert found.predicted == pytest.approx(0.04)
    assert all(says in block for block in found.blocks)
    assert bool(found.blocks) == bool(says)


@pytest.mark.parametrize("truth", [0.01, 0.03, 0.12])
def test_rounds_corrected_by_feedback_come_ever_nearer_to_the_truth(truth: float) -> None:
    """R004-029, R004-030: the estimate's error decreases from round to round on a planted truth."""
    dice, predicted, errors = np.random.default_rng(3), 0.06, [abs(0.06 - truth)]
    for _ in range(4):
        predicted = corrected(predicted, wilson(int(dice.binomial(800, truth)), 800))
        errors.append(abs(predicted - truth))
    assert errors[-1] < errors[0] / 5
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"share_bps": 0}, "share_bps"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"predicted": 1.0}, "predicted"),
        ({"earlier_successes": 1}, "earlier_successes"),
    ],
)
def test_a_pilot_that_cannot_be_held_is_refused(changes: dict[str, float], field: str) -> None:
    with pytest.raises(Refusal) as refused:
        checked(Pilot(**{**PILOT.__dict__, **changes}))
    assert (refused.value.reason, refused.value.metadata) == ("PILOT_INVALID", {"field": field})
