"""A feed: the contract with a supplier on how a kind of file is named, encoded, laid out and judged."""

import enum
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

SCHEMA_VERSION = 1
"""Version of the Parquet schemas that feeds are conformed to; readers refuse one that they do not know."""


TOTAL = "sum:"
"""Before the name of a column: a control total in a control file."""


class Type(enum.Enum):
    """What a column holds, and what it becomes in the lake."""

    STRING = "string"  # text as it stands
    INT = "int"  # int64
    DECIMAL = "decimal"  # float64; never money, which is an int of fen
    DATE = "date"  # date32
    DATETIME = "datetime"  # timestamp[ms, UTC]; local business time in the file
    CODE = "code"  # int8 when all codes map to whole numbers, else string
    MSISDN = "msisdn"  # becomes customer_key; never leaves this service in clear
    PARTY = "party"  # another end or a device; becomes an int64 pseudonym, equal for equal texts under one key


@dataclass(frozen=True)
class Column:
    """One column of the file and its rules; a rule that is None, empty or False is not there.

    `masked`: True masks every run of digits that holds a number, also within a longer one; None masks numbers that
    stand alone, in a string without a pattern; False leaves the lake's column as it came. `references` names a column
    of another feed, `feed.column`, that must hold the value. `after` names an earlier column of the same type: a value
    lies after that of the same row. `about` says what it is, for people.
    """

    name: str
    type: Type
    required: bool = False
    codes: Mapping[str, str | int] | None = None
    least: float | None = None
    most: float | None = None
    pattern: str = ""
    longest: int = 256
    layout: str = ""
    within_period: bool = False
    masked: bool | None = None
    references: str = ""
    after: str = ""
    about: str = ""


@dataclass(frozen=True)
class Control:
    """The control file: one line of `fields` beside the data file, same stem, other suffix.

    A field `sum:<column>` is a control total: the sum of a column of whole numbers over all rows that were sent.
    """

    suffix: str
    delimiter: str
    fields: tuple[str, ...]

    @property
    def totals(self) -> tuple[str, ...]:
        """Columns that have a control total."""
        return tuple(field.removeprefix(TOTAL) for field in self.fields if field.startswith(TOTAL))


