"""How good the cell → place map is, and what is done about rows that cannot be right.

Nothing harms tags as much as a wrong map (10 % wrong rows cost 9 points of F1), and three things tell of a wrong row:

- **Distance.** A cell stands close to what it serves. With σ the typical distance of the map's own rows (median over
  1.18, the median of a Rayleigh distribution), a place is the likelier the smaller distance² / 2σ².
- **Hours.** People are at homes by night and in offices by day: the cell's share of rows by slot and kind of day,
  against the same profile over all cells of the place's class, as a multinomial likelihood, tempered, since rows of
  one customer are not independent.
- **Hops.** Phones flicker between the cells of one place: cells that are often heard within minutes of a cell that
  serves a place, serve it too.

Only a row whose place stands further than 3 σ from the cell is looked at (of right ones about 1 %). When another row
of the cell is near, the far one is left out, unless the cell hops with others of the far place: then it serves both.
Otherwise it is read as the place near the cell that is likeliest, if the log odds are over `DOUBT`. A row without
coordinates is left as it is. Every such reading is told.

The hours serve once more: which place a customer is at who is heard in a cell of several (`domain/shared.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from services.portrait.domain.place import NOWHERE, Places, kilometres

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]

DOUBT = 2.0
"""Log odds that a stated row is right although it is far off, before anything is seen: 88 %."""
_TEMPER = 300.0
"""Rows of a cell count as at most this many independent ones for the hours."""
_HOP = 1.0
_RAYLEIGH_MEDIAN = 1.17741
_NEAR, _FURTHEST = 3.0, 6.0
"""In σ: what is not doubted, and how far candidates may be away."""


@dataclass(frozen=True)
class CellRows:
    """Rows of the map, (rows,) each: a cell (number), the place it is said to serve, its weight; and per cell its
    position, NaN where it is not known, (cells,)."""

    cell: Ints
    place: Ints
    weight: Floats
    lon: Floats
    lat: Floats


@dataclass(frozen=True)
class Traffic:
    """What was heard of each cell: rows by kind of time, (cells, kinds), and hops between cells, (hops,) each."""

    by_time: Floats
    one: Ints
    other: Ints
    hops: Floats


@dataclass(frozen=True)
class Correction:
    """A row of the map that was read as another place, or left out (`read` -1)."""

    cell: int
    stated: int
    read: int
    kilometres: float
    log_odds: float
    traffic: int = 0
    """Rows of the sample that were heard of the cell."""


@dataclass(frozen=True)
class Quality:
    """The map as it is read, and what was found: the typical distance in km, doubtful rows, cells without a place."""

    place: Ints
    corrections: Sequence[Correction]
    sigma_km: float
    rows: int
    heard_cells: int
    unmapped_cells: int
    unmapped: Sequence[tuple[int, int]]
    """Cells that were heard and serve no place, with their rows of the sample."""
    hours: Floats
    """For each place how the rows of its class lie over the kinds of time, (places, kinds); lines add up to 1."""


def examine(rows: CellRows, traffic: Traffic, places: Places) -> Quality:
    """Read each row of the map as the likeliest place."""
    cells = len(rows.lon)
    mapped = np.zeros(cells, dtype=np.bool_)
    mapped[rows.cell] = True
    heard = traffic.by_time.sum(axis=1) > 0
    away = kilometres(rows.lon[rows.cell], rows.lat[rows.cell], places.lon[rows.place], places.lat[rows.place])
    known = ~np.isnan(away)
    sigma = max(float(np.median(away[known])) / _RAYLEIGH_MEDIAN, 0.05) if known.any() else float("nan")
    lonely = np.flatnonzero(heard & ~mapped)
    rows_of = traffic.by_time.sum(axis=1).astype(np.int64)
    unmapped = tuple(zip(lonely.tolist(), rows_of[lonely].tolist(), strict=True))
    counts = len(rows.cell), int(heard.sum()), len(lonely), unmapped
    classes, kind = np.unique(np.array(places.class_code, dtype=np.str_), return_inverse=True)
    near = away <= _NEAR * sigma
    profiles = _profiles(rows, near | ~known, traffic, kind, len(classes))
    hours = np.exp(profiles)[kind]
    if not known.any():
        return Quality(rows.place, (), sigma, *counts, hours)
    settled = np.zeros(cells, dtype=np.bool_)
    settled[rows.cell[near]] = True
    hops = _hops(rows, near, traffic, cells, len(places))
    read = rows.place.copy()
    corrections = []
    for row in np.flatnonzero(known & ~near).tolist():
        cell, stated = int(rows.cell[row]), int(rows.place[row])
        if settled[cell]:
            if not hops[cell, stated]:
                read[row] = NOWHERE
                left_out = Correction(cell, stated, NOWHERE, float(away[row]), float("inf"), int(rows_of[cell]))
                corrections.append(left_out)
            continue
        distance = kilometres(rows.lon[cell : cell + 1], rows.lat[cell : cell + 1], places.lon, places.lat)
        candidates = np.flatnonzero(distance <= _FURTHEST * sigma)
        if not len(candidates):
            continue
        candidates = np.union1d(candidates, [stated])
        score = -np.minimum(distance[candidates] ** 2 / (2 * sigma**2), 20.0)
        seen = traffic.by_time[cell]
        total = seen.sum()
        if total > 0:
            score += (seen * min(1.0, _TEMPER / total)) @ profiles[kind[candidates]].T * 0.1
        score += _HOP * np.log1p(hops[cell, candidates])
        here = int(np.searchsorted(candidates, stated))
        best = int(np.argmax(score))
        odds = float(score[best] - score[here])
        if best != here and odds > DOUBT:
            read[row] = candidates[best]
            told = Correction(cell, stated, int(candidates[best]), float(away[row]), odds, int(rows_of[cell]))
            corrections.append(told)
    return Quality(read, tuple(corrections), sigma, *counts, hours)


def _profiles(rows: CellRows, near: npt.NDArray[np.bool_], traffic: Traffic, kind: Longs, classes: int) -> Floats:
    """Log share of rows by kind of time for each place class, over cells whose row of the map is not far off."""
    total = np.ones((classes, traffic.by_time.shape[1]))  # one row each, so that nothing is impossible
    np.add.at(total, kind[rows.place[near]], traffic.by_time[rows.cell[near]])
    return np.asarray(np.log(total / total.sum(axis=1, keepdims=True)))


def _hops(rows: CellRows, near: npt.NDArray[np.bool_], traffic: Traffic, cells: int, places: int) -> Floats:
    """How often a cell hops to another cell of each place; (cells, places)."""
    found = np.zeros((cells, places), dtype=np.float64)
    serves = np.full(cells, -1, dtype=np.int64)
    serves[rows.cell[near]] = rows.place[near]
    for one, other in ((traffic.one, traffic.other), (traffic.other, traffic.one)):
        known = serves[other] >= 0
        np.add.at(found, (one[known], serves[other[known]]), traffic.hops[known])
    return found


def traffic_of(customer: Ints, time: Longs, cell: Ints, cells: int, kinds: npt.NDArray[np.int32], near: int) -> Traffic:
    """Traffic of rows that lie by customer and time; (rows,) each. `kinds` tells the kind of time of each row, from 0;
    a hop is A-B-A within `near` milliseconds."""
    count = int(kinds.max()) + 1 if len(kinds) else 1
    known = cell >= 0
    flat = cell[known].astype(np.int64) * count + kinds[known]
    by_time = np.bincount(flat, minlength=cells * count).astype(np.float64).reshape(cells, count)
    one, other = _find_hops(customer, time, cell, near)
    pair, hops = np.unique(one.astype(np.int64) * cells + other, return_counts=True)
    return Traffic(by_time, (pair // cells).astype(np.int32), (pair % cells).astype(np.int32), hops.astype(np.float64))


@njit(cache=True, nogil=True)
def _find_hops(customer: Any, time: Any, cell: Any, near: Any) -> Any:
    one, other = np.empty(len(cell), np.int32), np.empty(len(cell), np.int32)
    count = 0
    for row in range(1, len(cell) - 1):
        same = customer[row - 1] == customer[row + 1] and cell[row - 1] == cell[row + 1] and cell[row - 1] >= 0
        if same and cell[row] >= 0 and cell[row] != cell[row - 1] and time[row + 1] - time[row] < near:
            one[count], other[count] = cell[row - 1], cell[row]
            count += 1
    return one[:count].copy(), other[:count].copy()
