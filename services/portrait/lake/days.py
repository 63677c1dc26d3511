"""Days of signalling that are kept: the stays of one bucket on one day, and the sample by which the map is examined.

A kept day is named by what it was made of: the files of that day, the rules of stays, and how the map reads the cells
that were heard on it. A run takes the days that are there and follows the others, so that a new day costs that day, and
a change of the map the days on which the changed cells were heard.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.cells import CellMap, numbers_of, places_of
from services.portrait.domain.place import NOWHERE, Places
from services.portrait.domain.run import KeptDay, LakeFile
from services.portrait.domain.shared import Shared
from services.portrait.domain.track import Rows, Rules, Stays
from services.portrait.lake.files import Lake, read
from services.portrait.lake.mapping import Examined, sample, sampled

_FORMAT = 2
_EPOCH = date(1970, 1, 1)

Longs = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class DayRows:
    """The rows of one bucket on one day: by number of a customer of `customer_key`, with the cells that were heard."""

    customer_key: Longs
    rows: Rows
    cell_id: Longs


@dataclass(frozen=True)
class Reading:
    """How a map reads its cells on each day, as numbers that depend on the ids and weights of the places alone."""

    cells: Examined
    places: Places

    def of(self, day: date, cell_id: Longs) -> Hashes:
        """The reading of cells; 0 for one that is not known, or serves nothing."""
        number = numbers_of(cell_id, self.cells.cells.index)
        found = np.append(self._span(day), np.uint64(0))
        return np.asarray(found[number])

    def digest(self, day: date) -> str:
        """Of the whole map as it is read on a day."""
        return hashlib.sha256(self.cells.cell_id.tobytes() + self._span(day).tobytes()).hexdigest()

    def _span(self, day: date) -> Hashes:
        cells = self.cells.cells
        if not cells.place.shape[1]:
            return np.empty(0, np.uint64)
        span = max(int(np.searchsorted(cells.first_day, (day - _EPOCH).days, side="right")) - 1, 0)
        return np.asarray(self._words[cells.place[span]])

    @cached_property
    def names(self) -> list[str]:
        """What a place number is called in a kept day: a place by its id, a shared cell by how it is read."""
        shared = self._words[len(self.places) : -1].tolist()
        return [*self.places.place_id, *(f"#{word:016x}" for word in shared)]

    @cached_property
    def _words(self) -> Hashes:
        """By place number, then by shared cell, 0 at last: what NOWHERE finds."""
        single = self.places.stable_hashes()
        return np.concatenate([single, _of_shared(self.cells.cells.shared, single), np.zeros(1, np.uint64)])


def _of_shared(shared: Shared, single: Hashes) -> Hashes:
    digests = []
    for begin, end in zip(shared.first[:-1].tolist(), shared.first[1:].tolist(), strict=True):
        told = single[shared.place[begin:end]].tobytes() + shared.weight[begin:end].tobytes()
        digests.append(hashlib.blake2b(told, digest_size=8).digest())
    return np.frombuffer(b"".join(digests), dtype="<u8")


def inputs_of(files: Iterable[LakeFile], rules: Rules, zone: str) -> str:
    """The digest of what a day's stays are made of, apart from the map."""
    told = [_FORMAT, zone, rules.gap_minutes, rules.silent_minutes, rules.pingpong_minutes]
    return hashlib.sha256(json.dumps([told, sorted(file.sha256 for file in files)]).encode()).hexdigest()


def read_day(files: Iterable[LakeFile], cells: CellMap) -> DayRows:
    """The signalling of one bucket on one day, each file brought down to 20 bytes a row before the next is read."""
    parts: list[tuple[npt.NDArray[np.generic], ...]] = []
    heard: list[Longs] = []
    for file in files:
        table = read(file, ["customer_key", "time", "cell_id", "line"])
        cell_id = _longs(table, "cell_id")
        number, time = numbers_of(cell_id, cells.index), _millis(table, "time")
        heard.append(_heard(cell_id, number, cells.place.shape[1]))
        line = pc.cast(table["line"], pa.int32()).to_numpy()
        parts.append((_longs(table, "customer_key"), time, places_of(number, time, cells), line))
    if not parts:
        none, wide = np.empty(0, np.int32), np.empty(0, np.int64)
        return DayRows(wide, Rows(none, wide, none, none), wide)
    key, time, place, line = (np.concatenate(column) for column in zip(*parts, strict=True))
    customer_key, customer = _numbered(np.asarray(key, dtype=np.int64))
    return DayRows(customer_key, Rows(customer, time, place, line), np.unique(np.concatenate(heard)))


