"""Files of analysts, CSV or Parquet, as tables; what is wrong with one is told in one line."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from services.recommend.domain.product import Floats


class BadInput(Exception):
    """What is wrong with the input, in one line."""


@dataclass(frozen=True)
class Source:
    """A file as it was read."""

    path: Path
    table: pa.Table
    sha256: str


def read(path: Path, needed: Sequence[str]) -> Source:
    """Read a file; the columns `needed` must be there, and are texts. Raises BadInput."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    try:
        if content[:4] == b"PAR1":
            table = pq.read_table(pa.BufferReader(content))
        else:
            table = _csv(content, needed)
    except (pa.ArrowException, BadInput) as error:
        raise BadInput(f"{path}: {str(error).splitlines()[0]}") from None
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise BadInput(f"{path}: column {', '.join(missing)} is missing; there are: {', '.join(table.column_names)}")
    if len(set(table.column_names)) < len(table.column_names):
        raise BadInput(f"{path}: a column stands there twice")
    if not len(table):
        raise BadInput(f"{path}: there is no row")
    for name in needed:
        table = table.set_column(table.column_names.index(name), name, _texts(table[name], f"{path}: {name}"))
    return Source(path, table, hashlib.sha256(content).hexdigest())


def _csv(content: bytes, needed: Sequence[str]) -> pa.Table:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = content.decode("gb18030")
        except UnicodeDecodeError:
            raise BadInput("its bytes are neither UTF-8 nor GB18030") from None
    head = text.partition("\n")[0]
    mark = max(",;\t|", key=head.count)
    return pyarrow.csv.read_csv(
        pa.BufferReader(text.encode()),
        parse_options=pyarrow.csv.ParseOptions(delimiter=mark, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in needed}, strings_can_be_null=True
        ),
    )


def _texts(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    """Ids as texts; 7.0 and 7 are the same id."""
    if pa.types.is_floating(column.type):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            raise BadInput(f"{what}: ids must be whole numbers or texts") from None
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def seconds(column: pa.ChunkedArray, what: str) -> Floats:
    """Times as seconds (or any numbers that grow with time), NaN for missing. Raises BadInput."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        micros = column.cast(pa.timestamp("us")).cast(pa.int64())
        return _floats(micros) / 1e6
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _floats(column)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    found = np.full(len(column), np.nan)
    for place, value in enumerate(column.to_pylist()):
        if value is None or not str(value).strip():
            continue
        try:
            found[place] = np.datetime64(str(value).strip().replace("/", "-").rstrip("Z"), "s").astype(np.int64)
        except ValueError:
            raise BadInput(f"{what}: line {place + 2}: {value!r} is no time") from None
    return found


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def columns(table: pa.Table, without: Sequence[str]) -> dict[str, list[Any]]:
    """The other columns as lists of numbers, texts and None; times become days since 1970."""
    found: dict[str, list[Any]] = {}
    for name in table.column_names:
        if name in without:
            continue
        column = table[name]
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            found[name] = (seconds(column, name) / 86400.0).tolist()
        elif pa.types.is_decimal(column.type):
            found[name] = column.cast(pa.float64()).to_pylist()
        else:
            found[name] = column.to_pylist()
    return found
