"""A plan's contacts: who won what, when it is made, under which id, and the checksum that says that two are equal."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from services.contact.domain.policy import MARKETING

READY, HANDED_OVER = "READY", "HANDED_OVER"

PLANNED = "PLANNED"
CONTROL, CONTROL_WITHHELD = "CONTROL", "CONTROL_WITHHELD"
SENT = "HANDED_OVER"
CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
CAP_REACHED = "CAP_REACHED"
UNREACHABLE = "UNREACHABLE"
CAMPAIGN_STOPPED = "CAMPAIGN_STOPPED"
"""States of a contact: from PLANNED to SENT, or to the reason why it was not written.

A contact of the control goes from CONTROL to CONTROL_WITHHELD where, had it been PLANNED, it would not have been.
"""


@dataclass(frozen=True)
class Contact:
    """One customer to be contacted, or held out for comparison (`state` CONTROL or CONTROL_WITHHELD)."""

    contact_id: str
    plan_id: str
    plan_date: date
    customer_key: int
    org_id: str
    campaign_id: str
    offer_id: str
    product_id: str
    channel: str
    value_fen: float
    cost_fen: int
    worth_fen: int
    contact_time: datetime
    state: str
    purpose: str = MARKETING

    @property
    def control(self) -> bool:
        """Held out for comparison, never sent."""
        return self.state in (CONTROL, CONTROL_WITHHELD)


@dataclass(frozen=True)
class Price:
    """What one more unit of a constraint would bring; `bound` −1 is none."""

    constraint: str
    price_fen: float
    used: int
    bound: int


@dataclass(frozen=True)
class File:
    """One file written for OCRM; `tagged` of its rows tell the customer's tags."""

    file_name: str
    rows: int
    md5: str
    tagged: int = 0


@dataclass(frozen=True)
class Plan:
    """The outcome of one auction; `sequence` counts the plans of its day from 1, and numbers its hand-over file."""

    plan_id: str
    matrix_id: str
    policy_version: int
    plan_date: date
    sequence: int
    candidates: int
    contacts: int
    control_contacts: int
    objective_fen: float
    bound_fen: float
    gap: float
    prices: tuple[Price, ...]
    sha256: str
    create_time: datetime
    state: str = READY
    withheld_contacts: int = 0
    files: tuple[File, ...] = ()


def contact_id(on: date, sequence: int, customer_key: int, campaign: str, product_id: str, channel: str) -> str:
    """The contact's id: 128 bits of SHA-256, hex, over the plan's day and number and what was won.

    Assigned ids do not enter, so that the same auction held again, on another platform too, gives the same ids.
    """
    name = f"{on}|{sequence}|{customer_key}|{campaign}|{product_id}|{channel}"
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def attribution_token(contact: str) -> str:
    """The token that outcomes carry, made from the contact's id so that it need not be kept."""
    return hashlib.sha256(f"attribution|{contact}".encode()).hexdigest()[:24]


def checksum(contacts: Iterable[Contact]) -> str:
    """SHA-256 over the contacts in order, hex: the contact's id holds who and what, the rest is written out."""
    digest = hashlib.sha256()
    for contact in contacts:
        moment = contact.contact_time.astimezone(UTC).strftime("%Y%m%d%H%M%S")
        digest.update(f"{contact.contact_id}|{contact.value_fen!r}|{contact.control}|{moment}\n".encode())
    return digest.hexdigest()
