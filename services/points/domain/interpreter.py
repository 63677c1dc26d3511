"""The rules read aloud: a plain interpreter over values, slow and simple, that the kernel and the SQL are held against.

It shares the rule model and the remainder rule with the kernel, and no arithmetic.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from services.points.domain.event import REFUND, Event, Reason, doubt_about
from services.points.domain.field import Assignment, holders, split
from services.points.domain.period import business_day, period_of
from services.points.domain.periodic import counts_in, taken
from services.points.domain.rule_set import Cap, Hit, Per, RuleSet, Table, Tier, Window, accepts, in_days
from services.points.domain.shares import receivers

Held = Mapping[int, Sequence[tuple[Assignment, int, int]]]
"""Assignments by subject, each with the revisions [from, to) at which it was known."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event with the facts that reference data add, and the revision at which it is scored."""

    event: Event
    category: str = ""
    staff_role: str = ""
    known: int = 0


@dataclass(frozen=True, slots=True)
class EventLine:
    """What an event gives an account by one rule; `origin` is the id of the event that a refund takes back."""

    source: str
    source_event_id: str
    rule_id: str
    role: str
    staff_id: str
    period_id: str
    milli_points: int
    origin: str = ""


@dataclass(frozen=True, slots=True)
class PeriodLine:
    """What a tier or cap adds: `customer_key` 0 and `day` None where it has none."""

    period_id: str
    rule_id: str
    customer_key: int
    day: date | None
    staff_id: str
    milli_points: int


@dataclass
class Reading:
    """What events give; `waits` holds the reason by (source, source_event_id)."""

    lines: list[EventLine]
    period: list[PeriodLine]
    waits: dict[tuple[str, str], Reason]


def gifts(rules: RuleSet, told: Told, day: date) -> list[tuple[Table, str, int]]:
    """(table, rule id, milli-points) of what an event gives before it is shared, factors included."""
    event = told.event
    texts = {"type": event.type, "product": event.product_id, "category": told.category, "channel": event.channel,
             "staff_role": told.staff_role, "customer_type": event.customer_type}  # fmt: skip
    numbers = {"amount_fen": event.amount_fen or 0, "date": day.toordinal()}
    given = []
    for table in rules.tables:
        for row in table.rows:
            bound = in_days(row, table.valid)
            if bound is None or not accepts(bound, texts, numbers):
                continue
            points = row.fixed + numbers["amount_fen"] * row.num // row.den
            for multiplier in rules.multiplied(table):
                factor = next((each for each in multiplier.rows if accepts(each, texts, numbers)), None)
                if factor is not None:
                    points = points * factor.bps // 10_000
            given.append((table, row.rule_id, points))
            if table.hit is Hit.FIRST:
                break
    return given


def read(rules: RuleSet, told: Iterable[Told], held: Held, zone: ZoneInfo) -> Reading:
    """Score events from nothing, each told once."""
    result = Reading([], [], {})
    everything = sorted(told, key=lambda each: (each.event.occur_time, each.event.key))
    by_key = {each.event.key: each for each in everything}
    for each in everything:
        if each.event.type != REFUND:
            _plain(rules, each, held, zone, result)
    taken_back: dict[tuple[str, str], int] = {}
    ended: list[tuple[Told, Told, int, bool]] = []
    first = defaultdict(list)
    for line in result.lines:
        first[line.source, line.source_event_id].append(line)
    for each in everything:
        if each.event.type == REFUND:
            _refund(each, by_key.get(each.event.origin_key), first, taken_back, ended, zone, result)
    _tiers(rules, everything, ended, zone, result)
    _caps(rules, by_key, zone, result)
    return result


def _plain(rules: RuleSet, told: Told, held: Held, zone: ZoneInfo, result: Reading) -> None:
    event = told.event
    doubt = doubt_about(event)
    if doubt is not None:
        result.waits[event.key] = doubt.reason
        return
    if (event.amount_fen or 0) > rules.most_amount_fen:
        result.waits[event.key] = Reason.AMOUNT_TOO_LARGE
        return
    fields = {s: [row for row, begin, end in held.get(s, ()) if begin <= told.known < end] for s in event.subjects}
    known = holders(fields, event.subjects, event.occur_time)
    lines = []
    for table, rule_id, points in gifts(rules, told, business_day(event.occur_time, zone)):
        if points == 0:
            continue
        parts = receivers(table.to, event.staff_id, known, event.occur_time, rules)
        if parts is None:
            result.waits[event.key] = Reason.SHARES_TOO_LARGE
            return
        for part, amount in zip(parts, split(points, [part.share_bps for part in parts]), strict=True):
            if amount:
                lines.append(EventLine(*event.key, rule_id, part.role, part.staff_id,
                                       period_of(event.occur_time, zone), amount))  # fmt: skip
    result.lines += lines


