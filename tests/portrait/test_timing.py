"""Times and channels for a contact: the arithmetic, and that nobody is woken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.timing import Answers, Stay, channels, slot_of, times

stays = st.lists(
    st.builds(
        Stay,
        st.sampled_from(["workday", "weekend"]),
        st.sampled_from(SLOTS),
        st.sampled_from(["res.house.dorm", "off.biz.tower", "fun.av.ktv"]),
        st.integers(1, 20),
        st.integers(1, 10**6),
        st.just(20),
    ),
    max_size=12,
)


@given(stays, st.frozensets(st.integers(0, 23)), st.integers(1, 10))
def test_times_lie_in_their_slot_by_day_and_the_best_is_first(
    lived: list[Stay], busy: frozenset[int], most: int
) -> None:
    peaks = {(day, "res.house.dorm"): busy for day in ("workday", "weekend")}
    found = times(lived, peaks, {}, {}, most)
    assert len(found) <= most
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    for each in found:
        assert each.slot not in ("late", "early")
        assert {slot_of(hour) for hour in range(each.from_hour, each.to_hour)} == {each.slot}
        hours = set(range(each.from_hour, each.to_hour))
        assert each.crowded or each.scene != "res.house.dorm" or not hours & busy
        assert 0 < each.score <= 1


def test_a_crowded_scene_counts_half_and_a_quiet_hour_of_it_whole() -> None:
    at = Stay("weekend", "eve", "fun.av.ktv", 10, 100, 20)
    (free,) = times([at], {}, {}, {}, 3)
    (partly,) = times([at], {("weekend", "fun.av.ktv"): frozenset({18})}, {}, {}, 3)
    (full,) = times([at], {("weekend", "fun.av.ktv"): frozenset({18, 19, 20})}, {}, {}, 3)
    assert free.score == pytest.approx(0.5 * 0.7 * 0.5)
    assert (partly.score, partly.from_hour, partly.to_hour) == (free.score, 19, 21)
    assert full.score == pytest.approx(free.score / 2)
    assert full.crowded


def test_a_share_is_drawn_to_everybodys() -> None:
    everybody = Answers(100, 20)
    assert Answers().share(everybody) == pytest.approx(0.2)
    assert Answers(4, 4).share(everybody) == pytest.approx(0.6)
    assert Answers(400, 400).share(everybody) > 0.98
    assert Answers().share(Answers()) == 0.5


def test_the_channel_that_is_answered_comes_first() -> None:
    found = channels({"sms": Answers(10, 0), "app": Answers(2, 2)}, {"sms": Answers(50, 10), "app": Answers(50, 10),
                                                                     "call": Answers(50, 10)})  # fmt: skip
    assert [each.channel for each in found] == ["app", "call", "sms"]
