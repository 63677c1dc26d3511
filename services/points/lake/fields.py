"""Responsibility fields as Parquet.

customer_key, share_bps   whole numbers; customer_key null or 0 where a place is meant
cell_id, grid_id          texts, may be missing: a row has one of customer, cell and grid
staff_id, role            texts
valid_from, valid_to      dates or timestamps, a date begins at midnight; valid_to null: open
known_from_revision, known_to_revision   whole numbers, may be missing: at which revisions the row was known
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa

from services.points.domain.field import CELL, GRID, Assignment, Row, place_key, told
from services.points.domain.shares import LONG_AGO
from services.points.lake.events import BadInput, open_parquet
from services.points.lake.feeds import to_instant
from services.points.lake.shadow import FIELD

NEEDED = ("customer_key", "staff_id", "role", "share_bps", "valid_from", "valid_to")
FOREVER = 2**62
_KNOWN = ("known_from_revision", "known_to_revision")
_PLACES = (CELL, GRID)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)

Held = Mapping[int, Sequence[tuple[Assignment, int, int]]]


@dataclass(frozen=True)
class Fields:
    """Assignments by subject with the revisions at which each was known, and the same as a table for SQL."""

    held: Held = field(default_factory=dict)

    def table(self) -> pa.Table:
        """In the columns of the shadow's FIELD."""
        rows = [
            (key, each.row.staff_id, each.row.role, each.row.share_bps, _micros(each.row.valid_from),
             FOREVER if each.row.valid_to is None else _micros(each.row.valid_to), begin, end)
            for key, known in self.held.items()
            for each, begin, end in known
        ]  # fmt: skip
        types = (pa.int64(), pa.string(), pa.string(), pa.int64(), *(pa.int64(),) * 4)
        columns = list(zip(*rows, strict=True)) or [()] * len(FIELD)
        return pa.table({n: pa.array(c, t) for n, c, t in zip(FIELD, columns, types, strict=True)})


def read_fields(path: Path | None, zone: ZoneInfo) -> Fields:
    """The fields of a file; none without one. Raises BadInput with the row."""
    if path is None:
        return Fields()
    source = open_parquet(path, NEEDED)
    places = [f"{kind}_id" for kind in _PLACES]
    names = [*NEEDED, *(name for name in (*_KNOWN, *places) if name in source.schema_arrow.names)]
    columns = source.read(columns=names).to_pydict()
    count = source.metadata.num_rows
    begins, ends = columns.get(_KNOWN[0], [None] * count), columns.get(_KNOWN[1], [None] * count)
    named = zip(*(columns.get(name, [None] * count) for name in places), strict=True)
    rows: dict[tuple[int, int], list[Row]] = {}
    for line, ((key, staff_id, role, share, begin, end), of) in enumerate(
        zip(zip(*(columns[name] for name in NEEDED), strict=True), named, strict=True), 1
    ):
        if None in (staff_id, role, share, begin) or not (key or any(of)):
            raise BadInput(f"{path}: row {line}: a cell is empty")
        try:
            until = None if end is None else to_instant(end, zone)
            subject, place = _subject(int(key or 0), of)
            row = Row(subject, str(staff_id), str(role), int(share), to_instant(begin, zone), until, path.name, line,
                      place)  # fmt: skip
        except (AttributeError, TypeError, ValueError) as error:
            raise BadInput(f"{path}: row {line}: a cell has the wrong type") from error
        known = (LONG_AGO if begins[line - 1] is None else begins[line - 1],
                 FOREVER if ends[line - 1] is None else ends[line - 1])  # fmt: skip
        rows.setdefault(known, []).append(row)
    return Fields(_held(path, rows))


def _held(path: Path, rows: Mapping[tuple[int, int], Sequence[Row]]) -> Held:
    held: dict[int, list[tuple[Assignment, int, int]]] = {}
    for (begin, end), some in sorted(rows.items()):
        standing, refused = told(some)
        if refused:
            raise BadInput(f"{path}: row {refused[0][0].line}: {refused[0][1]}")
        for row in standing:
            held.setdefault(row.customer_key, []).append((Assignment(row.line, row, _BEGINNING, None), begin, end))
    return held


def _subject(customer_key: int, named: Sequence[str | None]) -> tuple[int, str]:
    """The subject of a row and what it is called. Raises ValueError when it names two."""
    places = [(kind, name) for kind, name in zip(_PLACES, named, strict=True) if name]
    if len(places) + bool(customer_key) != 1:
        raise ValueError
    return (customer_key, "") if not places else (place_key(*places[0]), " ".join(places[0]))


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
