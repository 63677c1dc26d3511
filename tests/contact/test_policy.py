"""Caps over rolling windows, quiet hours, and the three kinds of no limit."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contact.domain.policy import (
    UNLIMITED,
    ChannelLimit,
    CustomerCap,
    Policy,
    business_day,
    checked,
    contact_time,
    quiet,
)
from services.kit.errors import Refusal
from tests.contact.made import DAY, limit, policy

SHANGHAI = ZoneInfo("Asia/Shanghai")


def capped(*caps: CustomerCap) -> Policy:
    return policy(customer_caps=caps)


@given(
    most=st.integers(0, 4),
    window=st.integers(1, 10),
    wishes=st.lists(st.integers(-20, 20), min_size=1, max_size=40),
)
def test_who_gets_what_room_there_is_never_exceeds_the_cap_in_any_window(
    most: int, window: int, wishes: list[int]
) -> None:
    rule = capped(CustomerCap("", most, window))
    sent: list[tuple[date, int]] = []
    for wish in wishes:  # in any order of days: late plans, and plans for later days made earlier
        on = DAY + timedelta(days=wish)
        if rule.room("B", sent, on) > 0:
            sent.append((on, 1))
    for start in range(-40, 40):
        first = DAY + timedelta(days=start)
        assert sum(first <= day < first + timedelta(days=window) for day, _ in sent) <= most


@given(st.integers(1, 30), st.integers(1, 5))
def test_the_room_comes_back_on_the_day_the_window_has_passed_and_not_before(window: int, most: int) -> None:
    rule = capped(CustomerCap("", most, window))
    earlier = [(DAY, most)]
    assert rule.room("B", earlier, DAY + timedelta(days=window - 1)) == 0
    assert rule.room("B", earlier, DAY + timedelta(days=window)) == most


def test_a_level_goes_by_its_own_caps_and_others_by_those_for_all() -> None:
    rule = capped(CustomerCap("A", 3, 7), CustomerCap("A", 5, 30), CustomerCap("", 1, 30))
    week_ago = [(DAY - timedelta(days=8), 4)]
    assert rule.room("A", (), DAY) == 3
    assert rule.room("A", week_ago, DAY) == 1
    assert rule.room("C", (), DAY) == 1


def test_no_cap_a_cap_of_none_and_no_word_on_a_level_are_three_things() -> None:
    assert capped(CustomerCap("", None, 30)).room("B", [(DAY, 100)], DAY) == UNLIMITED
    assert capped(CustomerCap("", 0, 30)).room("B", (), DAY) == 0
    assert capped(CustomerCap("A", 5, 30)).room("B", (), DAY) == 0  # a level that nobody thought of is left in peace


hours = st.integers(0, 23)


@given(hours, hours, st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.floats(0, 1, exclude_max=True))
def test_a_contact_is_made_on_its_day_and_outside_of_quiet_hours(start: int, end: int, on: date, share: float) -> None:
    rule = limit(quiet_from_hour=start, quiet_to_hour=end)
    moment = contact_time(rule, on, SHANGHAI, share)
    local = moment.astimezone(SHANGHAI)
    assert business_day(moment, SHANGHAI) == on
    assert not quiet(rule, local.hour)
    assert moment == contact_time(rule, on, SHANGHAI, share)


def test_quiet_hours_go_over_midnight_and_equal_hours_mean_none() -> None:
    night: ChannelLimit = limit(quiet_from_hour=21, quiet_to_hour=9)
    assert [hour for hour in range(24) if not quiet(night, hour)] == list(range(9, 21))
    assert not any(quiet(limit(quiet_from_hour=5, quiet_to_hour=5), hour) for hour in range(24))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (capped(CustomerCap("A", 1, 7), CustomerCap("A", 2, 7)), "customer_caps[1].level"),
        (policy(limit("sms"), limit("sms")), "channel_limits[1].channel"),
        (policy(limit("pigeon")), "channel_limits[0].channel"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused_with_the_field_named(wrong: Policy, field: str) -> None:
    with pytest.raises(Refusal) as refused:
        checked(wrong)
    assert refused.value.reason == "POLICY_INVALID"
    assert refused.value.metadata == {"field": field}
