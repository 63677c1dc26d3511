"""Patterns of fraud among a month's events, each with what gives it away.

REPLAY           the same business told again under another id: customer, product, employee, type and amount are the
                 same within ten minutes
SELF_REFERRAL    an employee sells to the customer whose own number is his
VOID_AFTER_EARN  NEW business taken back in the first ten days of the next month: three or more by one employee
SPLIT_ORDERS     one order cut into pieces for the fixed points: three or more NEW of one category for one customer
                 by one employee within an hour
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

PATTERNS = ("REPLAY", "SELF_REFERRAL", "VOID_AFTER_EARN", "SPLIT_ORDERS")
REPLAYED_WITHIN = timedelta(minutes=10)
SPLIT_WITHIN = timedelta(hours=1)
SPLIT_PIECES = 3
VOID_DAYS = 10
VOIDS = 3


@dataclass(frozen=True, slots=True)
class Fact:
    """What detection looks at. `local` is the event's time in the business zone; `voided` when it was taken back."""

    source: str
    source_event_id: str
    type: str
    customer_key: int
    product_id: str
    category: str
    staff_id: str
    org_id: str
    amount_fen: int
    local: datetime
    voided: datetime | None


@dataclass(frozen=True, slots=True)
class Case:
    """An event that looks like a pattern."""

    pattern: str
    fact: Fact
    explanation: str

    @property
    def case_id(self) -> str:
        """The same for the same pattern and event."""
        return hashlib.sha256(f"{self.pattern}/{self.fact.source}/{self.fact.source_event_id}".encode()).hexdigest()[
            :32
        ]


def cases(facts: Iterable[Fact], own_customer: Mapping[str, int]) -> list[Case]:
    """Cases of a month, by pattern and event. `own_customer` is the customer that an employee is himself."""
    every = sorted((f for f in facts if f.staff_id), key=lambda f: (f.local, f.source, f.source_event_id))
    found = [*_replays(every), *_self_referrals(every, own_customer), *_voids(every), *_splits(every)]
    return sorted(found, key=lambda case: (case.pattern, case.fact.source, case.fact.source_event_id))


def _replays(facts: Iterable[Fact]) -> Iterator[Case]:
    last: dict[tuple[object, ...], Fact] = {}
    for fact in facts:
        key = (fact.type, fact.customer_key, fact.product_id, fact.staff_id, fact.amount_fen)
        before = last.get(key)
        if before is not None and fact.local - before.local <= REPLAYED_WITHIN and fact.customer_key:
            minutes = (fact.local - before.local).total_seconds() / 60
            yield Case(
                "REPLAY", fact, f"says the same as {before.source} {before.source_event_id}, {minutes:.1f} min later"
            )
        last[key] = fact


def _self_referrals(facts: Iterable[Fact], own_customer: Mapping[str, int]) -> Iterator[Case]:
    for fact in facts:
        if fact.customer_key and own_customer.get(fact.staff_id) == fact.customer_key:
            yield Case("SELF_REFERRAL", fact, f"{fact.staff_id} is customer {fact.customer_key} himself")


def _voids(facts: Iterable[Fact]) -> Iterator[Case]:
    by_staff: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.type == "NEW" and fact.voided is not None and _early_next_month(fact.local, fact.voided):
            by_staff[fact.staff_id].append(fact)
    for staff_id, some in by_staff.items():
        for fact in some if len(some) >= VOIDS else []:
            when = f"{fact.voided:%Y-%m-%d}"
            yield Case("VOID_AFTER_EARN", fact, f"taken back on {when}, after the month that it counted for,"
                       f" one of {len(some)} of {staff_id}")  # fmt: skip


def _early_next_month(earned: datetime, voided: datetime) -> bool:
    months = 12 * (voided.year - earned.year) + voided.month - earned.month
    return months == 1 and voided.day <= VOID_DAYS


def _splits(facts: Iterable[Fact]) -> Iterator[Case]:
    groups: dict[tuple[object, ...], list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.type == "NEW" and fact.customer_key:
            groups[fact.customer_key, fact.staff_id, fact.category].append(fact)
    for some in groups.values():
        for piece in some:
            near = [f for f in some if abs(f.local - piece.local) <= SPLIT_WITHIN]
            if len(near) >= SPLIT_PIECES:
                others = ", ".join(f.source_event_id for f in near if f is not piece)
                yield Case(
                    "SPLIT_ORDERS", piece, f"one of {len(near)} pieces of {piece.category} within an hour: {others}"
                )
