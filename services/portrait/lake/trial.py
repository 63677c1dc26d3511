"""The facts of a published run, read back from its files: what a definition is tried on before it is published."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.anchor import ROLES, Anchors
from services.portrait.domain.calendar import SLOTS, Window, WorkCalendar
from services.portrait.domain.dwell import Attendance
from services.portrait.domain.place import NOWHERE, Places
from services.portrait.domain.run import LakeFile
from services.portrait.domain.statistic import Column, percentile
from services.portrait.domain.tag import Catalogue, Event, Facts, answers, percentiles_of, place_time, plan
from services.portrait.domain.track import DwellDays
from services.portrait.lake.files import read

Longs = npt.NDArray[np.int64]
_EPOCH = date(1970, 1, 1)


def places_table(places: Places) -> pa.Table:
    """The places of a run, by id."""
    return pa.table(
        {
            "place_id": list(places.place_id), "name": list(places.name), "town": list(places.town),
            "class_code": list(places.class_code), "lon": places.lon, "lat": places.lat,
        }
    )  # fmt: skip


def stats_table(key: Longs, columns: Mapping[str, Column], active: npt.NDArray[np.bool_]) -> pa.Table:
    """The stat columns of one bucket."""
    told = {
        name: pa.array(each.tolist(), pa.string()) if each.dtype.kind == "U" else each for name, each in columns.items()
    }
    return pa.table({"customer_key": key, "active": active, **told})


def attendance_table(key: Longs, rows: Attendance, events: Sequence[Event]) -> pa.Table:
    """Who was at which city event for how long, of one bucket."""
    return pa.table(
        {
            "customer_key": key[rows.customer],
            "event": rows.event,
            "event_id": pc.take(pa.array([each.event_id for each in events], pa.string()), pa.array(rows.event)),
            "type": pc.take(pa.array([each.type for each in events], pa.string()), pa.array(rows.event)),
            "date": pc.take(pa.array([each.date for each in events], pa.date32()), pa.array(rows.event)),
            "secs": rows.secs,
        }
    )


def read_places(file: LakeFile) -> Places:
    """The places of a run."""
    rows = read(file).to_pydict()
    lon, lat = np.array(rows["lon"], dtype=float), np.array(rows["lat"], dtype=float)
    return Places(rows["place_id"], rows["name"], rows["town"], rows["class_code"], lon, lat)


def ranks_of(stats: Sequence[LakeFile], catalogue: Catalogue) -> dict[tuple[str, float], float]:
    """The percentiles that a catalogue compares with, over the active customers of all buckets."""
    pairs = percentiles_of(catalogue)
    names = sorted({name for name, _ in pairs})
    if not names:
        return {}
    table = pa.concat_tables([read(file, ["active", *names]) for file in stats])
    active = table["active"].to_numpy()
    return {(name, rank): percentile(table[name].to_numpy(), active, rank) for name, rank in pairs}


def read_facts(
    files: Mapping[str, LakeFile],
    places: Places,
    catalogue: Catalogue,
    window: Window,
    calendar: WorkCalendar,
    ranks: Mapping[tuple[str, float], float],
) -> tuple[Facts, Longs]:
    """The facts of one bucket by its tables stats, dwell, anchors and attendance; and the customers' keys."""
    stats = read(files["stats"])
    key = np.asarray(stats["customer_key"].to_numpy(), dtype=np.int64)
    columns: dict[str, Column] = {}
    for name in stats.column_names[2:]:
        text = pa.types.is_string(stats[name].type)
        columns[name] = np.array(stats[name].to_pylist(), dtype=np.str_) if text else stats[name].to_numpy()
    number = pa.array(list(places.place_id), pa.string())
    dwell = _dwell(read(files["dwell"]), key, number, window)
    anchors = _anchors(read(files["anchors"]), key, number)
    workdays = window.workdays(calendar)
    asked = plan(catalogue, window.days)
    leaves, landmarks = answers(asked, dwell, workdays, anchors, places, len(key), catalogue.grading)
    rows = read(files["attendance"])
    events: list[Event] = []
    if rows.num_rows:
        told = zip(rows["type"].to_pylist(), rows["date"].to_pylist(), strict=True)
        known = dict(zip(rows["event"].to_pylist(), told, strict=True))
        events = [Event(*known.get(each, ("", _EPOCH))) for each in range(max(known) + 1)]
    attendance = Attendance(
        np.searchsorted(key, rows["customer_key"].to_numpy()).astype(np.int32),
        rows["event"].to_numpy().astype(np.int32), rows["secs"].to_numpy().astype(np.int64),
    )  # fmt: skip
    return Facts(
        customers=len(key), days=window.days, to_date=window.to_date, dwell=leaves, landmarks=landmarks,
        anchors=anchors, attendance=attendance, events=events, columns=columns, percentiles=ranks, places=places,
        place_time=place_time(dwell, len(key)),
    ), key  # fmt: skip


def _dwell(table: pa.Table, key: Longs, number: pa.Array, window: Window) -> DwellDays:
    first = (window.from_date - _EPOCH).days
    slots = pc.index_in(table["slot"], value_set=pa.array(SLOTS))
    columns = (
        np.searchsorted(key, table["customer_key"].to_numpy()),
        pc.index_in(table["place_id"], value_set=number).to_numpy(),
        pc.cast(table["date"], pa.int32()).to_numpy() - first,
        slots.to_numpy(),
        *(table[name].to_numpy() for name in ("secs", "visits", "longest_secs")),
    )
    return DwellDays(*(each.astype(np.int32) for each in columns))


def _anchors(table: pa.Table, key: Longs, number: pa.Array) -> dict[str, Anchors]:
    found = {}
    for role in ROLES:
        rows = table.filter(pc.equal(table["role"], role))
        at = np.searchsorted(key, rows["customer_key"].to_numpy())
        place = np.full(len(key), NOWHERE, dtype=np.int32)
        days, secs = np.zeros(len(key), dtype=np.int32), np.zeros(len(key), dtype=np.int64)
        sure = np.zeros(len(key))
        place[at] = pc.index_in(rows["place_id"], value_set=number).to_numpy()
        days[at], secs[at] = rows["days"].to_numpy(), rows["dwell_seconds"].to_numpy()
        sure[at] = rows["confidence"].to_numpy()
        found[role] = Anchors(place, days, secs, sure)
    return found
