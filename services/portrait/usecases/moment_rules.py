"""What callers ask of moments: rules written, tried, published and retired; matches listed, followed and explained."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from services.kit import domains, idempotency, outbox
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey
from services.portrait.domain.audience import Expression, expression_of, to_json
from services.portrait.domain.moment import Engine, Finding, Match, PatternInvalid, Rule, check, explain
from services.portrait.domain.moment.pattern import by_clock, event_types, look_back, span_words, words
from services.portrait.refusals import moment_rule_invalid, moment_rule_not_found, moment_rule_retired
from services.portrait.store import Moments
from services.portrait.store.moments import FOUND, FoundMoment, Journalled, StoredRule
from services.portrait.usecases.audiences import Asked, AudienceDesk

MOST_EVENTS = 1_000_000
_PAGE = 50_000
_MINUTE, _HOUR = 60_000, 3_600_000
_MOST_HOURS = 1000


@dataclass(frozen=True)
class Meaning:
    """What a rule means."""

    text: str
    event_types: Sequence[str]
    look_back: int
    by_clock: bool


@dataclass(frozen=True)
class Reach:
    """From when on events are known, and what a rule wants to know beyond that."""

    known_since: int | None = None
    warnings: Sequence[str] = ()


@dataclass
class DryRun:
    """What a rule would have found."""

    matches: int = 0
    customers: set[int] = field(default_factory=set)
    events: int = 0
    per_hour: Counter[int] = field(default_factory=Counter)
    sample: list[Match] = field(default_factory=list)
    complete: bool = True
    reach: Reach = Reach()


@dataclass(frozen=True)
class Why:
    """Why a rule did or did not match."""

    matched: bool
    because: str
    findings: Sequence[Finding]
    moments: Sequence[FoundMoment]


@dataclass(frozen=True)
class MomentSeen:
    """One item of the stream of moments: a moment, or a checkpoint without one."""

    cursor: str
    moment: FoundMoment | None = None
    traceparent: str = ""


class MomentDesk:
    """Rules and moments for callers; `audiences` understands the audience of a rule."""

    def __init__(self, db: Database, moments: Moments, audiences: AudienceDesk, clock: Clock) -> None:
        self._db = db
        self._moments = moments
        self._audiences = audiences
        self._clock = clock

    async def create(
        self, rule: Rule, audience: Expression | None, owner: str, key: RequestKey, *, sensitive: bool
    ) -> StoredRule:
        """Write a draft as the next version. Raises moment_rule_invalid, audience_invalid, …_not_found, …_sensitive."""
        self.meaning(rule)
        told = None
        if audience is not None:
            told = to_json(await self._audiences.sound(Asked(audience), sensitive=sensitive))
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._rule(tx, rule.rule_id, earlier["version"])
            made = await self._moments.put_rule(tx, rule, told, owner, self._clock())
            await idempotency.answer(tx, key, {"version": made.rule.version})
            await tx.commit()
        return made

    def meaning(self, rule: Rule) -> Meaning:
        """What a rule means. Raises moment_rule_invalid."""
        try:
            check(rule.pattern)
        except PatternInvalid as error:
            raise moment_rule_invalid(error.at, error.why) from error
        pattern = rule.pattern
        return Meaning(words(pattern), event_types(pattern), look_back(pattern), by_clock(pattern))

    async def publish(self, rule_id: str, version: int, key: RequestKey) -> tuple[StoredRule, Reach]:
        """Watch for a version from now on, in the place of the one before; and how far back events are known to it.

        Raises moment_rule_not_found, moment_rule_retired.
        """
        known = await self._known_since()
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                published = await self._rule(tx, rule_id, earlier["version"])
                return published, _reach(published.rule, published.rule.publish_time, known)
            await self._moments.in_turn(tx, rule_id)
            chosen = await self._rule(tx, rule_id, version)
            if chosen.state == "RETIRED":
                raise moment_rule_retired(rule_id, chosen.rule.version)
            if chosen.state == "DRAFT":
                now = self._now()  # one end and beginning: between two an event would belong to neither
                await self._moments.retire(tx, rule_id, now)
                await self._moments.activate(tx, rule_id, chosen.rule.version, now)
            await idempotency.answer(tx, key, {"version": chosen.rule.version})
            published = await self._rule(tx, rule_id, chosen.rule.version)
            await tx.commit()
        return published, _reach(published.rule, published.rule.publish_time, known)

    async def retire(self, rule_id: str, key: RequestKey) -> StoredRule:
        """Watch for it no more. Raises moment_rule_not_found."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            latest = await self._rule(tx, rule_id, 0)
            if earlier is None:
                await self._moments.in_turn(tx, rule_id)
                await self._moments.retire(tx, rule_id, self._now())
                await idempotency.answer(tx, key, {})
                latest = await self._rule(tx, rule_id, 0)
                await tx.commit()
        return latest

    async def get(self, rule_id: str, version: int) -> StoredRule:
        """A version of a rule; 0 is the latest. Raises moment_rule_not_found."""
        async with self._db.read() as read:
            return await self._rule(read, rule_id, version)

    async def page(self, after: str, size: int) -> list[StoredRule]:
        """The latest versions by id."""
        async with self._db.read() as read:
            return await self._moments.rules(read, after, size)

    async def dry_run(
        self, rule: Rule, audience: Expression | None, since: int, to: int, sample: int, *, sensitive: bool
    ) -> DryRun:
        """Run a rule over the journal; matches count from `since` to `to` (milliseconds). Nothing is kept."""
        self.meaning(rule)
        members = None
        if audience is not None:
            members = await self._audiences.bitmap(await self._audiences.sound(Asked(audience), sensitive=sensitive))
        engine, ran = Engine(lambda _, customer: members is None or customer in members), DryRun()
        engine.set_rules([replace(rule, version=1, publish_time=since, retire_time=to)])
        ran.reach = _reach(rule, since, await self._known_since())
        after, types = 0, event_types(rule.pattern)
        while ran.events < MOST_EVENTS:
            async with self._db.read() as read:
                page = await self._moments.past(
                    read, types, since - look_back(rule.pattern), 1 << 62, after=after, most=_PAGE
                )
            if not page:
                break
            after = page[-1].seq
            in_time = [one for one in page if one.received < to]
            await asyncio.to_thread(_apply, engine, in_time, ran, since, sample)
            if len(page) < _PAGE or len(in_time) < len(page):
                break
        else:
            ran.complete = False
        _count(engine.advance(to), ran, since, sample)
        return ran

    async def explain(self, rule_id: str, version: int, customer_key: int, at: datetime | None) -> Why:
        """Why a rule did or did not match a customer at a time. Raises moment_rule_not_found."""
        time = _milliseconds(at) if at is not None else self._now()
        async with self._db.read() as read:
            stored = await self._rule(read, rule_id, version)
            reach = look_back(stored.rule.pattern) + stored.rule.stale_after
            seen = await self._moments.of_customer(read, customer_key, before=time + 1, since=time - reach - _HOUR * 24)
            found = await self._moments.found(read, rule_id=rule_id, customer_key=customer_key, size=10)
        engine, rule = Engine(), replace(stored.rule, publish_time=0, retire_time=None, cool_down=0)
        engine.set_rules([rule])
        told = [match for one in sorted(seen) for match in engine.apply(one.event, one.received)]
        told += engine.advance(max(time, self._now(), engine.now))
        node, history = engine.node(rule.rule_id, rule.version), engine.history(customer_key)
        findings = explain(node, history, engine.numbers, time)
        conditions = await self._conditions(stored, customer_key, time, found)
        since = findings[0].since if findings[0].holds else None
        if since is not None and all(match.time != since for match in told):
            start = node.support(history, since)
            once = start is not None and any(match.start_event_id == start[1] for match in told)
            conditions.append(_undelivered(rule, since, time, once=once))
        matched = any(time - _MINUTE <= each.match.time <= time for each in found)
        because = "it matched" if matched else _missing(conditions, findings)
        return Why(matched, because, [*conditions, *findings], found)

    async def moments(
        self, rule_id: str, customer_key: int, after: tuple[int, str] | None, size: int
    ) -> list[FoundMoment]:
        """Moments, the latest found first."""
        async with self._db.read() as read:
            return await self._moments.found(read, rule_id=rule_id, customer_key=customer_key, after=after, size=size)

    async def watch(self, cursor: str, stop: asyncio.Event) -> AsyncIterator[MomentSeen]:
        """Moments after `cursor` as they were found, for ever; a limited caller's are those of his organisations'
        customers. Raises cursor_invalid."""
        domain = domains.current()
        async for event in outbox.follow(self._db, cursor=cursor, kinds={FOUND}, stop=stop, poll=0.1):
            if isinstance(event, outbox.Checkpoint):
                yield MomentSeen(event.cursor)
            elif domain is None or event.payload["org_id"] in domain:
                yield MomentSeen(event.cursor, _moment(event.payload), event.traceparent)

    async def _conditions(
        self, stored: StoredRule, customer_key: int, time: int, found: Sequence[FoundMoment]
    ) -> list[Finding]:
        """What a rule asks beside its pattern: to be in force, the audience, the cool-down."""
        rule = stored.rule
        watched, said = _in_force(rule, time)
        conditions = [Finding("in force", 0, watched, rule.publish_time or None, rule.retire_time, said)]
        if stored.audience is not None:
            member = customer_key in await self._audiences.bitmap(expression_of(stored.audience))
            said = "he belongs to it now" if member else "he does not belong to the audience now"
            conditions.append(Finding("in the audience", 0, member, None, None, said))
        cooling = [one.match.time for one in found if 0 <= time - one.match.time < rule.cool_down]
        if rule.cool_down:
            since, until = (cooling[0], cooling[0] + rule.cool_down) if cooling else (None, None)
            said = "a match before cools down" if cooling else "no match before cools down"
            conditions.append(Finding("not cooling down", 0, not cooling, since, until, said))
        return conditions

    async def _rule(self, read: Read, rule_id: str, version: int) -> StoredRule:
        found = await self._moments.rule(read, rule_id, version)
        if found is None:
            raise moment_rule_not_found(rule_id, version)
        return found

    async def _known_since(self) -> int | None:
        with domains.whole():  # the journal's beginning is the platform's, whoever asks
            async with self._db.read() as read:
                return await self._moments.known_since(read)

    def _now(self) -> int:
        return _milliseconds(self._clock())


