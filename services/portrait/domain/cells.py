"""Cells and what they serve: weighted, valid from a day to a day, read as one place at a time.

A cell is a number 0 … cells − 1 here; `CellIndex` finds it by the operator's id. Which place a cell means can change
within a window (a cell is re-homed): the map is cut at the days where a row begins or ends, and old tracks keep the
old mapping.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from services.portrait.domain.place import NOWHERE
from services.portrait.domain.shared import KINDS, Shared

Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

ALWAYS, FOR_EVER = -(10**6), 10**6
"""Days (from 1970-01-01) of a row of the map without a beginning or an end."""


@dataclass(frozen=True)
class MapRows:
    """Rows of the map, (rows,) each: cell number, place number, weight above 0, first and last day of validity."""

    cell: Ints
    place: Ints
    weight: Floats
    from_day: Longs
    to_day: Longs


@dataclass(frozen=True)
class CellIndex:
    """Operator's id → cell number: an open-addressing table, a power of two long, at most a quarter full; -1: empty."""

    slot_id: Longs
    slot_number: Ints


@dataclass(frozen=True)
class CellMap:
    """The map of a window: `place[k]` holds for the days from `first_day[k]` on, (spans, cells); a place number, -1 for
    nowhere, or a number that `shared` decides."""

    index: CellIndex
    first_day: Longs
    place: Ints
    shared: Shared
    zone_offset: int = field(default=0)
    """Milliseconds that local midnight is ahead of UTC; the zone of the business has no summer time."""


def index_of(cell_id: Longs) -> CellIndex:
    """Index of distinct cell ids in the order of their numbers."""
    size = 1 << max(4, (4 * len(cell_id)).bit_length())
    slot_id, slot_number = np.zeros(size, dtype=np.int64), np.full(size, NOWHERE, dtype=np.int32)
    _fill(cell_id.astype(np.int64), slot_id, slot_number)
    return CellIndex(slot_id, slot_number)


def numbers_of(cell_id: Longs, index: CellIndex) -> Ints:
    """Cell numbers of operator ids, -1 for an unknown one; (rows,)."""
    found: Ints = _lookup(cell_id, index.slot_id, index.slot_number)
    return found


def places_of(cell: Ints, time: Longs, cells: CellMap) -> Ints:
    """Place numbers of rows by cell number and UTC milliseconds; (rows,)."""
    if not cells.place.shape[1]:
        return np.full(len(cell), NOWHERE, dtype=np.int32)
    if len(cells.first_day) == 1:
        return np.where(cell >= 0, cells.place[0][cell], np.int32(NOWHERE))
    day = (time + cells.zone_offset) // 86_400_000
    span = np.maximum(np.searchsorted(cells.first_day, day, side="right") - 1, 0)
    return np.where(cell >= 0, cells.place[span, cell], np.int32(NOWHERE))


def cell_map(rows: MapRows, index: CellIndex, cells: int, places: int, zone_offset: int = 0) -> CellMap:
    """The map of rows to `places` places; rows of a place below 0 or without weight are left out."""
    kept = np.flatnonzero((rows.place >= 0) & (rows.weight > 0) & (rows.cell >= 0))
    edges = np.unique(np.concatenate([[ALWAYS], rows.from_day[kept], rows.to_day[kept] + 1]))
    edges = edges[edges <= FOR_EVER]
    table = np.full((len(edges), cells), NOWHERE, dtype=np.int32)
    first: list[int] = [0]
    place: list[int] = []
    weight: list[float] = []
    seen: dict[tuple[tuple[int, float], ...], int] = {}
    order = kept[np.lexsort((rows.place[kept], -rows.weight[kept], rows.cell[kept]))]
    for span, day in enumerate(edges.tolist()):
        valid = order[(rows.from_day[order] <= day) & (day <= rows.to_day[order])]
        owners, begin, count = np.unique(rows.cell[valid], return_index=True, return_counts=True)
        table[span, owners] = rows.place[valid][begin]
        for cell, at, many in zip(owners.tolist(), begin.tolist(), count.tolist(), strict=True):
            if many > 1:
                chosen = valid[at : at + many]
                key = tuple(zip(rows.place[chosen].tolist(), rows.weight[chosen].tolist(), strict=True))
                if key not in seen:
                    seen[key] = len(first) - 1
                    place.extend(one for one, _ in key)
                    weight.extend(part for _, part in key)
                    first.append(len(place))
                table[span, cell] = places + seen[key]
    columns = np.array(first, np.int64), np.array(place, np.int32), np.array(weight, np.float64)
    shared = Shared(places, *columns, np.ones((len(place), KINDS)))
    return CellMap(index, edges.astype(np.int64), table, shared, zone_offset)


@njit(cache=True, nogil=True)
def _slot(cell: Any, mask: Any) -> Any:
    """Where in the table a cell id begins to look: Fibonacci hashing (Knuth, TAOCP 6.4), modulo 2**63."""
    hashed = (np.uint64(cell) * np.uint64(0x9E3779B97F4A7C15)) & np.uint64(0x7FFFFFFFFFFFFFFF)
    return np.int64(hashed >> np.uint64(20)) & mask


@njit(cache=True, nogil=True)
def _fill(cell_id: Any, slot_id: Any, slot_number: Any) -> None:
    mask = len(slot_id) - 1
    for number in range(len(cell_id)):
        slot = _slot(cell_id[number], mask)
        while slot_number[slot] >= 0:
            slot = (slot + 1) & mask
        slot_id[slot], slot_number[slot] = cell_id[number], number


@njit(cache=True, nogil=True)
def _lookup(cell_id: Any, slot_id: Any, slot_number: Any) -> Any:
    found = np.empty(len(cell_id), dtype=np.int32)
    mask = len(slot_id) - 1
    last_cell, last_found = np.int64(-1), np.int32(-1)
    for row in range(len(cell_id)):
        cell = cell_id[row]
        if cell != last_cell:
            slot = _slot(cell, mask)
            while slot_number[slot] >= 0 and slot_id[slot] != cell:
                slot = (slot + 1) & mask
            last_cell, last_found = cell, slot_number[slot]
        found[row] = last_found
    return found
