"""The lake: immutable Parquet files (zstd), written whole under a temporary name, then renamed.

    <root>/ingest/signalling/day=YYYY-MM-DD/bucket=BB/<delivery_id>.parquet     a bucketed feed
    <root>/ingest/<feed>/period=YYYYMMDD/<delivery_id>.parquet                  any other
    <root>/ingest/.spill/<delivery_id>.<random>/                                rows of a load under way

What a file holds depends on the delivery and the keys alone, so that a load that is resumed writes the same again.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from services.ingest.domain.delivery import Delivery, LakeFile
from services.ingest.domain.feed import Feed
from services.ingest.lake.files import Files

ORDINAL = "@ordinal"
_ROUND_ROWS = 1_000_000
_DELTA = {"time", "line"}  # grow within a bucket: differences pack best


class Lake:
    """The files under one URL, in `buckets` buckets. All methods block: call them in a thread."""

    def __init__(self, files: Files, buckets: int) -> None:
        self.files = files
        self._root = files.local
        self.buckets = buckets

    def uri(self, path: str) -> str:
        """Where readers find a file."""
        return self.files.uri(path)

    def values(self, files: Sequence[LakeFile], column: str) -> pl.Series:
        """The distinct values of one column of text."""
        frames = []
        for file in files:
            with self.files.open(file.path) as opened:
                frames.append(pl.DataFrame(pq.read_table(opened, columns=[column])).unique())  # of a store that alone
        return pl.concat(frames).unique().to_series().cast(pl.String)

    def rows(self, path: str) -> pl.DataFrame:
        """All rows of one file; for reference data, which is small."""
        with self.files.open(path) as opened:
            return pl.read_parquet(opened)

    def spill(self, delivery_id: str) -> "Spill":
        """Room for the judged rows of a load; what an attempt before left behind is removed."""
        base = self._root / "ingest" / ".spill"
        base.mkdir(parents=True, exist_ok=True)
        for left in base.glob(f"{delivery_id}.*"):
            shutil.rmtree(left, ignore_errors=True)
        return Spill(base / f"{delivery_id}.{secrets.token_hex(4)}")

    def spilled(self) -> list[str]:
        """Delivery ids of the loads that have room here, also of those whose process died."""
        base = self._root / "ingest" / ".spill"
        return sorted({path.name.partition(".")[0] for path in base.iterdir()}) if base.is_dir() else []

    def discard(self, delivery_id: str) -> None:
        """Remove the room of a load that is over."""
        for left in (self._root / "ingest" / ".spill").glob(f"{delivery_id}.*"):
            shutil.rmtree(left, ignore_errors=True)

    def write(
        self, feed: Feed, delivery: Delivery, spill: "Spill", keys: npt.NDArray[np.int64], left_out: list[int]
    ) -> list[LakeFile]:
        """Write a delivery's rows but the lines `left_out`; `keys` are the customer keys by ordinal."""
        assert delivery.period is not None
        if feed.target.bucketed:
            day = f"ingest/{feed.feed_id}/day={delivery.period:%Y-%m-%d}"
            paths = [f"{day}/bucket={bucket:02d}/{delivery.delivery_id}.parquet" for bucket in range(self.buckets)]
        else:
            paths = [f"ingest/{feed.feed_id}/period={delivery.period:%Y%m%d}/{delivery.delivery_id}.parquet"]
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(_Writer(self._root / path)) for path in paths]
            for frame in spill.rounds():
                rows = with_keys(frame.filter(~pl.col("line").is_in(left_out)) if left_out else frame, keys)
                if not feed.target.bucketed:
                    writers[0].add(rows)
                    continue
                bucket = pl.col("customer_key").fill_null(0) % self.buckets  # nobody's rows are in the first one
                for number, writer in enumerate(writers):
                    writer.add(rows.filter(bucket == number))
        written = [
            LakeFile(path, writer.rows, sha256_of(self._root / path), delivery.period, number, delivery.delivery_id)
            for number, (path, writer) in enumerate(zip(paths, writers, strict=True), 0 if feed.target.bucketed else -1)
            if writer.rows
        ]
        for path in set(paths) - {file.path for file in written}:
            (self._root / path).unlink(missing_ok=True)  # by an attempt before that left fewer rows out
        for file in written:
            self.files.publish(file.path)
        return written


class Spill:
    """Judged rows of one load, in Arrow files, in the order of the lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        folder.mkdir()

    def add(self, rows: pl.DataFrame) -> None:
        """Keep one batch."""
        if rows.height:
            rows.write_ipc(self._folder / f"{self._count:06d}.arrow", compression="uncompressed")
            self._count += 1

    def parts(self) -> Iterator[pl.DataFrame]:
        """The rows again, batch by batch as they were kept."""
        return (pl.read_ipc(self._folder / f"{number:06d}.arrow") for number in range(self._count))

    def rounds(self) -> Iterator[pl.DataFrame]:
        """The rows again, about a million at a time."""
        held: list[pl.DataFrame] = []
        for frame in self.parts():
            held.append(frame)
            if sum(each.height for each in held) >= _ROUND_ROWS:
                yield pl.concat(held)
                held = []
        if held:
            yield pl.concat(held)

    def discard(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)


def with_keys(rows: pl.DataFrame, keys: npt.NDArray[np.int64]) -> pl.DataFrame:
    """Rows with `customer_key` first, in the place of their ordinal; a missing ordinal gives a missing key."""
    if ORDINAL not in rows.columns:
        return rows
    ordinals = rows[ORDINAL]
    taken = pl.Series("customer_key", keys)[ordinals.fill_null(0)] if len(keys) else pl.Series([None] * rows.height)
    key = pl.select(pl.when(ordinals.is_not_null()).then(taken).cast(pl.Int64)).to_series()
    return rows.select(key.alias("customer_key"), pl.exclude(ORDINAL))


class _Writer:
    """One Parquet file: made when its first row comes, named when it is whole, removed on failure."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path
        for left in path.parent.glob(f".{path.name}.*.part"):  # by a process that died
            left.unlink(missing_ok=True)
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._writer: pq.ParquetWriter | None = None

    def add(self, rows: pl.DataFrame) -> None:
        if not rows.height:
            return
        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = parquet_writer(self._part, table.schema)
        self._writer.write_table(table)
        self.rows += rows.height

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.close()
        if error is not None:
            self._part.unlink(missing_ok=True)
            return
        with self._part.open("rb") as file:
            os.fsync(file.fileno())
        self._part.rename(self._path)


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes one file the way all files of the lake are written."""
    delta = {field.name for field in schema if field.name in _DELTA and not pa.types.is_large_string(field.type)}
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=[name for name in schema.names if name not in delta],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in schema.names if name in delta},
    )


def sha256_of(path: Path) -> str:
    """Checksum of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
