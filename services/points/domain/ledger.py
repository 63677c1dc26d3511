"""The ledger: double entry, append only. What employees gain, a budget gives; the entries of an event sum to zero.

An entry's id is a hash of what it is (event, rule set, rule, account, role; for a reversal, also the entry that it
takes back), so the same event scored again gives the same entries, on any machine and in any order.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.points.domain.event import Event
from services.points.domain.field import WHOLE_BPS, Part, split

UNASSIGNED = "unassigned"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `source` and `source_event_id` identify the event; `assignment_id` 0 means no assignment."""

    entry_id: str
    account: str
    staff_id: str
    org_id: str
    milli_points: int
    source: str
    source_event_id: str
    event_id: str
    rule_set_id: str
    rule_set_sha256: str
    rule_id: str
    component: str
    role: str
    share_bps: int
    assignment_id: int
    reverses_entry_id: str
    period_id: str
    occur_time: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """What one rule gives for an event, and who shares it: shares sum to 10,000, in the remainder rule's order."""

    rule_set_id: str
    rule_set_sha256: str
    rule_id: str
    component: str
    milli_points: int
    parts: Sequence[Part]


def account_of(staff_id: str) -> str:
    """The account of an employee, or of nobody."""
    return f"staff:{staff_id}" if staff_id else UNASSIGNED


def contra_of(component: str) -> str:
    """The account that a component's points come from."""
    return f"budget:{component}"


def staff_part(staff_id: str) -> list[Part]:
    """All of it for the employee who made the business; for `unassigned` when the event names nobody."""
    return [Part(staff_id, "", WHOLE_BPS, 0)]


def posting(event: Event, grant: Grant, period_id: str, orgs: dict[str, str]) -> list[Entry]:
    """Entries of one rule's gift: one for each part that gets something, and the budget's; none when it gives zero.

    `orgs` gives the organisation of each employee.
    """
    amounts = split(grant.milli_points, [part.share_bps for part in grant.parts])
    lines = [
        (account_of(part.staff_id), part, amount) for part, amount in zip(grant.parts, amounts, strict=True) if amount
    ]
    if lines:
        lines.append((contra_of(grant.component), Part("", "", WHOLE_BPS, 0), -grant.milli_points))
    return [
        Entry(
            entry_id=_entry_id(*event.key, grant.rule_set_sha256, grant.rule_id, account, part.role, ""),
            account=account,
            staff_id=part.staff_id,
            org_id=orgs.get(part.staff_id, ""),
            milli_points=amount,
            source=event.source,
            source_event_id=event.source_event_id,
            event_id=event.event_id,
            rule_set_id=grant.rule_set_id,
            rule_set_sha256=grant.rule_set_sha256,
            rule_id=grant.rule_id,
            component=grant.component,
            role=part.role,
            share_bps=part.share_bps,
            assignment_id=part.assignment_id,
            reverses_entry_id="",
            period_id=period_id,
            occur_time=event.occur_time,
        )
        for account, part, amount in lines
    ]


def reversal(refund: Event, origin: Iterable[Entry], period_id: str) -> list[Entry]:
    """Entries that take back the origin's, each the same with the other sign, in the refund's period."""
    return [
        Entry(
            entry_id=_entry_id(*refund.key, e.rule_set_sha256, e.rule_id, e.account, e.role, e.entry_id),
            account=e.account,
            staff_id=e.staff_id,
            org_id=e.org_id,
            milli_points=-e.milli_points,
            source=refund.source,
            source_event_id=refund.source_event_id,
            event_id=refund.event_id,
            rule_set_id=e.rule_set_id,
            rule_set_sha256=e.rule_set_sha256,
            rule_id=e.rule_id,
            component=e.component,
            role=e.role,
            share_bps=e.share_bps,
            assignment_id=e.assignment_id,
            reverses_entry_id=e.entry_id,
            period_id=period_id,
            occur_time=refund.occur_time,
        )
        for e in origin
    ]


class Digest:
    """SHA-256 over entries in the order of their ids: what a ledger says, free of when and where it was posted."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, entries: Iterable[tuple[str, str, int, str, str]]) -> None:
        """Take in (entry_id, account, milli_points, period_id, reverses_entry_id), in the order of entry_id."""
        for entry in entries:
            self._hash.update(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def hex(self) -> str:
        """The checksum so far."""
        return self._hash.hexdigest()


def digest(entries: Iterable[Entry]) -> str:
    """The checksum of entries in any order."""
    whole = Digest()
    whole.add(
        (e.entry_id, e.account, e.milli_points, e.period_id, e.reverses_entry_id)
        for e in sorted(entries, key=lambda e: e.entry_id)
    )
    return whole.hex()


def _entry_id(*what: str) -> str:
    """32 hexadecimal digits. JSON keeps the parts apart whatever characters they hold."""
    return hashlib.sha256(json.dumps(what, ensure_ascii=False).encode()).hexdigest()[:32]
