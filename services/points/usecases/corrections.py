"""Corrections by hand, disputes answered by replay, and cases of fraud: each needs a second person."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.points import refusals
from services.points.domain import fraud
from services.points.domain.event import ADJUSTMENT, Event
from services.points.domain.ledger import Entry, account_of, transfer
from services.points.domain.missing import Missed, nearest
from services.points.domain.period import business_day, period_of
from services.points.domain.posting import Outcome, Rules, score
from services.points.domain.rule_set import COMPONENTS, in_force
from services.points.store import Store
from services.points.store.corrections import Adjustment, Dispute, FraudCase
from services.points.usecases import months
from services.points.usecases.scoring import Scoring
from services.points.usecases.settling import base_of


@dataclass(frozen=True)
class Missing:
    """Why an event gave nothing or less."""

    reason: str
    message: str
    given: list[str]
    missed: list[Missed]
    capped: int


@dataclass(frozen=True)
class Corrections:
    """Proposes, decides, disputes."""

    db: Database
    clock: Clock
    ids: Ids
    zone: ZoneInfo
    store: Store
    scoring: Scoring

    async def propose(
        self, key: RequestKey, staff_id: str, component: str, milli_points: int, reason: str, author: str
    ) -> Adjustment:
        """Propose a correction. Raises staff_not_found."""
        async with self.db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is None:
                made = await self._propose(tx, staff_id, component, milli_points, reason, author)
                earlier = {"adjustment_id": made.adjustment_id}
                await idempotency.answer(tx, key, earlier)
            found = await self.store.corrections.adjustment(tx, earlier["adjustment_id"])
            await tx.commit()
        assert found is not None
        return found

    async def decide(self, key: RequestKey, adjustment_id: str, who: str, *, post: bool) -> Adjustment:
        """Post or reject. Raises adjustment_not_found, adjustment_decided, second_person."""
        async with self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                await self.store.ledger.lock(tx)
                one = await self.store.corrections.adjustment(tx, adjustment_id)
                if one is None:
                    raise refusals.adjustment_not_found(adjustment_id)
                if one.state != "PROPOSED":
                    raise refusals.adjustment_decided(one.state)
                if one.author == who:
                    raise refusals.second_person(one.author)
                period_id = await self._post(tx, one) if post else ""
                state = "POSTED" if post else "REJECTED"
                values = {"state": state, "approver": who, "period_id": period_id}
                await self.store.corrections.decide_adjustment(tx, adjustment_id, **values)
                await idempotency.answer(tx, key, {})
            found = await self.store.corrections.adjustment(tx, adjustment_id)
            await tx.commit()
        assert found is not None
        return found

    async def adjustments(self, staff_id: str, after: tuple[datetime, str] | None, size: int) -> list[Adjustment]:
        """The latest first."""
        async with self.db.read() as read:
            return await self.store.corrections.adjustments(read, staff_id, after, size)

    async def dispute(self, key: RequestKey, staff_id: str, event: tuple[str, str], claim: str, opener: str) -> Dispute:
        """Open a dispute. Raises staff_not_found, event_not_found."""
        async with self.db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is None:
                org_id = await self._org(tx, staff_id)
                if not await self.store.events.known(tx, [event]):
                    raise refusals.event_not_found(*event)
                now = self.clock()
                made = Dispute(self.ids(), org_id, staff_id, *event, claim, opener, now, now)
                await self.store.corrections.add_dispute(tx, made)
                earlier = {"dispute_id": made.dispute_id}
                await idempotency.answer(tx, key, earlier)
            found = await self._dispute(tx, earlier["dispute_id"])
            await tx.commit()
        return found

    async def answer(self, key: RequestKey, dispute_id: str) -> Dispute:
        """Answer by replay: what the event gives by what is known now. Raises dispute_not_found, dispute_state."""
        async with self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                one = await self._dispute(tx, dispute_id)
                if one.state not in ("OPEN", "ANSWERED"):
                    raise refusals.dispute_state(one.state)
                posted, replayed, text = await self._replay(tx, one)
                missing = {name: replayed[name] - posted[name] for name in sorted(COMPONENTS)}
                await self.store.corrections.move_dispute(
                    tx, dispute_id, state="ANSWERED", posted_milli_points=posted.total(),
                    replayed_milli_points=replayed.total(), missing={n: p for n, p in missing.items() if p},
                    answer=text, change_time=self.clock(),
                )  # fmt: skip
                await idempotency.answer(tx, key, {})
            found = await self._dispute(tx, dispute_id)
            await tx.commit()
        return found

    async def resolve(
        self, key: RequestKey, dispute_id: str, who: str, *, accept: bool
    ) -> tuple[Dispute, list[Adjustment]]:
        """Accept or reject; what was missing is proposed, by component.

        Raises dispute_not_found, dispute_state, second_person.
        """
        async with self.db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is None:
                one = await self._dispute(tx, dispute_id)
                if one.state != "ANSWERED":
                    raise refusals.dispute_state(one.state)
                if one.opener == who:
                    raise refusals.second_person(one.opener)
                reason = f"dispute {dispute_id}: {one.source} {one.source_event_id}"
                made = [await self._propose(tx, one.staff_id, component, points, reason, who, dispute_id)
                        for component, points in sorted(one.missing.items()) if accept]  # fmt: skip
                earlier = {"adjustment_ids": [each.adjustment_id for each in made]}
                state = "RESOLVED" if accept else "REJECTED"
                await self.store.corrections.move_dispute(tx, dispute_id, state=state, resolver=who,
                                                          change_time=self.clock())  # fmt: skip
                await idempotency.answer(tx, key, earlier)
            found = await self._dispute(tx, dispute_id)
            adjustments = await self._proposed(tx, earlier)
            await tx.commit()
        return found, adjustments

    async def disputes(self, staff_id: str, after: tuple[datetime, str] | None, size: int) -> list[Dispute]:
        """The latest first."""
        async with self.db.read() as read:
            return await self.store.corrections.disputes(read, staff_id, after, size)

    async def missing(self, source: str, source_event_id: str) -> Missing:
        """Why an event gave nothing or less. Raises event_not_found."""
        async with self.db.read() as read:
            key = (source, source_event_id)
            known = await self.store.events.known(read, [key])
            if key not in known:
                raise refusals.event_not_found(*key)
            reason, message = (await self.store.events.suspense(read, [key])).get(key, ("", ""))
            given, missed = await self._nearest(read, known[key])
            capped = await self.store.analysis.capped(read, key)
        return Missing(reason, message, given, missed, capped)

    async def find_fraud(self, key: RequestKey, period_id: str, own_customer: dict[str, int]) -> dict[str, int]:
        """Look for patterns in a month; gives how many cases by pattern."""
        first, last = months.bounds(period_id)
        begin = datetime.combine(first, time(), self.zone)
        end = datetime.combine(last, time(23, 59, 59, 999999), self.zone)
        async with self.db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is None:
                found = fraud.cases(await self.store.corrections.facts(tx, begin, end), own_customer)
                await self.store.corrections.add_cases(tx, period_id, found, self.clock())
                earlier = {name: sum(case.pattern == name for case in found) for name in fraud.PATTERNS}
                await idempotency.answer(tx, key, earlier)
            await tx.commit()
        return {name: int(count) for name, count in earlier.items()}

    async def fraud_cases(self, period_id: str, after: str, size: int) -> list[FraudCase]:
        """By case id."""
        async with self.db.read() as read:
            return await self.store.corrections.cases(read, period_id, after, size)

    async def decide_fraud(
        self, key: RequestKey, case_id: str, who: str, *, confirm: bool
    ) -> tuple[FraudCase, list[Adjustment]]:
        """Confirm or dismiss; what a confirmed one gave, and still gives, is proposed to be taken back by component."""
        async with self.db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is None:
                case = await self.store.corrections.case(tx, case_id)
                if case is None:
                    raise refusals.fraud_case_not_found(case_id)
                if case.state != "FLAGGED":
                    raise refusals.fraud_case_decided(case.state)
                reason = f"{case.pattern}: {case.source} {case.source_event_id} {case.explanation}"[:500]
                given = await self.store.corrections.given(tx, case) if confirm else {}
                made = [await self._propose(tx, case.staff_id, component, -points, reason, who)
                        for component, points in given.items()]  # fmt: skip
                earlier = {"adjustment_ids": [each.adjustment_id for each in made]}
                await self.store.corrections.decide_case(tx, case_id, "CONFIRMED" if confirm else "DISMISSED", who)
                await idempotency.answer(tx, key, earlier)
            found = await self.store.corrections.case(tx, case_id)
            adjustments = await self._proposed(tx, earlier)
            await tx.commit()
        assert found is not None
        return found, adjustments

    async def _proposed(self, read: Read, answered: Mapping[str, Any]) -> list[Adjustment]:
        found = [await self.store.corrections.adjustment(read, each) for each in answered["adjustment_ids"]]
        return [each for each in found if each is not None]

    async def _propose(
        self, tx: Write, staff_id: str, component: str, points: int, reason: str, author: str, dispute_id: str = ""
    ) -> Adjustment:
        org_id = await self._org(tx, staff_id)
        made = Adjustment(self.ids(), org_id, staff_id, component, points, reason, author, self.clock(),
                          dispute_id=dispute_id)  # fmt: skip
        await self.store.corrections.add_adjustment(tx, made)
        return made

    async def _post(self, tx: Write, one: Adjustment) -> str:
        """Two entries of an event of their own, in the period that is open now; gives it."""
        now = self.clock()
        month = period_of(now, self.zone)
        period_id = (await self.store.ledger.posts_in(tx, {month})).get(month, month)
        published = await self.store.rule_sets.published(tx)
        if not published:
            raise refusals.nothing_published()
        event = Event(f"adjustment-{one.adjustment_id}", "adjustment", one.adjustment_id, ADJUSTMENT, 0, "",
                      one.staff_id, "", 0, "", now, now)  # fmt: skip
        dated = (Outcome(event), one.org_id, business_day(now, self.zone))
        await self.store.events.add(tx, [dated], await self.store.references.revision(tx))
        _, _, rule_set_id, sha256 = max(published, key=lambda each: (each[1], each[0]))
        rules = await self.scoring.rules(tx, rule_set_id)
        base = base_of(event, Rules(rule_set_id, sha256, rules.compiled), month, period_id, "")
        base = replace(base, rule_id=ADJUSTMENT, component=one.component, kind=ADJUSTMENT,
                       business_date=business_day(now, self.zone), event_type=ADJUSTMENT)  # fmt: skip
        account = account_of(one.staff_id)
        entries = transfer(base, account, one.staff_id, one.org_id, one.milli_points, one.reason)
        await self.store.ledger.append(tx, entries, now)
        return period_id

    async def _org(self, read: Read, staff_id: str) -> str:
        known = await self.store.references.employees(read, [staff_id])
        if staff_id not in known:
            raise refusals.staff_not_found(staff_id)
        return known[staff_id].org_id

    async def _dispute(self, read: Read, dispute_id: str) -> Dispute:
        found = await self.store.corrections.dispute(read, dispute_id)
        if found is None:
            raise refusals.dispute_not_found(dispute_id)
        return found

    async def _replay(self, tx: Write, one: Dispute) -> tuple[Counter[str], Counter[str], str]:
        """Milli-points of the employee by component, as posted and as replayed, and the answer in words."""
        key = (one.source, one.source_event_id)
        event = (await self.store.events.known(tx, [key]))[key]
        entries = (await self.store.ledger.posted(tx, [key])).get(key, [])
        posted = _by_component(e.entry for e in entries if e.entry.staff_id == one.staff_id)
        outcome = score([event], await self.scoring.reference(tx, [event]))[0]
        mine = [entry for entry in outcome.entries if entry.staff_id == one.staff_id]
        if outcome.doubt is not None:
            return posted, Counter(), f"{outcome.doubt.reason.value}: {outcome.doubt.message}"
        given, missed = await self._nearest(tx, event)
        if mine:
            return posted, _by_component(mine), "; ".join(given)
        nearest_row = f"; nearest {missed[0].rule_id}: {', '.join(missed[0].reasons)}" if missed else ""
        return posted, Counter(), (f"gave others: {'; '.join(given)}" if given else "no rule gives") + nearest_row

    async def _nearest(self, read: Read, event: Event) -> tuple[list[str], list[Missed]]:
        reference = await self.scoring.reference(read, [event])
        day = business_day(event.occur_time, self.zone)
        category = reference.categories.get(event.product_id, "")
        texts = {"type": event.type, "product": event.product_id, "category": category, "channel": event.channel,
                 "staff_role": reference.role(event.staff_id), "customer_type": event.customer_type}  # fmt: skip
        given: list[str] = []
        missed: list[Missed] = []
        for rule_set_id in in_force(reference.effective, day):
            rules = reference.rules[rule_set_id].compiled.rule_set
            found = nearest(rules, texts, event.amount_fen or 0, day)
            given, missed = given + found[0], missed + found[1]
        return given, sorted(missed, key=lambda each: (len(each.reasons), -each.milli_points))[:10]


def _by_component(entries: Iterable[Entry]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for entry in entries:
        if entry.kind in ("EVENT", "REFUND"):
            sums[entry.component] += entry.milli_points
    return sums