def _numbered(key: Longs) -> tuple[Longs, npt.NDArray[np.int32]]:
    """The distinct keys in order, and which of them each row has."""
    if not len(key):
        return key, np.empty(0, np.int32)
    known = np.zeros(int(key.max()) + 1, dtype=np.bool_)
    known[key] = True
    distinct = np.flatnonzero(known)
    number = np.empty(len(known), dtype=np.int32)
    number[distinct] = np.arange(len(distinct), dtype=np.int32)
    return distinct, number[key]


def _heard(cell_id: Longs, number: npt.NDArray[np.int32], cells: int) -> Longs:
    """The distinct ids of a column, cheaply where the cells are known."""
    first = np.full(cells + 1, -1, dtype=np.int64)
    first[number] = cell_id
    known = first[:cells]
    return np.concatenate([known[known >= 0], np.unique(cell_id[number < 0])])


def write_day(
    lake: Lake, day: date, bucket: int, inputs: str, reading: Reading, found: DayRows, stays: Stays
) -> KeptDay:
    """Keep the stays of a day; written again they are the same files."""
    ids = pa.array(reading.names, pa.string())
    place = pa.DictionaryArray.from_arrays(pa.array(stays.place, mask=stays.place < 0), ids)
    table = pa.table(
        {
            "customer_key": found.customer_key[stays.customer],
            "place_id": place,
            "first": stays.first.view("datetime64[ms]"),
            "last": stays.last.view("datetime64[ms]"),
            "rows": stays.rows,
        }
    )
    digest = reading.digest(day)
    name = hashlib.sha256(f"{inputs}|{digest}".encode()).hexdigest()[:20]
    path = f"portrait/days/day={day}/bucket={bucket:02d}/{name}"
    heard = pa.table({"cell_id": found.cell_id, "reading": reading.of(day, found.cell_id)})
    return KeptDay(
        day,
        bucket,
        inputs,
        digest,
        len(found.rows.time),
        lake.write(f"{path}.parquet", table, bucket),
        lake.write(f"{path}.cells.parquet", heard, bucket),
    )


def still_read(kept: KeptDay, reading: Reading) -> bool:
    """Whether the map reads the cells that were heard on a kept day as it did then."""
    if kept.reading == reading.digest(kept.day):
        return True
    heard = read(kept.cells)
    return bool((reading.of(kept.day, _longs(heard, "cell_id")) == heard["reading"].to_numpy()).all())


def of_base(key: Longs, stays: Stays, base_key: Longs) -> Stays:
    """Stays of customers by number of `key` as those of the customers `base_key` (both sorted); others are left out."""
    at = np.searchsorted(base_key, key)
    there = at < len(base_key)
    there[there] = base_key[at[there]] == key[there]
    number = np.where(there, at, -1).astype(np.int32)[stays.customer]
    kept = number >= 0
    if kept.all():
        return Stays(number, stays.place, stays.first, stays.last, stays.rows)
    return Stays(number[kept], stays.place[kept], stays.first[kept], stays.last[kept], stays.rows[kept])


def read_stays(kept: KeptDay, reading: Reading, base_key: Longs) -> Stays:
    """The stays of a kept day, of the customers `base_key` (sorted)."""
    table = read(kept.stays, dictionaries=["place_id"])
    place_id = table["place_id"].combine_chunks()
    number = {each: at for at, each in enumerate(reading.names)}
    words = np.array([number.get(each, NOWHERE) for each in place_id.dictionary.to_pylist()], dtype=np.int32)
    at = pc.fill_null(place_id.indices, len(words)).to_numpy()
    key, customer = _numbered(_longs(table, "customer_key"))
    place, rows = np.append(words, np.int32(NOWHERE))[at], table["rows"].to_numpy()
    return of_base(key, Stays(customer, place, _millis(table, "first"), _millis(table, "last"), rows), base_key)


def sampled_files(files: Sequence[LakeFile]) -> Iterator[tuple[date, list[LakeFile]]]:
    """The days of signalling that the sample is taken of, with their files."""
    for day in sampled([file.period for file in files]):
        yield day, [file for file in files if file.period == day]


def sample_of(files: Sequence[LakeFile]) -> pa.Table:
    """The sample of one day: all rows of as many customers as fit."""
    total = sum(file.rows for file in files)
    names = ["customer_key", "time", "cell_id"]
    return pa.concat_tables([sample(read(file, names), "customer_key", total) for file in files])


def write_sample(lake: Lake, day: date, inputs: str, table: pa.Table) -> KeptDay:
    """Keep the sample of a day."""
    file = lake.write(f"portrait/days/day={day}/sample/{inputs[:20]}.parquet", table, -1)
    return KeptDay(day, -1, inputs, "", table.num_rows, file, file)


def _longs(table: pa.Table, name: str) -> Longs:
    return np.asarray(pc.cast(table[name], pa.int64()).to_numpy(), dtype=np.int64)


def _millis(table: pa.Table, name: str) -> Longs:
    return np.asarray(table[name].cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy(), dtype=np.int64)
