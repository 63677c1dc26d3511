"""The map of a run: from which cell to which place, by day, examined against a sample of the signalling itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain import quality
from services.portrait.domain.calendar import SLOT_HOURS, SLOTS, Window, WorkCalendar
from services.portrait.domain.cells import (
    ALWAYS,
    FOR_EVER,
    CellIndex,
    CellMap,
    MapRows,
    cell_map,
    index_of,
    numbers_of,
)  # fmt: skip
from services.portrait.domain.place import NOWHERE, Places
from services.portrait.domain.quality import CellRows, Quality, Traffic
from services.portrait.domain.shared import KINDS

_SAMPLE_EVERY = 6
_SAMPLE_ROWS = 80_000
_NEAR_MILLIS = 5 * 60_000
_DAY = 86_400_000

Longs = npt.NDArray[np.int64]
MapColumns = tuple[Longs, npt.NDArray[np.int32], npt.NDArray[np.float64], Longs, Longs]


@dataclass(frozen=True)
class StatedMap:
    """What the operator states, before it is examined: cells with positions, and rows of the map."""

    cell_id: Longs
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    index: CellIndex
    rows: MapRows


@dataclass(frozen=True)
class Examined:
    """The map as a run reads it, and how good the stated one was."""

    cells: CellMap
    quality: Quality
    cell_id: Longs


def stated(
    cell_id: Longs,
    lon: npt.NDArray[np.float64],
    lat: npt.NDArray[np.float64],
    rows: tuple[Longs, npt.NDArray[np.int32], npt.NDArray[np.float64], Longs, Longs],
) -> StatedMap:
    """The map of cells (distinct ids with positions, NaN unknown) and of rows (cell id, place, weight, first and last
    day of validity). Cells that only the rows know have no position."""
    ids = np.union1d(cell_id, rows[0])
    at = np.searchsorted(ids, cell_id)
    full_lon, full_lat = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    full_lon[at], full_lat[at] = lon, lat
    number = np.searchsorted(ids, rows[0]).astype(np.int32)
    return StatedMap(ids, full_lon, full_lat, index_of(ids), MapRows(number, *rows[1:]))


def while_there(rows: MapColumns, cell_id: Longs, from_day: Longs, to_day: Longs) -> MapColumns:
    """Rows of the map (cell id, place, weight, first and last day), each only while its cell is there: from the first
    day of the cell's rows to their last. A cell without a row is there always."""
    ids, at = np.unique(cell_id, return_inverse=True)
    opened, closed = np.full(len(ids), FOR_EVER, dtype=np.int64), np.full(len(ids), ALWAYS, dtype=np.int64)
    np.minimum.at(opened, at, from_day)
    np.maximum.at(closed, at, to_day)
    cell, place, weight, first, last = rows
    found = np.minimum(np.searchsorted(ids, cell), max(len(ids) - 1, 0))
    known = ids[found] == cell if len(ids) else np.zeros(len(cell), dtype=np.bool_)
    first = np.where(known, np.maximum(first, opened[found] if len(ids) else first), first)
    last = np.where(known, np.minimum(last, closed[found] if len(ids) else last), last)
    return cell, place, weight, first, last


def examined(known: StatedMap, traffic: Traffic, places: Places, zone_offset: int, *, repair: bool = True) -> Examined:
    """The map as it is read: rows that cannot be right are read as what they must be."""
    rows = known.rows
    kept = np.flatnonzero((rows.place >= 0) & (rows.weight > 0))
    plain = CellRows(rows.cell[kept], rows.place[kept], rows.weight[kept], known.lon, known.lat)
    found = quality.examine(plain, traffic, places)
    place = np.full(len(rows.place), NOWHERE, dtype=np.int32)
    place[kept] = found.place if repair else plain.place
    read = MapRows(rows.cell, place, rows.weight, rows.from_day, rows.to_day)
    cells = cell_map(read, known.index, len(known.cell_id), len(places), zone_offset)
    shared = replace(cells.shared, hours=np.ascontiguousarray(found.hours[cells.shared.place]))
    return Examined(replace(cells, shared=shared), found, known.cell_id)


def zone_offset(window: Window) -> int:
    """Milliseconds that the window's zone is ahead of UTC on its first day."""
    noon = datetime.combine(window.from_date, datetime.min.time(), ZoneInfo(window.zone))
    ahead = noon.utcoffset()
    return int(ahead.total_seconds() * 1000) if ahead is not None else 0


def traffic(
    parts: Sequence[tuple[Longs, Longs, npt.NDArray[np.int32]]],
    cells: int,
    window: Window,
    calendar: WorkCalendar,
) -> Traffic:
    """Traffic of sampled rows (customer, UTC milliseconds, cell number), in any order."""
    if not parts:
        none = np.empty(0, np.int32)
        return Traffic(np.zeros((cells, KINDS)), none, none, np.empty(0))
    customer, time, cell = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((cell, time, customer))
    customer, time, cell = customer[order], time[order], cell[order]
    local = time + zone_offset(window)
    first = (window.from_date - date(1970, 1, 1)).days
    day = np.clip(local // _DAY - first, 0, window.days - 1)
    slot = np.searchsorted(np.array(SLOT_HOURS), local % _DAY // 3_600_000, side="right") - 1
    kinds = (slot + len(SLOTS) * window.workdays(calendar)[day]).astype(np.int32)
    found = quality.traffic_of(customer, time, cell, cells, kinds, _NEAR_MILLIS)
    wide = np.zeros((cells, KINDS))
    wide[:, : found.by_time.shape[1]] = found.by_time
    return Traffic(wide, found.one, found.other, found.hops)


def sampled(days: Sequence[date]) -> list[date]:
    """Every sixth day of the calendar, so that a window that moves on keeps most of its sample; the first day of a
    window without one."""
    return sorted({day for day in days if day.toordinal() % _SAMPLE_EVERY == 0} or set(sorted(days)[:1]))


def sample(table: pa.Table, key: str, total_rows: int) -> pa.Table:
    """The rows of some customers of a day: of everybody while the day is small, otherwise of every n-th key."""
    every = -(-total_rows // _SAMPLE_ROWS)
    if every <= 1:
        return table
    keys = pc.cast(table[key], pa.int64())
    rest = pc.subtract(keys, pc.multiply(pc.divide(keys, every), every))
    return table.filter(pc.equal(rest, 0))


def validity(periods: Mapping[date, pa.Table]) -> list[tuple[pa.Table, int, int]]:
    """Snapshots of a map by period with the days for which each counts: the first from ever, each until the next."""
    days = sorted(periods)
    first = [ALWAYS, *((day - date(1970, 1, 1)).days for day in days[1:])]
    last = [*(each - 1 for each in first[1:]), FOR_EVER]
    return [(periods[day], begin, end) for day, begin, end in zip(days, first, last, strict=True)]


def numbered(cell_id: Longs, known: StatedMap) -> npt.NDArray[np.int32]:
    """Cell numbers of a column of ids."""
    return numbers_of(cell_id, known.index)
