"""Business events, and why one may have to wait.

An event that cannot be scored is kept in suspense with its reason and tried again when reference data or rules change,
or, for a refund, when its origin was scored. What a reason depends on never includes the order of arrival, so that the
final ledger does not either.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.points.domain.field import subjects_of
from services.points.domain.rule_set import EVENT_TYPES

REFUND = "REFUND"
ADJUSTMENT = "ADJUSTMENT"
"""The type of the event under which a correction by hand is posted, and the rule of its entries."""
AHEAD = timedelta(minutes=10)
"""How far a source's clock may run ahead of ours."""


@dataclass(frozen=True, slots=True)
class Event:
    """A business event. (`source`, `source_event_id`) is its identity; `amount_fen` None could not be read."""

    event_id: str
    source: str
    source_event_id: str
    type: str
    customer_key: int
    product_id: str
    staff_id: str
    channel: str
    amount_fen: int | None
    origin_event_id: str
    occur_time: datetime
    receive_time: datetime
    delivery_id: str = ""
    line: int = 0
    customer_type: str = ""
    cell_id: str = ""
    grid_id: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Its identity."""
        return self.source, self.source_event_id

    @property
    def origin_key(self) -> tuple[str, str]:
        """The identity of the event that a refund takes back."""
        return self.source, self.origin_event_id

    @property
    def subjects(self) -> tuple[int, ...]:
        """Whose fields it may fall in, the nearest first: its customer's, its cell's, its grid's."""
        return subjects_of(self.customer_key, self.cell_id, self.grid_id)

    def body(self) -> tuple[object, ...]:
        """What the source told: the same identity with another body is another event under a used id."""
        return (self.type, self.customer_key, self.product_id, self.staff_id, self.channel, self.amount_fen,
                self.origin_event_id, self.occur_time, self.customer_type, self.cell_id, self.grid_id)  # fmt: skip


class Reason(StrEnum):
    """Why an event waits."""

    UNREADABLE_AMOUNT = "UNREADABLE_AMOUNT"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    NEGATIVE_AMOUNT = "NEGATIVE_AMOUNT"
    FUTURE_DATE = "FUTURE_DATE"
    REFERENCE_MISSING = "REFERENCE_MISSING"
    NO_RULES_IN_FORCE = "NO_RULES_IN_FORCE"
    UNKNOWN_PRODUCT = "UNKNOWN_PRODUCT"
    UNKNOWN_STAFF = "UNKNOWN_STAFF"
    AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
    SHARES_TOO_LARGE = "SHARES_TOO_LARGE"
    UNKNOWN_ORIGIN = "UNKNOWN_ORIGIN"
    ORIGIN_NOT_SCORED = "ORIGIN_NOT_SCORED"
    ORIGIN_IS_REFUND = "ORIGIN_IS_REFUND"
    ORIGIN_REFUNDED = "ORIGIN_REFUNDED"
    REFUND_TOO_LARGE = "REFUND_TOO_LARGE"
    EVENT_ID_REUSED = "EVENT_ID_REUSED"


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason with its sentence."""

    reason: Reason
    message: str


def doubt_about(event: Event) -> Doubt | None:
    """What is wrong with the event by itself, whatever the reference data says; None when nothing is."""
    if event.amount_fen is None:
        return Doubt(Reason.UNREADABLE_AMOUNT, "the amount is not a whole number of fen")
    if event.type not in EVENT_TYPES and event.type != REFUND:
        return Doubt(Reason.UNKNOWN_TYPE, f"{event.type} is not a type of business event")
    if event.amount_fen < 0:
        return Doubt(Reason.NEGATIVE_AMOUNT, f"the amount is {event.amount_fen} fen; points are taken back by REFUND")
    if event.occur_time > event.receive_time + AHEAD:
        when = event.occur_time.isoformat()
        return Doubt(Reason.FUTURE_DATE, f"it says {when}, but came on {event.receive_time.isoformat()}")
    return None


def doubt_about_references(event: Event, products: Collection[str], staff: Collection[str]) -> Doubt | None:
    """Whether what the event names is known; an empty product or employee names nobody and is fine."""
    if event.product_id and event.product_id not in products:
        return Doubt(Reason.UNKNOWN_PRODUCT, f"no product has the id {event.product_id}")
    if event.staff_id and event.staff_id not in staff:
        return Doubt(Reason.UNKNOWN_STAFF, f"no employee has the id {event.staff_id}")
    return None
