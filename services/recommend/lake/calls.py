"""Calls between customers out of ingest's files: the feed of customers says by which pseudonym calls name each one."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.recommend.domain import ownership
from services.recommend.domain.call_graph import CallGraph
from services.recommend.domain.product import Ints
from services.recommend.domain.snapshot import CALL_DAYS, File
from services.recommend.lake import Lake

_OUT, _IN = 1, 2


class Calls:
    """The calls of some deliveries; each file is read once for each graph. All methods block: use a thread."""

    def __init__(
        self, lake: Lake, customers: Sequence[File], calls: Sequence[tuple[date, File]], gone: Mapping[int, int]
    ) -> None:
        self._lake = lake
        self._calls = calls
        self._gone = gone
        parts = [lake.table(file) for file in customers]
        parts = [part.select(["party", "customer_key"]) for part in parts if "party" in part.column_names]
        known = pa.concat_tables(parts) if parts else pa.table({"party": pa.array([], pa.int64()), "customer_key": []})
        party, last = np.unique(_numbers(known["party"])[::-1], return_index=True)
        self._party: Ints = party
        self._customer = ownership.renamed(_numbers(known["customer_key"])[::-1][last], gone)

    def until(self, last: date, keys: Ints) -> CallGraph:
        """The graph of `keys` (n,), ascending, by the calls of CALL_DAYS up to and with a day.

        A call stands in the records of both ends: of the two counts of a pair the larger one counts.
        """
        first = last - timedelta(days=CALL_DAYS - 1)
        files = [file for day, file in self._calls if first <= day <= last]
        ways = {_OUT: _Pairs(), _IN: _Pairs()}
        for file in files:
            table = self._lake.table(file).select(["customer_key", "peer", "direction"])
            table = table.filter(pc.is_valid(table["customer_key"]))
            own = ownership.renamed(_numbers(table["customer_key"]), self._gone)
            other, way = self._who(_numbers(table["peer"])), _numbers(table["direction"].cast(pa.int64()))
            own, other = _places(own, keys), _places(other, keys)
            known = (own >= 0) & (other >= 0)
            for direction, (caller, called) in ((_OUT, (own, other)), (_IN, (other, own))):
                mine = known & (way == direction)
                ways[direction].add(caller[mine] * len(keys) + called[mine])
        pair, count = _larger(each.told for each in ways.values())
        return CallGraph.of(len(keys), pair // max(len(keys), 1), pair % max(len(keys), 1), count)

    def _who(self, peer: Ints) -> Ints:
        """The customer behind each end of a call; 0 for one who is none of ours."""
        if not len(self._party):
            return np.zeros(len(peer), dtype=np.int64)
        at = np.minimum(np.searchsorted(self._party, peer), len(self._party) - 1)
        return np.where(self._party[at] == peer, self._customer[at], 0)


class _Pairs:
    """Pairs with their counts, summed up file by file."""

    def __init__(self) -> None:
        self.told: tuple[Ints, Ints] = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)

    def add(self, pairs: Ints) -> None:
        new, many = np.unique(pairs, return_counts=True)
        whole, place = np.unique(np.concatenate([self.told[0], new]), return_inverse=True)
        count = np.bincount(place, np.concatenate([self.told[1], many]), len(whole))
        self.told = whole, count.astype(np.int64)


def _larger(parts: Iterable[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    told = list(parts)
    whole, place = np.unique(np.concatenate([pair for pair, _ in told]), return_inverse=True)
    count = np.zeros(len(whole), dtype=np.int64)
    np.maximum.at(count, place, np.concatenate([many for _, many in told]))
    return whole, count


def _places(asked: Ints, keys: Ints) -> Ints:
    """Where each stands among `keys`; -1 for one who does not."""
    if not len(keys):
        return np.full(len(asked), -1)
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, at, -1)


def _numbers(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)
