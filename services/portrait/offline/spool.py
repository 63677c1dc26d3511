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


class Spool:
    """Rows by bucket; `customer % buckets` is the bucket. Files lie on the disk of `folder` until the end of the
    `with`."""

    def __init__(self, folder: Path, buckets: int) -> None:
        self.buckets = buckets
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
        if self.buckets == 1:
            self._memory.append(rows)
            return
        bucket = customer % self.buckets
        order = np.argsort(bucket, kind="stable")
        edges = np.searchsorted(bucket[order], np.arange(self.buckets + 1))
        sorted_rows = rows[order]
        for number, file in enumerate(self._files):
            file.write(sorted_rows[edges[number] : edges[number + 1]].tobytes())

    def take(self, bucket: int) -> Rows:
        """All rows of a bucket, in the order in which they came. Nothing is put after that."""
        if self.buckets == 1:
            self._memory = [np.concatenate(self._memory) if self._memory else np.empty(0, dtype=ROW)]
            return self._memory[0]
        self._files[bucket].flush()
        self._files[bucket].seek(0)
        return np.fromfile(self._files[bucket], dtype=ROW)
