"""What a run reads: places, cells, customers and their static columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.kit.lake import Damaged
from services.portrait.domain.calendar import Window, WorkCalendar
from services.portrait.domain.cells import ALWAYS, FOR_EVER
from services.portrait.domain.detail import Details
from services.portrait.domain.dwell import CityEvent
from services.portrait.domain.place import NOWHERE, Places
from services.portrait.domain.run import LakeFile
from services.portrait.domain.statistic import Bills, Column, Customers, columns, completed, percentile
from services.portrait.domain.tag import Catalogue, percentiles_of
from services.portrait.lake import mapping
from services.portrait.lake.days import sample_of, sampled_files
from services.portrait.lake.details import detail_columns
from services.portrait.lake.files import read
from services.portrait.lake.mapping import Examined

__all__ = ["Base", "Beside", "Damaged", "read_base"]

_CHANNELS = ("sms", "call", "app")

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Base:
    """What all buckets of a run share; columns are (customers,), ordered by customer_key."""

    customer_key: Longs
    org_id: npt.NDArray[np.str_]
    active: npt.NDArray[np.bool_]
    columns: Mapping[str, Column]
    percentiles: Mapping[tuple[str, float], float]
    places: Places
    cells: Examined
    events: tuple[CityEvent, ...]

    def bucket(self, bucket: int, buckets: int) -> Longs:
        """Positions of the customers of one bucket."""
        return np.flatnonzero(self.customer_key % buckets == bucket)


@dataclass(frozen=True)
class Beside:
    """What a run knows beside its feeds: classes given to places by hand; samples of signalling days, which stand for
    what is read of the signalling otherwise; the columns that are counted of detail feeds, and contacts."""

    classes: Mapping[str, str] = field(default_factory=dict)
    samples: Sequence[pa.Table] = ()
    details: Details | None = None
    contacts: pa.Table | None = None
    buckets: int = 1


def read_base(
    facts: Mapping[str, Sequence[LakeFile]],
    window: Window,
    catalogue: Catalogue,
    calendar: WorkCalendar,
    beside: Beside | None = None,
) -> Base:
    """Read the small feeds of a run. Of snapshots (customers, cells, places, city events) a later period replaces an
    earlier one; of logs (bills, orders, consent) every row counts once, a later delivery's row replacing an earlier's.
    """
    beside = beside or Beside()
    places = _places(_latest(facts["places"]), beside.classes)
    number = {place_id: at for at, place_id in enumerate(places.place_id)}
    customers, key = _customers(_latest(facts["customers"]), window)
    known = columns(
        customers,
        _bills(_all(facts["bills"]), key, window),
        _products(_all(facts.get("orders", ())), key),
        _optout(_all(facts.get("consent", ())), key),
        window.to_date,
    )
    if beside.details is not None:
        told = (beside.contacts, key, beside.buckets, window.to_date, window.zone)
        counted = detail_columns(beside.details, facts, *told)
        known = {**known, **{name: each for name, each in counted.items() if name in catalogue.columns}}
    stats = completed(known, catalogue.columns, len(key))
    ranks: dict[tuple[str, float], float] = {}
    for name, rank in percentiles_of(catalogue):
        ranks[name, rank] = percentile(stats[name].astype(np.float64), customers.active, rank)
    return Base(
        customer_key=key,
        org_id=customers.org_id,
        active=customers.active,
        columns=stats,
        percentiles=ranks,
        places=places,
        cells=_map(
            facts,
            places,
            number,
            window,
            calendar,
            beside.samples or [sample_of(files) for _, files in sampled_files(facts.get("signalling", ()))],
        ),
        events=_events(_latest(facts.get("city_events", ())), number, catalogue),
    )


def _latest(files: Sequence[LakeFile]) -> pa.Table | None:
    """A snapshot feed: the files of the latest period only."""
    return _of_period(files, max(_periods(files))) if files else None


def _periods(files: Sequence[LakeFile]) -> set[date]:
    return {file.period for file in files}


def _of_period(files: Sequence[LakeFile], period: date) -> pa.Table:
    return _all([file for file in files if file.period == period])


def _all(files: Sequence[LakeFile]) -> pa.Table | None:
    """All files in the order of the manifest (period, then delivery), then line."""
    tables = [read(file) for file in files]
    return pa.concat_tables(tables, promote_options="default") if tables else None


def _numbers(table: pa.Table, name: str, kind: pa.DataType | None = None) -> npt.NDArray[Any]:
    column = table[name] if kind is None else pc.cast(table[name], kind)
    if pa.types.is_timestamp(column.type):
        column = pc.cast(column, pa.int64())
    found: npt.NDArray[Any] = column.to_numpy()
    return found


def _floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers, NaN for null."""
    return np.asarray(pc.cast(table[name], pa.float64()).fill_null(float("nan")).to_numpy(), dtype=np.float64)


