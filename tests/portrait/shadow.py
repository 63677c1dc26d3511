"""The questions of a plan once more, in SQL: the oracle of domain/tag/scan.py.

Level one groups the dwell rows by customer and place, once, with one set of aggregates for each distinct row filter;
days are bits of one bigint, so nothing is counted distinct. Level two works on that much smaller table: each question
of the plan picks its places (by class, by anchor) and adds them up by customer.
"""

from collections.abc import Mapping
from types import TracebackType

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from services.portrait.domain.anchor import ROLES, Anchors, PlaceTime
from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.place import NOWHERE, Places
from services.portrait.domain.tag import Landmark, Leaf, LeafFacts, PlaceSet, Plan, RowFilter
from services.portrait.domain.track import DwellDays

_PLACE_BITS = 20  # a landmark is found as max(secs << 20 | ~place): most time, then the smaller place number
_NIGHT = f"slot IN ({SLOTS.index('late')}, {SLOTS.index('night')})"


class Scan:
    """The dwell of one bucket in an in-memory DuckDB of one thread; close it, or use it by `with`."""

    def __init__(self, dwell: DwellDays, workdays: npt.NDArray[np.bool_], plan: Plan, places: Places) -> None:
        if len(places) >= 1 << _PLACE_BITS:
            raise ValueError(f"more than {1 << _PLACE_BITS} places")
        self._plan = plan
        self._places = places
        self._engine = duckdb.connect(config={"threads": 1, "memory_limit": "2GB"})
        rows = pa.table(
            {
                "customer": dwell.customer,
                "place": dwell.place,
                "day": dwell.day,
                "slot": dwell.slot,
                "secs": dwell.secs,
                "visits": dwell.visits,
                "longest": dwell.longest,
                "workday": workdays[dwell.day],
            }
        )
        self._engine.register("dwell", rows)
        self._engine.execute(level_one(plan.filters, len(workdays)))
        self._engine.unregister("dwell")

    def __enter__(self) -> "Scan":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory."""
        self._engine.close()

    def place_time(self) -> PlaceTime:
        """Time of customers at places, for the anchors."""
        found = self._engine.execute(
            "SELECT customer, place, bit_count(days)::INTEGER AS days, secs, "
            "bit_count(night_days)::INTEGER AS night_days, night_secs FROM place_time ORDER BY customer, place"
        ).fetchnumpy()
        return PlaceTime(**{name: np.asarray(values) for name, values in found.items()})

    def answers(
        self, anchors: Mapping[str, Anchors], customers: int
    ) -> tuple[Mapping[Leaf, LeafFacts], Mapping[Landmark, npt.NDArray[np.int32]]]:
        """What the plan asks, for customers 0 … customers − 1."""
        nobody = np.full(customers, NOWHERE, dtype=np.int32)
        table = {role: anchors[role].place if role in anchors else nobody for role in ROLES}
        self._engine.register("anchor", pa.table({"customer": np.arange(customers, dtype=np.int32), **table}))
        sets = list(
            dict.fromkeys([leaf.places for leaf in self._plan.leaves] + [m.places for m in self._plan.landmarks])
        )
        masks = {f"k{number}": self._mask(places) for number, places in enumerate(sets)}
        self._engine.register("mask", pa.table({"place": np.arange(len(self._places), dtype=np.int32), **masks}))
        found = self._engine.execute(level_two(self._plan, sets)).fetchnumpy()
        who = np.asarray(found["customer"])

        def spread(name: str, nothing: int) -> npt.NDArray[np.int64]:
            values = np.full(customers, nothing, dtype=np.int64)
            values[who] = np.asarray(found[name])
            return values

        leaves = {
            leaf: LeafFacts(
                day_bits=spread(f"a{number}_days", 0),
                secs=spread(f"a{number}_secs", 0),
                visits=spread(f"a{number}_visits", 0),
                places=spread(f"a{number}_places", 0),
                grade=np.zeros(customers, dtype=np.int64),
            )
            for number, leaf in enumerate(self._plan.leaves)
        }
        low = (1 << _PLACE_BITS) - 1
        landmarks = {}
        for number, landmark in enumerate(self._plan.landmarks):
            packed = spread(f"m{number}", -1)
            landmarks[landmark] = np.where(packed >= 0, low - (packed & low), NOWHERE).astype(np.int32)
        return leaves, landmarks

    def _mask(self, places: PlaceSet) -> npt.NDArray[np.bool_]:
        """Which places the classes of a set choose; an anchor's set is told by the anchor alone."""
        everywhere = np.ones(len(self._places), dtype=np.bool_)
        chosen = everywhere if places.role else self._places.of_class(places.selectors)
        return chosen & ~self._places.of_class(places.without) if places.without else chosen


