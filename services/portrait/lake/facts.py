"""What a run reads: places, cells, customers and their static columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from services.portrait.lake.columns import (
    Longs,
    floats,
    last_of,
    latest,
    millis,
    numbers,
    of_period,
    periods,
    positions,
    whole,
    words,
)
from services.portrait.lake.days import sample_of, sampled_files
from services.portrait.lake.details import detail_columns
from services.portrait.lake.mapping import Examined
from services.portrait.lake.subscriptions import subscription_columns

__all__ = ["Base", "Beside", "Damaged", "read_base"]

_CHANNELS = ("sms", "call", "app")


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
    places = _places(latest(facts["places"]), beside.classes)
    number = {place_id: at for at, place_id in enumerate(places.place_id)}
    customers, key = _customers(latest(facts["customers"]), window)
    bills, orders = _bills(whole(facts["bills"]), key, window), whole(facts.get("orders", ()))
    known = columns(
        customers,
        bills,
        _products(orders, key),
        _optout(whole(facts.get("consent", ())), key),
        window.to_date,
    )
    if beside.details is not None:
        told = (beside.contacts, key, beside.buckets, window.to_date, window.zone)
        counted: dict[str, Column] = dict(detail_columns(beside.details, facts, *told))
        counted |= subscription_columns(facts, customers, bills, orders, beside.details.held, window.to_date)
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
        events=_events(latest(facts.get("city_events", ())), number, catalogue),
    )


def _places(table: pa.Table | None, classes: Mapping[str, str]) -> Places:
    if table is None:
        raise Damaged("the feed places has no file")
    place_id = words(table, "place_id")
    order = last_of(place_id)
    return Places(
        place_id=place_id[order].tolist(),
        name=words(table, "name")[order].tolist(),
        town=words(table, "town")[order].tolist(),
        class_code=[
            classes.get(known, code)
            for known, code in zip(place_id[order].tolist(), words(table, "class_code")[order].tolist(), strict=True)
        ],
        lon=floats(table, "lon")[order],
        lat=floats(table, "lat")[order],
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
            {day: of_period(facts["cell_places"], day) for day in periods(facts["cell_places"])}
        )
    ]
    if not rows:
        raise Damaged("the feed cell_places has no file")
    cells = latest(facts.get("cells", ()))
    none = np.empty(0, dtype=np.float64)
    ids, lon, lat = none.astype(np.int64), none, none
    if cells is not None:
        ids = numbers(cells, "cell_id", pa.int64())
        last = last_of(ids)
        ids, lon, lat = ids[last], floats(cells, "lon")[last], floats(cells, "lat")[last]
    stated = _columns(rows)
    if cells is not None:
        stated = mapping.while_there(stated, numbers(cells, "cell_id", pa.int64()), *_validity(cells))
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
    cell_id = numbers(table, "cell_id", pa.int64())
    place = np.array([number.get(each, NOWHERE) for each in words(table, "place_id").tolist()], dtype=np.int32)
    rows = last_of(cell_id, place)
    count = len(rows)
    return cell_id[rows], place[rows], floats(table, "weight")[rows], np.full(count, begin), np.full(count, end)


def _heard(table: pa.Table, known: mapping.StatedMap) -> tuple[Longs, Longs, npt.NDArray[np.int32]]:
    cell = mapping.numbered(numbers(table, "cell_id", pa.int64()), known)
    return numbers(table, "customer_key", pa.int64()), millis(table, "time"), cell


def _customers(table: pa.Table | None, window: Window) -> tuple[Customers, Longs]:
    if table is None:
        raise Damaged("the feed customers has no file")
    key = np.asarray(numbers(table, "customer_key", pa.int64()), dtype=np.int64)
    order = last_of(key)
    joined = pc.cast(table["join_date"], pa.date32())
    month = pc.add(pc.multiply(pc.year(joined), 12), pc.subtract(pc.month(joined), 1))
    late = pc.cast(pc.greater(pc.day(joined), window.to_date.day), pa.int64())
    customers = Customers(
        customer_key=key[order],
        org_id=words(table, "org_id")[order],
        sex=words(table, "sex")[order],
        birth_year=floats(table, "birth_year")[order],
        brand=words(table, "brand")[order],
        plan=words(table, "plan")[order],
        join_month=floats(pa.table({"month": pc.add(month, late)}), "month")[order],
        device=words(table, "device")[order],
        active=words(table, "status")[order] == "active",
        left=words(table, "status")[order] == "left",
    )
    return customers, key[order]


def _bills(table: pa.Table | None, key: Longs, window: Window) -> Bills:
    none = np.empty(0, dtype=np.int64)
    if table is None:
        return Bills(none, none, *[none.astype(np.float64)] * 4)
    table = table.filter(pc.is_valid(table["month"]))
    month = pc.cast(table["month"], pa.date32())
    number = np.asarray(pc.add(pc.multiply(pc.year(month), 12), pc.month(month)).to_numpy(), dtype=np.int64)
    customer = positions(key, numbers(table, "customer_key", pa.int64()))
    rows = last_of(customer, number)
    newest = int(number.max()) if len(number) else 0
    return Bills(
        customer=customer[rows],
        month=newest - number[rows],
        fee_fen=floats(table, "fee_fen")[rows],
        voice_minutes=floats(table, "voice_minutes")[rows],
        sms_count=floats(table, "sms_count")[rows],
        data_mb=floats(table, "data_mb")[rows],
    )


def _products(table: pa.Table | None, key: Longs) -> npt.NDArray[np.float64]:
    """Openings less cancellations of each customer, never below 0."""
    if table is None:
        return np.zeros(len(key))
    order, action = words(table, "order_id"), words(table, "action")
    rows = last_of(order, action)
    customer = positions(key, numbers(table, "customer_key", pa.int64()))[rows]
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
    customer = positions(key, numbers(table, "customer_key", pa.int64()))
    channel = words(table, "channel")
    time = numbers(table, "time")
    order = np.lexsort((np.arange(len(time)), time))
    rows = order[last_of(customer[order], channel[order])]
    no = (words(table, "granted")[rows] == "N") & np.isin(channel[rows], _CHANNELS) & (customer[rows] >= 0)
    refused += np.bincount(customer[rows][no], minlength=len(key))
    return np.asarray(refused == len(_CHANNELS), dtype=np.float64)


def _events(table: pa.Table | None, number: Mapping[str, int], catalogue: Catalogue) -> tuple[CityEvent, ...]:
    if table is None:
        return ()
    rows = last_of(words(table, "event_id")).tolist()
    kinds, places = words(table, "type").tolist(), words(table, "place_id").tolist()
    ids, starts, ends = words(table, "event_id").tolist(), millis(table, "start_time"), millis(table, "end_time")
    events = []
    for row in rows:
        around = catalogue.event_types.get(kinds[row])
        if around is not None and places[row] in number:
            start, end = int(starts[row]) - around.lead * 60_000, int(ends[row]) + around.lag * 60_000
            events.append(CityEvent(ids[row], kinds[row], number[places[row]], start, end))
    return tuple(events)
