"""Files of the lake written anew: without a person. The old file stays until no reader can hold it."""

from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.ingest.lake.files import Files
from services.ingest.lake.parquet import parquet_writer, sha256_of


@dataclass(frozen=True)
class Person:
    """Whom to look for: his customer keys, and his clear numbers for what was never conformed."""

    customer_keys: tuple[int, ...]
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Rewritten:
    """A file without the person; `path` is "" when no row is left."""

    path: str
    rows: int
    sha256: str
    removed: int


def count(files: Files, path: str, person: Person) -> tuple[int, int]:
    """(rows looked at, rows that name the person) of a file, by key or by number in any text."""
    looked_at = found = 0
    with files.open(path) as file:
        for batch in pq.ParquetFile(file).iter_batches():
            table = pa.Table.from_batches([batch])
            looked_at += table.num_rows
            found += pc.sum(_named(table, person)).as_py() or 0
    return looked_at, found


def without(files: Files, path: str, person: Person, mark: str) -> Rewritten:
    """The file again without the person's rows, under a name made of the old one and `mark`."""
    stem = path.removesuffix(".parquet")
    to = f"{stem}.{mark}.parquet"
    kept = removed = 0
    local = files.local / to
    local.parent.mkdir(parents=True, exist_ok=True)
    part = local.with_name(f".{local.name}.part")
    with files.open(path) as file:
        parquet = pq.ParquetFile(file)
        with parquet_writer(part, parquet.schema_arrow) as writer:
            for group in range(parquet.num_row_groups):  # group by group: compacted files keep their parts apart
                table = parquet.read_row_group(group)
                left = table.filter(pc.invert(_named(table, person)))
                kept += left.num_rows
                removed += table.num_rows - left.num_rows
                if left.num_rows:
                    writer.write_table(left)
    if not kept:
        part.unlink()
        return Rewritten("", 0, "", removed)
    part.rename(local)
    files.sync(to)
    digest = sha256_of(local)
    files.publish(to)
    return Rewritten(to, kept, digest, removed)


def _named(table: pa.Table, person: Person) -> Any:
    """Which rows name the person."""
    named = pl.Series([False] * table.num_rows, dtype=pl.Boolean)
    frame = pl.DataFrame(pl.from_arrow(table))
    if "customer_key" in frame.columns:
        named |= frame["customer_key"].is_in(person.customer_keys).fill_null(False)
    for column in frame.columns:
        if frame[column].dtype == pl.String and person.numbers:
            named |= frame[column].str.contains_any(list(person.numbers)).fill_null(False)
    return named.to_arrow()