def _reach(rule: Rule, since: int, known: int | None) -> Reach:
    """What a rule that is watched for `since` a time would want to know, and is not known any more, or not yet."""
    if known is None:
        return Reach(None, ["no event is known yet: the rule begins without a memory"])
    told, first = [], datetime.fromtimestamp(known / 1000, UTC).isoformat(timespec="seconds")
    if since < known:
        told.append(f"matches count from before {first} on, since when events are known: there are none before")
    if since - look_back(rule.pattern) < known:
        span = span_words(look_back(rule.pattern))
        told.append(f"the pattern remembers {span}, events are known since {first}: what was before counts as if it "
                    "had not happened, unless a rule in force remembered it already")  # fmt: skip
    return Reach(known, told)


def _in_force(rule: Rule, time: int) -> tuple[bool, str]:
    if not rule.publish_time:
        return False, "it is a draft"
    if time < rule.publish_time:
        return False, "it was published later"
    if rule.retire_time is not None and time >= rule.retire_time:
        return False, "it was retired before"
    return True, "it was in force"


def _missing(conditions: Sequence[Finding], findings: Sequence[Finding]) -> str:
    """What was missing: a condition of the rule, or the first part of its pattern that did not hold by itself."""
    unmet = [line.because for line in conditions if not line.holds]
    if unmet or findings[0].holds:
        return unmet[0] if unmet else "its pattern held already, and begins once"
    part = findings[0]
    for line in findings[1:]:
        if line.depth <= part.depth:
            break
        if not line.holds and line.depth == part.depth + 1:
            part = line
    return f"{part.text}: {part.because}"


