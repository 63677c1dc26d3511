"""What may be asked of the ledger."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from services.kit.clock import Clock
from services.kit.db import Database
from services.points import refusals
from services.points.domain.event import Event
from services.points.domain.explanation import Step, assignment_text, rule_text, source_text, steps
from services.points.domain.field import Assignment
from services.points.domain.period import Period, business_day
from services.points.domain.rule_text import parse
from services.points.domain.version import Version
from services.points.store import Store
from services.points.store.ledger import Line, Posted


@dataclass(frozen=True)
class Explained:
    """An entry with everything it follows from."""

    posted: Posted
    event: Event
    version: Version
    rule_text: str
    assignment_text: str
    source_text: str
    steps: list[Step]


@dataclass(frozen=True)
class Reading:
    """Reads what stands; changes nothing."""

    db: Database
    clock: Clock
    zone: ZoneInfo
    store: Store

    async def explain(self, entry_id: str) -> Explained:
        """How an entry came to be. Raises entry_not_found."""
        async with self.db.read() as read:
            posted = await self.store.ledger.get(read, entry_id)
            if posted is None:
                raise refusals.entry_not_found(entry_id)
            entry = origin = posted.entry
            if entry.reverses_entry_id:
                reversed_ = await self.store.ledger.get(read, entry.reverses_entry_id)
                assert reversed_ is not None
                origin = reversed_.entry
            keys = {(each.source, each.source_event_id) for each in (entry, origin)}
            known = await self.store.events.known(read, keys)
            facts = await self.store.events.facts(read, origin.source_key)
            version = await self.store.rule_sets.get(read, entry.rule_set_id, business_day(self.clock(), self.zone))
            assignment = (
                await self.store.references.assignment(read, entry.assignment_id) if entry.assignment_id else None
            )
        assert version is not None
        event, first = known[entry.source, entry.source_event_id], known[origin.source, origin.source_event_id]
        rules = parse(version.definition)
        return Explained(
            posted=posted,
            event=event,
            version=version,
            rule_text=rule_text(rules, entry.rule_id),
            assignment_text=assignment_text(entry, assignment, first.customer_key, self.zone),
            source_text=source_text(event),
            steps=steps(entry, origin, first, rules, *facts),
        )

    async def entries(self, *, staff_id: str, event_id: str, period_id: str, after: int, size: int) -> list[Posted]:
        """Entries in posting order."""
        async with self.db.read() as read:
            return await self.store.ledger.page(
                read, staff_id=staff_id, event_id=event_id, period_id=period_id, after=after, size=size
            )

    async def suspended(self, after: int, size: int) -> list[tuple[int, Event, str, str]]:
        """(arrival, event, reason, message) of events that wait, by arrival."""
        async with self.db.read() as read:
            return await self.store.events.suspended(read, after, size)

    async def assignments(
        self, subject: int, known: datetime | None, after: tuple[datetime, str, int] | None, size: int
    ) -> list[Assignment]:
        """Assignments of a subject as known at an instant, or now."""
        async with self.db.read() as read:
            return await self.store.references.assignments(read, subject, known or self.clock(), after, size)

    async def leaders(self, period_id: str, after: tuple[int, str] | None, size: int) -> list[Line]:
        """Employees of a period, the highest first."""
        async with self.db.read() as read:
            return await self.store.ledger.leaders(read, period_id, after, size)

    async def period(self, period_id: str) -> Period:
        """A period with its sums and checksum. Raises period_not_found."""
        async with self.db.read() as read:
            period = await self.store.ledger.period(read, period_id)
        if period is None:
            raise refusals.period_not_found(period_id)
        return period