def _words(table: pa.Table, name: str) -> npt.NDArray[np.str_]:
    """A column of words, "" for null."""
    return np.array(pc.cast(table[name], pa.string()).fill_null("").to_pylist(), dtype=np.str_)


def _last_of(*keys: npt.NDArray[np.generic]) -> Longs:
    """Positions of the last row of each distinct key, in order of the keys."""
    if not len(keys[0]):
        return np.empty(0, dtype=np.int64)
    order = np.lexsort((np.arange(len(keys[0])), *reversed(keys)))
    ends = np.ones(len(order), dtype=np.bool_)
    changes = [key[order][1:] != key[order][:-1] for key in keys]
    ends[:-1] = np.logical_or.reduce(changes)
    return np.asarray(order[ends])


def _find(key: Longs, wanted: npt.NDArray[np.generic]) -> Longs:
    """Position of each wanted key in the sorted keys, -1 when it is not there."""
    if not len(key):
        return np.full(len(wanted), NOWHERE, dtype=np.int64)
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    return np.where(key[at] == wanted, at, NOWHERE)


def _places(table: pa.Table | None, classes: Mapping[str, str]) -> Places:
    if table is None:
        raise Damaged("the feed places has no file")
    place_id = _words(table, "place_id")
    order = _last_of(place_id)
    return Places(
        place_id=place_id[order].tolist(),
        name=_words(table, "name")[order].tolist(),
        town=_words(table, "town")[order].tolist(),
        class_code=[
            classes.get(known, code)
            for known, code in zip(place_id[order].tolist(), _words(table, "class_code")[order].tolist(), strict=True)
        ],
        lon=_floats(table, "lon")[order],
        lat=_floats(table, "lat")[order],
    )


def _map(
    facts: Mapping[str, Sequence[LakeFile]],
    places: Places,
    number: Mapping[str, int],
    window: Window,
    calendar: WorkCalendar,
    samples: Iterable[pa.Table],
) -> Examined:
    """The map with its validity: the cells' own days, and each delivery of the map until the next period's."""
    rows = [
        _map_rows(table, number, begin, end)
        for table, begin, end in mapping.validity(
            {day: _of_period(facts["cell_places"], day) for day in _periods(facts["cell_places"])}
        )
    ]
    if not rows:
        raise Damaged("the feed cell_places has no file")
    cells = _latest(facts.get("cells", ()))
    none = np.empty(0, dtype=np.float64)
    ids, lon, lat = none.astype(np.int64), none, none
    if cells is not None:
        ids = _numbers(cells, "cell_id", pa.int64())
        last = _last_of(ids)
        ids, lon, lat = ids[last], _floats(cells, "lon")[last], _floats(cells, "lat")[last]
    stated = _columns(rows)
    if cells is not None:
        stated = mapping.while_there(stated, _numbers(cells, "cell_id", pa.int64()), *_validity(cells))
    known = mapping.stated(ids, lon, lat, stated)
    heard = [_heard(table, known) for table in samples]
    traffic = mapping.traffic(heard, len(known.cell_id), window, calendar)
    return mapping.examined(known, traffic, places, mapping.zone_offset(window))


def _validity(cells: pa.Table) -> tuple[Longs, Longs]:
    """First and last day of each row of the cells, counted from 1970-01-01."""
    found = []
    for name, missing in (("valid_from", ALWAYS), ("valid_to", FOR_EVER)):
        if name in cells.column_names:
            days = pc.cast(pc.cast(cells[name], pa.date32()), pa.int32())
            found.append(np.asarray(pc.fill_null(days, missing).to_numpy(), dtype=np.int64))
        else:
            found.append(np.full(cells.num_rows, missing, dtype=np.int64))
    return found[0], found[1]


def _columns(rows: list[tuple[npt.NDArray[Any], ...]]) -> Any:
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def _map_rows(table: pa.Table, number: Mapping[str, int], begin: int, end: int) -> tuple[npt.NDArray[Any], ...]:
    cell_id = _numbers(table, "cell_id", pa.int64())
    place = np.array([number.get(each, NOWHERE) for each in _words(table, "place_id").tolist()], dtype=np.int32)
    rows = _last_of(cell_id, place)
    count = len(rows)
    return cell_id[rows], place[rows], _floats(table, "weight")[rows], np.full(count, begin), np.full(count, end)


