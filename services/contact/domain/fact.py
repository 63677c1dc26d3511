"""What other systems tell, as far as contact acts on it."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True)
class ConsentChange:
    """A customer gave or withdrew consent to be contacted through a channel for a purpose."""

    customer_key: int
    channel: str
    purpose: str
    granted: bool
    change_time: datetime

    def prevails(self, other: "ConsentChange") -> bool:
        """Whether this change is in force and not the other: the later one; at the same time the withdrawal."""
        return (self.change_time, not self.granted) >= (other.change_time, not other.granted)


@dataclass(frozen=True)
class Opening:
    """A customer opened a product."""

    customer_key: int
    product_id: str
    open_time: datetime


@dataclass(frozen=True)
class Matrix:
    """A matrix was published; `as_of_date` is the last day of the data behind it."""

    matrix_id: str
    as_of_date: date | None
    create_time: datetime


@dataclass(frozen=True)
class Moment:
    """One of portrait's moment rules matched a customer."""

    moment_id: str
    customer_key: int
    pattern_id: str
    match_time: datetime


@dataclass(frozen=True)
class Merged:
    """Two keys are one person; the second stays."""

    customer_key: int
    into_key: int


@dataclass(frozen=True)
class Erased:
    """A person was erased: his key names nobody any more."""

    customer_key: int


@dataclass(frozen=True)
class Closing:
    """A customer gave a product up."""

    customer_key: int
    product_id: str
    close_time: datetime


@dataclass(frozen=True)
class Complained:
    """A customer complained, or his complaint was closed; `contact_id` and `satisfied` are "" when nobody says."""

    complaint_id: str
    customer_key: int
    kind: str
    contact_id: str
    time: datetime
    satisfied: str

    def with_(self, other: "Complained") -> "Complained":
        """Both told as one: it began with the earlier, and an answer once given stays."""
        first, last = sorted((self, other), key=lambda one: one.time)
        return Complained(
            first.complaint_id,
            first.customer_key,
            first.kind,
            first.contact_id or last.contact_id,
            first.time,
            last.satisfied or first.satisfied,
        )
