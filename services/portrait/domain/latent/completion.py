"""Look-alike completion: what is missing of a customer, from those who are like him in all else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.portrait.domain.segment.clustering import prepared

Floats = npt.NDArray[np.float64]

COMPLETED = ("age", "sex_male", "terminal_5g", "plan_5g", "tenure_months")
"""Attributes of a person that may be missing; what was measured is never made up."""
_FLAGS = frozenset({"sex_male", "terminal_5g", "plan_5g"})
_MOST_DONORS = 5_000
_FEWEST_DONORS = 50
_NEIGHBOURS = 25
_CHUNK = 4_096


@dataclass(frozen=True)
class Inferred:
    """Of one feature: rows (positions), values, and confidence 0 to 1."""

    feature: str
    rows: npt.NDArray[np.int64]
    value: Floats
    confidence: Floats


def completed(features: Sequence[str], values: npt.NDArray[np.floating], seed: int) -> list[Inferred]:
    """Fill the attributes of COMPLETED where they are NaN; one that few know is left out.

    A flag is what most of the 25 nearest have, with their share as confidence; a number is their median, with
    confidence by how close together they are (1 − their interquartile range over everybody's).
    """
    draw = np.random.default_rng(seed)
    given = [place for place, name in enumerate(features) if name not in COMPLETED]
    space = prepared(values[:, given]).astype(np.float32)
    told = []
    for name in COMPLETED:
        column = values[:, features.index(name)].astype(np.float64) if name in features else np.empty(0)
        donors, rows = np.flatnonzero(np.isfinite(column)), np.flatnonzero(~np.isfinite(column))
        if len(donors) < _FEWEST_DONORS or not len(rows):
            continue
        if len(donors) > _MOST_DONORS:
            donors = np.sort(draw.choice(donors, _MOST_DONORS, replace=False))
        like = np.concatenate([
            _nearest(space[rows[start : start + _CHUNK]], space[donors]) for start in range(0, len(rows), _CHUNK)
        ])  # fmt: skip
        near = column[donors][like]
        if name in _FLAGS:
            share = near.mean(axis=1)
            value, confidence = (share >= 0.5).astype(np.float64), np.maximum(share, 1 - share)
        else:
            low, value, high = np.percentile(near, (25, 50, 75), axis=1)
            spread = float(np.subtract(*np.percentile(column[donors], (75, 25)))) or 1.0
            confidence = np.clip(1 - (high - low) / spread, 0.0, 1.0)
        told.append(Inferred(name, rows, value, confidence))
    return told


def _nearest(points: npt.NDArray[np.float32], donors: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    apart = (donors**2).sum(axis=1) - 2 * points @ donors.T
    count = min(_NEIGHBOURS, len(donors))
    found: npt.NDArray[np.int64] = np.argpartition(apart, count - 1, axis=1)[:, :count]
    return found
