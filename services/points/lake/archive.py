"""What a period follows from, as one zip archive that `replay` takes once it is unpacked.

events.parquet         the scored events, with the facts and the revision that they were scored with
fields.parquet         responsibility fields, with the revisions at which each row was known
adjustments.parquet    corrections by hand, each posted by two persons
rules/NAME@DATE.yaml   the versions in force, each from its day on
README.txt             the command, and what it has to print
"""

import io
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from services.points.domain.field import CELL, GRID
from services.points.domain.month import Held

ADJUSTMENT = pa.schema([
    ("adjustment_id", pa.string()), ("staff_id", pa.string()), ("component", pa.string()), ("milli_points", pa.int64()),
    ("occur_time", pa.timestamp("us", tz="UTC")),
])  # fmt: skip
_FIELD = pa.schema([
    ("customer_key", pa.int64()), ("cell_id", pa.string()), ("grid_id", pa.string()), ("staff_id", pa.string()),
    ("role", pa.string()), ("share_bps", pa.int64()), ("valid_from", pa.timestamp("us", tz="UTC")),
    ("valid_to", pa.timestamp("us", tz="UTC")), ("known_from_revision", pa.int64()),
    ("known_to_revision", pa.int64()),
])  # fmt: skip
_IN_MEMORY = 8 << 20
_README = """Period {period_id}

    python -m services.points replay --rules rules --events events.parquet --fields fields.parquet \\
        --adjustments adjustments.parquet --timezone {zone} --out entries.parquet

prints for {period_id} the checksum {sha256}
Other months that it prints hold what this one refers to, not all that is theirs.
"""


def archive(
    period_id: str,
    zone: str,
    sha256: str,
    rules: Mapping[str, str],
    events: pa.Table,
    held: Held,
    adjustments: pa.Table,
) -> IO[bytes]:
    """The archive, to be read from its beginning. `rules` by NAME@DATE; `sha256` is the period's accrual checksum."""
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - handed on
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as whole:  # Parquet is compressed already
        whole.writestr("README.txt", _README.format(period_id=period_id, zone=zone, sha256=sha256))
        for name, definition in sorted(rules.items()):
            whole.writestr(f"rules/{name}.yaml", definition)
        for name, table in (("events", events), ("fields", _fields(held)), ("adjustments", adjustments)):
            part = io.BytesIO()
            pq.write_table(table, part, compression="zstd")
            whole.writestr(f"{name}.parquet", part.getbuffer())
    file.seek(0)
    return file


def _fields(held: Held) -> pa.Table:
    rows = []
    for each, begin, end in (one for known in held.values() for one in known):
        row = each.row
        kind, _, name = row.place.partition(" ")
        rows.append((max(0, row.customer_key), name if kind == CELL else None, name if kind == GRID else None,
                     row.staff_id, row.role, row.share_bps, row.valid_from, row.valid_to, begin, end))  # fmt: skip
    return table(_FIELD, rows)


def table(schema: pa.Schema, rows: Iterable[tuple[object, ...]]) -> pa.Table:
    """Rows as columns of a schema."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table([pa.array(each, kind.type) for each, kind in zip(columns, schema, strict=True)], schema=schema)
