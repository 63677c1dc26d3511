"""What points reads of the lake: ingest's reference feeds, by the manifests that ingest gives."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from services.kit import lake
from services.kit.lake import Damaged
from services.points.domain import field
from services.points.domain.reference import PLACE_FIELDS, File, Snapshot

_COLUMNS = {
    "organisations": ("org_id", "parent_org_id", "level", "name"),
    "staff": ("staff_id", "org_id", "role"),
    "products": ("product_id", "name", "category"),
}
__all__ = ["Damaged", "Lake", "to_instant"]

_SHARE = ("staff_id", "role", "share_bps", "valid_from", "valid_to", "line")


class Lake:
    """The files behind a snapshot; blocking, so to be called off the event loop."""

    def by_id(self, snapshot: Snapshot) -> Mapping[str, Sequence[str]]:
        """Rows of organisations, staff or products by their id, in the columns of the projection; the latest stands."""
        columns = _COLUMNS[snapshot.feed_id]
        rows: dict[str, Sequence[str]] = {}
        for file in snapshot.files:
            for row in _rows(file, columns):
                rows[row[0]] = tuple("" if value is None else str(value) for value in row)
        return rows

    def fields(self, snapshot: Snapshot, zone: ZoneInfo) -> Sequence[field.Row]:
        """Rows of fields of customers or of places, the oldest file first; a date begins at midnight in `zone`."""
        places = snapshot.feed_id == PLACE_FIELDS
        subject = ("subject_type", "subject_id") if places else ("customer_key",)
        return [
            field.Row(
                customer_key=field.place_key(*of) if places else of[0],
                staff_id=staff_id,
                role=role,
                share_bps=share,
                valid_from=to_instant(begin, zone),
                valid_to=None if end is None else to_instant(end, zone),
                delivery_id=file.delivery_id,
                line=line,
                place=" ".join(of) if places else "",
            )
            for file in snapshot.files
            for *of, staff_id, role, share, begin, end, line in _rows(file, (*subject, *_SHARE))
        ]


def _rows(file: File, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    data = pa.BufferReader(lake.content(file.uri, file.sha256))
    table: pa.Table = pq.read_table(data, columns=list(columns))
    return zip(*(table.column(name).to_pylist() for name in columns), strict=True)


def to_instant(value: date | datetime, zone: ZoneInfo) -> datetime:
    """A time as it is; a date's midnight in the zone."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=zone)
    return datetime(value.year, value.month, value.day, tzinfo=zone)
