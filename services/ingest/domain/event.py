"""Events: what happened to a customer, identified once for ever by source and the source's own id."""

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from services.ingest.domain import canonical, identity, schema
from services.ingest.domain.feed import Feed, Type

STAGED = ("source_event_id", "type", "customer_key", "occur_time", "attributes", "line")
"""Columns of the rows that become events."""

_HIDDEN = (Type.MSISDN, Type.PARTY)  # these are no attributes
_ID_BYTES = 128
_ATTRIBUTES_MOST = 64
_ATTRIBUTES_BYTES = 32 * 1024
_ESCAPED = r'["\\\x00-\x1f\x7f]'  # what JSON may write in another way
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_NUMBER_PROBLEM = "holds what looks like a telephone number; name the customer by customer_key"


class Event(NamedTuple):
    """One event. `customer_key` is 0 when it names nobody; `delivery_id` is "" when it came by RPC."""

    event_id: str
    source: str
    source_event_id: str
    type: str
    customer_key: int
    occur_time: datetime
    receive_time: datetime
    attributes: Mapping[str, Any]
    delivery_id: str = ""
    line: int = 0


@dataclass(slots=True)
class Told:
    """An event as a source tells it. Not frozen, since that makes it in twice the time: this is every event."""

    source: str
    source_event_id: str
    type: str
    customer_key: int
    occur_time: datetime
    attributes: Mapping[str, Any]
    attributes_json: str = field(init=False, repr=False, compare=False)
    """The attributes as Postgres takes them."""
    moment: int = field(init=False, repr=False, compare=False)
    """The time in microseconds since 1970."""
    digest: bytes | None = field(init=False, repr=False, compare=False)
    """What event_digest() in Postgres gives of it; None when that cannot be said from here."""

    def __post_init__(self) -> None:
        """All at once: a property that remembers takes a lock, and there are twenty thousand events a second."""
        self.moment = moment = (self.occur_time - _EPOCH) // _MICROSECOND
        self.digest = None
        try:
            self.attributes_json = said = canonical.text_of(self.attributes)
        except canonical.NotCanonical:
            self.attributes_json = canonical.encode(self.attributes)
        else:
            if moment >= 0:
                seconds, micros = divmod(moment, 1_000_000)
                whole = f"{self.type}|{self.customer_key}|{seconds}.{micros:06}|{said}"
                self.digest = hashlib.md5(whole.encode("utf-8", "replace")).digest()  # noqa: S324 - no secret


@dataclass(frozen=True)
class Unfit:
    """An event that cannot be taken in. `reason` is one of refusals.py; the message never holds a value."""

    source: str
    source_event_id: str
    reason: str
    message: str


def unfit(source: str, source_event_id: str, problems: Sequence[tuple[str, str]]) -> Unfit:
    """An event that breaks rules; its ids are kept masked and cut."""
    message = "; ".join(f"{field} {problem}" for field, problem in problems)
    return Unfit(_shown_id(source), _shown_id(source_event_id), "INVALID_FIELD", message)


def problems_of(told: Told) -> list[tuple[str, str]]:
    """What cannot be kept of an event, by field: a name that is none, a clear number, too many attributes, what its
    type's schema does not allow."""
    problems = attribute_problems(told) + schema.problems(told.type, told.attributes)
    if not is_source(told.source):
        problems.append(("event.source", "is not a lower-case name of 1 to 63 characters"))
    if not is_type(told.type):
        problems.append(("event.type", "is not a dotted name"))
    if not told.source_event_id or len(told.source_event_id.encode("utf-8", "replace")) > _ID_BYTES:
        problems.append(("event.source_event_id", f"must have 1 to {_ID_BYTES} bytes"))
    if "\0" in told.source_event_id:
        problems.append(("event.source_event_id", "must not hold NUL"))
    if told.customer_key < 0:
        problems.append(("event.customer_key", "must not be negative"))
    if identity.holds_number(told.source_event_id):
        problems.append(("event.source_event_id", _NUMBER_PROBLEM))
    return problems


@functools.lru_cache(maxsize=1024)
def is_source(text: str) -> bool:
    """Whether a text may name a source."""
    return re.fullmatch(r"[a-z][a-z0-9_]{0,62}", text) is not None and not identity.holds_number(text)


@functools.lru_cache(maxsize=1024)
def is_type(text: str) -> bool:
    """Whether a text is the name of a kind of events."""
    return re.fullmatch(r"[a-z_]+(\.[A-Za-z_]+)+", text) is not None


def attribute_problems(told: Told) -> list[tuple[str, str]]:
    """What cannot be kept as attributes: too many of them, or a clear telephone number."""
    problems, text = [], told.attributes_json
    if len(told.attributes) > _ATTRIBUTES_MOST:
        problems.append(("event.attributes", f"must not have more than {_ATTRIBUTES_MOST} entries"))
    if len(text) * 4 > _ATTRIBUTES_BYTES and len(text.encode("utf-8", "replace")) > _ATTRIBUTES_BYTES:
        problems.append(("event.attributes", f"must not have more than {_ATTRIBUTES_BYTES} bytes"))
    if "\\u0000" in text:
        problems.append(("event.attributes", "must not hold NUL"))
    if not identity.may_hold_number(text):  # by far the most
        return problems
    paths = [f"event.attributes.{name}".rstrip(".") for name in _clear_numbers(told.attributes)]
    return problems + [(path, _NUMBER_PROBLEM) for path in paths]


