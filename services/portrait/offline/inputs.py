"""Files of an analyst or an operator, CSV or Parquet, as columns with the names that the verbs know.

A table may be one file or a folder of files. Columns go by name, whatever their order; the usual other names are known
(`ALIASES`). CSV is UTF-8 or GB18030. The operator's own delimited files (`SIGNAL_20260901_001.TXT`: no header, `|`,
GB18030) are read as they are. Cells may be named by `cell_id`, or by `lac` and `cell`.
"""

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

ALIASES: Mapping[str, tuple[str, ...]] = {
    "customer_id": ("msisdn", "customer_key", "customer", "user_id", "uid"),
    "time": ("timestamp", "datetime", "event_time", "ts"),
    "cell_id": ("ci", "cgi"),
    "class_code": ("place_class", "class"),
    "name": ("place_name",),
    "lon": ("longitude", "lng"),
    "lat": ("latitude",),
    "type": ("event_type",),
    "start_time": ("start",),
    "end_time": ("end",),
    "gender": ("sex",),
    "place_id": ("place",),
}
_OPERATOR: Mapping[str, tuple[str, ...]] = {
    "SIGNAL": ("msisdn", "time", "behaviour", "lac", "cell"),
    "CELL": ("lac", "cell", "lon", "lat", "town", "valid_from", "valid_to"),
    "CELLPLACE": ("lac", "cell", "place_id", "weight"),
    "PLACE": ("place_id", "name", "class_code", "town", "lon", "lat"),
    "CUST": ("msisdn", "org_id", "sex", "birth_year", "brand", "plan", "join_date", "device", "level", "status"),
    "CITYEVT": ("event_id", "type", "name", "place_id", "start_time", "end_time"),
}
_SUFFIXES = (".csv", ".parquet", ".pq", ".txt")
_BATCH_ROWS = 1 << 20
_BLOCK_BYTES = 32 << 20
_LOOKED_AT_BYTES = 64 << 20


class InputError(Exception):
    """What the caller can put right; one line."""


@dataclass
class Read:
    """How many rows were read, and how many could not be."""

    rows: int = 0
    broken: int = 0


def files_of(path: Path) -> list[Path]:
    """The files of a table in order of their names. Raises InputError."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    found = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.suffix.lower() in _SUFFIXES)
    if path.is_dir() and any(each.name.startswith("SIGNAL_") for each in found):
        found = [each for each in found if each.name.startswith("SIGNAL_")]  # a delivery folder holds other feeds, too
    if not found:
        raise InputError(f"{path}: no .csv, .parquet or .TXT file in it")
    return found


def rows_about(files: Sequence[Path]) -> int:
    """About how many rows there are: exact for Parquet, by size for text. Raises InputError."""
    return sum(_rows_of(each) if _is_parquet(each) else each.stat().st_size // 40 for each in files)


def _rows_of(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except pa.ArrowException as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def table(path: Path, required: Sequence[str]) -> pa.Table:
    """A whole small table. Raises InputError."""
    read = Read()
    batches = [batch for each in files_of(path) for batch in batches_of(each, required, read)]
    if not batches:
        raise InputError(f"{path}: it has no rows")
    try:
        return pa.concat_tables([pa.table(batch) for batch in batches], promote_options="permissive")
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: its files do not have the same columns: {error}") from error


def batches_of(path: Path, required: Sequence[str], read: Read) -> Iterator[dict[str, pa.Array]]:
    """A file's columns in batches of a million rows, by the known names. Raises InputError."""
    try:
        source = pq.ParquetFile(path).iter_batches(_BATCH_ROWS) if _is_parquet(path) else _text(path, read)
        for batch in source:
            for field in batch.schema:
                if pa.types.is_binary(field.type):  # text that is none in the file's encoding
                    raise InputError(f"{path}: the column {field.name} is neither UTF-8 nor GB18030")
            columns = _named(batch, path)
            missing = [name for name in required if name not in columns]
            if missing:
                there = ", ".join(batch.schema.names)
                raise InputError(f"{path}: the column {missing[0]} is missing; it has {there}")
            read.rows += batch.num_rows
            yield columns
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def _text(path: Path, read: Read) -> Iterator[pa.RecordBatch]:
    """A delimited file; rows with another number of fields are counted and left out."""

    def broken(row: csv.InvalidRow) -> str:
        read.broken += 1
        return "skip"

    names = _OPERATOR.get(path.name.partition("_")[0]) if path.suffix == ".TXT" else None
    if path.suffix.lower() == ".txt" and names is None:
        raise InputError(f"{path}: the prefix of an operator's file is one of {', '.join(_OPERATOR)}")
    if not path.stat().st_size:
        raise InputError(f"{path}: it is empty")
    keys = ("customer_id", *ALIASES["customer_id"], "cell_id", "lac", "cell", "place_id", "time", "event_id")
    reader = csv.open_csv(
        path,
        read_options=csv.ReadOptions(
            column_names=list(names) if names else None,
            encoding="gb18030" if names else _encoding(path),
            block_size=_BLOCK_BYTES,
        ),
        parse_options=csv.ParseOptions(delimiter="|" if names else ",", invalid_row_handler=broken),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(
                names or (*keys, *ALIASES["time"], "start_time", "end_time", "start", "end", "valid_from", "valid_to"),
                pa.string(),
            ),
            strings_can_be_null=True,
        ),
    )
    yield from reader


