"""The ledger: double entry, append only. What employees gain, a budget gives; the entries of an event sum to zero.

An entry's id is a hash of what it is (event, rule set, rule, account, role; for a reversal, also the entry that it
takes back), so the same event scored again gives the same entries, on any machine and in any order.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from services.points.domain.event import Event
from services.points.domain.field import WHOLE_BPS, Part, split

UNASSIGNED = "unassigned"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `source` and `source_event_id` identify the event; `assignment_id` 0 means no assignment.

    `accrual_id` is the month that it belongs to. Entries of kind TIER and CAP belong to a month, or with a
    `business_date` to a day, and name the event that moved them; a field's cap has its `customer_key`.
    """

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
    kind: str = "EVENT"
    accrual_id: str = ""
    customer_key: int = 0
    business_date: date | None = None
    event_type: str = ""
    product_id: str = ""
    category: str = ""
    channel: str = ""
    customer_type: str = ""
    run_id: str = ""

    @property
    def source_key(self) -> tuple[str, str]:
        """The identity of its event."""
        return self.source, self.source_event_id


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event's entries stand: the period they are posted in, the month and day they belong to, the category."""

    period_id: str
    accrual_id: str
    business_date: date
    category: str = ""


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


def posting(event: Event, grant: Grant, place: Place, orgs: Mapping[str, str]) -> list[Entry]:
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
            entry_id=entry_id(*event.key, grant.rule_set_sha256, grant.rule_id, account, part.role, ""),
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
            period_id=place.period_id,
            occur_time=event.occur_time,
            accrual_id=place.accrual_id,
            customer_key=event.customer_key,
            business_date=place.business_date,
            event_type=event.type,
            product_id=event.product_id,
            category=place.category,
            channel=event.channel,
            customer_type=event.customer_type,
        )
        for account, part, amount in lines
    ]


def reversal(
    refund: Event, origin: Sequence[Entry], place: Place, portion: tuple[int, int, int] = (0, 1, 1)
) -> list[Entry]:
    """Entries that take back a portion of the origin's, with the other sign, in the refund's period.

    `portion` is (taken back before, after this one, of all) in fen: over all refunds a line is taken back to the
    milli-point. The budget gets what the others lose.
    """
    before, after, whole = portion
    back = {e.entry_id: e.milli_points * before // whole - e.milli_points * after // whole
            for e in origin if not e.account.startswith("budget:")}  # fmt: skip
    for entry in origin:
        if entry.account.startswith("budget:"):
            back[entry.entry_id] = -sum(back[e.entry_id] for e in origin if e.rule_id == entry.rule_id
                                        and e.rule_set_id == entry.rule_set_id and e.entry_id in back)  # fmt: skip
    return [
        replace(
            e,
            entry_id=entry_id(*refund.key, e.rule_set_sha256, e.rule_id, e.account, e.role, e.entry_id),
            milli_points=back[e.entry_id],
            source=refund.source,
            source_event_id=refund.source_event_id,
            event_id=refund.event_id,
            reverses_entry_id=e.entry_id,
            period_id=place.period_id,
            occur_time=refund.occur_time,
            kind="REFUND",
            accrual_id=place.accrual_id,
            business_date=place.business_date,
        )
        for e in origin
        if back[e.entry_id]
    ]


def standing(entries: Sequence[Entry]) -> list[Entry]:
    """Of an event's entries those that it gave and that no recalculation took back."""
    taken = {entry.reverses_entry_id for entry in entries if entry.kind == "EVENT"}
    return [e for e in entries if e.kind == "EVENT" and not e.reverses_entry_id and e.entry_id not in taken]


def transfer(base: Entry, account: str, staff_id: str, org_id: str, milli_points: int, why: str) -> list[Entry]:
    """Two entries: what an account gains (or loses), its component's budget gives; `why` makes their ids their own."""
    contra = contra_of(base.component)
    return [
        replace(
            base,
            entry_id=entry_id(
                base.source, base.source_event_id, base.rule_set_sha256, base.rule_id, whose, account, why, base.run_id
            ),
            account=whose,
            staff_id=who,
            org_id=org,
            milli_points=amount,
        )
        for whose, who, org, amount in (
            (account, staff_id, org_id, milli_points),
            (contra, "", "", -milli_points),
        )
    ]


def entry_id(*what: str) -> str:
    """An entry's id: 32 hexadecimal digits. JSON keeps the parts apart whatever characters they hold."""
    return hashlib.sha256(json.dumps(what, ensure_ascii=False).encode()).hexdigest()[:32]
