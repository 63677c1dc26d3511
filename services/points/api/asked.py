"""Proto in: what a caller says, as plain values. What cannot be a value is refused with the field named."""

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any

import grpc.aio
import numpy as np
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.points import v1
from services.kit import paging
from services.kit.errors import bad_page_token, invalid_field
from services.points.domain.event import Event
from services.points.domain.field import subjects_of
from services.points.domain.preview import Batch

Context = grpc.aio.ServicerContext[Any, Any]

_SOURCE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = ("type", "product_id", "staff_id", "channel", "customer_type", "cell_id", "grid_id", "origin_event_id",
            "source_event_id")  # fmt: skip
_ROW = attrgetter(
    *_COLUMNS, "source", "customer_key", "amount_fen", "occur_time.seconds", "occur_time.nanos"
)  # fmt: skip
_LIMITS = (32, 64, 64, 32, 32, 64, 64, 128, 128)
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_FIRST_SECOND, _LAST_SECOND = int(_FIRST.timestamp()), int(_LAST.timestamp())


def check(request: Message) -> None:
    """Refuse text with NUL, which Postgres cannot hold; the contract's own rules were checked before."""
    bad = [path for path, text in _texts(request, "") if "\0" in text]
    if bad:
        raise invalid_field([(path, "must not hold NUL") for path in bad])


def instant(value: Timestamp, path: str) -> datetime:
    """An instant to the microsecond, from the year 1900 to 9998."""
    try:
        time = _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    except OverflowError:
        time = _LAST
    if not (_FIRST <= time < _LAST and 0 <= value.nanos < 1_000_000_000):
        raise invalid_field([(path, "is not a time between the years 1900 and 9998")])
    return time


def day(value: Date, path: str) -> date:
    """A whole date."""
    try:
        return date(value.year, value.month, value.day)
    except (ValueError, OverflowError) as error:
        raise invalid_field([(path, "is not a date with year, month and day")]) from error


def event(message: v1.BusinessEvent, now: datetime) -> Event:
    """A business event that came by RPC; its id follows from (source, source_event_id)."""
    identity = hashlib.sha256(f"{message.source}\n{message.source_event_id}".encode()).hexdigest()
    return Event(
        event_id=f"rpc-{identity[:32]}",
        source=message.source,
        source_event_id=message.source_event_id,
        type=message.type,
        customer_key=message.customer_key,
        product_id=message.product_id,
        staff_id=message.staff_id,
        channel=message.channel,
        amount_fen=message.amount_fen,
        origin_event_id=message.origin_event_id,
        occur_time=instant(message.occur_time, "event.occur_time"),
        receive_time=now,
        customer_type=message.customer_type,
        cell_id=message.cell_id,
        grid_id=message.grid_id,
    )


def subject(request: v1.ListAssignmentsRequest) -> int:
    """The one subject that is asked for."""
    found = [key for key in subjects_of(request.customer_key, request.cell_id, request.grid_id) if key]
    if len(found) != 1:
        raise invalid_field([("customer_key", "exactly one of customer_key, cell_id and grid_id is needed")])
    return found[0]


def events(messages: Sequence[v1.BusinessEvent], now: datetime) -> list[Event]:
    """Many business events, each checked as the contract says of one."""
    _refuse_wrong(messages)
    return [event(one, now) for one in messages]


def batch(messages: Sequence[v1.BusinessEvent], now: datetime) -> Batch:
    """Many business events as columns, checked alike; whole columns first, one by one when something is wrong."""
    told = list(messages)
    *texts, sources, keys, fen, whole, parts = zip(*map(_ROW, told), strict=True)
    seconds, nanos = np.array(whole, np.int64), np.array(parts, np.int64)
    ids = texts[-1]
    if (
        any(max(map(len, set(column))) > most or "\0" in "".join(column)
            for column, most in zip(texts, _LIMITS, strict=True))
        or not all(map(_SOURCE.fullmatch, set(sources)))
        or not (all(texts[0]) and all(ids))
        or max(len(text.encode()) for text in ids) > 128
        or min(keys) < 0
        or not seconds.all()
    ):  # fmt: skip
        _refuse_wrong(told)
    if not (
        seconds.min() >= _FIRST_SECOND and seconds.max() < _LAST_SECOND and 0 <= nanos.min() <= nanos.max() < 10**9
    ):
        for number, one in enumerate(told):
            instant(one.occur_time, f"events[{number}].occur_time")
    amounts = np.array(fen, np.int64)
    times = seconds * 1_000_000 + nanos // 1000
    types, products, staff, channels, kinds = texts[:5]
    return Batch(types, products, staff, channels, kinds, amounts, times, (now - _EPOCH) // timedelta(microseconds=1))


def _refuse_wrong(messages: Sequence[v1.BusinessEvent]) -> None:
    wrong = [(f"events[{n}].{path}", why) for n, one in enumerate(messages) for path, why in _wrong(one)]
    if wrong:
        raise invalid_field(wrong[:20])


def _wrong(one: v1.BusinessEvent) -> list[tuple[str, str]]:
    texts = (("type", 32), ("product_id", 64), ("staff_id", 64), ("channel", 32), ("origin_event_id", 128),
             ("customer_type", 32), ("cell_id", 64), ("grid_id", 64), ("source_event_id", 128))  # fmt: skip
    found = [(name, "is too long or holds NUL") for name, most in texts
             if len(getattr(one, name)) > most or "\0" in getattr(one, name)]  # fmt: skip
    if not _SOURCE.fullmatch(one.source):
        found.append(("source", "is not a name of lower case letters, digits and underscores"))
    if not one.source_event_id or len(one.source_event_id.encode()) > 128 or not one.type:
        found.append(("source_event_id", "an id and a type are needed"))
    if one.customer_key < 0 or not one.HasField("occur_time"):
        found.append(("occur_time", "a time is needed, and a customer is not negative"))
    return found


def named(page_token: str) -> str:
    """Place after a name; "" on the first page."""
    place = _place(page_token, str)
    return str(place[0]) if place else ""


def number_place(page_token: str) -> int:
    """Place after a number; 0 on the first page."""
    place = _place(page_token, int)
    return place[0] if place else 0


def time_place(page_token: str, *kinds: Callable[[Any], Any]) -> Any:
    """Place after (an instant, and more); None on the first page."""
    return _place(page_token, datetime.fromisoformat, *kinds)


def points_place(page_token: str) -> tuple[int, str] | None:
    """Place after (milli-points, employee); None on the first page."""
    place: tuple[int, str] | None = _place(page_token, int, str)
    return place


def _place(page_token: str, *kinds: Callable[[Any], Any]) -> Any:
    if not page_token:
        return None
    place: Any = paging.decode(page_token).get("after")
    try:
        return tuple(kind(value) for kind, value in zip(kinds, place, strict=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_page_token() from error


def _texts(message: Message, prefix: str) -> Sequence[tuple[str, str]]:
    """Every text field that is set, with its path."""
    found: list[tuple[str, str]] = []
    for each, value in message.ListFields():
        if isinstance(value, str):
            found.append((prefix + each.name, value))
        elif isinstance(value, Message):
            found += _texts(value, f"{prefix}{each.name}.")
    return found
