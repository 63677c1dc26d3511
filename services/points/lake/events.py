"""Events as Parquet, in any order and some of them twice, into arrays in canonical order with origins resolved.

source, source_event_id, type   text        what told it, its own id there, NEW … REFUND
customer_key                    integer     0 or null: nobody
amount_fen                      integer     null: could not be read
occur_time                      timestamp with a zone
product_id, category, channel, staff_id, staff_role, customer_type, origin_event_id, cell_id, grid_id   text, may be
                                missing
receive_time                    timestamp with a zone, may be missing: an event after it waits
known_revision                  integer, may be missing: which rows of FIELDS were known when it was scored
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.points.domain.batch import REASONS, Coded, Events
from services.points.domain.event import AHEAD, REFUND, Reason
from services.points.domain.period import business_days
from services.points.domain.periodic import Bytes
from services.points.domain.scoring import Flags, Ints, Longs, Words

NEEDED = ("source", "source_event_id", "type", "customer_key", "amount_fen", "occur_time")
TEXTS = ("product_id", "category", "channel", "staff_id", "staff_role", "customer_type", "origin_event_id", "cell_id",
         "grid_id")  # fmt: skip
_CODED = ("source", "type", "product_id", "category", "channel", "staff_id", "staff_role", "customer_type", "cell_id",
          "grid_id")  # fmt: skip
_FACTS = {"type": "type", "product": "product_id", "category": "category", "channel": "channel",
          "staff_role": "staff_role", "customer_type": "customer_type"}  # fmt: skip
_REUSED = REASONS.index(Reason.EVENT_ID_REUSED)

Advance = Callable[[int], None]


class BadInput(Exception):
    """What is wrong with the input, in one line."""


@dataclass(frozen=True)
class ReadEvents:
    """Events as the kernel takes them, with what the output repeats. `repeated` events stood twice, word for word."""

    events: Events
    source: Coded
    ids: pa.StringArray
    origin_ids: pa.StringArray
    repeated: int

    def only(self, keep: Flags) -> "ReadEvents":
        """Some of the events; what took back one that is left out takes back nobody knows what."""
        place = np.where(keep, np.cumsum(keep) - 1, -1)
        events = self.events
        origin = np.where(events.origin >= 0, place[np.maximum(events.origin, 0)], -1)[keep].astype(np.int32)
        mask = pa.array(keep)
        return ReadEvents(
            replace(events.take(keep), origin=origin), Coded(self.source.codes[keep], self.source.values),
            self.ids.filter(mask), self.origin_ids.filter(mask), self.repeated,
        )  # fmt: skip


def open_parquet(path: Path, needed: Sequence[str]) -> pq.ParquetFile:
    """A Parquet file that has these columns. Raises BadInput."""
    try:
        schema = pq.read_schema(path)
        texts = [f.name for f in schema if f.name in _CODED and pa.types.is_string(f.type)]
        source = pq.ParquetFile(path, read_dictionary=texts)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path}: {str(error).splitlines()[0]}") from error
    missing = [name for name in needed if name not in source.schema_arrow.names]
    if missing:
        raise BadInput(f"{path}: the column {missing[0]} is missing")
    return source


def read_events(
    path: Path, zone: ZoneInfo, advance: Advance = lambda _: None, more: pa.Table | None = None
) -> ReadEvents:
    """All events of a file, and those of a table beside it. Raises BadInput with the row."""
    source = open_parquet(path, NEEDED)
    wanted = (*NEEDED, *TEXTS, "receive_time", "known_revision")
    names = [name for name in wanted if name in source.schema_arrow.names]
    groups = []
    try:
        for number in range(source.num_row_groups):
            groups.append(source.read_row_group(number, columns=names, use_threads=False))
            advance(groups[-1].num_rows)
        table = pa.concat_tables(groups) if groups else source.schema_arrow.empty_table().select(names)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path}: {str(error).splitlines()[0]}") from error
    if more is not None:
        table = pa.concat_tables([plain(table), more], promote_options="permissive")
    return arrange(table, zone, str(path))


def plain(table: pa.Table) -> pa.Table:
    """Its dictionaries spelled out."""
    kinds = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in table.schema]
    return table.cast(pa.schema(list(zip(table.column_names, kinds, strict=True))))


def arrange(table: pa.Table, zone: ZoneInfo, name: str) -> ReadEvents:
    """A table of events in canonical order, each once. Raises BadInput with the row."""
    times = _times(table, "occur_time", name)
    source = _coded(table, "source", name)
    _coded(table, "type", name)
    ids = _text(table, "source_event_id", name)
    offsets, data = _buffers(ids)
    rank = _ranks(source)
    order = np.argsort(times, kind="stable")
    _sort_ties(order, times, rank, offsets, data)
    _sort_namesakes(order, times, rank, ids, table)
    if not np.array_equal(order, np.arange(len(order))):
        table = table.take(pa.array(order))
        times, source = times[order], Coded(source.codes[order], source.values)
        ids = _text(table, "source_event_id", name)
        offsets, data = _buffers(ids)
        rank = rank[order]
    hashes = _hashes(offsets, data, rank)
    first = _first_of(offsets, data, rank, hashes)
    events = _events(table, times, zone, name)
    twice = np.flatnonzero(first >= 0)
    same = _same(table, twice, first[twice], offsets, data)
    events.doubt[twice[~same]] = _REUSED
    origins = _text(table, "origin_event_id", name) if "origin_event_id" in table.column_names else _empty(len(ids))
    _find_origins(*_buffers(origins), rank, np.flatnonzero(events.refund), hashes, offsets, data, events.origin)
    read = ReadEvents(events, source, ids, origins, int(same.sum()))
    if not same.any():
        return read
    keep = np.ones(len(events), np.bool_)
    keep[twice[same]] = False
    return read.only(keep)


def _events(table: pa.Table, times: Longs, zone: ZoneInfo, name: str) -> Events:
    count = table.num_rows
    amounts = _integers(table, "amount_fen", name)
    doubt = np.zeros(count, np.int32)
    if table.column("amount_fen").null_count:
        doubt[pc.is_null(table.column("amount_fen")).to_numpy()] = REASONS.index(Reason.UNREADABLE_AMOUNT)
    if "receive_time" in table.column_names and table.column("receive_time").null_count == 0:
        late = _times(table, "receive_time", name) + AHEAD // timedelta(microseconds=1)
        doubt[(doubt == 0) & (times > late)] = REASONS.index(Reason.FUTURE_DATE)
    texts = {fact: _coded(table, column, name) for fact, column in _FACTS.items()}
    types = texts["type"]
    refund = np.array([value == REFUND for value in types.values] or [False])[types.codes]
    known = "known_revision" in table.column_names
    return Events(
        texts, _coded(table, "staff_id", name), _integers(table, "customer_key", name), amounts,
        business_days(times, zone), times,
        _integers(table, "known_revision", name) if known else np.zeros(count, np.int64), refund,
        np.full(count, -1, np.int32), doubt, _coded(table, "cell_id", name), _coded(table, "grid_id", name),
    )  # fmt: skip


def _integers(table: pa.Table, column: str, name: str) -> Longs:
    values = table.column(column)
    if not pa.types.is_integer(values.type) and not pa.types.is_null(values.type):
        raise BadInput(f"{name}: the column {column} holds {values.type}, not whole numbers")
    cast = values.cast(pa.int64())
    filled = cast.fill_null(0) if cast.null_count else cast
    return np.ascontiguousarray(filled.combine_chunks().to_numpy(zero_copy_only=False))


def _times(table: pa.Table, column: str, name: str) -> Longs:
    values = table.column(column)
    if not pa.types.is_timestamp(values.type) or values.type.tz is None:
        raise BadInput(f"{name}: the column {column} is not a timestamp with a zone")
    _refuse_nulls(values, column, name)
    micros = values.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
    return np.ascontiguousarray(micros.combine_chunks().to_numpy(zero_copy_only=False))


def _text(table: pa.Table, column: str, name: str) -> pa.StringArray:
    values = table.column(column)
    if pa.types.is_null(values.type):
        return _empty(len(values))
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise BadInput(f"{name}: the column {column} holds {values.type}, not text")
    if column in NEEDED:
        _refuse_nulls(values, column, name)
    return values.cast(pa.string()).fill_null("").combine_chunks()


def _empty(count: int) -> pa.StringArray:
    return pa.repeat(pa.scalar("", pa.string()), count)


def _coded(table: pa.Table, column: str, name: str) -> Coded:
    """A text column as codes; one that is missing, or null, is empty."""
    count = table.num_rows
    if column not in table.column_names or pa.types.is_null(table.column(column).type):
        return Coded(np.zeros(count, np.int32), [""])
    values = table.column(column)
    if not pa.types.is_dictionary(values.type):
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            raise BadInput(f"{name}: the column {column} holds {values.type}, not text")
        values = values.dictionary_encode()
    if not pa.types.is_string(values.type.value_type) and not pa.types.is_large_string(values.type.value_type):
        raise BadInput(f"{name}: the column {column} holds {values.type.value_type}, not text")
    if column in NEEDED:
        _refuse_nulls(values, column, name)
    array = values.unify_dictionaries().combine_chunks()
    array = array if isinstance(array, pa.DictionaryArray) else array.chunk(0)
    words = [word or "" for word in array.dictionary.to_pylist()]
    codes = array.indices
    if codes.null_count:
        words, codes = [*words, ""], codes.fill_null(len(words))
    return Coded(np.ascontiguousarray(codes.to_numpy(zero_copy_only=False).astype(np.int32)), words or [""])


def _refuse_nulls(values: pa.ChunkedArray, column: str, name: str) -> None:
    if values.null_count:
        row = int(np.flatnonzero(pc.is_null(values).to_numpy())[0]) + 1
        raise BadInput(f"{name}: row {row}: {column} is empty")


def _ranks(column: Coded) -> Ints:
    """Codes in the order of the texts."""
    place = {word: number for number, word in enumerate(sorted(set(column.values)))}
    return np.array([place[word] for word in column.values], np.int32)[column.codes]


def _buffers(values: pa.StringArray) -> tuple[Ints, Bytes]:
    """Offsets, shape (n + 1,), into the UTF-8 bytes."""
    if len(values) == 0:
        return np.zeros(1, np.int32), np.zeros(1, np.uint8)
    _, offsets, data = values.buffers()
    places = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    return places, np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)


def _sort_namesakes(order: Longs, times: Longs, rank: Ints, ids: pa.StringArray, table: pa.Table) -> None:
    """Order events of one time under one id by what they say, so that their order in the file does not matter."""
    one, other = order[:-1], order[1:]
    near = np.flatnonzero((times[one] == times[other]) & (rank[one] == rank[other]))
    if not len(near):
        return
    equal = pc.equal(ids.take(pa.array(one[near])), ids.take(pa.array(other[near]))).to_numpy(zero_copy_only=False)
    places = near[equal]
    for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        if len(run):
            group = order[run[0] : run[-1] + 2]
            rows = table.take(pa.array(group)).to_pylist()
            by_body = sorted(range(len(group)), key=lambda n: str(sorted(rows[n].items())))
            order[run[0] : run[-1] + 2] = group[by_body]


def _same(table: pa.Table, later: Longs, first: Longs, offsets: Ints, data: Any) -> Flags:
    """Whether events under one id say the same."""
    if not len(later):
        return np.zeros(0, np.bool_)
    told = [name for name in table.column_names if name not in ("receive_time", "known_revision")]
    one = table.select(told).take(pa.array(later)).to_pylist()
    other = table.select(told).take(pa.array(first)).to_pylist()
    return np.array([a == b for a, b in zip(one, other, strict=True)])


@numba.njit(nogil=True, cache=True)
def _hash(data: Any, begin: int, end: int, seed: int) -> np.uint64:
    """FNV-1a, 64 bits; equality is checked on the bytes."""
    value = np.uint64(14695981039346656037) ^ np.uint64(seed)
    for place in range(begin, end):
        value = (value ^ np.uint64(data[place])) * np.uint64(1099511628211)
    return value ^ (value >> np.uint64(29))


@numba.njit(nogil=True, cache=True)
def _compare(data: Any, begin: int, end: int, other: Any, low: int, high: int) -> int:
    """-1, 0 or 1, by the bytes."""
    for place in range(min(end - begin, high - low)):
        if data[begin + place] != other[low + place]:
            return -1 if data[begin + place] < other[low + place] else 1
    return 0 if end - begin == high - low else (-1 if end - begin < high - low else 1)


@numba.njit(nogil=True, cache=True)
def _less(a: int, b: int, rank: Ints, offsets: Ints, data: Any) -> bool:
    if rank[a] != rank[b]:
        return bool(rank[a] < rank[b])
    return bool(_compare(data, offsets[a], offsets[a + 1], data, offsets[b], offsets[b + 1]) < 0)


@numba.njit(nogil=True, cache=True)
def _sort_ties(order: Longs, times: Longs, rank: Ints, offsets: Ints, data: Any) -> None:
    """Order events of one time by (source, id): a merge sort within each run of equal times."""
    count = len(order)
    spare = np.empty_like(order)
    low = 0
    while low < count:
        high = low + 1
        while high < count and times[order[high]] == times[order[low]]:
            high += 1
        width = 1
        while width < high - low:
            for left in range(low, high, 2 * width):
                middle, right = min(left + width, high), min(left + 2 * width, high)
                i, j = left, middle
                for k in range(left, right):
                    if j >= right or (i < middle and not _less(order[j], order[i], rank, offsets, data)):
                        spare[k] = order[i]
                        i += 1
                    else:
                        spare[k] = order[j]
                        j += 1
            order[low:high] = spare[low:high]
            width *= 2
        low = high


@numba.njit(nogil=True, cache=True)
def _hashes(offsets: Ints, data: Any, rank: Ints) -> Words:
    """A hash of each event's (source, id)."""
    out = np.empty(len(rank), np.uint64)
    for i in range(len(rank)):
        out[i] = _hash(data, offsets[i], offsets[i + 1], rank[i])
    return out


