"""After events were posted: what the tiers and caps of their months say now, posted as entries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from services.kit.db import Write
from services.points.domain.event import REFUND, Event
from services.points.domain.ledger import Entry
from services.points.domain.period import business_day, period_of, posts_in
from services.points.domain.posting import Outcome, Rules
from services.points.domain.rule_set import Per, in_force
from services.points.domain.settling import deltas, wanted
from services.points.domain.version import days_of
from services.points.store import Store
from services.points.usecases.known import Known

Effective = Sequence[tuple[str, date, str]]


@dataclass
class _Touched:
    """What a transaction touched of one month under one version."""

    staff: set[str] = field(default_factory=set)
    customers: set[int] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Settling:
    """Keeps the period's own entries in step with the lines of events, in the transaction that posts these."""

    store: Store
    zone: ZoneInfo
    known: Known

    async def settle(
        self, tx: Write, outcomes: Sequence[Outcome], rules: Mapping[str, Rules], effective: Effective,
        states: Mapping[str, str], now: datetime,
    ) -> None:  # fmt: skip
        """Post what scored events move, employee by employee and field by field; `states` of the periods there are."""
        months = await self._touched(tx, outcomes, rules, effective)
        into = posts_in(states, {accrual_id for _, accrual_id in months})
        for (rule_set_id, accrual_id), touched in sorted(months.items(), key=lambda one: one[0]):
            base = base_of(max(touched.events, key=lambda e: (e.occur_time, e.key)), rules[rule_set_id], accrual_id,
                         into.get(accrual_id, accrual_id), "")  # fmt: skip
            days = days_of(rule_set_id, effective)
            made = await self._month(tx, rules[rule_set_id], accrual_id, touched, base, days)
            await self.store.ledger.append(tx, made, now, states)

    async def _touched(
        self, tx: Write, outcomes: Sequence[Outcome], rules: Mapping[str, Rules], effective: Effective
    ) -> dict[tuple[str, str], _Touched]:
        asking = {each for each, one in rules.items() if one.compiled.rule_set.tiers or one.compiled.rule_set.caps}
        scored = [outcome for outcome in outcomes if outcome.doubt is None]
        if not asking or not scored:
            return {}
        origins = await self.store.events.known(tx, {o.event.origin_key for o in scored if o.event.type == REFUND})
        months: dict[tuple[str, str], _Touched] = {}
        for outcome in scored:
            event = outcome.event
            made = origins.get(event.origin_key, event) if event.type == REFUND else event
            versions = {entry.rule_set_id for entry in outcome.entries}
            versions |= set(in_force(effective, business_day(made.occur_time, self.zone)))
            for rule_set_id in versions & asking:
                month = months.setdefault((rule_set_id, period_of(event.occur_time, self.zone)), _Touched())
                month.staff |= {entry.staff_id for entry in outcome.entries} | {made.staff_id}
                month.customers |= {made.customer_key}
                month.events.append(event)
        return months

    async def _month(
        self, tx: Write, rules: Rules, accrual_id: str, touched: _Touched, base: Entry, days: tuple[date, date]
    ) -> list[Entry]:  # fmt: skip
        rule_set, of = rules.compiled.rule_set, (rules.rule_set_id, accrual_id)
        fields = any(cap.per is Per.FIELD for cap in rule_set.caps)
        staff, customers = touched.staff - {""}, touched.customers - {0} if fields else set()
        lines = await self.store.settling.lines(tx, *of, staff, customers)
        if fields:  # who shares a field that was touched may gain or lose by its cap, so his own caps are looked at
            staff |= {line.staff_id for line in lines if line.staff_id}
            theirs = await self.store.settling.lines(tx, *of, staff, ())
            every = customers | {line.customer_key for line in theirs if line.customer_key}
            lines = await self.store.settling.lines(tx, *of, staff, every)
        made = await self.store.settling.made(tx, days, accrual_id, staff) if rule_set.tiers else []
        says = wanted(rule_set, lines, made, staff, customers)
        posted = await self.store.settling.posted(tx, *of, staff, customers)
        orgs = {name: e.org_id for name, e in (await self.known.employees(tx, staff)).items()}
        return deltas(rule_set, base, says, posted, orgs)


def base_of(event: Event, rules: Rules, accrual_id: str, period_id: str, run_id: str) -> Entry:
    """What the entries that an event moves have in common."""
    return Entry(
        entry_id="", account="", staff_id="", org_id="", milli_points=0, source=event.source,
        source_event_id=event.source_event_id, event_id=event.event_id, rule_set_id=rules.rule_set_id,
        rule_set_sha256=rules.sha256, rule_id="", component="", role="", share_bps=10_000, assignment_id=0,
        reverses_entry_id="", period_id=period_id, occur_time=event.occur_time, accrual_id=accrual_id, run_id=run_id,
    )  # fmt: skip
