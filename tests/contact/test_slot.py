"""Slots: fair turns, priority, defaults with reasons, overlaps, pictures that fit; and their states as a machine."""

import dataclasses
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.contact.domain import slot as slots
from services.contact.domain.slot import (
    Board,
    Content,
    Picture,
    Push,
    Rotation,
    Schedule,
    Showing,
    Slot,
    Value,
    fitting,
    forbidden,
    overlapping,
    preview,
    showings,
    suggestions,
)
from services.kit.errors import Refusal
from tests.fixtures.counts import FULL

NOW = datetime(2026, 10, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def slot(slot_id: str = "top", **changes: Any) -> Slot:
    told: dict[str, Any] = {"width_px": 0, "height_px": 0, "form": slots.DATA, "choice": slots.ROTATE}
    return Slot(slot_id, "首页", "web", default_content="欢迎", **(told | changes))


def content(name: str, slot_id: str = "top", **changes: Any) -> Content:
    told: dict[str, Any] = {"pitch": f"{name}半价", "picture_code": "", "campaign_id": "", "product_id": ""}
    return Content(f"{name}-1", slot_id, name, 1, author="li", **(told | {"state": slots.APPROVED} | changes))


def schedule(name: str, slot_id: str = "top", **changes: Any) -> Schedule:
    told: dict[str, Any] = {"start_time": NOW, "end_time": NOW + HOUR, "priority": 0, "weight": 1}
    told |= {"exclusive": False, "moment": ""}
    return Schedule(f"s-{name}-{slot_id}", slot_id, f"{name}-1", **(told | changes))


def board(*schedules: Schedule, of: tuple[Slot, ...] = (slot(),), off: frozenset[str] = frozenset()) -> Board:
    by_slot: dict[str, list[Schedule]] = {}
    for one in schedules:
        by_slot.setdefault(one.slot_id, []).append(one)
    contents = {one.content_id: content(one.content_id.removesuffix("-1"), one.slot_id) for one in schedules}
    return Board({one.slot_id: one for one in of}, contents, by_slot, off)


def shown(of: Board, rotation: Rotation | None = None, *slot_ids: str, **when: Any) -> list[Showing]:
    return showings(of, rotation or Rotation(), slot_ids or ("top",), when.get("now", NOW), when.get("moment", ""))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
@settings(max_examples=5, deadline=None)
def test_ten_thousand_turns_are_as_fair_as_the_weights(weights: list[int]) -> None:
    """R003-077: rotation is fair within 1 % over 10,000 calls; here within one showing, for any weights."""
    of = board(*(schedule(f"c{at}", weight=weight) for at, weight in enumerate(weights)))
    rotation, turns = Rotation(), 10_000
    seen = Counter(shown(of, rotation)[0].content.name for _ in range(turns))  # type: ignore[union-attr]
    for at, weight in enumerate(weights):
        due = turns * weight / sum(weights)
        assert abs(seen[f"c{at}"] - due) <= max(1.0, 0.0001 * turns)


def test_by_priority_it_is_always_the_same_one() -> None:
    """R003-077: priority is deterministic."""
    of = board(schedule("low", priority=1), schedule("high", priority=9), of=(slot(choice=slots.PRIORITY),))
    assert {shown(of)[0].content.name for _ in range(20)} == {"high"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        (board(schedule("a"), of=(slot(state=slots.DISABLED),)), slots.SLOT_DISABLED),
        (board(schedule("a"), off=frozenset({"web"})), slots.CHANNEL_DISABLED),
        (board(schedule("a", end_time=NOW)), slots.NOTHING_DUE),
        (board(schedule("a", start_time=NOW + timedelta(seconds=1))), slots.NOTHING_DUE),
        (board(schedule("a", cancelled=True)), slots.NOTHING_DUE),
        (board(schedule("a", moment="life.arrival")), slots.NOTHING_DUE),
        (Board({}, {}, {}), slots.UNKNOWN),
    ],
)
def test_what_may_not_be_shown_gives_the_default_with_its_reason(of: Board, reason: str) -> None:
    """R003-063: only valid channels and slots qualify; else the default, and the reason is told."""
    (showing,) = shown(of)
    assert (showing.content, showing.reason) == (None, reason)


