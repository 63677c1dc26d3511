"""Raw lines of a file, batch by batch: decoded, split, and told apart into rows and what cannot be a row."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import polars as pl

UNDECODABLE = "UNDECODABLE"
COLUMN_COUNT = "COLUMN_COUNT"
LINE_BROKEN = "LINE_BROKEN"
_FAULTS = ("", COLUMN_COUNT, LINE_BROKEN, UNDECODABLE)

LONGEST_LINE = 1 << 20
"""Bytes. A longer line means that the file is not of this kind at all: the delivery is quarantined unread."""

_PIECE_BYTES = 8192
_REPLACEMENT = "�".encode()
_BOM = b"\xef\xbb\xbf"

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """Whole lines of a file. `first` is the line number of the first one, from 1."""

    data: bytes
    first: int

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return self.data.count(b"\n") + (not self.data.endswith(b"\n"))


@dataclass(frozen=True)
class Split:
    """Rows of a batch as text columns with their `line`, and the lines that are no rows: line, column, reason.

    `text` is UTF-8 of the rows, line by line.
    """

    rows: pl.DataFrame
    broken: pl.DataFrame
    lines: int
    text: bytes


def batches(blocks: Iterable[bytes]) -> Iterator[Batch]:
    """Cut blocks of bytes at line ends. A last line without a line feed is a line; an empty rest is none."""
    rest, first = b"", 1
    for block in blocks:
        cut = block.rfind(b"\n") + 1
        if not cut:
            rest += block
            continue
        batch = Batch(rest + block[:cut], first)
        rest, first = block[cut:], first + batch.data.count(b"\n")
        yield batch
    if rest:
        yield Batch(rest, first)


def without_head(all_batches: Iterator[Batch], *, header: bool) -> Iterator[Batch]:
    """Leave out a byte order mark of UTF-8 and, with `header`, the first line; line numbers stay those of the file."""
    head = next(all_batches, None)
    if head is None:
        return iter(())
    data = head.data.removeprefix(_BOM)
    if header:
        _, _, data = data.partition(b"\n")
    return chain([Batch(data, head.first + header)] if data else [], all_batches)


def split(batch: Batch, *, encoding: str, delimiter: str, names: list[str]) -> Split:
    """Text columns of a batch.

    A line whose bytes do not decode is UNDECODABLE (also one that holds U+FFFD: somebody's conversion lost a character
    before); one with another number of delimiters than columns is COLUMN_COUNT. CR LF ends a line as LF does; a line
    with a CR elsewhere is LINE_BROKEN.
    The delimiter is looked for after decoding: in GB18030 it may be the second byte of a character.
    """
    raw = batch.data.replace(b"\r\n", b"\n") if b"\r" in batch.data else batch.data
    raw = raw if raw.endswith(b"\n") else raw.removesuffix(b"\r") + b"\n"
    text, undecoded = (raw, []) if raw.isascii() else _decoded(raw, encoding)
    codes = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    faults = (~_rightly_split(codes, ends, ord(delimiter), len(names) - 1)).astype(np.int8)
    faults[_lines_with(text, b"\r", ends)] = _FAULTS.index(LINE_BROKEN)
    faults[[*undecoded, *_lines_with(text, _REPLACEMENT, ends)]] = _FAULTS.index(UNDECODABLE)
    good = np.asarray(faults == 0)
    if not good.all():
        text = _without(text, ends, np.flatnonzero(~good))
    table = _table(text, delimiter, names)
    lines = np.flatnonzero(good).astype(np.int32) + batch.first
    assert table.height == len(lines), "a row was lost or made up"
    table.insert_column(0, pl.Series("line", lines, dtype=pl.Int32))
    return Split(table, _broken(batch.first, faults), len(ends), text)


def raw_lines(batch: Batch, lines: Iterable[int]) -> list[bytes]:
    """The bytes of some lines of the batch as they came, without the line end."""
    wanted = list(lines)
    if not wanted:
        return []
    codes = np.frombuffer(batch.data, dtype=np.uint8)
    ends = np.append(np.flatnonzero(codes == ord("\n")), len(codes))
    starts = np.concatenate(([0], ends[:-1] + 1))
    at = [line - batch.first for line in wanted]
    return [batch.data[starts[i] : ends[i]].removesuffix(b"\r") for i in at]


def _without(text: bytes, ends: Longs, lines: Longs) -> bytes:
    """A text without some of its lines (their numbers from 0, ascending)."""
    starts = np.concatenate(([0], ends[lines] + 1))
    stops = np.append(np.where(lines > 0, ends[lines - 1] + 1, 0), len(text))
    return b"".join(text[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True))


def _rightly_split(codes: npt.NDArray[np.uint8], ends: Longs, delimiter: int, wanted: int) -> Flags:
    """Whether each line holds `wanted` delimiters and anything at all."""
    marks = np.flatnonzero(codes == delimiter)
    starts = np.concatenate(([0], ends[:-1] + 1))
    if wanted and len(marks) == wanted * len(ends):  # the usual case, without a search
        grid = marks.reshape(-1, wanted)
        if bool(((grid[:, 0] >= starts) & (grid[:, -1] < ends)).all()):
            return np.ones(len(ends), dtype=bool)
    found = np.diff(np.searchsorted(marks, ends), prepend=0)
    return np.asarray((found == wanted) & (ends > starts))


def _decoded(raw: bytes, encoding: str) -> tuple[bytes, list[int]]:
    """UTF-8 of whole lines, and the numbers (from 0) of those that do not decode, which are left empty.

    A decoder that goes on behind a fault may eat a line end, so a line at fault is left out whole. Since each fault
    begins the decoding anew, that is done in pieces: the cost stays linear however many faults there are.
    """
    try:
        return raw.decode(encoding).encode(), []
    except UnicodeDecodeError:
        parts: list[str] = []
        starts: list[int] = []
    at = 0
    while at < len(raw):
        end = raw.find(b"\n", at + _PIECE_BYTES) + 1 or len(raw)
        while at < end:
            try:
                parts.append(raw[at:end].decode(encoding))
                at = end
            except UnicodeDecodeError as error:
                fault = at + error.start
                start = raw.rfind(b"\n", at, fault) + 1 or at
                parts += [raw[at:start].decode(encoding), "\n"]
                starts.append(start)
                at = raw.index(b"\n", fault) + 1
    ends = np.flatnonzero(np.frombuffer(raw, dtype=np.uint8) == ord("\n"))
    return "".join(parts).encode(), np.searchsorted(ends, starts).tolist()


def _lines_with(text: bytes, mark: bytes, ends: Longs) -> list[int]:
    """Numbers (from 0) of the lines that hold a mark."""
    found: list[int] = []
    at = text.find(mark)
    while at >= 0:
        found.append(int(np.searchsorted(ends, at)))
        at = text.find(mark, int(ends[found[-1]]))
    return found


def _table(text: bytes, delimiter: str, names: list[str]) -> pl.DataFrame:
    schema = pl.Schema({name: pl.String() for name in names})
    if not text:
        return schema.to_frame()
    return pl.read_csv(text, separator=delimiter, has_header=False, quote_char=None, schema=schema)


def _broken(first: int, faults: npt.NDArray[np.int8]) -> pl.DataFrame:
    bad = np.flatnonzero(faults)
    reasons = [_FAULTS[fault] for fault in faults[bad].tolist()]
    columns = {"line": (bad + first).astype(np.int32), "column": [""] * len(bad), "reason": reasons}
    return pl.DataFrame(columns, schema={"line": pl.Int32, "column": pl.String, "reason": pl.String})
