"""A month scored again from what was kept of it: for simulation, close and recalculation."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from services.kit.db import Read
from services.points.domain import batch
from services.points.domain.event import Event
from services.points.domain.field import subjects_of
from services.points.domain.ledger import Place
from services.points.domain.month import Held, LineKey, PeriodKey, Wanted, Worth
from services.points.domain.posting import Rules, place_of
from services.points.domain.rule_set import RuleSet
from services.points.domain.rule_text import parse
from services.points.domain.scoring import Compiled
from services.points.domain.shares import compile_shares
from services.points.domain.version import days_of
from services.points.lake.entries import month_name, period_rows
from services.points.lake.events import ReadEvents, arrange
from services.points.lake.fields import Fields
from services.points.lake.shadow import shadow
from services.points.store import Store


@dataclass(frozen=True)
class Month:
    """What was kept of a month: events (with what their refunds take back), each one's business day, and fields."""

    period_id: str
    table: pa.Table
    days: Sequence[date]
    held: Held

    def within(self, first: date, last: date) -> pa.Table:
        """Events of these days, and the refunds of such events."""
        plain = [t != "REFUND" for t in self.table.column("type").to_pylist()]
        sources, ids = (self.table.column(n).to_pylist() for n in ("source", "source_event_id"))
        origins = self.table.column("origin_event_id").to_pylist()
        mine = {(s, i) for s, i, p, d in zip(sources, ids, plain, self.days, strict=True) if p and first <= d <= last}
        keep = [(s, i if p else o) in mine for s, i, o, p in zip(sources, ids, origins, plain, strict=True)]
        return self.table.filter(pa.array(keep, pa.bool_()))


def bounds(period_id: str) -> tuple[date, date]:
    """First and last day of a month."""
    first = date(int(period_id[:4]), int(period_id[5:]), 1)
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


async def load(read: Read, store: Store, period_id: str) -> Month:
    """A month as it was scored."""
    table, days = await store.months.events(read, *bounds(period_id))
    named = (table.column(name).to_pylist() for name in ("customer_key", "cell_id", "grid_id"))
    subjects = {key for row in set(zip(*named, strict=True)) for key in subjects_of(*row) if key}
    return Month(period_id, table, days, await store.months.held(read, subjects))


def score(
    month: Month,
    zone: ZoneInfo,
    effective: Sequence[tuple[str, date, str]],
    rules: Mapping[str, Rules],
    *,
    by_sql: bool,
) -> Wanted:
    """What the rules in force say of a month's events, by the kernel or by SQL; takes seconds for a large month."""
    lines: dict[LineKey, Worth] = {}
    period: dict[PeriodKey, int] = {}
    events = 0
    for _, _, rule_set_id in effective:
        first, last = days_of(rule_set_id, effective)
        read = arrange(month.within(first, last), zone, month.period_id)
        if len(read.events):
            events += len(read.events)
            by = _by_sql if by_sql else _by_kernel
            by(rule_set_id, rules[rule_set_id].compiled, read, month, lines, period)
    return Wanted(lines, period, events, month.period_id)


def place(event: Event, zone: ZoneInfo, posts_in: Mapping[str, str], category: str) -> Place:
    """Where an event's entries stand."""
    return place_of(event, zone, posts_in, category)


def _by_kernel(
    rule_set_id: str, compiled: Compiled, read: ReadEvents, month: Month, lines: dict[LineKey, Worth],
    period: dict[PeriodKey, int],
) -> None:  # fmt: skip
    rules = compiled.rule_set
    shares = compile_shares(rules, month.held)
    result = batch.run(compiled, shares, read.events)
    ids, names = read.ids.to_pylist(), [row.rule_id for _, row in compiled.rules]
    months = _months(read)
    columns = (result.event, result.rule, result.part, result.staff, result.amount)
    for event, rule, part, staff, amount in zip(*(each.tolist() for each in columns), strict=True):
        if months[event] != month.period_id:
            continue
        role = shares.roles[shares.role[part]] if part >= 0 else ""
        share = (int(shares.share[part]), int(shares.assignment[part])) if part >= 0 else (10_000, 0)
        source = read.source.values[read.source.codes[event]]
        whose = result.staff_ids[staff] if staff >= 0 else ""
        lines[LineKey(rule_set_id, source, ids[event], names[rule], role, whose)] = Worth(amount, *share)
    for period_id, rule_id, customer, day, staff_id, amount in period_rows(result, rules):
        if period_id == month.period_id:
            period[PeriodKey(rule_set_id, rule_id, customer, date.fromordinal(day) if day else None, staff_id)] = amount


def _by_sql(
    rule_set_id: str, compiled: Compiled, read: ReadEvents, month: Month, lines: dict[LineKey, Worth],
    period: dict[PeriodKey, int],
) -> None:  # fmt: skip
    found = shadow(compiled.rule_set, read.events, Fields(month.held).table())
    ids = read.ids.to_pylist()
    for event, rule_id, role, staff_id, period_id, amount in found.lines:
        if period_id == month.period_id:
            source = read.source.values[read.source.codes[event]]
            lines[LineKey(rule_set_id, source, ids[event], rule_id, role, staff_id)] = Worth(amount, 0, 0)
    for period_id, rule_id, customer, day, staff_id, amount in found.period:
        if period_id == month.period_id:
            period[PeriodKey(rule_set_id, rule_id, customer, date.fromordinal(day) if day else None, staff_id)] = amount


def _months(read: ReadEvents) -> list[str]:
    days = read.events.days.astype(np.int64) - 719_163
    return [month_name(int(m) + 1970 * 12) for m in days.astype("datetime64[D]").astype("datetime64[M]").astype(int)]


async def rules_in(read: Read, store: Store, known: dict[str, Rules]) -> list[tuple[str, date, str]]:
    """(name, effective date, id) of every published version, each compiled into `known`."""
    published = await store.rule_sets.published(read)
    for _, _, rule_set_id, sha256 in published:
        if rule_set_id not in known:
            rules: RuleSet = await asyncio.to_thread(parse, await store.rule_sets.definition(read, rule_set_id))
            known[rule_set_id] = Rules(rule_set_id, sha256, await asyncio.to_thread(Compiled, rules))
    return [(name, effective, rule_set_id) for name, effective, rule_set_id, _ in published]
