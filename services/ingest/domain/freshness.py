"""How well a feed is supplied: which periods are late, what is off its own history, what is held - and what that
raises. A finding is what an alarm says; an alarm is a finding with the times at which it came and went.
"""

import enum
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo

from services.ingest.domain import overlap
from services.ingest.domain.delivery import Delivery, State
from services.ingest.domain.feed import Cycle, Feed, Schedule

LOOKED_BACK = 8
"""Periods before the latest due one that may be late; who is asked about longer spans reads the SLA report."""
_LEAST_HISTORY = 3


class Kind(enum.Enum):
    """What is wrong; the names are those of the API."""

    LATE = "LATE"
    VOLUME = "VOLUME"
    REJECT_RATE = "REJECT_RATE"
    BROKEN_FORMAT = "BROKEN_FORMAT"
    INTEGRITY = "INTEGRITY"
    OVERLAP = "OVERLAP"


_HELD_FOR: Mapping[str, Kind] = {
    "REJECTS_OVER_THRESHOLD": Kind.REJECT_RATE,
    **dict.fromkeys(
        (
            "COLUMNS_MISSING",
            "ENCODING_BROKEN",
            "LINE_TOO_LONG",
            "EMPTY_FILE",
            "COMPRESSION_BROKEN",
            "EXPANDS_TOO_MUCH",
            "NOT_A_FILE",
        ),
        Kind.BROKEN_FORMAT,
    ),
}
"""Kinds of the reasons for which deliveries are held; all others are of integrity."""


@dataclass(frozen=True)
class Finding:
    """Something wrong with a feed now; `period` is the oldest concerned."""

    kind: Kind
    period: date
    message: str


@dataclass(frozen=True)
class Alarm:
    """A finding from when it was raised until it was cleared (None while it is open)."""

    alarm_id: str
    feed_id: str
    kind: Kind
    period: date
    message: str
    raise_time: datetime
    clear_time: datetime | None
    alarm_no: int = 0


@dataclass(frozen=True)
class Span:
    """Periods from `since` to `until`, both inclusive."""

    since: date
    until: date


@dataclass(frozen=True)
class Sla:
    """Timeliness, integrity and stability of one feed over a span of periods."""

    feed_id: str
    due: int = 0
    on_time: int = 0
    late: int = 0
    missing: int = 0
    worst_delay: timedelta = timedelta()
    deliveries: int = 0
    loaded: int = 0
    quarantined: int = 0
    source_rows: int = 0
    loaded_rows: int = 0
    rejected_rows: int = 0
    alarms: Mapping[str, int] = field(default_factory=dict)


def period_of(cycle: Cycle, day: date) -> date:
    """First day of the period that a file's date lies in; a week begins on the day that its files name."""
    return day.replace(day=1) if cycle is Cycle.MONTHLY else day


def findings(feed: Feed, known: Sequence[Delivery], zone: tzinfo, now: datetime) -> list[Finding]:
    """What is wrong with a feed by its latest deliveries; at most one of a kind, the oldest.

    Nothing is late before the first file came: a feed that nobody supplies yet is no fault.
    """
    placed = [each for each in known if each.period is not None]
    found = [*_late(feed, placed, zone, now), *_volume(feed, placed, zone, now)]
    found += [*_reject_rate(feed, placed), *_held(placed), *_overlapping(placed)]
    first: dict[Kind, Finding] = {}
    for each in sorted(found, key=lambda each: each.period):
        first.setdefault(each.kind, each)
    counts = Counter(each.kind for each in found)
    return [
        each if counts[kind] == 1 else Finding(kind, each.period, f"{each.message} ({counts[kind]} in all)")
        for kind, each in first.items()
    ]


def due_periods(schedule: Schedule, since: date, until: date, zone: tzinfo, now: datetime) -> Iterator[date]:
    """The periods from `since` on, not after `until`, that are due by now; the oldest first."""
    period = period_of(schedule.cycle, since)
    while period <= until and schedule.due_time(period, zone) <= now:
        yield period
        period = schedule.cycle.after(period)


def next_due_time(schedule: Schedule, zone: tzinfo, now: datetime) -> datetime:
    """When the next period is due that is not due yet."""
    period = period_of(schedule.cycle, now.astimezone(zone).date() - timedelta(days=100))
    while (due := schedule.due_time(period, zone)) <= now:
        period = schedule.cycle.after(period)
    return due


