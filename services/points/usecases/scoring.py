"""From events to the ledger: by RPC one, from ingest's log many, out of suspense when something was learned."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

import structlog

from services.kit import domains, telemetry
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.errors import Refusal
from services.points import refusals
from services.points.domain import posting
from services.points.domain.event import REFUND, Event, Reason
from services.points.domain.period import business_day, period_of, posts_in
from services.points.domain.posting import Outcome, Reference, Rules
from services.points.domain.preview import Batch, Preview, preview
from services.points.store import Store
from services.points.store.ledger import Posted
from services.points.usecases import months
from services.points.usecases.gathering import Gathering
from services.points.usecases.known import Known
from services.points.usecases.settling import Settling

_log = structlog.get_logger(__name__)
_scored = telemetry.counter("lifecircle.points.events", "{event}", "Events by what became of them.")

BATCH = 500
"""Events in one transaction, of callers together or out of suspense."""


@dataclass(frozen=True)
class Scored:
    """What became of an event: entries, or (reason, message) while it waits."""

    event: Event
    entries: Sequence[Posted]
    suspense: tuple[str, str] | None


@dataclass(frozen=True)
class Scoring:
    """Scores and posts. One transaction holds an event, its entries and whatever waited for it."""

    db: Database
    clock: Clock
    zone: ZoneInfo
    store: Store
    _compiled: dict[str, Rules] = field(default_factory=dict)
    _known: Known = field(init=False)
    _gathering: Gathering[Event, Scored] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", Known(self.store, self._compiled))
        object.__setattr__(self, "_gathering", Gathering(self._score, BATCH))

    async def score(self, event: Event) -> Scored:
        """Post one event, or keep it in suspense; again with the same body, the same answer. Raises event_id_reused."""
        return await self._gathering.ask(event)

    async def score_many(self, events: Sequence[Event]) -> list[Scored]:
        """Post events in one transaction. Raises event_id_reused for the first that is another under a used id."""
        with domains.whole():
            answers = await self._score(events)
        for answer in answers:
            if isinstance(answer, Refusal):
                raise answer
        return [answer for answer in answers if isinstance(answer, Scored)]

    async def _score(self, events: Sequence[Event]) -> list[Scored | Refusal]:
        """Post the events of callers who came together."""
        first = _by_key(events)
        async with self.db.begin() as tx:
            await self.store.ledger.lock(tx)
            known = await self.store.events.known(tx, first)
            scored = await self._post(tx, [event for key, event in first.items() if key not in known], new=True)
            entries = await self.store.ledger.posted(tx, first)
            suspense = await self.store.events.suspense(tx, first.keys() - scored)
            await tx.commit()
        answers: list[Scored | Refusal] = []
        for event in events:
            kept = known.get(event.key, first[event.key])
            if kept.body() == event.body():
                answers.append(Scored(kept, entries.get(event.key, []), suspense.get(event.key)))
            else:
                answers.append(refusals.event_id_reused(event.source, event.source_event_id))
        return answers

    async def take(self, tx: Write, events: Sequence[Event]) -> None:
        """Post a batch of ingest's log in the consumer's transaction; what is known already changes nothing.

        Another event under a used id never scores: it stands in suspense for whoever looks.
        """
        await self.store.ledger.lock(tx)
        first = _by_key(events)
        known = await self.store.events.known(tx, first)
        await self._post(tx, [event for event in first.values() if event.key not in known], new=True)
        reused = [event for event in events if known.get(event.key, first[event.key]).body() != event.body()]
        await self.store.events.add_reused(tx, reused)
        for event in reused:
            _log.warning("event_id_reused", source=event.source, source_event_id=event.source_event_id)
            _scored(1, state=Reason.EVENT_ID_REUSED.value)

    async def retry(self) -> int:
        """Try suspended events that something was learned for since; gives how many were tried, 0 when none is due."""
        async with self.db.read() as read:
            if not (await self.store.references.ready(read) and await self.store.events.any_due(read)):
                return 0
        async with self.db.begin() as tx:
            await self.store.ledger.lock(tx)
            events = await self.store.events.due(tx, await self.store.references.revision(tx), BATCH)
            await self._post(tx, events, new=False)
            await tx.commit()
        return len(events)

    async def _post(self, tx: Write, events: Sequence[Event], *, new: bool) -> set[tuple[str, str]]:
        """Score events, then their refunds and those that waited for them; under the ledger's lock.

        Gives the keys of all that is scored now and was not before.
        """
        revision = await self._known.revision(tx)
        plain = [event for event in events if event.type != REFUND]
        states = await self.store.ledger.states(tx)
        reference = await self._reference(tx, plain, states)
        outcomes = posting.score(plain, reference)
        await self._keep(tx, outcomes, revision, states, new=new)
        refunds = await self._refund(tx, [event for event in events if event.type == REFUND], states)
        await self._keep(tx, refunds, revision, states, new=new)
        # What came, or was scored at last, may be what a refund waits for; and a refund leaves less to the others.
        told = [each.event.key for each in (*outcomes, *refunds) if new or each.doubt is None]
        told += [each.event.origin_key for each in refunds if each.doubt is None]
        waiting: list[Outcome] = []
        while told:
            found = await self._refund(tx, await self.store.events.waiting_for(tx, told), states)
            await self._keep(tx, found, revision, states, new=False)
            waiting += found
            told = [each.event.origin_key for each in found if each.doubt is None]
        every = (*outcomes, *refunds, *waiting)
        settling = Settling(self.store, self.zone, self._known)
        await settling.settle(tx, every, self._compiled, reference.effective, states, self.clock())
        return {outcome.event.key for outcome in every if outcome.doubt is None}

    async def _refund(self, tx: Write, refunds: Sequence[Event], states: Mapping[str, str]) -> list[Outcome]:
        """Outcomes of refunds by time; of two that take back one event the earlier counts."""
        if not refunds:
            return []
        origins = await self.store.events.origins(tx, {event.origin_key for event in refunds})
        into = posts_in(states, {period_of(event.occur_time, self.zone) for event in refunds})
        outcomes: list[Outcome] = []
        for event in sorted(refunds, key=lambda event: (event.occur_time, event.key)):
            origin = origins.get(event.origin_key)
            outcome = posting.refund(event, origin, self.zone, into)
            if outcome.doubt is None and origin is not None:
                origins[event.origin_key] = origin.after(event)
            outcomes.append(outcome)
        return outcomes

    async def _keep(
        self, tx: Write, outcomes: Sequence[Outcome], revision: int, states: Mapping[str, str], *, new: bool
    ) -> None:
        if not outcomes:
            return
        staff = await self._known.employees(tx, {outcome.event.staff_id for outcome in outcomes})
        placed = [(o, staff[o.event.staff_id].org_id if o.event.staff_id in staff else "") for o in outcomes]
        if new:
            dated = [(o, org_id, business_day(o.event.occur_time, self.zone)) for o, org_id in placed]
            await self.store.events.add(tx, dated, revision)
        else:
            await self.store.events.retried(tx, placed, revision)
        entries = [entry for outcome in outcomes for entry in outcome.entries]
        await self.store.ledger.append(tx, entries, self.clock(), states)
        for outcome in outcomes:
            _scored(1, state=outcome.doubt.reason.value if outcome.doubt else "SCORED")

    async def rules(self, read: Read, rule_set_id: str) -> Rules:
        """A published version, compiled."""
        await self.effective(read)
        return self._compiled[rule_set_id]

    async def effective(self, read: Read) -> tuple[list[tuple[str, date, str]], dict[str, Rules]]:
        """(name, effective date, id) of every published version, and each compiled."""
        return await months.rules_in(read, self.store, self._compiled), self._compiled

    async def reference(self, read: Read, events: Iterable[Event]) -> Reference:
        """What is known of what the events name."""
        await self._known.revision(read)
        return await self._reference(read, list(events), await self.store.ledger.states(read))

    async def _reference(self, read: Read, events: Sequence[Event], states: Mapping[str, str]) -> Reference:
        fields = await self.store.references.known_now(
            read, {subject for event in events for subject in event.subjects if subject}
        )
        owners = {each.row.staff_id for field in fields.values() for each in field}
        return Reference(
            ready=await self._known.ready(read),
            zone=self.zone,
            categories=await self._known.categories(read, {event.product_id for event in events}),
            staff=await self._known.employees(read, owners | {event.staff_id for event in events}),
            fields=fields,
            effective=await self._known.effective(read),
            rules=self._compiled,
            posts_in=posts_in(states, {period_of(event.occur_time, self.zone) for event in events}),
        )

    async def preview(self, batch: Batch) -> Preview:
        """What events would give, and why some would wait; as in posting, whoever asks."""
        with domains.whole():
            async with self.db.read() as read:
                await self._known.revision(read)
                effective, ready = await self._known.effective(read), await self._known.ready(read)
                categories = await self._known.categories(read, batch.products)
                staff = await self._known.employees(read, batch.staff)
        return preview(batch, Reference(ready, self.zone, categories, staff, {}, effective, self._compiled))


def _by_key(events: Iterable[Event]) -> dict[tuple[str, str], Event]:
    """Events by identity; of those that share one the first."""
    first: dict[tuple[str, str], Event] = {}
    for event in events:
        first.setdefault(event.key, event)
    return first
