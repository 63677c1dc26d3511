"""Outcomes merge whatever their order; effects are what the definitions say."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contact.domain.fact import ConsentChange
from services.contact.domain.outcome import RANK, Outcome, Tally, effect, merged
from tests.contact.made import outcome

TIMES = [datetime(2026, 10, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(4)]

reports = st.builds(
    Outcome,
    contact_id=st.just("c"),
    result=st.sampled_from(sorted(RANK)),
    opened=st.booleans(),
    open_time=st.sampled_from([None, *TIMES]),
    contact_time=st.sampled_from([None, *TIMES]),
    source=st.sampled_from(["rpc", "feedback"]),
)


@given(st.lists(reports, min_size=1, max_size=4))
def test_reports_of_a_contact_come_to_the_same_in_any_order_and_however_often(told: list[Outcome]) -> None:
    ends = set()
    for order in itertools.permutations(told):
        end = order[0]
        for one in (*order, *order[:2]):
            end = merged(end, one)
        ends.add(end)
    assert len(ends) == 1


def test_an_opening_once_reported_stays_and_the_later_contact_decides() -> None:
    early = outcome("c", "REFUSED", opened=True, open_time=TIMES[2], contact_time=TIMES[0])
    late = outcome("c", "UNREACHED", contact_time=TIMES[1])
    end = merged(early, late)
    assert (end.result, end.opened, end.open_time) == ("UNREACHED", True, TIMES[2])


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(TIMES)), min_size=1, max_size=5))
def test_of_consents_the_latest_prevails_and_at_the_same_time_the_withdrawal(told: list[tuple[bool, datetime]]) -> None:
    changes = [ConsentChange(1, "sms", "marketing", granted, time) for granted, time in told]
    last = max(time for _, time in told)
    ends = set()
    for order in (changes, changes[::-1]):
        end = order[0]
        for change in order:
            end = change if change.prevails(end) else end
        ends.add(end.granted)
    assert ends == {all(granted for granted, time in told if time == last)}


def test_the_effect_is_opening_against_control_in_rates_and_money() -> None:
    gold = Tally(worth_fen=10_000, sent=100, responded=40, opened=30, controls=50, control_opened=5, cost_fen=500)
    plain = Tally(worth_fen=2_000, sent=100, responded=10, opened=10, controls=50, control_opened=5, cost_fen=500)
    found = effect("c1", "秋季", [gold, plain], 3)
    assert (found.response.successes, found.response.trials) == (50, 200)
    assert (found.opening.rate, found.control_opening.rate) == (0.2, 0.1)
    assert found.lift == pytest.approx(2.0)
    assert found.difference == pytest.approx(0.1)
    assert found.difference_low < 0.1 < found.difference_high
    assert found.cost_fen == 1_000
    assert found.income_fen == 10_000 * (30 - 10) + 2_000 * (10 - 10)
    assert found.unmatched == 3


def test_without_a_control_group_the_interval_says_that_nothing_is_proven() -> None:
    found = effect("c1", "秋季", [Tally(100, 50, 20, 10, 0, 0, 0)], 0)
    assert found.lift == 0
    assert found.difference_low < 0 < found.difference_high
    assert effect("c1", "秋季", [], 0).opening.trials == 0