def _heard(table: pa.Table, known: mapping.StatedMap) -> tuple[Longs, Longs, npt.NDArray[np.int32]]:
    cell = mapping.numbered(_numbers(table, "cell_id", pa.int64()), known)
    return _numbers(table, "customer_key", pa.int64()), _millis(table, "time"), cell


def _customers(table: pa.Table | None, window: Window) -> tuple[Customers, Longs]:
    if table is None:
        raise Damaged("the feed customers has no file")
    key = np.asarray(_numbers(table, "customer_key", pa.int64()), dtype=np.int64)
    order = _last_of(key)
    joined = pc.cast(table["join_date"], pa.date32())
    month = pc.add(pc.multiply(pc.year(joined), 12), pc.subtract(pc.month(joined), 1))
    late = pc.cast(pc.greater(pc.day(joined), window.to_date.day), pa.int64())
    customers = Customers(
        customer_key=key[order],
        org_id=_words(table, "org_id")[order],
        sex=_words(table, "sex")[order],
        birth_year=_floats(table, "birth_year")[order],
        brand=_words(table, "brand")[order],
        plan=_words(table, "plan")[order],
        join_month=_floats(pa.table({"month": pc.add(month, late)}), "month")[order],
        device=_words(table, "device")[order],
        active=_words(table, "status")[order] == "active",
        left=_words(table, "status")[order] == "left",
    )
    return customers, key[order]


def _bills(table: pa.Table | None, key: Longs, window: Window) -> Bills:
    none = np.empty(0, dtype=np.int64)
    if table is None:
        return Bills(none, none, *[none.astype(np.float64)] * 4)
    table = table.filter(pc.is_valid(table["month"]))
    month = pc.cast(table["month"], pa.date32())
    number = np.asarray(pc.add(pc.multiply(pc.year(month), 12), pc.month(month)).to_numpy(), dtype=np.int64)
    customer = _find(key, _numbers(table, "customer_key", pa.int64()))
    rows = _last_of(customer, number)
    newest = int(number.max()) if len(number) else 0
    return Bills(
        customer=customer[rows],
        month=newest - number[rows],
        fee_fen=_floats(table, "fee_fen")[rows],
        voice_minutes=_floats(table, "voice_minutes")[rows],
        sms_count=_floats(table, "sms_count")[rows],
        data_mb=_floats(table, "data_mb")[rows],
    )


def _products(table: pa.Table | None, key: Longs) -> npt.NDArray[np.float64]:
    """Openings less cancellations of each customer, never below 0."""
    if table is None:
        return np.zeros(len(key))
    order, action = _words(table, "order_id"), _words(table, "action")
    rows = _last_of(order, action)
    customer = _find(key, _numbers(table, "customer_key", pa.int64()))[rows]
    sign = np.where(action[rows] == "open", 1.0, -1.0)
    known = customer >= 0
    total = np.bincount(customer[known], weights=sign[known], minlength=len(key))
    return np.asarray(np.maximum(total, 0.0))


def _optout(table: pa.Table | None, key: Longs) -> npt.NDArray[np.float64]:
    """1 where the latest word on marketing is no for all three channels; a channel without a word has not said no."""
    refused = np.zeros(len(key))
    if table is None:
        return refused
    table = table.filter(pc.equal(table["purpose"], "marketing"))
    customer = _find(key, _numbers(table, "customer_key", pa.int64()))
    channel = _words(table, "channel")
    time = _numbers(table, "time")
    order = np.lexsort((np.arange(len(time)), time))
    rows = order[_last_of(customer[order], channel[order])]
    no = (_words(table, "granted")[rows] == "N") & np.isin(channel[rows], _CHANNELS) & (customer[rows] >= 0)
    refused += np.bincount(customer[rows][no], minlength=len(key))
    return np.asarray(refused == len(_CHANNELS), dtype=np.float64)


def _events(table: pa.Table | None, number: Mapping[str, int], catalogue: Catalogue) -> tuple[CityEvent, ...]:
    if table is None:
        return ()
    rows = _last_of(_words(table, "event_id")).tolist()
    kinds, places = _words(table, "type").tolist(), _words(table, "place_id").tolist()
    ids, starts, ends = _words(table, "event_id").tolist(), _millis(table, "start_time"), _millis(table, "end_time")
    events = []
    for row in rows:
        around = catalogue.event_types.get(kinds[row])
        if around is not None and places[row] in number:
            start, end = int(starts[row]) - around.lead * 60_000, int(ends[row]) + around.lag * 60_000
            events.append(CityEvent(ids[row], kinds[row], number[places[row]], start, end))
    return tuple(events)


def _millis(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    return _numbers(pa.table({name: pc.cast(table[name], pa.timestamp("ms", "UTC"))}), name)
