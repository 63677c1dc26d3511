"""Who bears which tag, and why: rules judged over whole columns of customers."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from services.portrait.domain.anchor import Anchors
from services.portrait.domain.dwell import Attendance
from services.portrait.domain.place import NOWHERE, Places, kilometres
from services.portrait.domain.statistic import Column
from services.portrait.domain.tag.catalogue import Catalogue, Tag
from services.portrait.domain.tag.plan import Landmark, Leaf, base_of, landmark_of, leaf_of
from services.portrait.domain.tag.rule import (
    Anchored,
    Attended,
    Distance,
    Dwelt,
    Everything,
    Negation,
    Rule,
    SameTown,
    Something,
    Stated,
    Tagged,
    Test,
    leaves,
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


@dataclass(frozen=True)
class LeafFacts:
    """What the dwell table says to one question; (customers,) each, 0 where there is no row."""

    day_bits: Ints
    """Bit d is set when some row of day d passed."""
    secs: Ints
    visits: Ints
    places: Ints


@dataclass(frozen=True)
class Event:
    """A city event as attendance counts it: its type, and the local day on which it begins."""

    type: str
    date: date


@dataclass(frozen=True)
class Facts:
    """All that rules may look at, for customers 0 … customers − 1."""

    customers: int
    days: int
    to_date: date
    """The last of the days; weeks are calendar weeks."""
    dwell: Mapping[Leaf, LeafFacts]
    landmarks: Mapping[Landmark, npt.NDArray[np.int32]]
    anchors: Mapping[str, Anchors]
    attendance: Attendance
    events: Sequence[Event]
    columns: Mapping[str, Column]
    percentiles: Mapping[tuple[str, float], float]
    places: Places


@dataclass(frozen=True)
class Verdict:
    """Who bears a tag (or one value of it); `evidence` and `landmark` are those of the bearers, in their order."""

    tag: Tag
    value: str
    bearers: Ints
    evidence: tuple[str, ...]
    landmark: npt.NDArray[np.int32]


def percentiles_of(catalogue: Catalogue) -> list[tuple[str, float]]:
    """The (column, rank) pairs whose percentiles over the active base the rules compare with."""
    tests = (
        test
        for tag in catalogue.tags
        for case in tag.cases
        for leaf in leaves(case.rule, positive=False)
        if isinstance(leaf, Stated)
        for test in leaf.tests
    )
    return sorted({(test.column, test.percentile) for test in tests if test.percentile is not None})


def judge(catalogue: Catalogue, facts: Facts) -> list[Verdict]:
    """Verdicts of all tags in catalogue order, a value of an enum or value tag each on its own, empty ones left out."""
    judge_of = _Judge(facts)
    verdicts: list[Verdict] = []
    for tag in catalogue.tags:
        values = judge_of.word_values(tag) if tag.kind == "value" else judge_of.cases(tag)
        for value, rule, borne in values:
            bearers = np.flatnonzero(borne)
            if len(bearers):
                landmark = judge_of.landmark(tag)[bearers]
                evidence = judge_of.evidence(tag, rule, bearers, landmark)
                verdicts.append(Verdict(tag, value, bearers, evidence, landmark))
    return verdicts


class _Judge:
    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._borne: dict[str, Flags] = {}
        self._values: dict[tuple[str, str], Flags] = {}

    def cases(self, tag: Tag) -> list[tuple[str, Rule | None, Flags]]:
        """The first case that holds, for every customer."""
        free = np.ones(self._facts.customers, dtype=np.bool_)
        found: list[tuple[str, Rule | None, Flags]] = []
        for case in tag.cases:
            borne = free & self._holds(case.rule)
            free &= ~borne
            self._values[tag.code, case.value] = borne
            found.append((case.value, case.rule, borne))
        self._borne[tag.code] = ~free
        return found

    def word_values(self, tag: Tag) -> list[tuple[str, Rule | None, Flags]]:
        """A value tag's words; nobody bears it who lacks one of its parts."""
        words = np.full(self._facts.customers, "", dtype=object)
        has = np.ones(self._facts.customers, dtype=np.bool_)
        for part in tag.parts:
            if part.role:
                place = self._facts.anchors[part.role].place
                source = {"town": self._facts.places.town, "place_class": self._facts.places.class_code}
                names = np.array([*source.get(part.attribute, self._facts.places.place_id), ""], dtype=object)
                piece = names[place]  # -1 is the last: no place, no word
            elif part.column:
                piece = self._facts.columns[part.column].astype(object)
            else:
                piece = np.full(self._facts.customers, part.text, dtype=object)
            has &= piece != ""
            words = words + piece
        self._borne[tag.code] = has
        found: list[tuple[str, Rule | None, Flags]] = []
        for value in sorted(set(words[has].tolist())):
            self._values[tag.code, value] = has & (words == value)
            found.append((value, None, self._values[tag.code, value]))
        return found

    def landmark(self, tag: Tag) -> npt.NDArray[np.int32]:
        """The key building shown with a tag; -1 for none."""
        if tag.landmark_role:
            return self._facts.anchors[tag.landmark_role].place
        asked = landmark_of(tag)
        return self._facts.landmarks[asked] if asked else np.full(self._facts.customers, NOWHERE, dtype=np.int32)

    def evidence(self, tag: Tag, rule: Rule | None, bearers: Ints, landmark: npt.NDArray[np.int32]) -> tuple[str, ...]:
        """For each bearer the measured values of the leaves that fired, after the tag's explanation if it has one."""
        parts: list[tuple[str, list[str], Flags]] = []
        for leaf in leaves(rule) if rule is not None else ():
            fired = self._holds(leaf)[bearers]
            parts.extend((name, shown, fired) for name, shown in self._shown(leaf, bearers))
        lines = []
        for row in range(len(bearers)):
            pairs = [(name, shown[row]) for name, shown, fired in parts if fired[row]]
            line = "; ".join(f"{name}={shown}" for name, shown in pairs)
            if tag.explain:
                known = dict(reversed(pairs)) | self._about_anchors(int(bearers[row]))
                known["landmark"] = self._facts.places.name[landmark[row]] if landmark[row] >= 0 else "?"
                line = f"{_filled(tag.explain, known)} ({line})" if line else _filled(tag.explain, known)
            lines.append(line)
        return tuple(lines)

    def _about_anchors(self, customer: int) -> dict[str, str]:
        """What an explanation may say of a customer's anchors: `home.town`, `work.place` and so on."""
        known = {}
        for role, anchors in self._facts.anchors.items():
            place = int(anchors.place[customer])
            if place >= 0:
                known[f"{role}.town"], known[f"{role}.place"] = (
                    self._facts.places.town[place],
                    self._facts.places.name[place],
                )
        return known

    def _shown(self, leaf: Rule, bearers: Ints) -> list[tuple[str, list[str]]]:
        if isinstance(leaf, Dwelt):
            metrics = dict.fromkeys(limit.metric for limit in leaf.limits)
            return [(metric, _numbers(self._metric(leaf, metric)[bearers])) for metric in metrics]
        if isinstance(leaf, Anchored):
            names = [*self._facts.places.name, "-"]
            return [(leaf.role, [names[each] for each in self._facts.anchors[leaf.role].place[bearers].tolist()])]
        if isinstance(leaf, Distance):
            return [("km", _numbers(self._apart(leaf.first, leaf.second)[bearers]))]
        if isinstance(leaf, Attended):
            return [("events", _numbers(self._events(leaf)[bearers])), *self._best_event(leaf, bearers)]
        if isinstance(leaf, Stated):
            return [(test.column, _numbers(self._facts.columns[test.column][bearers])) for test in leaf.tests]
        return []

    def _holds(self, rule: Rule) -> Flags:
        match rule:
            case Everything(rules):
                return np.asarray(np.all([self._holds(each) for each in rules], axis=0))
            case Something(rules, least):
                return np.asarray(np.sum([self._holds(each) for each in rules], axis=0) >= least)
            case Negation(inner):
                return ~self._holds(inner)
            case Dwelt():
                return self._dwelt(rule)
            case Anchored():
                return self._anchored(rule)
            case SameTown(first, second):
                town = np.array([*self._facts.places.town, ""], dtype=object)
                both = self._facts.anchors[first].exists & self._facts.anchors[second].exists
                here, there = self._facts.anchors[first].place, self._facts.anchors[second].place
                return np.asarray(both & (town[here] == town[there]), dtype=np.bool_)
            case Distance(first, second, bound, km):
                return np.asarray(_COMPARE[bound](self._apart(first, second), km), dtype=np.bool_)
            case Attended():
                return np.asarray(self._events(rule) >= rule.events_ge)
            case Stated(tests):
                return np.asarray(np.all([self._test(test) for test in tests], axis=0))
            case Tagged(code, values):
                borne = [self._values.get((code, value)) for value in values] if values else [self._borne[code]]
                nobody = np.zeros(self._facts.customers, dtype=np.bool_)
                return np.asarray(np.any([nobody, *(each for each in borne if each is not None)], axis=0))

    def _dwelt(self, leaf: Dwelt) -> Flags:
        holds = [_COMPARE[limit.operator](self._metric(leaf, limit.metric), limit.value) for limit in leaf.limits]
        return np.asarray(np.all(holds, axis=0))

    def _metric(self, leaf: Dwelt, metric: str) -> Floats:
        asked = self._facts.dwell[leaf_of(leaf, self._facts.days)]
        days = np.bitwise_count(asked.day_bits).astype(np.float64)
        if metric == "days":
            return days
        if metric == "weeks":
            return self._weeks(asked.day_bits)
        if metric == "visits":
            return asked.visits.astype(np.float64)
        if metric == "places":
            return asked.places.astype(np.float64)
        minutes = asked.secs / 60.0
        if metric == "minutes":
            return minutes
        if metric == "minutes_per_day":
            return minutes / np.maximum(days, 1.0)
        base = self._facts.dwell[base_of(leaf, metric, self._facts.days)]
        if metric == "days_share":
            return np.asarray(days / np.maximum(np.bitwise_count(base.day_bits), 1))
        return np.asarray(asked.secs / np.maximum(base.secs, 1))

    def _weeks(self, day_bits: Ints) -> Floats:
        weeks = np.zeros(len(day_bits))
        first = self._facts.to_date - timedelta(days=self._facts.days - 1)
        for monday in range(-first.weekday(), self._facts.days, 7):
            mask = sum(1 << day for day in range(max(monday, 0), min(monday + 7, self._facts.days)))
            weeks += (day_bits & np.int64(mask)) != 0
        return weeks

    def _anchored(self, rule: Anchored) -> Flags:
        anchors = self._facts.anchors[rule.role]
        if not rule.exists:
            return ~anchors.exists
        holds = anchors.exists & (anchors.days >= rule.days_ge) & (anchors.confidence >= rule.confidence_ge)
        if rule.classes:
            holds &= np.append(self._facts.places.of_class(rule.classes), False)[anchors.place]
        if rule.towns:
            holds &= np.append(self._facts.places.of_town(rule.towns), False)[anchors.place]
        return holds

    def _apart(self, first: str, second: str) -> Floats:
        """Kilometres between two anchors; NaN, with which every comparison is false, when one is missing."""
        here, there = self._facts.anchors[first].place, self._facts.anchors[second].place
        lon, lat = np.append(self._facts.places.lon, np.nan), np.append(self._facts.places.lat, np.nan)
        return kilometres(lon[here], lat[here], lon[there], lat[there])

    def _events(self, rule: Attended) -> Ints:
        return np.bincount(self._facts.attendance.customer[self._attended(rule)], minlength=self._facts.customers)

    def _attended(self, rule: Attended) -> Flags:
        """Which rows of attendance count for the rule."""
        last = self._facts.to_date
        counted = [
            event.type in rule.types and 0 <= (last - event.date).days < rule.window for event in self._facts.events
        ]
        rows = self._facts.attendance
        return np.array([*counted, False])[rows.event] & (rows.secs >= rule.overlap_ge * 60)

    def _best_event(self, rule: Attended, bearers: Ints) -> list[tuple[str, list[str]]]:
        """The day and the minutes of the longest attendance of each bearer."""
        rows = self._facts.attendance
        at = np.flatnonzero(self._attended(rule))
        order = at[np.lexsort((-rows.event[at], rows.secs[at]))]
        best = np.full(self._facts.customers, NOWHERE, dtype=np.int64)
        best[rows.customer[order]] = order  # the last assignment of a customer wins: the longest, the earlier event
        days = [self._facts.events[rows.event[row]].date.isoformat() if row >= 0 else "?" for row in best[bearers]]
        minutes = [str(int(rows.secs[row]) // 60) if row >= 0 else "0" for row in best[bearers]]
        return [("date", days), ("minutes", minutes)]

    def _test(self, test: Test) -> Flags:
        column = self._facts.columns[test.column]
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
        bound: Any = test.values[0] if test.values else self._facts.percentiles[test.column, test.percentile or 0.0]
        if test.other:
            bound = bound * self._facts.columns[test.other].astype(np.float64)
        return np.asarray(_COMPARE[test.operator](numbers, bound) & ~null & ~np.isnan(bound))


def _numbers(values: npt.NDArray[Any]) -> list[str]:
    """Values as short text: whole numbers without a point, others with at most two digits after it."""
    if values.dtype.kind not in "fiu":
        return [str(each) for each in values.tolist()]
    return [f"{each:.2f}".rstrip("0").rstrip(".") for each in values.astype(np.float64).tolist()]


def _filled(template: str, known: Mapping[str, str]) -> str:
    """The template with its {names} filled; an unknown one becomes a question mark."""
    for name, value in known.items():
        template = template.replace("{" + name + "}", value)
    head, opened, rest = template.partition("{")
    while opened:
        head += "?" + rest.partition("}")[2].partition("{")[0]
        rest = rest.partition("}")[2]
        _, opened, rest = rest.partition("{")
    return head
