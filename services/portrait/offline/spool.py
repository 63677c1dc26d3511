"""Signalling of any size in bounded memory: rows are dealt out by customer into buckets on disk, then taken one by one.

A row is 24 bytes; a bucket holds some millions of them. One bucket never touches the disk. The files have no names, so
that they are gone with the process, however it ends.
"""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

ROW = np.dtype([("customer", np.int64), ("time", np.int64), ("cell", np.int32), ("line", np.int32)])
Rows = npt.NDArray[np.void]
_SAMPLE_ROWS = 400_000


class Spool:
    """Rows by bucket; `customer % buckets` is the bucket. Files lie on the disk of `folder` until the end of the
    `with`."""

    def __init__(self, folder: Path, buckets: int) -> None:
        self.buckets = buckets
        self._sample = Sample()
        self._memory: list[Rows] = []
        self._folder = folder
        self._files: list[BinaryIO] = []

    def __enter__(self) -> Self:
        files = self.buckets if self.buckets > 1 else 0
        self._files = [tempfile.TemporaryFile(dir=self._folder) for _ in range(files)]  # noqa: SIM115 - closed below
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def put(
        self,
        customer: npt.NDArray[np.int64],
        time: npt.NDArray[np.int64],
        cell: npt.NDArray[np.int32],
        line: npt.NDArray[np.int32],
    ) -> None:
        """Add rows; `customer` is 0 or more."""
        rows = np.empty(len(customer), dtype=ROW)
        rows["customer"], rows["time"], rows["cell"], rows["line"] = customer, time, cell, line
        self._sample.put(rows)
        if self.buckets == 1:
            self._memory.append(rows)
            return
        bucket = customer % self.buckets
        order = np.argsort(bucket, kind="stable")
        edges = np.searchsorted(bucket[order], np.arange(self.buckets + 1))
        sorted_rows = rows[order]
        for number, file in enumerate(self._files):
            file.write(sorted_rows[edges[number] : edges[number + 1]].tobytes())

    def sample(self) -> Rows:
        """All rows of some customers, the same ones whatever the buckets and the order of rows."""
        return self._sample.rows()

    def take(self, bucket: int) -> Rows:
        """All rows of a bucket, in the order in which they came. Nothing is put after that."""
        if self.buckets == 1:
            self._memory = [np.concatenate(self._memory) if self._memory else np.empty(0, dtype=ROW)]
            return self._memory[0]
        self._files[bucket].flush()
        self._files[bucket].seek(0)
        return np.fromfile(self._files[bucket], dtype=ROW)


class Sample:
    """All rows of every customer, or else of those whose hash is divisible by the least power of two with which they
    are `most` rows at most."""

    def __init__(self, most: int = _SAMPLE_ROWS) -> None:
        self._most = most
        self._kept: list[Rows] = []
        self._count = 0
        self._every = np.uint64(1)

    def put(self, rows: Rows) -> None:
        """Look at more rows."""
        self._keep([rows[self._chosen(rows)]])
        while self._count > self._most and self._every < 1 << 30:
            self._every <<= np.uint64(1)
            earlier, self._kept, self._count = self._kept, [], 0
            self._keep([each[self._chosen(each)] for each in earlier])

    def rows(self) -> Rows:
        """What was kept, in the order in which it came."""
        return np.concatenate(self._kept) if self._kept else np.empty(0, dtype=ROW)

    def _keep(self, parts: list[Rows]) -> None:
        self._kept += parts
        self._count += sum(map(len, parts))

    def _chosen(self, rows: Rows) -> npt.NDArray[np.bool_]:
        hashed = (rows["customer"].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        return np.asarray(hashed % self._every == 0)
