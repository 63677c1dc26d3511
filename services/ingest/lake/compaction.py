"""Many small files become one, and one becomes its parts again."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from services.ingest.lake.files import Files
from services.ingest.lake.parquet import parquet_writer, sha256_of

_GROUP_ROWS = 1 << 20


@dataclass(frozen=True)
class Made:
    """A file that was made."""

    path: str
    rows: int
    sha256: str


def together(files: Files, paths: Sequence[str], to: str) -> Made:
    """The rows of several files in one, each file's rows in row groups of their own, in order."""
    local = files.local / to
    local.parent.mkdir(parents=True, exist_ok=True)
    part = local.with_name(f".{local.name}.part")
    rows, writer = 0, None
    try:
        for path in paths:
            with files.open(path) as file:
                table = pq.read_table(file)
            writer = writer or parquet_writer(part, table.schema)
            writer.write_table(table.cast(writer.schema), row_group_size=_GROUP_ROWS)
            rows += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    part.rename(local)
    return _published(files, to, rows)


def apart(files: Files, path: str, first: int, rows: int, to: str) -> Made:
    """The rows [first, first + rows) of a file as a file of their own."""
    local = files.local / to
    local.parent.mkdir(parents=True, exist_ok=True)
    part = local.with_name(f".{local.name}.part")
    with files.open(path) as file:
        table = pq.read_table(file).slice(first, rows)
    with parquet_writer(part, table.schema) as writer:
        writer.write_table(table)
    part.rename(local)
    return _published(files, to, rows)


def _published(files: Files, path: str, rows: int) -> Made:
    files.sync(path)
    made = Made(path, rows, sha256_of(files.local / path))
    files.publish(path)
    return made
