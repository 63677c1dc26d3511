"""Why somebody bears a tag: the measured values of the leaves that fired, and the tag's explanation filled with them.

Texts are made column by column (Arrow), since a run makes millions of them.
"""

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.place import NOWHERE
from services.portrait.domain.tag.definition import Tag
from services.portrait.domain.tag.reading import Flags, Ints, Reading
from services.portrait.domain.tag.rule import Anchored, Attended, Distance, Dwelt, Rule, Stated, leaves

_UNKNOWN = "?"
_OF_ANCHORS = {"town": "town", "place": "name"}


def lines(reading: Reading, tag: Tag, rule: Rule | None, bearers: Ints, landmark: npt.NDArray[np.int32]) -> pa.Array:
    """One line a bearer: `metric=value; …`, after the tag's explanation if it has one."""
    if not len(bearers):
        return pa.array([], pa.string())
    parts: list[tuple[str, pa.Array]] = []
    for leaf in leaves(rule) if rule is not None else ():
        fired = reading.holds(leaf)[bearers]
        parts.extend((name, _where(fired, shown)) for name, shown in _shown(reading, leaf, bearers))
    for case in tag.cases if tag.kind == "score" else ():
        for leaf in leaves(case.rule):
            fired = reading.holds(case.rule)[bearers]
            parts.extend((name, _where(fired, shown)) for name, shown in _shown(reading, leaf, bearers))
    line = pa.array([""] * len(bearers), pa.string())
    for name, shown in parts:
        pair = pc.binary_join_element_wise(name, shown, "=")
        longer = pc.if_else(pc.equal(line, ""), pair, pc.binary_join_element_wise(line, pair, "; "))
        line = pc.coalesce(longer, line)  # a leaf that did not fire is null
    if not tag.explain:
        return line
    told = _filled(tag.explain, _Known(reading, parts, bearers, landmark), len(bearers))
    behind = pc.binary_join_element_wise(pc.binary_join_element_wise(told, " (", ""), line, ")", "")
    return pc.if_else(pc.equal(line, ""), told, behind)


def _where(fired: Flags, shown: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(fired), shown, pa.scalar(None, pa.string()))


def _shown(reading: Reading, leaf: Rule, bearers: Ints) -> list[tuple[str, pa.Array]]:
    facts = reading.facts
    if isinstance(leaf, Dwelt):
        metrics = dict.fromkeys(limit.metric for limit in leaf.limits)
        return [(metric, _numbers(reading.metric(leaf, metric)[bearers])) for metric in metrics]
    if isinstance(leaf, Anchored):
        return [(leaf.role, _named(reading.words("name", "-"), facts.anchors[leaf.role].place[bearers]))]
    if isinstance(leaf, Distance):
        return [("km", _numbers(reading.apart(leaf.first, leaf.second)[bearers]))]
    if isinstance(leaf, Attended):
        return [("events", _numbers(reading.events(leaf)[bearers])), *_best_event(reading, leaf, bearers)]
    if isinstance(leaf, Stated):
        return [(test.column, _numbers(facts.columns[test.column][bearers])) for test in leaf.tests]
    return []


def _best_event(reading: Reading, rule: Attended, bearers: Ints) -> list[tuple[str, pa.Array]]:
    """The day and the minutes of the longest attendance of each bearer."""
    facts = reading.facts
    rows = facts.attendance
    at = np.flatnonzero(reading.attended(rule))
    order = at[np.lexsort((-rows.event[at], rows.secs[at]))]
    best = np.full(facts.customers, NOWHERE, dtype=np.int64)
    best[rows.customer[order]] = order  # the last assignment of a customer wins: the longest, the earlier event
    row = best[bearers]
    days = [each.date.isoformat() for each in facts.events]
    event = np.where(row >= 0, np.append(rows.event, len(days))[row], len(days))
    minutes = np.where(row >= 0, np.append(rows.secs, 0)[row], 0) // 60
    return [("date", _named(pa.array([*days, _UNKNOWN], pa.string()), event)), ("minutes", _numbers(minutes))]


class _Known:
    """What an explanation may say: measured values (the first leaf's of a name), anchors, the landmark."""

    def __init__(
        self, reading: Reading, parts: list[tuple[str, pa.Array]], bearers: Ints, landmark: npt.NDArray[np.int32]
    ) -> None:
        self._reading, self._bearers, self._landmark = reading, bearers, landmark
        self._measured: dict[str, pa.Array] = {}
        for name, shown in parts:
            known = self._measured.get(name)
            self._measured[name] = shown if known is None else pc.coalesce(known, shown)

    def of(self, name: str) -> pa.Array | str:
        """What a name stands for, for each bearer; a question mark where it is not known."""
        role, _, attribute = name.partition(".")
        if name == "landmark":
            return _named(self._reading.words("name", _UNKNOWN), self._landmark)
        if role in self._reading.facts.anchors and attribute in _OF_ANCHORS:
            at = self._reading.facts.anchors[role].place[self._bearers]
            return _named(self._reading.words(_OF_ANCHORS[attribute], _UNKNOWN), at)
        return pc.fill_null(self._measured[name], _UNKNOWN) if name in self._measured else _UNKNOWN


def _filled(template: str, known: _Known, count: int) -> pa.Array:
    """The template with its {names} filled."""
    pieces: list[pa.Array | str] = []
    for number, piece in enumerate(re.split(r"\{([^}]*)\}", template)):
        if number % 2:
            pieces.append(known.of(piece))
        elif piece:
            pieces.append(piece)
    whole = pa.array([""] * count, pa.string())
    return pc.binary_join_element_wise(whole, *pieces, "") if pieces else whole


def _named(words: pa.Array, numbers: npt.NDArray[np.integer]) -> pa.Array:
    """Words by number; the last one for -1."""
    return pc.take(words, pa.array(np.where(numbers < 0, len(words) - 1, numbers)))


def _numbers(values: npt.NDArray[np.generic]) -> pa.Array:
    """Values as short text: whole numbers without a point, others with at most two digits after it."""
    if values.dtype.kind not in "fiu":
        return pa.array(values.tolist(), pa.string())
    if values.dtype.kind != "f" or bool(np.all(values == np.floor(values))):
        return pc.cast(pa.array(values.astype(np.int64)), pa.string())
    return pc.cast(pc.round(pa.array(values.astype(np.float64)), 2), pa.string())
