"""The exported graph against scikit-learn: the same first N, scores within 1e-6, or there is no model."""

import hashlib
from dataclasses import dataclass

import numpy as np

from services.recommend.domain.matrix import UNFIT
from services.recommend.domain.product import Flags, Singles
from services.recommend.domain.rf_cf import Forest
from services.recommend.model import Graph
from services.recommend.training.fit import Data, Fitted

TOLERANCE = 1e-6
FIRST = 5
_ROWS = 3000


class NoParity(Exception):
    """The graph does not compute what scikit-learn computes; the training fails."""


@dataclass(frozen=True)
class Parity:
    """Over `rows` rows: the largest difference of a score, and how many rows have another first FIRST."""

    rows: int
    difference: float
    reordered: int


def compare(fitted: Fitted, content: bytes, profile: Singles, owned: Flags, eligible: Flags) -> Parity:
    """Run both on the same rows. Two products whose scores differ by less than TOLERANCE may change places."""
    graph = Graph(content, hashlib.sha256(content).hexdigest())
    told = graph.rank(profile, owned, eligible)
    owns = np.asarray(owned.any(axis=1))
    odds = fitted.ensemble.odds(profile, owned)
    reference = np.where(eligible & ~owned, fitted.calibration.apply(odds, owns), UNFIT)
    order = np.argsort(-reference, axis=1, kind="stable")
    best = np.take_along_axis(reference, order, axis=1)
    mine = np.take_along_axis(reference, told.ids, axis=1)
    difference = float(np.abs(mine - told.scores).max(initial=0.0))
    first = (told.ids != order)[:, :FIRST] & (np.abs(mine - best)[:, :FIRST] > TOLERANCE)
    return Parity(len(profile), difference, int(first.any(axis=1).sum()))


def prove(fitted: Fitted, forest: Forest, content: bytes, data: Data, seed: int) -> Parity:
    """Compare on customers as they are, on borderline ones (values moved onto thresholds) and on ones with gaps.

    Raises NoParity.
    """
    rng = np.random.default_rng(seed)
    who = rng.permutation(len(data.owned))[:_ROWS]
    profile, owned = data.profile[who].copy(), data.owned[who]
    _move_onto_thresholds(profile, forest, rng, len(who) // 3)
    gaps = rng.random(profile.shape) < 0.05
    gaps[: len(who) // 3] = False
    profile[gaps] = np.nan
    found = compare(fitted, content, profile, owned, data.catalogue.eligible(owned))
    if found.reordered or not found.difference <= TOLERANCE:
        raise NoParity(f"{found.reordered} of {found.rows} rows reordered, scores differ by {found.difference:.2e}")
    return found


def _move_onto_thresholds(profile: Singles, forest: Forest, rng: np.random.Generator, rows: int) -> None:
    """In the last `rows` rows one value each becomes a threshold of its column, or the next float32 above it."""
    inner = forest.left != np.arange(len(forest.left))
    # An infinite threshold only parts what is missing from what is known.
    split = np.flatnonzero(inner & (forest.feature < profile.shape[1]) & np.isfinite(forest.threshold))
    if not len(split) or not rows:
        return
    node = rng.choice(split, rows)
    value = forest.threshold[node]
    value = np.where(rng.random(rows) < 0.5, value, np.nextafter(value, np.float32(np.inf)))
    profile[np.arange(len(profile) - rows, len(profile)), forest.feature[node]] = value