def test_a_schedule_is_kept_to_the_second_in_any_zone_and_to_its_moment() -> None:
    """R003-061, R003-064: slot, time and event timing decide together."""
    of = board(schedule("a", moment="life.arrival"), schedule("b", start_time=NOW + HOUR, end_time=NOW + 2 * HOUR))
    last = NOW + HOUR - timedelta(seconds=1)
    assert shown(of, now=last, moment="life.arrival")[0].content == content("a")
    assert shown(of, now=last)[0].content is None
    assert shown(of, now=NOW + HOUR)[0].content == content("b")


def test_several_slots_in_one_call_show_nothing_twice() -> None:
    """R003-071: a batch for n slots without duplicates."""
    places = (slot("top"), slot("side"), slot("foot"))
    of = board(*(schedule(name, place.slot_id) for place in places for name in ("a", "b")), of=places)
    found = shown(of, None, "top", "side", "foot")
    names = [one.content.name for one in found if one.content]
    assert sorted(names) == ["a", "b"]
    assert found[2].reason == slots.NOTHING_DUE


@pytest.mark.parametrize(
    ("size", "picture", "problem"),
    [
        ((640, 120), Picture("p", 640, 120, "0"), ""),
        ((640, 120), Picture("p", 640, 121, "0"), "640 × 121"),
        ((640, 120), None, "is needed"),
        ((0, 0), Picture("p", 640, 120, "0"), "640 × 120"),
        ((0, 0), None, ""),
    ],
)
def test_a_picture_has_exactly_the_size_of_its_slot(
    size: tuple[int, int], picture: Picture | None, problem: str
) -> None:
    """R003-044, R003-047: the picture's code is checked against the slot's size."""
    place = slot(width_px=size[0], height_px=size[1])
    one = content("a", picture_code="p" if picture else "")
    if not problem:
        assert fitting(one, place, picture) == one
        return
    with pytest.raises(Refusal, match=problem) as refused:
        fitting(one, place, picture)
    assert refused.value.metadata == {"field": "content.picture_code"}


def test_a_preview_shows_the_words_and_runs_nothing() -> None:
    """R003-052: preview before approval."""
    shown_ = preview(content("a", pitch="<script>x</script>", picture_code='"p'), slot(width_px=10, height_px=5))
    assert "<script>" not in shown_
    assert "&lt;script&gt;" in shown_
    assert 'width="10" height="5"' in shown_


SPAN = st.tuples(st.integers(0, 20), st.integers(1, 10))


@given(SPAN, SPAN, st.booleans(), st.booleans(), st.sampled_from(["", "m", "n"]))
def test_two_schedules_overlap_exactly_when_some_instant_is_in_both(
    one: tuple[int, int], other: tuple[int, int], exclusive: bool, same: bool, moment: str
) -> None:
    """R003-061: overlaps are detected, and refused where only one may be shown."""

    def at(name: str, span: tuple[int, int], **changes: Any) -> Schedule:
        start = NOW + span[0] * HOUR
        return schedule(name, start_time=start, end_time=start + span[1] * HOUR, **changes)

    a, b = at("a", one, moment="m"), at("b", other, exclusive=exclusive, priority=0 if same else 1, moment=moment)
    hours = set(range(one[0], sum(one))) & set(range(other[0], sum(other)))
    overlaps = overlapping(b, [a])
    assert bool(overlaps) == (bool(hours) and moment in ("", "m"))
    assert bool(forbidden(b, slot(), overlaps)) == (bool(overlaps) and exclusive)
    assert bool(forbidden(b, slot(choice=slots.PRIORITY), overlaps)) == (bool(overlaps) and (exclusive or same))


