"""When in the day contacts are made: at customers' best hours, never in quiet ones nor beyond an hour's capacity."""

from collections import Counter
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contact.domain.plan import PLANNED, Contact
from services.contact.domain.policy import contact_time, quiet
from services.contact.domain.timing import WEEKEND, WORKDAY, Hours, day_type, timed
from tests.contact.made import DAY, limit, policy

ZONE = ZoneInfo("Asia/Shanghai")
RULES = policy(limit("sms"), limit("call", hourly_capacity=3, quiet_from_hour=20, quiet_to_hour=8))


def contact(key: int, channel: str = "sms", share: float = 0.5) -> Contact:
    rule = RULES.limit(channel)
    assert rule is not None
    when = contact_time(rule, DAY, ZONE, share)
    return Contact(f"c{key}", "p", DAY, key, "G01", "k", "o", "P01", channel, 1.0, 5, 100, when, PLANNED)


def hour(one: Contact) -> int:
    return one.contact_time.astimezone(ZONE).hour


def test_a_contact_is_made_in_the_best_open_hours_of_the_kind_of_day() -> None:
    """R001-059: the timing profile chooses the hour; quiet hours are never chosen, however good."""
    told = {
        1: [Hours(WORKDAY, 18, 20, 0.6), Hours(WORKDAY, 21, 23, 0.9), Hours(WEEKEND, 10, 11, 1.0)],
        2: [Hours(WEEKEND, 10, 11, 1.0)],
    }
    first, second, third = timed([contact(1), contact(2), contact(3)], told, RULES, DAY, ZONE)
    assert day_type(DAY) == WORKDAY
    assert hour(first) in (18, 19)
    assert (second, third) == (contact(2), contact(3))  # nothing is known of them on such a day
    assert (first.contact_id, first.contact_time.minute) == ("c1", contact(1).contact_time.astimezone(UTC).minute)
    assert day_type(date(2026, 10, 3)) == WEEKEND


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["sms", "call"]), st.floats(0, 0.999), st.integers(8, 19), st.floats(0, 1)),
        max_size=36,
    )
)
def test_no_hour_holds_more_than_its_capacity_and_none_is_quiet(rows: list[tuple[str, float, int, float]]) -> None:
    contacts = [contact(key, channel, share) for key, (channel, share, _, _) in enumerate(rows, 1)]
    told = {key: [Hours(WORKDAY, at, at + 1, score)] for key, (_, _, at, score) in enumerate(rows, 1)}
    placed = timed(contacts, told, RULES, DAY, ZONE)
    assert [one.contact_id for one in placed] == [one.contact_id for one in contacts]
    assert timed(contacts, told, RULES, DAY, ZONE) == placed
    for one in placed:
        rule = RULES.limit(one.channel)
        assert rule is not None
        assert not quiet(rule, hour(one))
        assert one.contact_time.astimezone(ZONE).date() == DAY
    calls = Counter(hour(one) for one in placed if one.channel == "call")
    assert all(count <= 3 for count in calls.values())


@pytest.mark.parametrize("count", [40, 400])
def test_the_best_hour_of_everybody_does_not_flood_a_channel(count: int) -> None:
    placed = timed(
        [contact(key, share=key / count * 0.99) for key in range(1, count + 1)],
        {key: [Hours(WORKDAY, 12, 13, key / count)] for key in range(1, count + 1)},
        RULES,
        DAY,
        ZONE,
    )
    noon = [one for one in placed if hour(one) == 12]
    assert len(noon) <= 3 * -(-count // 12)  # two even shares of those who gain, and whose own hour it was
    assert {one.customer_key for one in noon} >= set(range(count - count // 10, count + 1))  # who gains most
    assert datetime(2026, 10, 1, tzinfo=ZONE) <= min(one.contact_time for one in placed)
