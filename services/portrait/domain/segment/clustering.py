"""k-means (Lloyd 1982) from k-means++ seeds (Arthur & Vassilvitskii 2007); k by silhouette (Rousseeuw 1987).

The same values and seed give the same clusters.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_SEGMENTS = 12
_FIT_ROWS = 50_000
_SILHOUETTE_ROWS = 2_000
_RESTARTS = 8
_ROUNDS = 100
_FAR = 4.0
_CHUNK = 65_536
_SKEWED = 3.0


@dataclass(frozen=True)
class Clusters:
    """`label` (n,) is 0 … k − 1, the largest cluster first; `centre` (k, f) in prepared units."""

    label: Ints
    centre: Floats
    silhouette: float


def prepared(values: npt.NDArray[np.floating]) -> Floats:
    """Values (n, f) made comparable: NaN is the column's median, long tails are log1p, then z-scores within ±4.

    A column that does not vary becomes zeros.
    """
    told = np.array(values, dtype=np.float64)
    for column in told.T:
        known = column[np.isfinite(column)]
        middle = float(np.median(known)) if len(known) else 0.0
        column[~np.isfinite(column)] = middle
        deviation = column.std()
        if deviation > 0 and column.min() >= 0 and ((column - column.mean()) ** 3).mean() > _SKEWED * deviation**3:
            column[:] = np.log1p(column)
        deviation = column.std()
        column[:] = np.clip((column - column.mean()) / deviation, -_FAR, _FAR) if deviation > 1e-12 else 0.0
    return told


def clustered(points: Floats, segments: int | None, seed: int) -> Clusters:
    """Clusters of prepared points; `segments` of them, or as many of 2 … 12 as fall apart best.

    More than 50,000 points are fitted on a sample, and all assigned.
    """
    draw = np.random.default_rng(seed)
    fit = points if len(points) <= _FIT_ROWS else points[np.sort(draw.choice(len(points), _FIT_ROWS, replace=False))]
    few = fit if len(fit) <= _SILHOUETTE_ROWS else fit[draw.choice(len(fit), _SILHOUETTE_ROWS, replace=False)]
    if segments is not None:
        counts = [min(segments, len(points))]
    else:
        counts = list(range(2, min(MOST_SEGMENTS, len(points) - 1) + 1)) or [1]
    best: tuple[float, Floats] | None = None
    for count in counts:
        centre = _best(fit, count, draw)
        worth = silhouette(few, nearest(few, centre))
        if best is None or worth > best[0]:
            best = worth, centre
    assert best is not None, "at least one number of segments was tried"
    label = nearest(points, best[1])
    order = np.argsort(-np.bincount(label, minlength=len(best[1])), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return Clusters(place[label], best[1][order], best[0])


def nearest(points: Floats, centre: Floats) -> Ints:
    """The number of the nearest centre of each point, (n,)."""
    half = (centre**2).sum(axis=1) / 2
    parts = [np.argmin(half - part @ centre.T, axis=1) for part in _parts(points)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def silhouette(points: Floats, label: Ints) -> float:
    """Mean silhouette width, −1 to 1; 0 when there is one cluster only."""
    found, label = np.unique(label, return_inverse=True)
    if len(found) < 2:
        return 0.0
    square = (points**2).sum(axis=1)
    apart = np.sqrt(np.maximum(square[:, None] + square - 2 * points @ points.T, 0.0))
    member = np.eye(len(found))[label]
    size = member.sum(axis=0)
    total = apart @ member
    own = size[label]
    rows = np.arange(len(points))
    within = total[rows, label] / np.maximum(own - 1, 1)
    mean = total / size
    mean[rows, label] = np.inf
    other = mean.min(axis=1)
    width = np.where(own > 1, (other - within) / np.maximum(np.maximum(other, within), 1e-12), 0.0)
    return float(width.mean())


def adjusted_rand(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> float:
    """Agreement of two partitions beyond chance, at most 1 (Hubert & Arabie 1985)."""
    _, left = np.unique(one, return_inverse=True)
    _, right = np.unique(other, return_inverse=True)
    if not len(left):
        return 1.0
    table = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(table, (left, right), 1)

    def pairs(count: Floats) -> float:
        return float((count * (count - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    every = len(left) * (len(left) - 1) / 2
    chance = rows * columns / every if every else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def _best(points: Floats, count: int, draw: np.random.Generator) -> Floats:
    tried = [_lloyd(points, _seeds(points, count, draw)) for _ in range(_RESTARTS)]
    return min(tried, key=lambda one: one[0])[1]


def _seeds(points: Floats, count: int, draw: np.random.Generator) -> Floats:
    chosen = [points[draw.integers(len(points))]]
    apart = ((points - chosen[0]) ** 2).sum(axis=1)
    while len(chosen) < count:
        total = apart.sum()
        chance = apart / total if total > 0 else None
        chosen.append(points[draw.choice(len(points), p=chance)])
        apart = np.minimum(apart, ((points - chosen[-1]) ** 2).sum(axis=1))
    return np.array(chosen)


def _lloyd(points: Floats, centre: Floats) -> tuple[float, Floats]:
    """Sum of squares and centres; a cluster that runs empty takes the point that is worst off."""
    label = nearest(points, centre)
    for _ in range(_ROUNDS):
        size = np.bincount(label, minlength=len(centre))
        total = np.column_stack([np.bincount(label, weights=column, minlength=len(centre)) for column in points.T])
        centre = total / np.maximum(size, 1)[:, None]
        for empty in np.flatnonzero(size == 0):
            centre[empty] = points[np.argmax(((points - centre[label]) ** 2).sum(axis=1))]
        again = nearest(points, centre)
        if np.array_equal(again, label):
            break
        label = again
    return float(((points - centre[label]) ** 2).sum()), centre


def _parts(points: Floats) -> list[Floats]:
    return [points[start : start + _CHUNK] for start in range(0, len(points), _CHUNK)]
