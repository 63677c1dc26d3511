"""What a catalogue needs to know of the dwell table, gathered over all rules, so that one pass can answer it.

A dwell leaf is a row filter (kind of day, slots, length of visit) times a place set (classes or an anchor, without
some). Equal ones are asked once, whoever uses them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.portrait.domain.tag.catalogue import Catalogue
from services.portrait.domain.tag.definition import Tag
from services.portrait.domain.tag.rule import Dwelt, PlaceSet, RowFilter, Rule, leaves

_SHARES = {"days_share", "minutes_share", "grade"}

EVERYWHERE = PlaceSet(selectors=("*",))


@dataclass(frozen=True)
class Leaf:
    """Dwell at `places` in the rows that pass `rows`."""

    places: PlaceSet
    rows: RowFilter


@dataclass(frozen=True)
class Landmark:
    """The place of `places` with most dwell, whatever the slot."""

    places: PlaceSet


@dataclass(frozen=True)
class Plan:
    """Distinct questions, in order of first use."""

    filters: tuple[RowFilter, ...]
    leaves: tuple[Leaf, ...]
    landmarks: tuple[Landmark, ...]
    graded: frozenset[Leaf] = frozenset()
    """The questions whose best grade is asked, too."""


def plan(catalogue: Catalogue, days: int) -> Plan:
    """What must be asked for a window of `days` days."""
    asked: dict[Leaf, None] = {}
    landmarks: dict[Landmark, None] = {}
    graded: set[Leaf] = set()
    for tag in catalogue.tags:
        for leaf in _dwelt(tag):
            asked[leaf_of(leaf, days)] = None
            for metric in {limit.metric for limit in leaf.limits} & _SHARES:
                asked[base_of(leaf, metric, days)] = None
                if metric == "grade":
                    graded.add(leaf_of(leaf, days))
        landmark = landmark_of(tag)
        if landmark is not None:
            landmarks[landmark] = None
    filters = dict.fromkeys(leaf.rows for leaf in asked)
    return Plan(tuple(filters), tuple(asked), tuple(landmarks), frozenset(graded))


def leaf_of(dwelt: Dwelt, days: int) -> Leaf:
    """The question that a dwell leaf asks; a window longer than the run's is the run's."""
    return Leaf(dwelt.places, replace(dwelt.rows, last_days=min(dwelt.rows.last_days, days)))


def base_of(dwelt: Dwelt, metric: str, days: int) -> Leaf:
    """The question for the denominator of a share: all days observed in that kind of day (of days and of a grade), or
    all minutes also in those slots."""
    last_days = min(dwelt.rows.last_days, days)
    if metric != "minutes_share":
        return observed(RowFilter(daytype=dwelt.rows.daytype, last_days=last_days))
    return Leaf(EVERYWHERE, RowFilter(daytype=dwelt.rows.daytype, slots=dwelt.rows.slots, last_days=last_days))


def observed(rows: RowFilter) -> Leaf:
    """The question on which days somebody was seen at all, in that kind of day and those last days."""
    return Leaf(EVERYWHERE, RowFilter(daytype=rows.daytype, last_days=rows.last_days))


def landmark_of(tag: Tag) -> Landmark | None:
    """Which place is shown with a tag that names classes: what its first dwell leaf leaves out is left out here too."""
    if not tag.landmark_classes:
        return None
    first = next(iter(_dwelt(tag)), None)
    apart = first.places.apart_from if first is not None else ()
    return Landmark(PlaceSet(selectors=tag.landmark_classes, apart_from=apart))


def _dwelt(tag: Tag) -> Iterable[Dwelt]:
    rules: list[Rule] = [leaf for case in tag.cases for leaf in leaves(case.rule, positive=False)]
    return [leaf for leaf in rules if isinstance(leaf, Dwelt)]