def _shown_id(text: str) -> str:
    return identity.masked(text.encode("utf-8", "replace").decode().replace("\0", ""))[:_ID_BYTES]


def _clear_numbers(value: Any, path: str = "") -> list[str]:
    if isinstance(value, Mapping):
        if any(identity.holds_number(name) for name in value):
            return [path]  # of the whole, since the name itself must not be shown
        return [each for name, part in value.items() for each in _clear_numbers(part, f"{path}.{name}".lstrip("."))]
    if isinstance(value, list):
        return [each for at, part in enumerate(value) for each in _clear_numbers(part, f"{path}[{at}]")]
    text = f"{value:.0f}" if isinstance(value, float) else str(value)
    return [path] if identity.holds_number(text) else []


def from_rows(rows: pl.DataFrame, feed: Feed) -> pl.DataFrame:
    """Events (columns STAGED) of conformed rows with `customer_key`, in the order of the lines.

    Attributes are a JSON text by column name, written as Postgres writes jsonb: whole numbers as decimal digits, times
    as RFC 3339 in UTC, dates as YYYY-MM-DD, nothing for what is missing.
    """
    mapping = feed.target.event
    assert mapping is not None, f"{feed.feed_id} does not become events"
    customer = pl.col("customer_key") if feed.msisdn else pl.lit(0, dtype=pl.Int64)
    shown = {column.name: _shown(column.name, column.type) for column in feed.columns if column.type not in _HIDDEN}
    keys = shown | ({feed.msisdn.name: customer.cast(pl.String)} if feed.msisdn else {})
    parts = re.split(r"\{([a-z0-9_]+)\}", mapping.type)
    kind = pl.concat_str([pl.col(part) if at % 2 else pl.lit(part) for at, part in enumerate(parts)])
    return rows.select(
        source_event_id=pl.concat_str([keys[name].fill_null("") for name in mapping.id], separator=":"),
        type=kind,
        customer_key=customer.fill_null(0),
        occur_time=pl.col(mapping.time),
        attributes=_json(rows.select(shown[name].alias(name) for name in canonical.in_order(shown))),
        line="line",
    )


def is_canonical(feed: Feed) -> bool:
    """Whether from_rows() writes attributes to the byte as Postgres writes jsonb, and times to the second.

    It does but for decimal numbers, of which Postgres knows 1e-7 as 0.0000001.
    """
    mapping = feed.target.event
    types = {column.name: column.type for column in feed.columns}
    assert mapping is not None, f"{feed.feed_id} does not become events"
    return Type.DECIMAL not in types.values() and types[mapping.time] is Type.DATETIME


def digests(rows: pl.DataFrame) -> pl.Series:
    """What rows of a canonical feed (columns STAGED) say, hashed as event_digest() in Postgres does it: 16 bytes."""
    milliseconds = pl.col("occur_time").dt.epoch("ms")
    seconds, rest = (milliseconds // 1000).cast(pl.String), (milliseconds % 1000).cast(pl.String).str.zfill(3)
    epoch = pl.concat_str(seconds, pl.lit("."), rest, pl.lit("000"))
    said = pl.concat_str("type", pl.col("customer_key").cast(pl.String), epoch, "attributes", separator="|")
    texts = rows.select(said.cast(pl.Binary)).to_series().to_list()
    hashed = [hashlib.md5(text).digest() for text in texts]  # noqa: S324 - an argument more is a fifth of the time
    return pl.Series("digest", hashed, dtype=pl.Binary)


def _json(shown: pl.DataFrame) -> pl.Series:
    """An object of each row without its nulls; columns stand in the order of jsonb.

    Rows of which nothing is missing, and no text needs another form in JSON, are put together in one go.
    """
    heads = {name: f"{json.dumps(name, ensure_ascii=False)}: " for name in shown.columns}
    if all(_is_plain(column) for column in shown):
        parts: list[pl.Expr] = []
        before = "{"
        for name, head in heads.items():
            parts += [pl.lit(f'{before}{head}"'), pl.col(name)]
            before = '", '
        return shown.select(pl.concat_str(*parts, pl.lit('"}'))).to_series()
    entries = [pl.concat_str(pl.lit(head), _json_texts(shown[name])) for name, head in heads.items()]
    inside = pl.concat_str(entries, separator=", ", ignore_nulls=True)
    return shown.select(pl.concat_str(pl.lit("{"), inside, pl.lit("}"))).to_series()


def _is_plain(column: pl.Series) -> bool:
    """Whether texts stand in JSON as they are, between quotes."""
    return column.dtype == pl.String and not column.null_count() and not column.str.contains(_ESCAPED).any()


def _json_texts(values: pl.Series) -> pl.Series:
    """JSON of a column; nearly all texts stand in it as they are, so that they are only looked at."""
    if values.dtype == pl.String and not values.str.contains(_ESCAPED).any():
        return pl.select(pl.format('"{}"', values)).to_series()
    inside = pl.struct(values.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
    return pl.select(pl.when(values.is_not_null()).then(inside)).to_series()


def _shown(name: str, kind: Type) -> pl.Expr:
    value = pl.col(name)
    match kind:
        case Type.DATETIME:
            return value.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        case Type.DATE:
            return value.dt.strftime("%Y-%m-%d")
        case Type.INT:
            return value.cast(pl.String)
        case Type.STRING:  # also one that the contract does not mask for the lake
            return identity.masked_all(value)
        case _:
            return value
