"""What events would give, scored as columns: for who asks for the points alone, many events at once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from services.points.domain.batch import REASONS
from services.points.domain.event import AHEAD, REFUND, Reason
from services.points.domain.period import business_days
from services.points.domain.posting import Reference
from services.points.domain.rule_set import EVENT_TYPES, SET_COLUMNS, in_force
from services.points.domain.scoring import Compiled, Flags, Ints, Longs

_CODE = {reason: code for code, reason in enumerate(REASONS)}


@dataclass(frozen=True, slots=True)
class Batch:
    """Events as columns of one length; `times` and `now` are microseconds since 1970, amounts in fen."""

    types: Sequence[str]
    products: Sequence[str]
    staff: Sequence[str]
    channels: Sequence[str]
    customer_types: Sequence[str]
    amounts: Longs
    times: Longs
    now: int


@dataclass(frozen=True, slots=True)
class Preview:
    """By event: milli-points before tiers and caps, the ids of the rules that gave, and why it would wait ("": not)."""

    milli_points: Sequence[int]
    rule_ids: Sequence[Sequence[str]]
    reasons: Sequence[str]


def preview(batch: Batch, reference: Reference) -> Preview:
    """Score a batch, one pass of the kernel for each version in force. A refund gives nothing: its origin is needed."""
    count = len(batch.amounts)
    days, day_of = np.unique(business_days(batch.times, reference.zone), return_inverse=True)
    by_day = [in_force(reference.effective, date.fromordinal(day)) for day in days.tolist()]
    doubt = _doubts(batch, reference, day_of, by_day)
    ready = (doubt == 0) & (np.array(batch.types) != REFUND)
    given = np.zeros(count, np.int64)
    rule_ids: list[list[str]] = [[] for _ in range(count)]
    for rule_set_id in dict.fromkeys(each for versions in by_day for each in versions):
        compiled = reference.rules[rule_set_id].compiled
        event, rule, amount = compiled.run(
            _codes(compiled, batch, reference, days[day_of].astype(np.int64)), batch.amounts
        )
        scored = (np.array([rule_set_id in versions for versions in by_day])[day_of] & ready)[event] & (amount > 0)
        event, rule, amount = event[scored], rule[scored], amount[scored]
        np.add.at(given, event, amount)
        names = [row.rule_id for _, row in compiled.rules]
        for place, number in zip(event.tolist(), rule.tolist(), strict=True):
            rule_ids[place].append(names[number])
    reasons = ["" if reason is None else reason.value for reason in REASONS]
    return Preview(given.tolist(), rule_ids, [reasons[code] for code in doubt.tolist()])


def _codes(compiled: Compiled, batch: Batch, reference: Reference, days: Longs) -> Ints:
    """Rows into the kernel's bitsets, shape (columns, events)."""
    codes = np.empty((len(compiled.columns), len(batch.amounts)), np.int32)
    for number, name in enumerate(compiled.columns):
        if name in SET_COLUMNS:
            codes[number] = compiled.set_codes(name, _texts(name, batch, reference))
        else:
            codes[number] = compiled.span_codes(name, days if name == "date" else batch.amounts)
    return codes


def _texts(name: str, batch: Batch, reference: Reference) -> Sequence[str]:
    if name == "category":
        return [reference.categories.get(product, "") for product in batch.products]
    if name == "staff_role":
        return [reference.role(staff) for staff in batch.staff]
    told = {"type": batch.types, "product": batch.products, "channel": batch.channels}
    return told.get(name, batch.customer_types)


def _doubts(batch: Batch, reference: Reference, day_of: Longs, by_day: Sequence[Sequence[str]]) -> Ints:
    """Codes of REASONS, the first doubt that holds, in the order of posting an event."""
    most = [min((_most(each, reference) for each in versions), default=0) for versions in by_day]
    scored = np.array([bool(versions) for versions in by_day])[day_of]
    ahead = batch.now + AHEAD // timedelta(microseconds=1)
    doubt = np.zeros(len(batch.amounts), np.int32)
    for reason, holds in (
        (Reason.UNKNOWN_TYPE, _outside(batch.types, {*EVENT_TYPES, REFUND})),
        (Reason.NEGATIVE_AMOUNT, batch.amounts < 0),
        (Reason.FUTURE_DATE, batch.times > ahead),
        (Reason.REFERENCE_MISSING, np.full(len(doubt), not reference.ready)),
        (Reason.NO_RULES_IN_FORCE, ~scored),
        (Reason.UNKNOWN_PRODUCT, _outside(batch.products, reference.categories)),
        (Reason.UNKNOWN_STAFF, _outside(batch.staff, reference.staff)),
        (Reason.AMOUNT_TOO_LARGE, batch.amounts > np.array(most, np.int64)[day_of]),
    ):
        doubt[(doubt == 0) & holds] = _CODE[reason]
    return doubt


def _most(rule_set_id: str, reference: Reference) -> int:
    return reference.rules[rule_set_id].compiled.rule_set.most_amount_fen


def _outside(values: Sequence[str], known: Collection[str]) -> Flags:
    """Which values are not known, where empty names nothing; most often none is."""
    strange = {value for value in set(values) if value and value not in known}
    return np.array([value in strange for value in values]) if strange else np.zeros(len(values), np.bool_)
