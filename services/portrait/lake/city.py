"""What a run says of the city as a whole: tables of one bucket, and their sums over all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain import crowd
from services.portrait.domain.calendar import SLOTS, Window
from services.portrait.domain.place import Places
from services.portrait.domain.run import LakeFile
from services.portrait.domain.track import DwellDays, Visits
from services.portrait.lake.files import read, read_rows
from services.portrait.lake.mapping import Examined
from services.portrait.lake.results import named

KINDS = ("weekend", "workday", "")
_SLOTS = (*SLOTS, "")


@dataclass(frozen=True)
class VisitLine:
    """One stay of a customer; times are UTC milliseconds."""

    place_id: str
    place_name: str
    place_class: str
    town: str
    start: int
    end: int


def visits_table(visits: Visits, customer_key: npt.NDArray[np.int64], places: Places) -> pa.Table:
    """The visits of one bucket, by customer and time."""
    return pa.table({"customer_key": customer_key[visits.customer], **_place(places, visits.place),
                     "start": visits.start, "end": visits.end})  # fmt: skip


def cells_table(examined: Examined, places: Places) -> pa.Table:
    """The map as a run reads it on its last day: the place of each cell that serves one, of several the weightiest."""
    cells = examined.cells
    number = cells.place[-1] if len(cells.place) else np.empty(0, np.int32)
    heaviest = np.append(cells.shared.place[cells.shared.first[:-1]], np.int32(-1))
    place = np.where(number >= len(places), heaviest[np.where(number >= len(places), number - len(places), -1)], number)
    there = np.flatnonzero(place >= 0)
    return pa.table({"cell_id": examined.cell_id[there], **_place(places, place[there])})


def places_of_cells(file: LakeFile) -> dict[int, dict[str, str]]:
    """What cells_table() said, by cell: place_id, place_class, town."""
    table = read(file, ["cell_id", "place_id", "place_class", "town"])
    rows = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    return {cell: {"place_id": place, "place_class": kind, "town": town} for cell, place, kind, town in rows}


def areas_table(dwell: DwellDays, workdays: npt.NDArray[np.bool_], places: Places) -> pa.Table:
    """The dwell areas of one bucket."""
    found = crowd.areas(dwell, workdays, len(places))
    return pa.table(
        {
            "day_type": pc.take(pa.array(KINDS), pa.array(found.kind)),
            "slot": pc.take(pa.array(_SLOTS), pa.array(found.slot)),
            **_place(places, found.place),
            "customers": found.customers,
            "secs": found.secs,
        }
    )


def crowd_table(visits: Visits, window: Window, workdays: npt.NDArray[np.bool_], places: Places) -> pa.Table:
    """Presence by place class, kind of day and hour of one bucket."""
    classes, kind = np.unique(np.array(places.class_code, dtype=np.str_), return_inverse=True)
    found = crowd.presence(visits, int(window.borders()[0]), workdays, kind.astype(np.int64), len(classes))
    at = np.argwhere(found > 0)
    return pa.table(
        {
            "place_class": pc.take(pa.array(classes.tolist(), pa.string()), pa.array(at[:, 0])),
            "day_type": pc.take(pa.array(KINDS), pa.array(at[:, 1])),
            "hour": at[:, 2],
            "secs": found[tuple(at.T)],
            "days": np.array([int((~workdays).sum()), int(workdays.sum())])[at[:, 1]],
        }
    )


def summed_areas(files: Sequence[LakeFile]) -> Iterator[tuple[object, ...]]:
    """Rows (day_type, slot, place_id, place_name, place_class, town, customers, secs) over all buckets."""
    keys = ["day_type", "slot", "place_id", "place_name", "place_class", "town"]
    return _rows(_together(files).group_by(keys).aggregate([("customers", "sum"), ("secs", "sum")]), keys)


def summed_crowd(files: Sequence[LakeFile]) -> Iterator[tuple[object, ...]]:
    """Rows (place_class, day_type, hour, secs, days) over all buckets."""
    keys = ["place_class", "day_type", "hour"]
    return _rows(_together(files).group_by(keys).aggregate([("secs", "sum"), ("days", "max")]), keys)


def visits_of(file: LakeFile, customer_key: int) -> list[VisitLine]:
    """One customer's visits in order of time."""
    names = ["place_id", "place_name", "place_class", "town", "start", "end"]
    rows = read_rows(file, "customer_key", customer_key, names).to_pylist()
    return sorted((VisitLine(**row) for row in rows), key=lambda line: line.start)


def _together(files: Sequence[LakeFile]) -> pa.Table:
    return pa.concat_tables([read(file) for file in files])


def _rows(table: pa.Table, keys: list[str]) -> Iterator[tuple[object, ...]]:
    others = [name for name in table.column_names if name not in keys]
    return iter(sorted(zip(*(table[name].to_pylist() for name in [*keys, *others]), strict=True)))


def _place(places: Places, numbers: npt.NDArray[np.integer]) -> dict[str, pa.Array]:
    told = (("place_id", places.place_id), ("place_name", places.name), ("place_class", places.class_code),
            ("town", places.town))  # fmt: skip
    return {name: named(each, numbers) for name, each in told}


def tasks_of(
    examined: Examined, places: Places, known_classes: Mapping[str, object], secs: Mapping[str, int]
) -> list[tuple[object, ...]]:
    """What the map lacks: (kind, place_id, cell_id, traffic, read_as, kilometres), each once; `secs` by place."""
    found: dict[tuple[str, str, int], tuple[int, str, float]] = {}
    for place_id, code in zip(places.place_id, places.class_code, strict=True):
        if code not in known_classes:
            found["UNCLASSIFIED", place_id, 0] = (secs.get(place_id, 0), "", 0.0)
    quality = examined.quality
    for cell, rows in quality.unmapped:
        found["UNMAPPED_CELL", "", int(examined.cell_id[cell])] = (rows, "", 0.0)
    for each in quality.corrections:
        read_as = places.place_id[each.read] if each.read >= 0 else ""
        key = ("DOUBTFUL_ROW", places.place_id[each.stated], int(examined.cell_id[each.cell]))
        found[key] = (each.traffic, read_as, each.kilometres)
    return [(*key, *told) for key, told in sorted(found.items())]