def _encoding(path: Path) -> str:
    """UTF-8, unless the beginning of the file is none: then GB18030, in which spreadsheets save Chinese."""
    with path.open("rb") as file:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(file.read(_LOOKED_AT_BYTES))
        except UnicodeDecodeError:
            return "gb18030"
    return "utf8"


def _named(batch: pa.RecordBatch, path: Path) -> dict[str, pa.Array]:
    given = {name.strip().lower().lstrip("\ufeff"): batch.column(at) for at, name in enumerate(batch.schema.names)}
    if "cell_id" not in given and "lac" in given and "cell" in given:
        lac, cell = (pc.cast(numbers(given[name]), pa.int64()) for name in ("lac", "cell"))
        given["cell_id"] = pc.add(pc.multiply(lac, 1 << 28), cell)
    elif "cell_id" not in given and "cell" in given:
        given["cell_id"] = given["cell"]
    for name, others in ALIASES.items():
        for other in others:
            if name not in given and other in given:
                given[name] = given[other]
    return given


def numbers(column: pa.Array) -> pa.Array:
    """A column as float64, null for what is no number."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        trimmed = pc.utf8_trim_whitespace(column)
        fits = pc.match_substring_regex(trimmed, r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
        return pc.cast(pc.if_else(fits, trimmed, pa.scalar(None, pa.string())), pa.float64())
    if pa.types.is_boolean(column.type):
        return pc.cast(pc.cast(column, pa.int8()), pa.float64())
    if pa.types.is_null(column.type):
        return pc.cast(column, pa.float64())
    return pc.cast(column, pa.float64(), safe=False)


def words(column: pa.Array) -> pa.Array:
    """A column as text, "" for null."""
    return pc.fill_null(pc.cast(column, pa.string()), "")


def millis(column: pa.Array, zone: str) -> pa.Array:
    """Instants as UTC milliseconds (int64), null for what is none: timestamps, numbers (seconds or milliseconds since
    1970), texts like `2026-09-01 08:30:00`, `2026-09-01T08:30:00+08:00` and `20260901083000`. A time without an offset
    is local time of `zone`."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        aware = column if kind.tz else _aware(column, zone)
        return pc.cast(pc.cast(aware, pa.timestamp("ms", "UTC"), safe=False), pa.int64())
    if pa.types.is_date(kind):
        return millis(pc.cast(column, pa.timestamp("ms")), zone)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        whole = pc.cast(column, pa.int64(), safe=False)
        largest = pc.max(whole).as_py() or 0
        if 19_000_101_000_000 <= largest <= 99_991_231_235_959:
            return millis(pc.cast(whole, pa.string()), zone)
        return whole if largest > 10**11 else pc.multiply(whole, 1000)
    text = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    first = next((each for each in text.slice(0, 1000).to_pylist() if each), "")
    if first.isdigit() and len(first) in (10, 13):
        return millis(pc.cast(numbers(text), pa.int64()), zone)
    if first.isdigit():
        return millis(pc.strptime(text, format="%Y%m%d%H%M%S", unit="ms", error_is_null=True), zone)
    plain = pc.replace_substring(pc.utf8_slice_codeunits(text, 0, 19), "T", " ")
    plain = pc.if_else(pc.equal(pc.utf8_length(plain), 10), pc.binary_join_element_wise(plain, " 00:00:00", ""), plain)
    instants = pc.strptime(plain, format="%Y-%m-%d %H:%M:%S", unit="ms", error_is_null=True)
    offset = pc.extract_regex(text, r"(?P<sign>[+-])(?P<h>\d{2}):?(?P<m>\d{2})$|(?P<z>Z)$")
    stated = pc.is_valid(offset)
    if not pc.any(stated).as_py() or len(first) < 20:
        return millis(instants, zone)
    minutes = pc.add(pc.multiply(numbers(pc.struct_field(offset, "h")), 60.0), numbers(pc.struct_field(offset, "m")))
    minutes = pc.if_else(pc.equal(pc.struct_field(offset, "sign"), "-"), pc.negate(minutes), minutes)
    shift = pc.cast(pc.multiply(pc.fill_null(minutes, 0.0), 60_000.0), pa.int64())
    return pc.if_else(stated, pc.subtract(pc.cast(instants, pa.int64()), shift), millis(instants, zone))


def _aware(column: pa.Array, zone: str) -> pa.Array:
    return pc.assume_timezone(column, zone, ambiguous="earliest", nonexistent="earliest")