def _undelivered(rule: Rule, since: int, time: int, *, once: bool) -> Finding:
    """Why a pattern that holds since a time gave no moment by itself."""
    if once:
        return Finding("once for each first event", 0, False, None, None, "its first event gave a moment before")
    if by_clock(rule.pattern) and time <= since + rule.lateness:
        due = since + rule.lateness + 1
        return Finding("waited for late events", 0, False, None, due, f"it is waited for {span_words(rule.lateness)}")
    said = f"what made it became known more than {span_words(rule.stale_after)} after"
    return Finding("known in time", 0, False, None, None, said)


def _apply(engine: Engine, page: Sequence[Journalled], ran: DryRun, since: int, sample: int) -> None:
    for one in page:
        _count(engine.apply(one.event, one.received), ran, since, sample)
    ran.events += len(page)


def _count(found: Sequence[Match], ran: DryRun, since: int, sample: int) -> None:
    for match in found:
        ran.matches += 1
        ran.customers.add(match.customer_key)
        if (hour := (match.time - since) // _HOUR) < _MOST_HOURS:
            ran.per_hour[hour] += 1
        if len(ran.sample) < sample:
            ran.sample.append(match)


def _moment(told: Any) -> FoundMoment:
    names = ("moment_id", "rule_id", "version", "customer_key", "match_ms", "start_ms", "start_event_id", "found_ms")
    return FoundMoment(Match(*(told[name] for name in names)), told["org_id"], told["title"])


def _milliseconds(time: datetime) -> int:
    return int(time.astimezone(UTC).timestamp() * 1000)
