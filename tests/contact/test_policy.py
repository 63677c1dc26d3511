"""Caps over rolling windows, quiet hours, and the three kinds of no limit."""

from collections import Counter
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contact.domain.policy import (
    BLACKOUT,
    CAP,
    COOLDOWN,
    DO_NOT_CONTACT,
    HELD_OUT,
    MARKETING,
    NO_CONSENT,
    QUIET,
    SERVICE,
    UNLIMITED,
    Asked,
    Blackout,
    ChannelLimit,
    CustomerCap,
    Fatigue,
    Policy,
    Touch,
    Wish,
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
    """Invariant 1."""
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
    """Invariant 12."""
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


def asked(*earlier: Touch, **changes: Any) -> Asked:
    told: dict[str, Any] = {"level": "B", "earlier": earlier, "consents": {("sms", MARKETING), ("call", MARKETING)}}
    return Asked(**(told | changes))


@given(
    st.sampled_from(["day", "week", "month"]),
    st.lists(st.integers(-40, 40), min_size=1, max_size=60),
    st.integers(0, 3),
)
def test_a_calendar_cap_is_never_exceeded_in_its_day_week_or_month(calendar: str, wishes: list[int], most: int) -> None:
    rule = capped(CustomerCap("", most, 1, calendar=calendar))
    sent: list[Touch] = []
    for wish in wishes:
        on = DAY + timedelta(days=wish)
        if rule.room("B", sent, on) > 0:
            sent.append(Touch(on))
    windows = Counter(
        {"day": one.day, "week": one.day.isocalendar()[:2], "month": (one.day.year, one.day.month)}[calendar]
        for one in sent
    )
    assert all(count <= most for count in windows.values())


def test_a_cap_of_a_channel_counts_and_binds_that_channel_alone() -> None:
    rule = capped(CustomerCap("", 3, 7), CustomerCap("", 1, 7, channel="call"))
    earlier = [Touch(DAY, 1, "call")]
    assert rule.room("B", earlier, DAY, channel="call") == 0
    assert rule.room("B", earlier, DAY, channel="sms") == 2


def test_service_and_care_pass_what_binds_marketing_use_none_of_it_up_and_have_bounds_of_their_own() -> None:
    """Invariant 11. R001-010: an outage is told to whose marketing cap is reached, at night, without consent."""
    rule = policy(
        limit("sms"),
        customer_caps=(CustomerCap("", 1, 30), CustomerCap("", 2, 1, purpose=SERVICE)),
        blackouts=(Blackout("高考", DAY, DAY),),
    )
    tired = asked(Touch(DAY, 1, "sms"), consents=set(), held_out=True)
    outage = Wish("sms", "", purpose=SERVICE)
    assert rule.refusal(tired, outage, DAY, 3) == ""
    assert rule.refusal(asked(Touch(DAY, 2, "sms", SERVICE)), outage, DAY, 12) == CAP
    assert rule.refusal(asked(refusals={("sms", SERVICE)}), outage, DAY, 12) == NO_CONSENT
    assert rule.refusal(asked(unwanted=True), outage, DAY, 12) == DO_NOT_CONTACT
    assert rule.room("B", [Touch(DAY, 2, "sms", SERVICE)], DAY) == 1  # marketing has its own room still


@pytest.mark.parametrize(
    ("customer", "hour", "reason"),
    [
        (asked(), 12, ""),
        (asked(consents={("call", MARKETING)}), 12, NO_CONSENT),
        (asked(held_out=True), 12, HELD_OUT),
        (asked(), 22, QUIET),
        (asked(Touch(DAY - timedelta(days=6), 1, "call", product_id="P01")), 12, COOLDOWN),
        (asked(Touch(DAY - timedelta(days=6), 1, "call", product_id="P09", exclusive_group="g")), 12, COOLDOWN),
        (asked(Touch(DAY - timedelta(days=7), 1, "call", product_id="P01")), 12, ""),
        (asked(Touch(DAY - timedelta(days=1), 3, "call")), 12, CAP),
    ],
)
def test_one_evaluator_says_why_a_contact_may_not_be_made(customer: Asked, hour: int, reason: str) -> None:
    rule = policy(limit("sms"), most=3, cooldown_days=7)
    assert rule.refusal(customer, Wish("sms", "P01", "g"), DAY, hour) == reason


def test_blackouts_close_their_days_for_their_channels() -> None:
    rule = policy(limit("sms"), limit("call"), blackouts=(Blackout("春节", DAY, DAY + timedelta(days=6), ("call",)),))
    assert rule.refusal(asked(), Wish("call", "P01"), DAY + timedelta(days=6), 12) == BLACKOUT
    assert rule.refusal(asked(), Wish("call", "P01"), DAY + timedelta(days=7), 12) == ""
    assert rule.refusal(asked(), Wish("sms", "P01"), DAY, 12) == ""


def test_fatigue_halves_with_time_and_a_refusal_tires_more() -> None:
    rule = policy(limit("sms"), most=None, fatigue=Fatigue(half_life_days=7, most_milli=2_000, refusal_milli=1_000))
    assert rule.room("B", [Touch(DAY)], DAY) == 1
    assert rule.room("B", [Touch(DAY, refused=1)], DAY) == 0
    assert rule.room("B", [Touch(DAY - timedelta(days=7), refused=1)], DAY) == 1


def test_a_channel_carries_no_more_in_a_day_than_its_open_hours_together() -> None:
    assert limit(capacity=None, hourly_capacity=10).daily_capacity == 120
    assert limit(capacity=50, hourly_capacity=10).daily_capacity == 50
    assert limit(capacity=None).daily_capacity is None
    assert limit(capacity=0).daily_capacity == 0