def _refund(
    told: Told,
    origin: Told | None,
    first: Mapping[tuple[str, str], Sequence[EventLine]],
    taken_back: dict[tuple[str, str], int],
    ended: list[tuple[Told, Told, int, bool]],
    zone: ZoneInfo,
    result: Reading,
) -> None:
    event = told.event
    doubt = doubt_about(event)
    reason = None if doubt is None else doubt.reason
    if reason is None and origin is None:
        reason = Reason.UNKNOWN_ORIGIN
    elif reason is None and origin is not None and origin.event.type == REFUND:
        reason = Reason.ORIGIN_IS_REFUND
    elif reason is None and origin is not None and origin.event.key in result.waits:
        reason = Reason.ORIGIN_NOT_SCORED
    if reason is not None or origin is None:
        result.waits[event.key] = reason or Reason.UNKNOWN_ORIGIN
        return
    whole = max(1, origin.event.amount_fen or 0)
    before = taken_back.get(origin.event.key, 0)
    asked = event.amount_fen or 0
    if before == whole:
        result.waits[event.key] = Reason.ORIGIN_REFUNDED
    elif before and asked > whole - before:
        result.waits[event.key] = Reason.REFUND_TOO_LARGE
    else:
        after = whole if asked == 0 or before + asked > whole else before + asked
        taken_back[origin.event.key] = after
        ended.append((told, origin, after - before, after == whole))
        for line in first[origin.event.key]:
            amount = line.milli_points * before // whole - line.milli_points * after // whole
            if amount:
                of = origin.event.source_event_id
                period_id = period_of(event.occur_time, zone)
                result.lines.append(
                    EventLine(*event.key, line.rule_id, line.role, line.staff_id, period_id, amount, of)
                )


def _tiers(
    rules: RuleSet, told: Sequence[Told], ended: Sequence[tuple[Told, Told, int, bool]], zone: ZoneInfo, result: Reading
) -> None:
    tables = {row.rule_id: table.name for table in rules.tables for row in table.rows}
    for tier in rules.tiers:
        reached: dict[tuple[str, str], int] = defaultdict(int)
        for each in told:
            event = each.event
            if event.type != REFUND and event.key not in result.waits and _counts(tier, each, zone):
                worth = event.amount_fen or 0 if tier.of == "amount_fen" else 1
                reached[period_of(event.occur_time, zone), event.staff_id] += worth
        for refund, origin, fen, whole in ended:
            if _counts(tier, origin, zone):
                off = min(fen, origin.event.amount_fen or 0) if tier.of == "amount_fen" else int(whole)
                reached[period_of(refund.event.occur_time, zone), origin.event.staff_id] -= off
        for (period_id, staff_id), value in sorted(reached.items()):
            step = tier.reached(value)
            if step is None or not staff_id:
                continue
            whole_sum = sum(line.milli_points for line in result.lines if line.period_id == period_id
                            and line.staff_id == staff_id and tables[line.rule_id] in tier.on)  # fmt: skip
            amount = step.fixed + max(0, whole_sum) * (step.bps - 10_000) // 10_000
            if amount:
                result.period.append(PeriodLine(period_id, tier.rule_id, 0, None, staff_id, amount))


def _counts(tier: Tier, told: Told, zone: ZoneInfo) -> bool:
    event = told.event
    texts = {"type": event.type, "product": event.product_id, "category": told.category, "channel": event.channel,
             "staff_role": told.staff_role, "customer_type": event.customer_type}  # fmt: skip
    day = business_day(event.occur_time, zone).toordinal()
    return bool(event.staff_id) and accepts(tier, texts, {"amount_fen": event.amount_fen or 0, "date": day})


def _caps(rules: RuleSet, by_key: Mapping[tuple[str, str], Told], zone: ZoneInfo, result: Reading) -> None:
    tables = {row.rule_id: table.name for table in rules.tables for row in table.rows}
    for cap in rules.caps:
        scope = rules.scope(cap)
        sums: dict[tuple[str, date | None, object], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for line in result.lines:
            event = by_key[line.source, line.source_event_id].event
            if tables[line.rule_id] in scope:
                day = business_day(event.occur_time, zone) if cap.window is Window.DAY else None
                key = (line.period_id, day, line.staff_id if cap.per is Per.EMPLOYEE else event.customer_key)
                sums[key][line.staff_id] += line.milli_points
        for earlier in result.period:
            if _seen(cap, earlier, rules):
                day = earlier.day if cap.window is Window.DAY else None
                owner = earlier.staff_id if cap.per is Per.EMPLOYEE else earlier.customer_key
                sums[earlier.period_id, day, owner][earlier.staff_id] += earlier.milli_points
        for (period_id, day, who), held in sums.items():
            if who and sum(held.values()) > cap.most:
                customer = who if cap.per is Per.FIELD and isinstance(who, int) else 0
                for staff_id, amount in taken(held, cap.most):
                    result.period.append(PeriodLine(period_id, cap.rule_id, customer, day, staff_id, -amount))


def _seen(cap: Cap, earlier: PeriodLine, rules: RuleSet) -> bool:
    rule = rules.period_rule(earlier.rule_id)
    return rule is not None and rule.rule_id != cap.rule_id and counts_in(cap, rule, rules)