def level_one(filters: tuple[RowFilter, ...], days: int) -> str:
    """SQL of the pass over `dwell`; gives the temporary table place_time."""
    parts = [
        "bit_or(1::BIGINT << day) AS days",
        "sum(secs)::BIGINT AS secs",
        f"coalesce(bit_or(1::BIGINT << day) FILTER (WHERE {_NIGHT}), 0) AS night_days",
        f"coalesce(sum(secs) FILTER (WHERE {_NIGHT}), 0)::BIGINT AS night_secs",
    ]
    for number, rows in enumerate(filters):
        keeps = _keeps(rows, days)
        parts += [
            f"coalesce(bit_or(1::BIGINT << day) FILTER (WHERE {keeps}), 0) AS f{number}_days",
            f"coalesce(sum(secs) FILTER (WHERE {keeps}), 0)::BIGINT AS f{number}_secs",
            f"coalesce(sum(visits) FILTER (WHERE {keeps}), 0)::BIGINT AS f{number}_visits",
        ]
    return f"CREATE TEMP TABLE place_time AS SELECT customer, place, {', '.join(parts)} FROM dwell GROUP BY ALL"


def level_two(plan: Plan, sets: list[PlaceSet]) -> str:
    """SQL from place_time, anchor and mask to one row for each customer."""
    parts = []
    for number, leaf in enumerate(plan.leaves):
        rows = f"f{plan.filters.index(leaf.rows)}"
        here = f"FILTER (WHERE {_here(leaf.places, sets)})"
        seen = f"FILTER (WHERE {_here(leaf.places, sets)} AND {rows}_secs > 0)"
        parts += [
            f"coalesce(bit_or({rows}_days) {here}, 0) AS a{number}_days",
            f"coalesce(sum({rows}_secs) {here}, 0)::BIGINT AS a{number}_secs",
            f"coalesce(sum({rows}_visits) {here}, 0)::BIGINT AS a{number}_visits",
            f"(count(*) {seen})::BIGINT AS a{number}_places",
        ]
    low = (1 << _PLACE_BITS) - 1
    for number, landmark in enumerate(plan.landmarks):
        here = f"FILTER (WHERE {_here(landmark.places, sets)})"
        parts.append(f"coalesce(max((secs << {_PLACE_BITS}) + ({low} - place)) {here}, -1) AS m{number}")
    columns = "".join(f", {part}" for part in parts)
    return f"SELECT customer{columns} FROM place_time JOIN anchor USING (customer) JOIN mask USING (place) GROUP BY ALL"


def _keeps(rows: RowFilter, days: int) -> str:
    """The condition of a row filter."""
    terms = ["secs > 0"]
    if rows.daytype != "all":
        terms.append("workday" if rows.daytype == "workday" else "NOT workday")
    if rows.slots != SLOTS:
        terms.append(f"slot IN ({', '.join(str(SLOTS.index(name)) for name in rows.slots)})")
    if rows.min_visit:
        terms.append(f"longest >= {rows.min_visit * 60}")
    if rows.last_days < days:
        terms.append(f"day >= {days - rows.last_days}")
    return " AND ".join(terms)


def _here(places: PlaceSet, sets: list[PlaceSet]) -> str:
    """The condition of a place set."""
    terms = [f"k{sets.index(places)}", *([f"place = {places.role}"] if places.role else [])]
    terms += [f"place <> {role}" for role in places.apart_from]
    return " AND ".join(terms)
