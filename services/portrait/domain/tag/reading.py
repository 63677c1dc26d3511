"""Rules read over whole columns of customers."""

import operator
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from services.portrait.domain.place import kilometres
from services.portrait.domain.tag.facts import Facts
from services.portrait.domain.tag.plan import base_of, leaf_of
from services.portrait.domain.tag.rule import (
    Anchored,
    Attended,
    Distance,
    Dwelt,
    Everything,
    Negation,
    PlaceSet,
    Rule,
    SameTown,
    Something,
    Stated,
    Tagged,
    Test,
)

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Compare = Callable[[Any, Any], Any]

_COMPARE: Mapping[str, Compare] = {
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
    "eq": operator.eq,
    "ne": operator.ne,
}


class Reading:
    """Reads rules of one bucket's facts. Tags that rules name are made known, in the catalogue's order."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._borne: dict[str, Flags] = {}
        self._values: dict[tuple[str, str], Flags] = {}
        self._holds: dict[Rule, Flags] = {}
        self._words: dict[tuple[str, str], pa.Array] = {}

    def know(self, code: str, borne: Flags, values: Mapping[str, Flags]) -> None:
        """Who bears a tag, and each of its values."""
        self._borne[code] = borne
        self._values |= {(code, value): each for value, each in values.items()}

    def holds(self, rule: Rule) -> Flags:
        """For whom a rule holds; an equal rule is read once."""
        if rule not in self._holds:
            self._holds[rule] = self._read(rule)
        return self._holds[rule]

    def words(self, attribute: str, missing: str) -> pa.Array:
        """One attribute of all places by number, `missing` at last."""
        if (attribute, missing) not in self._words:
            told = [*getattr(self.facts.places, attribute), missing]
            self._words[attribute, missing] = pa.array(told, pa.string())
        return self._words[attribute, missing]

    def top_town(self, chosen: PlaceSet) -> npt.NDArray[np.object_]:
        """The town with most time at the chosen places, "" without any; the first by name of two."""
        words = np.full(self.facts.customers, "", dtype=object)
        time = self.facts.place_time
        if time is None:
            return words
        at = self.facts.places.of_class(chosen.selectors)
        at = at & ~self.facts.places.of_class(chosen.without) if chosen.without else at
        rows = at[time.place]
        for role in chosen.apart_from:
            rows &= self.facts.anchors[role].place[time.customer] != time.place
        names, town = np.unique(np.array(self.facts.places.town, dtype=np.str_), return_inverse=True)
        pair, back = np.unique(
            time.customer[rows].astype(np.int64) * len(names) + town[time.place[rows]], return_inverse=True
        )
        secs = np.bincount(back, weights=time.secs[rows], minlength=len(pair))
        order = np.lexsort((-pair, secs))
        words[pair[order] // len(names)] = names[pair[order] % len(names)].astype(object)  # the last assignment wins
        return words

    def _read(self, rule: Rule) -> Flags:
        match rule:
            case Everything(rules):
                return np.asarray(np.all([self.holds(each) for each in rules], axis=0))
            case Something(rules, least):
                return np.asarray(np.sum([self.holds(each) for each in rules], axis=0) >= least)
            case Negation(inner):
                return ~self.holds(inner)
            case Dwelt():
                return self._dwelt(rule)
            case Anchored():
                return self._anchored(rule)
            case SameTown(first, second):
                town = np.array([*self.facts.places.town, ""], dtype=object)
                both = self.facts.anchors[first].exists & self.facts.anchors[second].exists
                here, there = self.facts.anchors[first].place, self.facts.anchors[second].place
                return np.asarray(both & (town[here] == town[there]), dtype=np.bool_)
            case Distance(first, second, bound, km):
                return np.asarray(_COMPARE[bound](self.apart(first, second), km), dtype=np.bool_)
            case Attended():
                return np.asarray(self.events(rule) >= rule.events_ge)
            case Stated(tests):
                return np.asarray(np.all([self._test(test) for test in tests], axis=0))
            case Tagged(code, values):
                borne = [self._values.get((code, value)) for value in values] if values else [self._borne[code]]
                nobody = np.zeros(self.facts.customers, dtype=np.bool_)
                return np.asarray(np.any([nobody, *(each for each in borne if each is not None)], axis=0))

    def _dwelt(self, leaf: Dwelt) -> Flags:
        holds = [_COMPARE[limit.operator](self.metric(leaf, limit.metric), limit.value) for limit in leaf.limits]
        return np.asarray(np.all(holds, axis=0))

    def metric(self, leaf: Dwelt, metric: str) -> Floats:
        """The value of one metric of a dwell leaf; (customers,)."""
        asked = self.facts.dwell[leaf_of(leaf, self.facts.days)]
        days = np.bitwise_count(asked.day_bits).astype(np.float64)
        if metric == "days":
            return days
        if metric == "weeks":
            return self._weeks(asked.day_bits)
        if metric == "visits":
            return asked.visits.astype(np.float64)
        if metric == "places":
            return asked.places.astype(np.float64)
        if metric == "grade":
            return asked.grade.astype(np.float64)
        minutes = asked.secs / 60.0
        if metric == "minutes":
            return minutes
        if metric == "minutes_per_day":
            return minutes / np.maximum(days, 1.0)
        base = self.facts.dwell[base_of(leaf, metric, self.facts.days)]
        if metric == "days_share":
            return np.asarray(days / np.maximum(np.bitwise_count(base.day_bits), 1))
        return np.asarray(asked.secs / np.maximum(base.secs, 1))

    def _weeks(self, day_bits: Ints) -> Floats:
        weeks = np.zeros(len(day_bits))
        first = self.facts.to_date - timedelta(days=self.facts.days - 1)
        for monday in range(-first.weekday(), self.facts.days, 7):
            mask = sum(1 << day for day in range(max(monday, 0), min(monday + 7, self.facts.days)))
            weeks += (day_bits & np.int64(mask)) != 0
        return weeks

    def _anchored(self, rule: Anchored) -> Flags:
        anchors = self.facts.anchors[rule.role]
        if not rule.exists:
            return ~anchors.exists
        holds = anchors.exists & (anchors.days >= rule.days_ge) & (anchors.confidence >= rule.confidence_ge)
        if rule.classes:
            holds &= np.append(self.facts.places.of_class(rule.classes), False)[anchors.place]
        if rule.towns:
            holds &= np.append(self.facts.places.of_town(rule.towns), False)[anchors.place]
        if rule.changed_within:
            moved = self.facts.moved_days.get(rule.role, np.full(self.facts.customers, -1))
            holds &= (moved >= 0) & (moved <= rule.changed_within)
        return holds

    def apart(self, first: str, second: str) -> Floats:
        """Kilometres between two anchors; NaN, with which every comparison is false, when one is missing."""
        here, there = self.facts.anchors[first].place, self.facts.anchors[second].place
        lon, lat = np.append(self.facts.places.lon, np.nan), np.append(self.facts.places.lat, np.nan)
        return kilometres(lon[here], lat[here], lon[there], lat[there])

    def events(self, rule: Attended) -> Ints:
        """How many city events count for the rule; (customers,)."""
        return np.bincount(self.facts.attendance.customer[self.attended(rule)], minlength=self.facts.customers)

    def attended(self, rule: Attended) -> Flags:
        """Which rows of attendance count for the rule."""
        last = self.facts.to_date
        counted = [
            event.type in rule.types and 0 <= (last - event.date).days < rule.window for event in self.facts.events
        ]
        rows = self.facts.attendance
        return np.array([*counted, False])[rows.event] & (rows.secs >= rule.overlap_ge * 60)

    def _test(self, test: Test) -> Flags:
        column = self.facts.columns[test.column]
        if column.dtype.kind != "f":
            known = column != ""
            if test.operator == "null":
                return np.asarray(~known)
            among = np.isin(column, test.words)
            return np.asarray(known & (~among if test.operator == "ne" else among))
        numbers = column.astype(np.float64)
        null = np.isnan(numbers)
        if test.operator == "null":
            return null
        if test.operator == "between":
            return np.asarray((numbers >= test.values[0]) & (numbers <= test.values[1]))
        bound: Any = test.values[0] if test.values else test.share * self._percentile(test)
        if test.other:
            bound = bound * self.facts.columns[test.other].astype(np.float64)
        return np.asarray(_COMPARE[test.operator](numbers, bound) & ~null & ~np.isnan(bound))

    def _percentile(self, test: Test) -> float:
        return self.facts.percentiles[test.column, test.percentile or 0.0]
