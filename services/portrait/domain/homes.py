"""Home by the definitions of other libraries, for comparison: bandicoot, FlowKit and scikit-mobility.

They look at rows (one position each), not at stays, and at nights, not at classes of places. Positions are numbers in
the order in which ties are broken where the library sorts positions; -1 is nowhere, and left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DAY = 86_400_000
_HOUR = 3_600_000

Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Seen:
    """Where customers were seen, by customer and time; (rows,) each. `time` is local, in milliseconds since 1970."""

    customer: Ints
    time: Longs
    position: Ints

    @classmethod
    def of(cls, customer: Ints, time: Longs, position: Ints, line: Ints) -> "Seen":
        """Rows in any order, those of nowhere or nobody left out; rows of one instant stay in the order of `line`."""
        kept = np.flatnonzero((position >= 0) & (customer >= 0))
        order = kept[np.lexsort((line[kept], time[kept], customer[kept]))]
        return cls(customer[order], time[order], position[order])

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Seen":
        """Some of the rows."""
        return Seen(self.customer[chosen], self.time[chosen], self.position[chosen])


def definitions(seen: Seen, customers: int) -> Mapping[str, Ints]:
    """Home of each customer by each definition, -1 for none; (customers,) each."""
    return {
        "bandicoot": bandicoot(seen, customers),
        "flowkit": flowkit(seen, customers),
        "scikit_mobility": scikit_mobility(seen, customers),
    }


def bandicoot(seen: Seen, customers: int) -> Ints:
    """bandicoot 0.6: the position of most half hours between 19:00 and 07:00, a half hour counting for the position
    seen most in it; the first seen of several."""
    clock = seen.time % _DAY
    night = seen.where((clock <= 7 * _HOUR) | (clock >= 19 * _HOUR))
    half = night.time // (_HOUR // 2)
    opens = np.ones(len(half), dtype=np.bool_)
    opens[1:] = (half[1:] != half[:-1]) | (night.customer[1:] != night.customer[:-1])
    chunk = np.cumsum(opens) - 1
    first = np.arange(len(half))
    best, position = _modes(chunk, night.position, first)
    return _spread(*_modes(night.customer[opens][best], position, best), customers)


def flowkit(seen: Seen, customers: int) -> Ints:
    """FlowKit's modal location: the position that is the last one of most days; of several that of the latest day."""
    day = seen.time // _DAY
    last = np.ones(len(day), dtype=np.bool_)
    last[:-1] = (day[1:] != day[:-1]) | (seen.customer[1:] != seen.customer[:-1])
    daily = seen.where(last)
    latest = -(daily.time // _DAY)
    return _spread(*_modes(daily.customer, daily.position, latest), customers)


def scikit_mobility(seen: Seen, customers: int) -> Ints:
    """scikit-mobility 1.2: the position of most rows between 22:00 and 07:00, of all rows for who has none; the first
    position of several."""
    clock = seen.time % _DAY
    night = seen.where((clock <= 7 * _HOUR) | (clock >= 22 * _HOUR))
    by_night = _spread(*_modes(night.customer, night.position, night.position.astype(np.int64)), customers)
    always = _spread(*_modes(seen.customer, seen.position, seen.position.astype(np.int64)), customers)
    return np.where(by_night >= 0, by_night, always)


def _modes(group: npt.NDArray[np.integer], position: Ints, tie: Longs) -> tuple[Longs, Ints]:
    """The position of most rows in each group, by group; of several the one with the smallest `tie` of a row."""
    if not len(group):
        return np.empty(0, np.int64), np.empty(0, np.int32)
    order = np.lexsort((tie, position, group))
    group, position, tie = group[order].astype(np.int64), position[order], tie[order]
    opens = np.ones(len(group), dtype=np.bool_)
    opens[1:] = (group[1:] != group[:-1]) | (position[1:] != position[:-1])
    begin = np.flatnonzero(opens)
    count = np.diff(np.append(begin, len(group)))
    ranked = begin[np.lexsort((tie[begin], -count, group[begin]))]
    heads = np.ones(len(ranked), dtype=np.bool_)
    heads[1:] = group[ranked][1:] != group[ranked][:-1]
    chosen = ranked[heads]
    return np.asarray(group[chosen], dtype=np.int64), position[chosen]


def _spread(customer: Longs, position: Ints, customers: int) -> Ints:
    found = np.full(customers, -1, dtype=np.int32)
    found[customer] = position
    return found
