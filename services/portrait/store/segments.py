"""Segmentations, their members, and the names given by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text

from services.kit.db import Read, Write

_COLUMNS = "segmentation_id, run_id, to_date, features, brands, segments, opportunities, create_time"
_BY_ID = text(f"SELECT {_COLUMNS} FROM segmentation WHERE segmentation_id = :segmentation_id")
_LATEST = text(f"SELECT {_COLUMNS} FROM segmentation ORDER BY create_time DESC, segmentation_id DESC LIMIT 1")
_BEFORE = text("SELECT segmentation_id FROM segmentation ORDER BY create_time DESC, segmentation_id DESC LIMIT 1")
_PAGE = text(
    f"SELECT {_COLUMNS} FROM segmentation WHERE :after = '' OR (create_time, segmentation_id) < "
    "(SELECT s.create_time, s.segmentation_id FROM segmentation s WHERE s.segmentation_id = :after) "
    "ORDER BY create_time DESC, segmentation_id DESC LIMIT :size"
)
_PUT = text(
    f"INSERT INTO segmentation ({_COLUMNS}) "
    "VALUES (:segmentation_id, :run_id, :to_date, CAST(:features AS jsonb), CAST(:brands AS jsonb), "
    "CAST(:segments AS jsonb), CAST(:opportunities AS jsonb), :create_time)"
)
_MEMBERS = text(
    "SELECT customer_key FROM segment_member WHERE segmentation_id = :segmentation_id AND segment_id = :segment_id "
    "AND customer_key > :after ORDER BY customer_key LIMIT :size"
)
_ALL_MEMBERS = text("SELECT customer_key, segment_id FROM segment_member WHERE segmentation_id = :segmentation_id")
_DROP_OLD = text(
    "DELETE FROM segment_member WHERE segmentation_id NOT IN "
    "(SELECT segmentation_id FROM segmentation ORDER BY create_time DESC, segmentation_id DESC LIMIT 2)"
)
_NAMES = text("SELECT segment_id, name FROM segment_name")
_NAME = text(
    "INSERT INTO segment_name (segment_id, name, author, time) VALUES (:segment_id, :name, :author, :time) "
    "ON CONFLICT (segment_id) DO UPDATE SET name = EXCLUDED.name, author = EXCLUDED.author, time = EXCLUDED.time"
)
_USED = text("SELECT DISTINCT jsonb_array_elements(segments)->>'segment_id' AS segment_id FROM segmentation")


@dataclass(frozen=True)
class Segmentation:
    """A clustering and its figures as plain values, named as the messages of segment.proto name them."""

    segmentation_id: str
    run_id: str
    to_date: date
    features: Sequence[str]
    brands: Sequence[Mapping[str, Any]]
    segments: Sequence[Mapping[str, Any]]
    opportunities: Sequence[Mapping[str, Any]]
    create_time: datetime


class Segments:
    """By segmentation and segment."""

    async def get(self, read: Read, segmentation_id: str) -> Segmentation | None:
        """A segmentation, "" the latest."""
        row = await (read.row(_BY_ID, {"segmentation_id": segmentation_id}) if segmentation_id else read.row(_LATEST))
        return _segmentation(row) if row is not None else None

    async def page(self, read: Read, after: str, size: int) -> list[Segmentation]:
        """The latest first, behind one."""
        return [_segmentation(row) for row in await read.rows(_PAGE, {"after": after, "size": size})]

    async def before(self, read: Read) -> str:
        """The id of the latest, "" for none."""
        return str(await read.value(_BEFORE) or "")

    async def used_ids(self, read: Read) -> list[str]:
        """Every segment_id that was ever given."""
        return [row.segment_id for row in await read.rows(_USED)]

    async def put(self, tx: Write, made: Segmentation, members: Iterable[tuple[int, str, str]], encode: Any) -> None:
        """Keep one with its members (customer_key, org_id, segment_id); members of all but the last two go."""
        told = {**vars(made)}
        for name in ("features", "brands", "segments", "opportunities"):
            told[name] = encode(told[name])
        await tx.execute(_PUT, told)
        records = ((made.segmentation_id, key, org_id, segment_id) for key, org_id, segment_id in members)
        await tx.copy("segment_member", ("segmentation_id", "customer_key", "org_id", "segment_id"), records)
        await tx.execute(_DROP_OLD)

    async def members(self, read: Read, segmentation_id: str, segment_id: str, after: int, size: int) -> list[int]:
        """A page of customer keys, those that the caller may see."""
        told = {"segmentation_id": segmentation_id, "segment_id": segment_id, "after": after, "size": size}
        return [row.customer_key for row in await read.rows(_MEMBERS, told)]

    async def all_members(self, read: Read, segmentation_id: str) -> dict[int, str]:
        """Everybody's segment."""
        rows = await read.rows(_ALL_MEMBERS, {"segmentation_id": segmentation_id})
        return {row.customer_key: row.segment_id for row in rows}

    async def names(self, read: Read) -> dict[str, str]:
        """Names given by hand, by segment."""
        return {row.segment_id: row.name for row in await read.rows(_NAMES)}

    async def name(self, tx: Write, segment_id: str, name: str, author: str, now: datetime) -> None:
        """Give a name."""
        await tx.execute(_NAME, {"segment_id": segment_id, "name": name, "author": author, "time": now})


def _segmentation(row: Row[Any]) -> Segmentation:
    return Segmentation(**{name: getattr(row, name) for name in _COLUMNS.split(", ")})