@dataclass(frozen=True)
class Threshold:
    """How many rejects a delivery may have before it is quarantined whole: a share of its rows, but at least `rows`.

    Never more than half of the rows, so that a short file cannot lose most of itself. `alarm` is the share above which
    a loaded delivery raises an alarm.
    """

    share: float
    rows: int
    alarm: float = 0.01

    def allowed(self, source_rows: int) -> int:
        """Rejects that a delivery of so many rows may have."""
        return max(int(self.share * source_rows), min(self.rows, source_rows // 2))


class Cycle(enum.Enum):
    """How often a feed comes; the name of a file says the first day of its period."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    def after(self, period: date) -> date:
        """First day of the period after that which `period` lies in."""
        if self is Cycle.MONTHLY:
            return (period.replace(day=1) + timedelta(days=32)).replace(day=1)
        return period + timedelta(days=1 if self is Cycle.DAILY else 7)


@dataclass(frozen=True)
class Schedule:
    """When the file of a period is due: `days` days and `due` (local time) after the period has ended."""

    cycle: Cycle
    due: time
    days: int = 0

    def due_time(self, period: date, zone: tzinfo) -> datetime:
        """The instant at which the file of a period is late."""
        return datetime.combine(self.cycle.after(period) + timedelta(days=self.days), self.due, zone)


@dataclass(frozen=True)
class Volume:
    """How many rows a period is expected to have: within `least` and `most` where these are given, and not further off
    the median of the periods before than `share` of it. `periods` says how many periods make that median.
    """

    least: int | None = None
    most: int | None = None
    share: float = 0.5
    periods: int = 8


@dataclass(frozen=True)
class EventMapping:
    """How rows become events: the type (a template over columns), the columns of the id, the column of the time."""

    type: str
    id: tuple[str, ...]
    time: str


@dataclass(frozen=True)
class Target:
    """Where the rows go: always the lake; also the event log or the customer projection where the feed says so."""

    bucketed: bool = False
    cell_id: tuple[str, str] | None = None
    event: EventMapping | None = None
    customers: bool = False


@dataclass(frozen=True)
class Feed:
    """The contract. `order` says which of several waiting feeds is loaded first (the smaller).

    `retention_days` is how long its rows are kept after their period; None for ever. `effective_from` is the first
    period that this revision of the contract is for.
    """

    feed_id: str
    title: str
    file_name: str
    encoding: str
    delimiter: str
    header: bool
    control: Control
    threshold: Threshold
    columns: tuple[Column, ...]
    unique: tuple[str, ...]
    target: Target
    order: int
    purpose: str
    legal_basis: str
    schedule: Schedule | None = None
    volume: Volume = Volume()
    retention_days: int | None = None
    effective_from: date = date.min

    @property
    def parties(self) -> tuple[str, ...]:
        """Columns that become pseudonyms."""
        return tuple(column.name for column in self.columns if column.type is Type.PARTY)

    @property
    def references(self) -> dict[str, tuple[str, str]]:
        """Column → (feed, column) whose values it must be one of."""
        return {each.name: _reference(each.references) for each in self.columns if each.references}

    @property
    def msisdn(self) -> Column | None:
        """The column with the customer's number, if there is one."""
        return next((column for column in self.columns if column.type is Type.MSISDN), None)

    def match(self, file_name: str) -> tuple[date, int] | None:
        """Period and sequence that a file name speaks of, or None when it is not of this feed; it may be compressed."""
        found = re.fullmatch(name_pattern(self.file_name), plain_name(file_name))
        if found is None:
            return None
        try:
            return parse_date(found["period"], "YYYYMMDD"), int(found.groupdict().get("sequence") or 1)
        except ValueError:
            return None


@dataclass(frozen=True)
class Revision:
    """A feed's definition as registered: the YAML text, its revision from 1, when, and the contract that it says."""

    feed: Feed
    revision: int
    definition: str
    update_time: datetime

    @property
    def etag(self) -> str:
        """Changes with every revision."""
        return str(self.revision)


def plain_name(file_name: str) -> str:
    """The name without the ending of a compression."""
    return re.sub(r"\.(gz|zst|zip)\Z", "", file_name)


def control_name(file_name: str, control: Control) -> str:
    """Name of the control file that belongs to a data file."""
    plain = plain_name(file_name)
    return f"{plain.rpartition('.')[0] or plain}{control.suffix}"


def by_feed(revisions: Iterable[Revision]) -> list[list[Revision]]:
    """Revisions that stand feed by feed, as one list per feed."""
    return [list(mine) for _, mine in itertools.groupby(revisions, key=lambda each: each.feed.feed_id)]


def governing(revisions: Sequence[Revision], file_name: str) -> tuple[Revision, tuple[date, int]] | None:
    """The revision of one feed that judges a file, with the file's period and sequence; None when it has no such file.

    That is the highest revision that is effective for the file's period, and no other.
    """
    for revision in revisions:
        place = revision.feed.match(file_name)
        if place is not None and effective(revisions, place[0]) is revision:
            return revision, place
    return None


def effective(revisions: Sequence[Revision], period: date) -> Revision | None:
    """The highest revision of one feed that is for a period."""
    fitting = [each for each in revisions if each.feed.effective_from <= period]
    return max(fitting, key=lambda each: each.revision, default=None)


def name_pattern(template: str) -> str:
    """Regular expression of a file-name template such as `BILL_{period}_{sequence}.TXT`."""
    pattern = re.escape(template)
    pattern = pattern.replace(r"\{period\}", r"(?P<period>[0-9]{8})")
    return pattern.replace(r"\{sequence\}", r"(?P<sequence>[0-9]{3})")


def whole(pattern: str) -> str:
    """A pattern of a column as it is applied: to the whole value."""
    return f"^(?:{pattern})$"


def parse_date(text: str, layout: str) -> date:
    """Date of a text in the layout YYYYMMDD, YYYYMM (its first day) or YYYY-MM-DD; raises ValueError."""
    digits = text.replace("-", "") if layout == "YYYY-MM-DD" else text
    digits = digits + "01" if layout == "YYYYMM" else digits
    if not re.fullmatch(r"[0-9]{8}", digits):
        raise ValueError(f"not a date in the layout {layout}")
    return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))


def _reference(text: str) -> tuple[str, str]:
    feed_id, _, column = text.partition(".")
    return feed_id, column
