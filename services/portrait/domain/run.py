"""A run and what it publishes, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

TABLES = ("features", "tags", "anchors", "dwell", "visits", "stats", "attendance", "interests")
CITY_TABLES = ("areas", "crowd")
"""Tables of the city as a whole, which are summed up when a run is published."""
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Run:
    """One published computation; `sha256` is the checksum over its dwell."""

    run_id: str
    from_date: date
    to_date: date
    customers: int
    signalling_rows: int
    visits: int
    sha256: str
    held: tuple[str, ...] = ()
    """Why readers do not see it: tags whose coverage is outside of their band."""
    catalogue_version: str = ""


@dataclass(frozen=True)
class LakeFile:
    """An immutable Parquet file; `bucket` is -1 for one that is not bucketed."""

    uri: str
    rows: int
    sha256: str
    bucket: int
    period: date = date.min
    delivery_id: str = ""
    delivery_ids: tuple[str, ...] = ()
    """All deliveries whose rows a compacted file holds; empty for a file of one."""

    @property
    def deliveries(self) -> frozenset[str]:
        """The deliveries whose rows it holds."""
        return frozenset(self.delivery_ids or (self.delivery_id,))


@dataclass(frozen=True)
class KeptDay:
    """The stays of one bucket on one day, or (bucket -1) the day's sample, as they lie in the lake.

    `inputs` is the digest of files and rules, `reading` that of the map; `cells` holds how the cells that were heard
    were read. `rows` of signalling it is made of.
    """

    day: date
    bucket: int
    inputs: str
    reading: str
    rows: int
    stays: LakeFile
    cells: LakeFile


@dataclass(frozen=True)
class AnchorValue:
    """An anchor as a portrait shows it."""

    role: str
    place_id: str
    place_name: str
    place_class: str
    town: str
    days: int
    dwell_seconds: int
    confidence: float


@dataclass(frozen=True)
class TagValue:
    """A tag that a customer bears, with why; `landmark` is a place's name."""

    code: str
    value: str
    version: int
    score: float
    landmark: str
    evidence: str
    from_date: date
    expire_date: date


@dataclass(frozen=True)
class Portrait:
    """Who a customer is, as of one run."""

    customer_key: int
    org_id: str
    run_id: str
    anchors: tuple[AnchorValue, ...]
    tags: tuple[TagValue, ...]
    features: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DwellLine:
    """A customer's time at one place in one slot of one kind of day."""

    place_id: str
    place_class: str
    day_type: str
    slot: str
    days: int
    dwell_seconds: int
    grade: int
