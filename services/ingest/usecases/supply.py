"""How well suppliers keep to their contracts: alarms raised and cleared, health by feed, the SLA report."""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import structlog

from services.ingest import store
from services.ingest.domain import freshness
from services.ingest.domain.delivery import Delivery, FeedHealth, State
from services.ingest.domain.feed import Cycle, Revision
from services.ingest.domain.freshness import Alarm, Finding, Sla, Span
from services.kit import telemetry
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.errors import invalid_field
from services.kit.ids import Ids

_SPAN_DAYS = 400
_STABILITY = timedelta(days=30)

_log = structlog.get_logger(__name__)
_moves = telemetry.counter("lifecircle.ingest.alarms", "{alarm}", "Alarms raised and cleared, by feed and kind.")
_open = telemetry.gauge("lifecircle.ingest.alarms.open", "{alarm}", "Alarms that are open, by feed and kind.")
_age = telemetry.gauge("lifecircle.ingest.freshness", "s", "Now minus the end of the latest loaded period, by feed.")


@dataclass(frozen=True)
class Health:
    """How one feed is doing: the counts of all its deliveries, and what its latest ones say."""

    counts: FeedHealth
    latest_period: date | None
    freshness: timedelta | None
    next_due_time: datetime | None
    completeness: float
    stability: float
    alarms: tuple[Alarm, ...]


class Supply:
    """Watches the supply of all feeds."""

    def __init__(
        self, db: Database, feeds: store.Feeds, alarms: store.Alarms, zone: str, clock: Clock, ids: Ids
    ) -> None:
        self._db = db
        self._feeds = feeds
        self._alarms = alarms
        self._zone = ZoneInfo(zone)
        self._clock = clock
        self._ids = ids

    async def watch(self) -> None:
        """Raise what is wrong now and clear what is not any more."""
        now = self._clock()
        async with self._db.begin() as tx:
            await self._alarms.lock(tx)
            recent = await self._alarms.recent(tx)
            there = {(each.feed_id, each.kind): each for each in await self._alarms.open(tx)}
            feeds = await self._feeds.all_in_force(tx)
            for revision in feeds:
                feed = revision.feed
                found = freshness.findings(feed, recent.get(feed.feed_id, ()), self._zone, now)
                for each in found:
                    alarm = there.pop((feed.feed_id, each.kind), None)
                    if alarm is None:
                        await self._alarms.add(tx, self._ids(), feed.feed_id, each, now)
                        self._say("raised", feed.feed_id, each)
                    elif (alarm.period, alarm.message) != (each.period, each.message):
                        await self._alarms.renew(tx, alarm.alarm_id, each)
                kinds = Counter(each.kind for each in found)
                for kind in freshness.Kind:
                    _open(kinds[kind], feed=feed.feed_id, kind=kind.value)
                age = self._freshness(revision, recent.get(feed.feed_id, ()), now)
                if age is not None:
                    _age(age.total_seconds(), feed=feed.feed_id)
            for alarm in there.values():
                await self._alarms.clear(tx, alarm.alarm_id, now)
                self._say("cleared", alarm.feed_id, alarm)
            await tx.commit()

    async def health(self, after: str, size: int) -> list[Health]:
        """How every feed is doing, by id."""
        now = self._clock()
        async with self._db.read() as read:
            counts = await self._feeds.health(read, after=after, size=size)
            revisions = {each.feed.feed_id: each for each in await self._feeds.all_in_force(read)}
            recent, alarms = await self._alarms.recent(read), await self._alarms.open(read)
        mine: dict[str, list[Alarm]] = defaultdict(list)
        for alarm in alarms:
            mine[alarm.feed_id].append(alarm)
        return [
            self._health(each, revisions[each.feed_id], recent.get(each.feed_id, []), mine[each.feed_id], now)
            for each in counts
        ]

    async def alarms(self, *, feed_id: str, open_only: bool, before: int | None, size: int) -> list[Alarm]:
        """Alarms, the latest raised first."""
        async with self._db.read() as read:
            return await self._alarms.page(read, feed_id=feed_id, open_only=open_only, before=before, size=size)

    async def sla(self, since: date, until: date) -> list[Sla]:
        """Every feed over the periods from `since` to `until`, both inclusive. Raises invalid_field."""
        if not since <= until <= since + timedelta(days=_SPAN_DAYS):
            raise invalid_field([("to_date", f"must be from_date or at most {_SPAN_DAYS} days later")])
        span, now = Span(since, until), self._clock()
        begin, end = (datetime.combine(day, time(), self._zone) for day in (since, until + timedelta(days=1)))
        async with self._db.read() as read:
            revisions = await self._feeds.all_in_force(read)
            sent, first = await self._alarms.sent(read, span), await self._alarms.first_periods(read)
            raised = Counter((each.feed_id, each.kind.value) for each in await self._alarms.raised(read, begin, end))
        report = []
        for revision in revisions:
            feed = revision.feed
            told = freshness.sla(feed, first.get(feed.feed_id), sent.get(feed.feed_id, ()), span, self._zone, now)
            kinds = {kind: count for (feed_id, kind), count in raised.items() if feed_id == feed.feed_id}
            report.append(replace(told, alarms=kinds))
        return report

    def _health(
        self, counts: FeedHealth, revision: Revision, recent: list[Delivery], alarms: list[Alarm], now: datetime
    ) -> Health:
        late = [each for each in recent if each.receive_time >= now - _STABILITY]
        loaded = [each for each in late if each.state in (State.LOADED, State.SUPERSEDED)]
        source, good = (sum(getattr(each, name) for each in loaded) for name in ("source_rows", "loaded_rows"))
        held = sum(each.state is State.QUARANTINED for each in late)
        schedule = revision.feed.schedule
        return Health(
            counts,
            latest_period=_latest(recent),
            freshness=self._freshness(revision, recent, now),
            next_due_time=freshness.next_due_time(schedule, self._zone, now) if schedule else None,
            completeness=good / source if source else 1.0,
            stability=1 - held / len(late) if late else 1.0,
            alarms=tuple(alarms),
        )

    def _freshness(self, revision: Revision, recent: "list[Delivery] | tuple[()]", now: datetime) -> timedelta | None:
        latest = _latest(recent)
        if latest is None:
            return None
        schedule = revision.feed.schedule
        cycle = schedule.cycle if schedule else Cycle.DAILY
        return max(now - datetime.combine(cycle.after(latest), time(), self._zone), timedelta())

    def _say(self, move: str, feed_id: str, about: Alarm | Finding) -> None:
        kind, period = about.kind.value, about.period.isoformat()
        log = _log.warning if move == "raised" else _log.info
        log(f"alarm_{move}", feed=feed_id, kind=kind, period=period, about=about.message)
        _moves(1, feed=feed_id, kind=kind, move=move)


def _latest(recent: "list[Delivery] | tuple[()]") -> date | None:
    return max((each.period for each in recent if each.state is State.LOADED and each.period), default=None)
