"""A delivery: one file of one feed as it was sent, and what became of it."""

import enum
from dataclasses import dataclass
from datetime import date, datetime


class State(enum.Enum):
    """What became of a delivery; the names are those of the API."""

    RECEIVED = "RECEIVED"
    LOADING = "LOADING"
    LOADED = "LOADED"
    QUARANTINED = "QUARANTINED"
    SUPERSEDED = "SUPERSEDED"


@dataclass(frozen=True)
class Problem:
    """One reason why a whole delivery cannot be used, and a sentence for the supplier."""

    reason: str
    message: str


@dataclass(frozen=True)
class Delivery:
    """`delivery_no` is the order of arrival. A file that no feed knows has feed_id "", revision 0 and no period.

    `notes` say what is strange about one that is loaded all the same. `replay_of` names the delivery whose rejected
    rows it carries.
    """

    delivery_id: str
    feed_id: str
    revision: int
    period: date | None
    sequence: int
    file_name: str
    sha256: str
    state: State
    source_rows: int
    loaded_rows: int
    rejected_rows: int
    problems: tuple[Problem, ...]
    receive_time: datetime
    load_time: datetime | None
    delivery_no: int = 0
    notes: tuple[Problem, ...] = ()
    replay_of: str = ""


@dataclass(frozen=True)
class Reject:
    """One row that was not loaded. `raw` is sealed with the vault's key; the message never holds a value."""

    line: int
    column: str
    reason: str
    message: str
    raw: bytes = b""
    replay_delivery_id: str = ""


@dataclass(frozen=True)
class Kept:
    """A rejected row as it is kept: its line, and its sealed bytes with the version of the key."""

    line: int
    raw: bytes
    key_version: int


@dataclass(frozen=True)
class LakeFile:
    """One immutable Parquet file: its place in the lake, rows, checksum; `bucket` is -1 when not bucketed."""

    path: str
    rows: int
    sha256: str
    period: date
    bucket: int
    delivery_id: str


@dataclass(frozen=True)
class Snapshot:
    """The lake's files of one feed at one instant, ordered by period, bucket and delivery."""

    files: tuple[LakeFile, ...]
    schema_version: int


@dataclass(frozen=True)
class FeedHealth:
    """How one feed is doing; the rows are those of its loaded deliveries."""

    feed_id: str
    last_load_time: datetime | None
    deliveries: int
    quarantined: int
    source_rows: int
    loaded_rows: int
    rejected_rows: int
