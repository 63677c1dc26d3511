"""The small tables of the offline verb: places, the map, city events, static columns, and who is who."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.calendar import Window, WorkCalendar
from services.portrait.domain.cells import ALWAYS, FOR_EVER
from services.portrait.domain.dwell import CityEvent
from services.portrait.domain.place import NOWHERE, Places
from services.portrait.domain.statistic import TYPES, Column, completed, percentile
from services.portrait.domain.tag import Catalogue, percentiles_of
from services.portrait.lake import Base
from services.portrait.lake.mapping import StatedMap, examined, numbered, stated, traffic, zone_offset
from services.portrait.offline.inputs import InputError, millis, numbers, table, words

_EPOCH = date(1970, 1, 1)

Longs = npt.NDArray[np.int64]


@dataclass
class Names:
    """Ids that are numbers or texts, as int64 keys. Numbers are their own keys; texts are numbered as they come. Which
    of the two, the first column says; a later id of the other kind is unusable (null)."""

    numeric: bool | None = None
    texts: dict[str, int] = field(default_factory=dict)

    def keys_of(self, column: pa.Array) -> pa.Array:
        """Keys of a column of ids; null for a null."""
        whole = pa.types.is_integer(column.type)
        if self.numeric is None:
            self.numeric = whole or _all_numbers(column)
        if self.numeric:
            return pc.cast(column, pa.int64()) if whole else _integers(pc.cast(column, pa.string()))
        encoded = pc.dictionary_encode(pc.cast(column, pa.string()))
        keys = [self.texts.setdefault(text, len(self.texts)) for text in encoded.dictionary.to_pylist()]
        return pc.take(pa.array(keys, pa.int64()), encoded.indices)

    def ids_of(self, keys: Longs) -> pa.Array:
        """The ids of keys."""
        if self.numeric is not False:
            return pa.array(keys)
        return pc.take(pa.array(list(self.texts), pa.string()), pa.array(keys))


def _integers(text: pa.Array) -> pa.Array:
    """Whole numbers of texts, null for what is none."""
    fits = pc.match_substring_regex(text, r"^\d{1,18}$")
    return pc.cast(pc.if_else(fits, text, pa.scalar(None, pa.string())), pa.int64())


def _all_numbers(column: pa.Array) -> bool:
    """Whether ids are whole numbers without leading zeros, so that nothing is lost when they are read as such."""
    text = pc.cast(column, pa.string())
    return bool(pc.all(pc.match_substring_regex(text, r"^(0|[1-9]\d{0,17})$")).as_py())


@dataclass
class People:
    """Who is who: customers of the profiles and of the signalling."""

    names: Names
    profile_key: Longs
    profile: pa.Table | None
    keys: list[Longs] = field(default_factory=list)

    def keys_of(self, column: pa.Array) -> pa.Array:
        """Customer keys of a column of ids, null for what is none."""
        found = self.names.keys_of(column)
        return pc.if_else(pc.greater_equal(found, 0), found, pa.scalar(None, pa.int64()))

    def heard(self, customer: Longs) -> None:
        """Take note of customers in the signalling."""
        self.keys.append(np.unique(customer))

    def everybody(self) -> Longs:
        """All keys, sorted."""
        return np.unique(np.concatenate([self.profile_key, *self.keys]))


def places_of(path: Path) -> Places:
    """The places, by id. Raises InputError."""
    rows = table(path, ("place_id", "class_code"))
    ids = words(rows["place_id"]).to_pylist()
    order = sorted({place_id: at for at, place_id in enumerate(ids)}.items())  # the last row of an id counts
    at = pa.array([row for _, row in order], pa.int64())

    def text(name: str) -> list[str]:
        return list(pc.take(words(rows[name]), at).to_pylist()) if name in rows.column_names else [""] * len(order)

    def number(name: str) -> npt.NDArray[np.float64]:
        if name not in rows.column_names:
            return np.full(len(order), np.nan)
        return _floats(pc.take(numbers(rows[name]), at))

    names = [name or place_id for name, (place_id, _) in zip(text("name"), order, strict=True)]
    return Places([each for each, _ in order], names, text("town"), text("class_code"), number("lon"), number("lat"))


@dataclass(frozen=True)
class CellNames:
    """The stated map, and how ids of cells become numbers."""

    stated: StatedMap
    names: Names

    def numbers_of(self, column: pa.Array) -> npt.NDArray[np.int32]:
        """Cell numbers of a column of ids, -1 for an unknown one."""
        if self.names.numeric is False:
            vocabulary = pa.array(list(self.names.texts), pa.string())
            found = pc.index_in(pc.cast(column, pa.string()), value_set=vocabulary)
        else:
            found = column if pa.types.is_integer(column.type) else numbers(column)
        ids = np.asarray(pc.fill_null(pc.cast(found, pa.int64()), -1).to_numpy(zero_copy_only=False), dtype=np.int64)
        return numbered(ids, self.stated)


def map_of(path: Path, cell_places: Path | None, places: Places) -> CellNames:
    """The stated map. Raises InputError."""
    cells, names = table(path, ("cell_id",)), Names()
    rows = table(cell_places, ("cell_id", "place_id")) if cell_places else cells
    if "place_id" not in rows.column_names:
        raise InputError(f"{path}: the column place_id is missing; give --cell-places, or cells with their place_id")
    own, cell = (_key(names, each["cell_id"], at) for each, at in ((cells, path), (rows, cell_places or path)))
    number = {place_id: at for at, place_id in enumerate(places.place_id)}
    place = np.array([number.get(each, NOWHERE) for each in words(rows["place_id"]).to_pylist()], dtype=np.int32)
    if not (place >= 0).any():
        raise InputError(f"{cell_places or path}: none of its places is in the file of places")
    weight = _floats(numbers(_whole(rows["weight"]))) if "weight" in rows.column_names else np.ones(len(cell))
    ids, last = np.unique(own[::-1], return_index=True)
    at = len(own) - 1 - last
    lon, lat = (
        _floats(numbers(_whole(cells[name])))[at] if name in cells.column_names else np.full(len(at), np.nan)
        for name in ("lon", "lat")
    )
    from_day = _days(rows, "valid_from", ALWAYS, cell_places or path)
    to_day = _days(rows, "valid_to", FOR_EVER, cell_places or path)
    return CellNames(stated(ids, lon, lat, (cell, place, np.nan_to_num(weight), from_day, to_day)), names)


def _key(names: Names, column: pa.ChunkedArray, path: Path) -> Longs:
    keys = names.keys_of(_whole(column))
    if keys.null_count:
        raise InputError(
            f"{path}: row {pc.index(pc.is_null(keys), True).as_py() + 1}: cell_id is empty or of another kind"
        )
    return np.asarray(keys.to_numpy(zero_copy_only=False), dtype=np.int64)


def _days(rows: pa.Table, name: str, missing: int, path: Path) -> Longs:
    """Days of a column of dates, counted from 1970-01-01. Raises InputError."""
    if name not in rows.column_names:
        return np.full(rows.num_rows, missing, dtype=np.int64)
    found = []
    for line, told in enumerate(rows[name].to_pylist(), 1):
        try:
            day = date.fromisoformat(str(told)[:10]) if told not in (None, "") else None
        except ValueError as error:
            raise InputError(f"{path}: row {line}: {name} {told!r} is not a day") from error
        found.append((day - _EPOCH).days if day else missing)
    return np.array(found, dtype=np.int64)


def events_of(path: Path, places: Places, catalogue: Catalogue, zone: str) -> tuple[CityEvent, ...]:
    """City events of the types and places that are known. Raises InputError."""
    rows = table(path, ("event_id", "type", "place_id", "start_time", "end_time"))
    number = {place_id: at for at, place_id in enumerate(places.place_id)}
    starts, ends = (_flat(millis(_whole(rows[name]), zone)).to_pylist() for name in ("start_time", "end_time"))
    found: dict[str, CityEvent] = {}
    told = zip(*(words(rows[name]).to_pylist() for name in ("event_id", "type", "place_id")), starts, ends, strict=True)
    for line, (event_id, kind, place, start, end) in enumerate(told, 1):
        if start is None or end is None or end <= start:
            raise InputError(f"{path}: event {event_id or line}: its end is not after its start")
        around = catalogue.event_types.get(kind)
        if around is not None and place in number:
            lead, lag = around.lead * 60_000, around.lag * 60_000
            found[event_id] = CityEvent(event_id, kind, number[place], start - lead, end + lag)
    return tuple(found.values())


def people_of(path: Path | None, catalogue: Catalogue) -> People:
    """Who the profiles speak of. Raises InputError."""
    names = Names()
    if path is None:
        return People(names, np.empty(0, np.int64), None)
    rows = table(path, ("customer_id",))
    keys = pc.fill_null(names.keys_of(_whole(rows["customer_id"])), -1)
    key = np.asarray(keys.to_numpy(zero_copy_only=False), dtype=np.int64)
    if (key < 0).any():
        raise InputError(f"{path}: row {int(np.argmax(key < 0)) + 1}: customer_id is empty or of another kind")
    last = len(key) - 1 - np.unique(key[::-1], return_index=True)[1]
    return People(names, key[last], rows.take(pa.array(last)))


def base_of(
    people: People,
    window: Window,
    calendar: WorkCalendar,
    catalogue: Catalogue,
    places: Places,
    known: StatedMap,
    events: Sequence[CityEvent],
    sample: npt.NDArray[np.void],
    *,
    repair: bool,
) -> Base:
    """What all buckets share; `sample` are the rows of some customers, by which the map is examined. Raises
    InputError."""
    key = people.everybody()
    if not len(key):
        raise InputError("no signalling row lies within --from and --to, and there are no profiles")
    heard = traffic([(sample["customer"], sample["time"], sample["cell"])], len(known.cell_id), window, calendar)
    stats, active, org = _statics(people, key, catalogue, window)
    ranks = {pair: percentile(np.asarray(stats[pair[0]], float), active, pair[1]) for pair in percentiles_of(catalogue)}
    cells = examined(known, heard, places, zone_offset(window), repair=repair)
    return Base(key, org, active, stats, ranks, places, cells, tuple(events))


def _statics(
    people: People, key: Longs, catalogue: Catalogue, window: Window
) -> tuple[Mapping[str, Column], npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    wanted, rows = {**TYPES, **catalogue.columns}, people.profile
    known: dict[str, Column] = {}
    at = np.searchsorted(key, people.profile_key)
    active, org = np.ones(len(key), dtype=np.bool_), np.full(len(key), "", dtype=np.str_)
    if rows is not None:
        for name in [each for each in wanted if each in rows.column_names]:
            if wanted[name] == "text":
                known[name] = _spread(words(rows[name]).to_pylist(), at, len(key))
            else:
                known[name] = np.full(len(key), np.nan)
                known[name][at] = _floats(_truth(rows[name]))
        if "age" not in known and "birth_year" in rows.column_names:
            known["age"] = np.full(len(key), np.nan)
            known["age"][at] = window.to_date.year - _floats(numbers(_whole(rows["birth_year"])))
        if "status" in rows.column_names:
            active[at] = np.array([word in ("active", "") for word in words(rows["status"]).to_pylist()])
        if "org_id" in rows.column_names:
            org = _spread(words(rows["org_id"]).to_pylist(), at, len(key))
    return completed(known, wanted, len(key)), active, org


def _truth(column: pa.ChunkedArray) -> pa.Array:
    """Numbers, and words of truth as 1 and 0."""
    whole = _whole(column)
    if not pa.types.is_string(whole.type):
        return numbers(whole)
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(whole))
    yes, no = (pc.is_in(lower, pa.array(each)) for each in (["true", "t", "yes", "y"], ["false", "f", "no", "n"]))
    return pc.if_else(yes, 1.0, pc.if_else(no, 0.0, numbers(whole)))


def _spread(texts: Sequence[str], at: Longs, count: int) -> npt.NDArray[np.str_]:
    known = np.array(texts, dtype=np.str_)
    found = np.full(count, "", dtype=known.dtype if known.dtype.itemsize else np.dtype("<U1"))
    found[at] = known
    return found


def _floats(column: pa.Array) -> npt.NDArray[np.float64]:
    return np.asarray(pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False), dtype=np.float64)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()


def _flat(column: pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
