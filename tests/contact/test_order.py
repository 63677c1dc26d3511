"""Marketing orders as a machine: whatever people and time do, the order ends, and its story is true."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.contact.domain import order as orders
from services.contact.domain.order import (
    ACCEPTED,
    CLOSED,
    CONTACTED,
    CREATED,
    DISPATCHED,
    EXPIRED,
    LIMITS,
    MOVES,
    RESULT,
    RETURNED,
    TIMED_OUT,
    Draft,
    Feedback,
    Move,
    Order,
    Step,
    created,
    history,
    moved,
)
from services.kit.errors import Refusal
from tests.fixtures.counts import FULL

NOW = datetime(2026, 10, 1, tzinfo=UTC)
BY_PEOPLE = [verb for verb in MOVES if verb != orders.TIME_OUT]
# Written down a second time, by hand, from the requirement: what may follow what.
LEGAL = {
    (CREATED, "dispatch"),
    (DISPATCHED, "accept"),
    (ACCEPTED, "contact"),
    (CONTACTED, "report"),
    (RESULT, "close"),
    (DISPATCHED, "send_back"),
    (ACCEPTED, "send_back"),
    *((state, "reassign") for state in (DISPATCHED, ACCEPTED, RETURNED, TIMED_OUT)),
    *((state, "close") for state in (CREATED, RETURNED, TIMED_OUT)),
    *((state, "time_out") for state in (CREATED, DISPATCHED, ACCEPTED, CONTACTED, RESULT, RETURNED, TIMED_OUT)),
}


def made() -> Order:
    return created(Draft(17, "campaign", "P01", "半价", "E1"), "G01", "o1", NOW)


def step(verb: str) -> Step:
    told = Feedback("RESPONDED", "想再看看", "considers", {"home": "东区"}) if verb == orders.REPORT else None
    return Step(verb, "E2" if verb == orders.REASSIGN else "", feedback=told)


class Life(RuleBasedStateMachine):
    """People try any verb at any time; time goes by as it likes."""

    @initialize()
    def begin(self) -> None:
        self.order, self.now = made(), NOW
        self.story: list[Move] = [history(self.order, Step(orders.CREATE), "desk", NOW)]

    def take(self, verb: str, actor: str) -> None:
        before = self.order
        if (before.state, verb) not in LEGAL:
            with pytest.raises(Refusal) as refused:
                moved(before, step(verb), self.now)
            assert refused.value.reason == "ORDER_STATE"
            return
        self.order = moved(before, step(verb), self.now, before.etag)
        self.story.append(history(self.order, step(verb), actor, self.now))
        with pytest.raises(Refusal) as refused:
            moved(self.order, step(verb), self.now, before.etag)
        assert refused.value.reason == "ORDER_CHANGED"

    @rule(verb=st.sampled_from(BY_PEOPLE))
    def somebody_acts(self, verb: str) -> None:
        self.take(verb, "somebody")

    @rule(hours=st.integers(1, 100))
    def time_goes_by(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @precondition(lambda self: self.order.due_time is not None and self.order.due_time <= self.now)
    @rule()
    def the_platform_looks(self) -> None:
        self.take(orders.TIME_OUT, orders.PLATFORM)

    @invariant()
    def the_story_is_the_order(self) -> None:
        assert self.story[-1].state == self.order.state
        assert self.order.revision == len(self.story)
        assert (self.order.due_time is None) == (self.order.state == CLOSED) == bool(self.order.closing)
        assert self.order.returns == sum(move.verb == "send_back" for move in self.story)
        assert self.order.timeouts == sum(move.verb == "time_out" for move in self.story)
        assert (self.order.feedback is not None) == any(move.verb == "report" for move in self.story)
        if self.order.feedback is not None and self.order.state == CLOSED:
            assert self.order.closing == "DONE"


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=1000 if FULL else 40, stateful_step_count=25, deadline=None)


def test_every_pair_of_state_and_verb_goes_as_the_requirement_says() -> None:
    """R000-043: the moves that the requirement names, and no other."""
    assert {(state, verb) for verb, pairs in MOVES.items() for state in pairs} == LEGAL
    assert set(LIMITS) == {state for state, _ in LEGAL}


def test_an_order_that_nobody_touches_ends_by_itself() -> None:
    """R000-043: every order ends in a terminal state."""
    order, looks = made(), 0
    while order.state != CLOSED:
        assert order.due_time is not None
        order, looks = moved(order, Step(orders.TIME_OUT), order.due_time), looks + 1
    assert (order.closing, looks) == (EXPIRED, 2)


def test_an_order_that_goes_from_hand_to_hand_is_closed_in_the_end() -> None:
    order = moved(made(), Step(orders.DISPATCH), NOW)
    for _ in range(orders.MOST_HANDS - 1):
        order = moved(moved(order, Step(orders.SEND_BACK), NOW), Step(orders.REASSIGN, "E3"), NOW)
    order = moved(order, Step(orders.SEND_BACK), NOW)
    assert (order.state, order.closing, order.returns) == (CLOSED, EXPIRED, orders.MOST_HANDS)
