"""Identities of segments between cycles: a segment keeps its id while most of its customers stay together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LEAST_ALIKE = 0.3


@dataclass(frozen=True)
class Matched:
    """By cluster: its id, and the share of the id's earlier customers (those still here) that it still has."""

    segment_id: tuple[str, ...]
    kept: tuple[float, ...]


def matched(
    label: npt.NDArray[np.int64], clusters: int, earlier: npt.NDArray[np.str_], prefix: str, used: Sequence[str]
) -> Matched:
    """Give ids to clusters 0 … clusters − 1.

    `earlier` (n,) is each customer's segment_id of the cycle before, "" for who was not in one. The pairs of cluster
    and earlier segment that are most alike (Jaccard, at least 0.3) keep the id, each once; the others get the next
    free `<prefix>-<n>`, n being above all `used`.
    """
    known = earlier != ""
    before, place = np.unique(earlier[known], return_inverse=True)
    table = np.zeros((clusters, len(before)))
    np.add.at(table, (label[known], place), 1)
    either = table.sum(axis=1)[:, None] + table.sum(axis=0) - table
    alike = table / np.maximum(either, 1)
    ids, kept = [""] * clusters, [1.0] * clusters
    while alike.size and alike.max() >= _LEAST_ALIKE:
        mine, other = divmod(int(np.argmax(alike)), alike.shape[1])
        ids[mine] = str(before[other])
        kept[mine] = float(table[mine, other] / table[:, other].sum())
        alike[mine, :] = 0.0
        alike[:, other] = 0.0
    numbers = [int(name.rpartition("-")[2]) for name in [*used, *before.tolist()] if name.startswith(f"{prefix}-")]
    free = max(numbers, default=0)
    for mine, name in enumerate(ids):
        if not name:
            free += 1
            ids[mine] = f"{prefix}-{free}"
    return Matched(tuple(ids), tuple(kept))