def test_clicks_that_differ_beyond_chance_become_a_suggestion() -> None:
    """R003-082: click results guide the rules, as a logged suggestion with its figures."""

    def value(name: str, exposures: int, clicks: int) -> Value:
        return Value("top", name, exposures, clicks, 0, 0, 0, 0, 0)

    (found,) = suggestions([value("a", 1_000, 60), value("b", 1_000, 20), value("c", 1_000, 55), value("d", 100, 0)])
    assert (found.content_id, found.better_content_id) == ("b", "a")
    assert found.difference_low > 0
    assert "2.00% of 1000 against 6.00% of 1000" in found.text


PEOPLE = st.sampled_from(["li", "wang"])


class Life(RuleBasedStateMachine):
    """Contents are approved and withdrawn, slots and channels switched: only what may be shown is ever shown."""

    @initialize()
    def begin(self) -> None:
        self.slot, self.off = slot(), False
        self.contents = {name: content(name, state=slots.DRAFT) for name in ("a", "b")}
        self.push = Push("p", "top", "web", slots.PUSHED, (), "0", NOW, NOW + 10 * HOUR)
        self.now, self.rotation, self.withdrawn = NOW, Rotation(), False

    @rule(
        name=st.sampled_from(["a", "b"]),
        verb=st.sampled_from([slots.APPROVE, slots.WITHDRAW]),
        actor=st.sampled_from(["li", "wang"]),
    )
    def somebody_moves_a_content(self, name: str, verb: str, actor: str) -> None:
        before = self.contents[name]
        legal = before.state == slots.DRAFT if verb == slots.APPROVE else before.state != slots.WITHDRAWN
        if not legal or (verb == slots.APPROVE and actor == "li"):
            with pytest.raises(Refusal) as refused:
                slots.content_moved(before, verb, actor)
            assert refused.value.reason == ("NOT_FOUR_EYES" if legal else "SLOT_STATE")
        else:
            self.contents[name] = dataclasses.replace(before, state=slots.content_moved(before, verb, actor))

    @rule(state=st.sampled_from([slots.VALID, slots.DISABLED]), off=st.booleans())
    def somebody_switches(self, state: str, off: bool) -> None:
        self.slot, self.off = dataclasses.replace(self.slot, state=state), off

    @rule(verb=st.sampled_from([slots.ACKNOWLEDGE, slots.WITHDRAW]), hours=st.integers(0, 4))
    def the_channel_answers(self, verb: str, hours: int) -> None:
        self.now += hours * HOUR
        expired = self.now >= self.push.expire_time
        over = self.withdrawn or expired
        if over and not (verb == slots.WITHDRAW and self.withdrawn):
            with pytest.raises(Refusal) as refused:
                slots.push_moved(self.push, verb, self.now)
            assert refused.value.reason == "SLOT_STATE"
            return
        self.push = dataclasses.replace(self.push, state=slots.push_moved(self.push, verb, self.now))
        self.withdrawn |= verb == slots.WITHDRAW

    @invariant()
    def only_what_may_be_shown_is_shown(self) -> None:
        approved = {one.content_id: one for one in self.contents.values() if one.state == slots.APPROVED}
        of = Board(
            {"top": self.slot},
            approved,
            {"top": [schedule("a", end_time=NOW + 1000 * HOUR), schedule("b", end_time=NOW + 1000 * HOUR)]},
            frozenset({"web"} if self.off else ()),
        )
        (showing,) = shown(of, self.rotation, now=self.now)
        if self.slot.state != slots.VALID or self.off or not approved:
            assert showing.content is None
            assert showing.reason
        else:
            assert showing.content in approved.values()
        assert (self.push.state == slots.WITHDRAWN) == self.withdrawn


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=1000 if FULL else 30, stateful_step_count=20, deadline=None)
