"""Rows in Postgres' binary COPY format, made from whole columns: no Python object and no text for a value.

A row is its number of fields, then each field's length and bytes, big-endian. What lies between two texts of a row has
a fixed width, so that it is one record of an array; the pieces of all rows are joined at once.

Format: https://www.postgresql.org/docs/current/sql-copy.html (Binary Format).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

Pieces: TypeAlias = Sequence[bytes | memoryview]

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL = b"\xff\xff"
_START = datetime(2000, 1, 1, tzinfo=UTC)
"""From there Postgres counts microseconds."""
_EPOCH = int(_START.timestamp()) * 1_000_000
_BYTES = pa.large_binary()
_UUID_BYTES = 16
_PIECE_BYTES = 1 << 20


def copy_format(rows: pl.DataFrame, same: Mapping[str, str | int | datetime], columns: Sequence[str]) -> Pieces:
    """Rows for COPY … (FORMAT binary) in the order of `columns`: the bytes for sent().

    A column is in `rows`, or in `same` when it is one value for all. String is sent as text, integers as bigint,
    Datetime in ms or us as timestamptz, Binary of 16 bytes as uuid. Nothing is null.
    """
    pieces: list[pa.Array] = []
    fixed = [_number(len(columns), ">i2")]
    for name in columns:
        if name in same:
            fixed += _constant(same[name])
            continue
        column = rows[name]
        assert not column.null_count(), f"{name} holds nulls"
        if column.dtype != pl.String:
            fixed += _fixed(column)
            continue
        fixed.append(column.str.len_bytes().to_numpy().astype(">i4"))
        pieces += [_records(fixed, rows.height), column.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_BYTES)]
        fixed = []
    if fixed:
        pieces.append(_records(fixed, rows.height))
    joined = pc.binary_join_element_wise(*pieces, pa.scalar(b"", _BYTES))
    return [_HEAD, _content(joined), _TAIL]


async def sent(data: Pieces) -> AsyncIterator[bytes]:
    """The bytes in messages of at most a MiB; nowhere do they lie as a whole once more."""
    for piece in data:
        for at in range(0, len(piece), _PIECE_BYTES):
            yield bytes(piece[at : at + _PIECE_BYTES])


def _number(value: int, kind: str) -> npt.NDArray[Any]:
    return np.array(value, dtype=kind)


def _constant(value: str | int | datetime) -> list[npt.NDArray[Any]]:
    """Length and bytes of a value that all rows have."""
    if isinstance(value, datetime):
        return [_number(8, ">i4"), _number((value - _START) // timedelta(microseconds=1), ">i8")]
    if isinstance(value, int):
        return [_number(8, ">i4"), _number(value, ">i8")]
    data = value.encode()
    return [_number(len(data), ">i4"), *([np.array(data, dtype=f"V{len(data)}")] if data else [])]


def _fixed(column: pl.Series) -> list[npt.NDArray[Any]]:
    """Length and bytes of a column whose values are all of one width."""
    if column.dtype == pl.Binary:
        data = np.frombuffer(_content(column.to_arrow(compat_level=pl.CompatLevel.oldest())), dtype=f"V{_UUID_BYTES}")
        assert len(data) == len(column), f"{column.name} is not of {_UUID_BYTES} bytes each"
        return [_number(_UUID_BYTES, ">i4"), data]
    numbers = column.cast(pl.Int64).to_numpy()
    if isinstance(column.dtype, pl.Datetime):
        numbers = numbers * {"ms": 1000, "us": 1}[column.dtype.time_unit] - _EPOCH
    return [_number(8, ">i4"), numbers.astype(">i8")]


def _records(parts: Sequence[npt.NDArray[Any]], rows: int) -> pa.Array:
    """One record of fixed width a row; a part is an array, or one value for all."""
    made = np.empty(rows, dtype=[(f"f{at}", part.dtype) for at, part in enumerate(parts)])
    for at, part in enumerate(parts):
        made[f"f{at}"] = part
    ends = np.arange(rows + 1, dtype=np.int64) * made.dtype.itemsize
    return pa.Array.from_buffers(_BYTES, rows, [None, pa.py_buffer(ends), pa.py_buffer(made)])


def _content(array: pa.Array) -> memoryview:
    """The bytes of all values, one behind the other."""
    _, ends, data = array.buffers()
    places = np.frombuffer(ends, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[places[0] : places[-1]]
