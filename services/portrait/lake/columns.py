"""Feeds as tables of the manifest's files, and their columns as arrays."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.place import NOWHERE
from services.portrait.domain.run import LakeFile
from services.portrait.lake.files import read

Longs = npt.NDArray[np.int64]


def latest(files: Sequence[LakeFile]) -> pa.Table | None:
    """A snapshot feed: the files of the latest period only."""
    return of_period(files, max(periods(files))) if files else None


def periods(files: Sequence[LakeFile]) -> set[date]:
    """The periods that files are of."""
    return {file.period for file in files}


def of_period(files: Sequence[LakeFile], period: date) -> pa.Table:
    """The files of one period."""
    return whole([file for file in files if file.period == period])


def whole(files: Sequence[LakeFile]) -> pa.Table | None:
    """All files in the order of the manifest (period, then delivery), then line."""
    tables = [read(file) for file in files]
    return pa.concat_tables(tables, promote_options="default") if tables else None


def numbers(table: pa.Table, name: str, kind: pa.DataType | None = None) -> npt.NDArray[Any]:
    """A column of numbers without nulls; of instants as they are counted."""
    column = table[name] if kind is None else pc.cast(table[name], kind)
    if pa.types.is_timestamp(column.type):
        column = pc.cast(column, pa.int64())
    found: npt.NDArray[Any] = column.to_numpy()
    return found


def floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers, NaN for null."""
    return np.asarray(pc.cast(table[name], pa.float64()).fill_null(float("nan")).to_numpy(), dtype=np.float64)


def words(table: pa.Table, name: str) -> npt.NDArray[np.str_]:
    """A column of words, "" for null."""
    return np.array(pc.cast(table[name], pa.string()).fill_null("").to_pylist(), dtype=np.str_)


def last_of(*keys: npt.NDArray[np.generic]) -> Longs:
    """Positions of the last row of each distinct key, in order of the keys."""
    if not len(keys[0]):
        return np.empty(0, dtype=np.int64)
    order = np.lexsort((np.arange(len(keys[0])), *reversed(keys)))
    ends = np.ones(len(order), dtype=np.bool_)
    changes = [key[order][1:] != key[order][:-1] for key in keys]
    ends[:-1] = np.logical_or.reduce(changes)
    return np.asarray(order[ends])


def positions(key: Longs, wanted: npt.NDArray[np.generic]) -> Longs:
    """Position of each wanted key in the sorted keys, -1 when it is not there."""
    if not len(key):
        return np.full(len(wanted), NOWHERE, dtype=np.int64)
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    return np.where(key[at] == wanted, at, NOWHERE)


def millis(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """A column of instants as UTC milliseconds."""
    return numbers(pa.table({name: pc.cast(table[name], pa.timestamp("ms", "UTC"))}), name)