def sla(feed: Feed, first: date | None, sent: Sequence[Delivery], span: Span, zone: tzinfo, now: datetime) -> Sla:
    """The report of one feed: `sent` are its deliveries of the span, `first` is its first period ever (None: none)."""
    loaded = [each for each in sent if each.state in (State.LOADED, State.SUPERSEDED)]
    told = Sla(
        feed_id=feed.feed_id,
        deliveries=len(sent),
        loaded=len(loaded),
        quarantined=sum(each.state is State.QUARANTINED for each in sent),
        source_rows=sum(each.source_rows for each in loaded),
        loaded_rows=sum(each.loaded_rows for each in loaded),
        rejected_rows=sum(each.rejected_rows for each in loaded),
    )
    if feed.schedule is None or first is None:
        return told
    came: dict[date, datetime] = {}
    for each in loaded:
        if each.period is not None and each.load_time is not None:
            period = period_of(feed.schedule.cycle, each.period)
            came[period] = min(came.get(period, each.load_time), each.load_time)
    due = list(due_periods(feed.schedule, max(first, span.since), span.until, zone, now))
    delays = [came[each] - feed.schedule.due_time(each, zone) for each in due if each in came]
    late = [each for each in delays if each > timedelta()]
    counted = {
        "due": len(due),
        "on_time": len(delays) - len(late),
        "late": len(late),
        "missing": len(due) - len(delays),
    }
    return Sla(**{**vars(told), **counted, "worst_delay": max(late, default=timedelta())})


def _late(feed: Feed, known: Sequence[Delivery], zone: tzinfo, now: datetime) -> Iterator[Finding]:
    if feed.schedule is None or not known:
        return
    cycle = feed.schedule.cycle
    periods = {period_of(cycle, each.period) for each in known if each.period}
    loaded = {period_of(cycle, each.period) for each in known if each.period and each.state is State.LOADED}
    due = list(due_periods(feed.schedule, min(periods), date.max - timedelta(days=62), zone, now))
    for period in due[-LOOKED_BACK:]:
        if period not in loaded:
            at = feed.schedule.due_time(period, zone)
            yield Finding(Kind.LATE, period, f"the file of {period} was due at {at:%Y-%m-%d %H:%M} and is not loaded")


def _volume(feed: Feed, known: Sequence[Delivery], zone: tzinfo, now: datetime) -> Iterator[Finding]:
    cycle = feed.schedule.cycle if feed.schedule else Cycle.DAILY
    rows: dict[date, int] = defaultdict(int)
    files: Counter[date] = Counter()
    for each in known:
        if each.state is State.LOADED and each.period and not each.replay_of:
            rows[period_of(cycle, each.period)] += each.source_rows
            files[period_of(cycle, each.period)] += 1
    if not rows:
        return
    *before, latest = sorted(rows)
    before = before[-feed.volume.periods :]
    is_due = feed.schedule is not None and feed.schedule.due_time(latest, zone) <= now
    whole = is_due or not before or files[latest] >= statistics.median(files[each] for each in before)
    here, said = rows[latest], f"{latest} has {rows[latest]} rows"
    if feed.volume.most is not None and here > feed.volume.most:
        yield Finding(Kind.VOLUME, latest, f"{said}; the contract expects at most {feed.volume.most}")
    elif feed.volume.least is not None and here < feed.volume.least and whole:
        yield Finding(Kind.VOLUME, latest, f"{said}; the contract expects at least {feed.volume.least}")
    elif len(before) >= _LEAST_HISTORY:
        usual = statistics.median(rows[each] for each in before)
        if here > (1 + feed.volume.share) * usual or (here < (1 - feed.volume.share) * usual and whole):
            yield Finding(Kind.VOLUME, latest, f"{said}; the median of the {len(before)} before is {usual:.0f}")


def _reject_rate(feed: Feed, known: Sequence[Delivery]) -> Iterator[Finding]:
    """Of the latest period: what was rejected and not replayed since."""
    loaded = [each for each in known if each.state is State.LOADED and each.period]
    latest = max((each.period for each in loaded if each.period), default=None)
    if latest is None:
        return
    sent = [each for each in loaded if each.period == latest and not each.replay_of]
    mended = sum(each.loaded_rows for each in loaded if each.period == latest and each.replay_of)
    source, rejected = sum(each.source_rows for each in sent), sum(each.rejected_rows for each in sent) - mended
    if source and rejected / source > feed.threshold.alarm:
        message = f"{rejected} of {source} rows of {latest} are rejected; the alarm is at {feed.threshold.alarm:.2%}"
        yield Finding(Kind.REJECT_RATE, latest, message)


def _held(known: Sequence[Delivery]) -> Iterator[Finding]:
    """Places (period and sequence) whose latest delivery is held."""
    latest: dict[tuple[date, int], Delivery] = {}
    for each in sorted(known, key=lambda each: each.delivery_no):
        if each.period and not each.replay_of:
            latest[(each.period, each.sequence)] = each
    for (period, _), each in latest.items():
        if each.state is State.QUARANTINED:
            problem = each.problems[0]
            kind = _HELD_FOR.get(problem.reason, Kind.INTEGRITY)
            yield Finding(kind, period, f"{each.file_name} is held: {problem.reason}: {problem.message}")


def _overlapping(known: Sequence[Delivery]) -> Iterator[Finding]:
    for each in known:
        notes = [note for note in each.notes if note.reason == overlap.OVERLAPPING]
        if each.state is State.LOADED and each.period and notes:
            yield Finding(Kind.OVERLAP, each.period, f"{each.file_name}: {notes[0].message}")