@numba.njit(nogil=True, cache=True)
def _slots(hashes: Words) -> Longs:
    """A hash table that is half empty, to be filled by linear probing."""
    size = 64
    while size < 2 * len(hashes):
        size *= 2
    return np.full(size, -1, np.int64)


@numba.njit(nogil=True, cache=True)
def _first_of(offsets: Ints, data: Any, rank: Ints, hashes: Words) -> Longs:
    """For each event the place of the first of its (source, id), -1 for itself."""
    slots = _slots(hashes)
    first = np.full(len(rank), -1, np.int64)
    for i in range(len(rank)):
        slot = int(hashes[i]) & (len(slots) - 1)
        while slots[slot] >= 0:
            j = slots[slot]
            if hashes[i] == hashes[j] and _same_id(i, offsets, data, j, offsets, data, rank):
                first[i] = j
                break
            slot = (slot + 1) & (len(slots) - 1)
        if first[i] < 0:
            slots[slot] = i
    return first


@numba.njit(nogil=True, cache=True)
def _find_origins(
    named: Ints, names: Any, rank: Ints, refunds: Longs, hashes: Words, offsets: Ints, data: Any, out: Ints
) -> None:
    """The place of the first event that each refund names: few are refunds, so events look for themselves in these."""
    asked = np.empty(len(refunds), np.uint64)
    slots = _slots(asked)
    following = np.full(len(refunds), -1, np.int64)
    for n in range(len(refunds)):
        i = refunds[n]
        asked[n] = _hash(names, named[i], named[i + 1], rank[i])
        slot = int(asked[n]) & (len(slots) - 1)
        while slots[slot] >= 0 and asked[slots[slot]] != asked[n]:
            slot = (slot + 1) & (len(slots) - 1)
        following[n] = slots[slot]
        slots[slot] = n
    for j in range(len(hashes) if len(refunds) else 0):
        slot = int(hashes[j]) & (len(slots) - 1)
        while slots[slot] >= 0 and asked[slots[slot]] != hashes[j]:
            slot = (slot + 1) & (len(slots) - 1)
        n = slots[slot]
        while n >= 0:
            i = refunds[n]
            if out[i] < 0 and _same_id(i, named, names, j, offsets, data, rank):
                out[i] = j
            n = following[n]


@numba.njit(nogil=True, cache=True)
def _same_id(i: int, named: Ints, names: Any, j: int, offsets: Ints, data: Any, rank: Ints) -> bool:
    """Whether the id that event i says in `names` is the one of event j, of the same source."""
    if rank[i] != rank[j]:
        return False
    return bool(_compare(names, named[i], named[i + 1], data, offsets[j], offsets[j + 1]) == 0)
