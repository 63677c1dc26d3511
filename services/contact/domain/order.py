"""Marketing orders (派单): which verb leads where, how long each state may last, and that each one ends.

created → dispatched → accepted → contacted → result → closed; returned and timed out on the way, from where an order is
reassigned or given up. `MOVES` is the whole machine.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.contact.refusals import order_changed, order_state

CREATED, DISPATCHED, ACCEPTED, CONTACTED = "CREATED", "DISPATCHED", "ACCEPTED", "CONTACTED"
RESULT, CLOSED, RETURNED, TIMED_OUT = "RESULT", "CLOSED", "RETURNED", "TIMED_OUT"

DONE, GIVEN_UP, EXPIRED = "DONE", "GIVEN_UP", "EXPIRED"
"""How a closed order ended: with a result, without one, or because nobody took it up again."""

CREATE, DISPATCH, ACCEPT, CONTACT, REPORT = "create", "dispatch", "accept", "contact", "report"
SEND_BACK, REASSIGN, CLOSE, TIME_OUT = "send_back", "reassign", "close", "time_out"

PLATFORM = "platform"
"""The actor of what time does."""

MOVES: Mapping[str, Mapping[str, str]] = {
    DISPATCH: {CREATED: DISPATCHED},
    ACCEPT: {DISPATCHED: ACCEPTED},
    CONTACT: {ACCEPTED: CONTACTED},
    REPORT: {CONTACTED: RESULT},
    SEND_BACK: {DISPATCHED: RETURNED, ACCEPTED: RETURNED},
    REASSIGN: {DISPATCHED: DISPATCHED, ACCEPTED: DISPATCHED, RETURNED: DISPATCHED, TIMED_OUT: DISPATCHED},
    CLOSE: {RESULT: CLOSED, CREATED: CLOSED, RETURNED: CLOSED, TIMED_OUT: CLOSED},
    TIME_OUT: {
        CREATED: TIMED_OUT,
        DISPATCHED: TIMED_OUT,
        ACCEPTED: TIMED_OUT,
        CONTACTED: TIMED_OUT,
        RESULT: CLOSED,
        RETURNED: CLOSED,
        TIMED_OUT: CLOSED,
    },
}
"""Verb → state before → state after; what is not here is refused."""

LIMITS: Mapping[str, timedelta] = {
    CREATED: timedelta(hours=24),
    DISPATCHED: timedelta(hours=24),
    ACCEPTED: timedelta(hours=72),
    CONTACTED: timedelta(hours=48),
    RESULT: timedelta(hours=72),
    RETURNED: timedelta(hours=72),
    TIMED_OUT: timedelta(hours=72),
}
"""How long an order may stay in a state. The last three end it, so that every order ends by itself."""

MOST_HANDS = 5
"""An order that was returned or timed out so often is closed instead of waiting for yet another employee."""


@dataclass(frozen=True)
class Feedback:
    """What an employee brings back; `corrections` are attributes of the customer by name; `intent` "" was not asked."""

    result: str
    reason: str = ""
    intent: str = ""
    corrections: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Move:
    """One step of the history: what was done, and the state and employee that it made."""

    verb: str
    state: str
    staff_id: str
    actor: str
    note: str
    time: datetime


@dataclass(frozen=True)
class Order:
    """An order as it stands; `due_time` None once closed, `revision` counts its moves from 1."""

    order_id: str
    contact_id: str
    org_id: str
    campaign_id: str
    customer_key: int
    product_id: str
    content: str
    staff_id: str
    state: str
    due_time: datetime | None
    create_time: datetime
    update_time: datetime
    contact_time: datetime | None = None
    revision: int = 1
    returns: int = 0
    timeouts: int = 0
    closing: str = ""
    feedback: Feedback | None = None

    @property
    def etag(self) -> str:
        """Changes with every move."""
        return hashlib.sha256(f"{self.order_id}|{self.revision}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Draft:
    """An order to be made without a plan; `staff_id` "" when nobody is named."""

    customer_key: int
    campaign_id: str = ""
    product_id: str = ""
    content: str = ""
    staff_id: str = ""


@dataclass(frozen=True)
class Step:
    """A verb with what it brings: an employee, the time of the contact, a feedback, a note."""

    verb: str
    staff_id: str = ""
    contact_time: datetime | None = None
    feedback: Feedback | None = None
    note: str = ""


def created(draft: Draft, org_id: str, order_id: str, now: datetime) -> Order:
    """A new order for a customer of the organisation."""
    return Order(
        order_id=order_id,
        contact_id=order_id,
        org_id=org_id,
        campaign_id=draft.campaign_id,
        customer_key=draft.customer_key,
        product_id=draft.product_id,
        content=draft.content,
        staff_id=draft.staff_id,
        state=CREATED,
        due_time=now + LIMITS[CREATED],
        create_time=now,
        update_time=now,
    )


def moved(order: Order, step: Step, now: datetime, etag: str = "") -> Order:
    """The order after the step. Raises order_changed, order_state."""
    if etag and etag != order.etag:
        raise order_changed(order.order_id)
    state = MOVES[step.verb].get(order.state)
    if state is None:
        raise order_state(order.order_id, order.state, step.verb)
    returns = order.returns + (step.verb == SEND_BACK)
    timeouts = order.timeouts + (step.verb == TIME_OUT)
    closing = _closing(order, step.verb) if state == CLOSED else ""
    if state in (RETURNED, TIMED_OUT) and returns + timeouts >= MOST_HANDS:
        state, closing = CLOSED, EXPIRED
    return dataclasses.replace(
        order,
        staff_id=step.staff_id or order.staff_id,
        state=state,
        due_time=None if state == CLOSED else now + LIMITS[state],
        update_time=now,
        contact_time=step.contact_time or now if step.verb == CONTACT else order.contact_time,
        revision=order.revision + 1,
        returns=returns,
        timeouts=timeouts,
        closing=closing,
        feedback=step.feedback or order.feedback,
    )


def history(order: Order, step: Step, actor: str, now: datetime) -> Move:
    """The step that made this order, as its history tells it."""
    return Move(step.verb, order.state, order.staff_id, actor, step.note, now)


def _closing(order: Order, verb: str) -> str:
    if order.feedback is not None:
        return DONE
    return EXPIRED if verb == TIME_OUT else GIVEN_UP


@dataclass(frozen=True)
class Ageing:
    """Open orders of one employee in one state, by how long they have been in it."""

    staff_id: str
    state: str
    orders: int
    overdue: int
    under_day: int
    under_three_days: int
    older: int
    oldest_time: datetime
