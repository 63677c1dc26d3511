"""Proto out: plain values as messages."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.points import v1
from services.kit import paging
from services.points.domain.event import Event
from services.points.domain.field import CELL, GRID, Assignment
from services.points.domain.ledger import Entry
from services.points.domain.period import Period, business_day
from services.points.domain.version import Version
from services.points.store.ledger import Line, Posted
from services.points.usecases import Explained, Scored

T = TypeVar("T")


def next_token(found: Sequence[T], size: int, place: Callable[[T], list[Any]]) -> str:
    """Token of the next page when more was found than fits; `place` is that of the page's last."""
    return paging.encode({"after": place(found[size - 1])}) if len(found) > size else ""


def rule_set(version: Version) -> v1.RuleSet:
    """A version of the rules."""
    effective = version.effective_date
    return v1.RuleSet(
        rule_set_id=version.rule_set_id,
        name=version.name,
        version=version.version,
        state=v1.RuleSet.State.Value(f"STATE_{version.state.value}"),
        definition=version.definition,
        sha256=version.sha256,
        effective_date=None if effective is None else _date(effective),
        author=version.author,
        publisher=version.publisher,
        create_time=_time(version.create_time),
        approver=version.approver,
    )


def scored(value: Scored) -> v1.ScoreEventResponse:
    """What became of an event."""
    waiting = None if value.suspense is None else suspense(value.event, value.suspense)
    return v1.ScoreEventResponse(entries=map(posted, value.entries), suspense=waiting)


def suspense(event: Event, why: tuple[str, str]) -> v1.Suspense:
    """An event that waits."""
    reason, message = why
    return v1.Suspense(event_id=event.event_id, reason=reason, message=message, occur_time=_time(event.occur_time))


def posted(value: Posted) -> v1.Entry:
    """An entry with its place in the ledger."""
    one: Entry = value.entry
    return v1.Entry(
        entry_id=one.entry_id,
        account=one.account,
        staff_id=one.staff_id,
        milli_points=one.milli_points,
        event_id=one.event_id,
        rule_set_id=one.rule_set_id,
        rule_id=one.rule_id,
        component=one.component,
        share_bps=one.share_bps,
        reverses_entry_id=one.reverses_entry_id,
        period_id=one.period_id,
        occur_time=_time(one.occur_time),
        post_time=_time(value.post_time),
        kind=one.kind,
        accrual_id=one.accrual_id,
        source=one.source,
        source_event_id=one.source_event_id,
    )


def explanation(value: Explained) -> v1.Explanation:
    """An entry with its arithmetic."""
    event = value.event
    return v1.Explanation(
        entry=posted(value.posted),
        event_type=event.type,
        product_id=event.product_id,
        amount_fen=event.amount_fen or 0,
        channel=event.channel,
        rule_set_name=value.version.name,
        rule_set_version=value.version.version,
        rule_text=value.rule_text,
        assignment_text=value.assignment_text,
        steps=[v1.Explanation.Step(text=step.text, milli_points=step.milli_points) for step in value.steps],
        customer_key=event.customer_key,
        source=value.source_text,
    )


def assignment(value: Assignment) -> v1.Assignment:
    """A part of a responsibility field."""
    row = value.row
    kind, _, name = row.place.partition(" ")
    return v1.Assignment(
        customer_key=max(0, row.customer_key),
        cell_id=name if kind == CELL else "",
        grid_id=name if kind == GRID else "",
        staff_id=row.staff_id,
        role=row.role,
        share_bps=row.share_bps,
        valid_from=_time(row.valid_from),
        valid_to=None if row.valid_to is None else _time(row.valid_to),
        known_from=_time(value.known_from),
    )


def assignment_place(value: Assignment) -> list[Any]:
    """Where an assignment stands in its list."""
    return [value.row.valid_from.isoformat(), value.row.staff_id, value.assignment_id]


def leader(line: Line, zone: ZoneInfo) -> v1.LeaderboardLine:
    """An employee's total."""
    return v1.LeaderboardLine(
        rank=line.rank,
        staff_id=line.staff_id,
        org_id=line.org_id,
        milli_points=line.milli_points,
        entries=line.entries,
        first_event_date=_date(business_day(line.first_time, zone)),
        top_entry_id=line.top_entry_id,
    )


def period(value: Period) -> v1.Period:
    """A month of the ledger."""
    return v1.Period(
        period_id=value.period_id,
        state=v1.Period.State.Value(f"STATE_{value.state.value}"),
        first_date=_date(value.first_date),
        last_date=_date(value.last_date),
        entries=value.entries,
        milli_points=value.milli_points,
        sha256=value.sha256,
        accrual_sha256=value.accrual_sha256,
        late_entries=value.late_entries,
    )


def _time(value: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(value)
    return message


def _date(value: date) -> Date:
    return Date(year=value.year, month=value.month, day=value.day)
