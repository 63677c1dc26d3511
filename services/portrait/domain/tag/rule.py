"""The rule grammar of lct/1 as values.

all: [rule, …] · any: [rule, …] · not: rule · at_least: {n, of} · dwell: {…} · anchor: {…} · attend: {…}
stat: {column: "ge 3", …} · tag: CODE or {CODE: [values]}
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from services.portrait.domain.calendar import MOST_DAYS, SLOTS

METRICS = (
    "days", "weeks", "visits", "minutes", "places", "minutes_per_day", "days_share", "minutes_share", "grade",
)  # fmt: skip
OPERATORS = ("ge", "gt", "le", "lt", "eq")
DAYTYPES = ("workday", "weekend", "all")


class CatalogueInvalid(ValueError):
    """The catalogue cannot be used; the message names the path and what is wrong there."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


@dataclass(frozen=True)
class Everything:
    """All of the rules hold."""

    rules: "tuple[Rule, ...]"


@dataclass(frozen=True)
class Something:
    """At least `least` of the rules hold (1 for `any`)."""

    rules: "tuple[Rule, ...]"
    least: int = 1


@dataclass(frozen=True)
class Negation:
    """The rule does not hold."""

    rule: "Rule"


@dataclass(frozen=True)
class PlaceSet:
    """Places by class selectors, or the place of an anchor; then without some."""

    selectors: tuple[str, ...] = ()
    role: str = ""
    without: tuple[str, ...] = ()
    """Selectors taken away again."""
    apart_from: tuple[str, ...] = ()
    """Roles whose anchor is taken away; one that is missing takes nothing."""


@dataclass(frozen=True)
class RowFilter:
    """Which dwell rows count, whatever their place."""

    daytype: str = "all"
    slots: tuple[str, ...] = SLOTS
    min_visit: int = 0
    """Minutes that the longest piece must last."""
    last_days: int = MOST_DAYS


@dataclass(frozen=True)
class Limit:
    """A bound on a metric."""

    metric: str
    operator: str
    value: float


@dataclass(frozen=True)
class Dwelt:
    """Time at places."""

    places: PlaceSet
    rows: RowFilter
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Anchored:
    """The anchor of a role: whether it is there, of what class, in which town, how well supported."""

    role: str
    exists: bool = True
    classes: tuple[str, ...] = ()
    towns: tuple[str, ...] = ()
    days_ge: int = 0
    confidence_ge: float = 0.0
    changed_within: int = 0
    """Days within which the anchor moved here from another place; 0 asks for no change."""


@dataclass(frozen=True)
class SameTown:
    """Two anchors lie in one town."""

    first: str
    second: str


@dataclass(frozen=True)
class Distance:
    """How far two anchors are apart, in km."""

    first: str
    second: str
    operator: str
    km: float


@dataclass(frozen=True)
class Attended:
    """City events of some types: at least `events_ge` of them for `overlap_ge` minutes in the last `window` days."""

    types: tuple[str, ...]
    events_ge: int
    overlap_ge: int
    window: int


@dataclass(frozen=True)
class Test:
    """One comparison of a stat column with a number, a word, a share of another column, or a percentile of it."""

    column: str
    operator: str
    values: tuple[float, ...] = ()
    words: tuple[str, ...] = ()
    other: str = ""
    percentile: float | None = None
    share: float = 1.0
    """Of the percentile; differs from 1 only for bearers (hysteresis)."""

    __test__ = False  # not a test of pytest's


@dataclass(frozen=True)
class Stated:
    """Tests of stat columns; all of them."""

    tests: tuple[Test, ...]


@dataclass(frozen=True)
class Tagged:
    """Another tag of the same run; `values` for the values of an enum tag."""

    code: str
    values: tuple[str, ...] = ()


Rule: TypeAlias = (
    Everything | Something | Negation | Dwelt | Anchored | SameTown | Distance | Attended | Stated | Tagged
)


def leaves(rule: Rule, *, positive: bool = True) -> list[Rule]:
    """The leaves of a rule in reading order; with `positive`, without those below a `not`."""
    if isinstance(rule, Everything | Something):
        return [leaf for each in rule.rules for leaf in leaves(each, positive=positive)]
    if isinstance(rule, Negation):
        return [] if positive else leaves(rule.rule, positive=positive)
    return [rule]


_LOWER, _UPPER = ("ge", "gt"), ("le", "lt")


def loosened(rule: Rule, share: float, *, keeping: bool = True) -> Rule:
    """The rule as it is read for somebody who bears the tag already: lower bounds times `share`, upper ones over it.

    Below a `not` it is the other way round, so that a bearer keeps a tag more easily, never less. Whole-number bounds
    that are counted (`at_least`), `eq`, `between` and places stay as they are.
    """
    match rule:
        case Everything(rules):
            return Everything(tuple(loosened(each, share, keeping=keeping) for each in rules))
        case Something(rules, least):
            return Something(tuple(loosened(each, share, keeping=keeping) for each in rules), least)
        case Negation(inner):
            return Negation(loosened(inner, share, keeping=not keeping))
        case Dwelt(_, _, limits):
            moved = (replace(each, value=_moved(each.value, each.operator, share, keeping)) for each in limits)
            return replace(rule, limits=tuple(moved))
        case Anchored():
            return replace(rule, confidence_ge=_moved(rule.confidence_ge, "ge", share, keeping))
        case Stated(tests):
            return Stated(tuple(_moved_test(test, share, keeping) for test in tests))
    return rule


def _moved(bound: float, operator: str, share: float, keeping: bool) -> float:
    if operator not in (*_LOWER, *_UPPER):
        return bound
    down = (operator in _LOWER) is keeping
    # A bound below zero moves the same way: looser is lower for ge, higher for le.
    return bound * share if down is (bound >= 0) else bound / share


def _moved_test(test: Test, share: float, keeping: bool) -> Test:
    if test.operator not in (*_LOWER, *_UPPER):
        return test
    if test.percentile is not None:
        return replace(test, share=_moved(test.share, test.operator, share, keeping))
    return replace(test, values=tuple(_moved(each, test.operator, share, keeping) for each in test.values))
