"""What may be watched for: patterns, rules and events as values. All times are milliseconds since 1970 UTC."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

MOST_DEPTH = 8
MOST_PARTS = 64
HOUR = 3_600_000


class PatternInvalid(ValueError):
    """A pattern that can never or would always hold, or is too large; `at` is a path into it."""

    def __init__(self, at: str, why: str) -> None:
        super().__init__(f"{at}: {why}")
        self.at, self.why = at, why


class Event(NamedTuple):
    """Something that happened to a customer; `fields` are texts, numbers, truth values."""

    event_id: str
    type: str
    customer_key: int
    time: int
    fields: Mapping[str, object]


@dataclass(frozen=True)
class Test:
    """A test of one field: one_of, none_of, starts_with, contains, between or missing; a missing field fails others."""

    __test__ = False  # no test class of pytest's

    field: str
    kind: str
    values: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class EventMatch:
    """Events of one of the types whose fields pass every test."""

    types: tuple[str, ...]
    tests: tuple[Test, ...] = ()


@dataclass(frozen=True)
class Happened:
    """Holds from an event on, for `remember`; both ends included, so 0 is the instant."""

    event: EventMatch
    remember: int = 0


@dataclass(frozen=True)
class Counted:
    """Holds from the event on that makes `at_least` of them fall into `within` (both ends included), for `remember`."""

    event: EventMatch
    at_least: int
    within: int
    remember: int = 0


@dataclass(frozen=True)
class Sequence:
    """Holds from the last of events in order, at most `within` from the first to the last, for `remember`."""

    steps: tuple[EventMatch, ...]
    within: int
    remember: int = 0


@dataclass(frozen=True)
class Dwell:
    """Holds from `lasting` after the customer entered until he is seen outside.

    An event of the types of `inside` that does not pass its tests is outside. To leave after exactly `lasting` is to
    have stayed; the next event inside begins a new stay.
    """

    inside: EventMatch
    lasting: int


@dataclass(frozen=True)
class Absent:
    """Holds from `lasting` after an event that nothing `missing` followed up to then (that instant included)."""

    after: EventMatch
    missing: EventMatch
    lasting: int
    remember: int = 0


@dataclass(frozen=True)
class All:
    """Holds while every part does."""

    parts: tuple["Pattern", ...]


@dataclass(frozen=True)
class Any:
    """Holds while one part or more does."""

    parts: tuple["Pattern", ...]


@dataclass(frozen=True)
class Not:
    """Holds while the part does not."""

    part: "Pattern"


Pattern: TypeAlias = Happened | Counted | Sequence | Dwell | Absent | All | Any | Not


@dataclass(frozen=True)
class Rule:
    """A version of a rule. Matches count from `publish_time` to `retire_time` (exclusive; None: no end).

    `lateness` is how long what a late event could unmake is waited for, `stale_after` how old a match may be when it is
    found, `cool_down` how far apart two matches of a customer are at least.
    """

    rule_id: str
    version: int
    pattern: Pattern
    cool_down: int = 0
    lateness: int = 0
    stale_after: int = HOUR
    publish_time: int = 0
    retire_time: int | None = None
    title: str = ""


def check(pattern: Pattern, at: str = "pattern") -> None:
    """Raise PatternInvalid unless the pattern is small enough and begins with something that happens."""
    parts = list(walk(pattern, at))
    if len(parts) > MOST_PARTS:
        raise PatternInvalid(at, f"has {len(parts)} parts, more than {MOST_PARTS}")
    for path, depth, part in parts:
        _check_one(path, depth, part)
    if not anchored(pattern):
        raise PatternInvalid(at, "only says what must not be; put it beside something that happens, in an all_of")


def _check_one(path: str, depth: int, part: Pattern) -> None:
    if depth > MOST_DEPTH:
        raise PatternInvalid(path, f"lies deeper than {MOST_DEPTH} levels")
    if isinstance(part, Sequence) and len(part.steps) < 2:
        raise PatternInvalid(path, "a sequence has two steps or more")
    if isinstance(part, Counted) and part.at_least < 2:
        raise PatternInvalid(path, "at_least is 2 or more; one event is happened")
    if isinstance(part, Counted | Sequence) and part.within <= 0:
        raise PatternInvalid(path, "within is longer than nothing")
    if isinstance(part, Dwell | Absent) and part.lasting <= 0:
        raise PatternInvalid(path, "lasting is longer than nothing")
    if isinstance(part, Dwell) and not part.inside.tests:
        raise PatternInvalid(path, "inside needs a test, or nobody is ever outside")
    if isinstance(part, All | Any) and not part.parts:
        raise PatternInvalid(path, "has no parts")


def walk(pattern: Pattern, at: str = "pattern", depth: int = 1) -> Iterator[tuple[str, int, Pattern]]:
    """The pattern and its parts, each with its path and depth, the whole first."""
    yield at, depth, pattern
    if isinstance(pattern, All | Any):
        name = "all_of" if isinstance(pattern, All) else "any_of"
        for number, part in enumerate(pattern.parts):
            yield from walk(part, f"{at}.{name}.parts[{number}]", depth + 1)
    elif isinstance(pattern, Not):
        yield from walk(pattern.part, f"{at}.not", depth + 1)


def anchored(pattern: Pattern) -> bool:
    """Whether something must have happened for the pattern to hold."""
    if isinstance(pattern, All):
        return any(anchored(part) for part in pattern.parts)
    if isinstance(pattern, Any):
        return all(anchored(part) for part in pattern.parts)
    return not isinstance(pattern, Not)


def by_clock(pattern: Pattern) -> bool:
    """Whether it may begin to hold without a new event, or be unmade by a late one."""
    return any(isinstance(part, Dwell | Absent | Not) for _, _, part in walk(pattern))


def look_back(pattern: Pattern) -> int:
    """How long after an event the pattern may still depend on it, but for the start of a stay."""
    if isinstance(pattern, All | Any):
        return max(look_back(part) for part in pattern.parts)
    if isinstance(pattern, Not):
        return look_back(pattern.part)
    if isinstance(pattern, Happened):
        return pattern.remember
    if isinstance(pattern, Counted | Sequence):
        return pattern.within + pattern.remember
    if isinstance(pattern, Absent):
        return pattern.lasting + pattern.remember
    return pattern.lasting


def matches_of(pattern: Pattern) -> Iterator[EventMatch]:
    """Every kind of event that the pattern looks at."""
    for _, _, part in walk(pattern):
        if isinstance(part, Happened | Counted):
            yield part.event
        elif isinstance(part, Sequence):
            yield from part.steps
        elif isinstance(part, Absent):
            yield from (part.after, part.missing)
        elif isinstance(part, Dwell):
            yield from (part.inside, located(part))


def needed(pattern: Pattern) -> frozenset[EventMatch]:
    """The kinds of event without each of which the pattern can't hold."""
    if isinstance(pattern, All):
        return frozenset().union(*map(needed, pattern.parts))
    if isinstance(pattern, Any):
        return frozenset.intersection(*map(needed, pattern.parts))
    if isinstance(pattern, Happened | Counted):
        return frozenset({pattern.event})
    if isinstance(pattern, Sequence):
        return frozenset(pattern.steps)
    if isinstance(pattern, Absent):
        return frozenset({pattern.after})
    return frozenset({pattern.inside}) if isinstance(pattern, Dwell) else frozenset()


def located(dwell: Dwell) -> EventMatch:
    """Every event that says where a customer is, for a dwell."""
    return EventMatch(dwell.inside.types)


def event_types(pattern: Pattern) -> list[str]:
    """The types of events that the pattern looks at, sorted."""
    return sorted({each for match in matches_of(pattern) for each in match.types})


def words(pattern: Pattern) -> str:
    """The pattern in words."""
    match pattern:
        case All():
            return "(" + " and ".join(map(words, pattern.parts)) + ")"
        case Any():
            return "(" + " or ".join(map(words, pattern.parts)) + ")"
        case Not():
            return f"not {words(pattern.part)}"
        case Happened():
            return event_words(pattern.event) + _kept(pattern.remember)
        case Counted():
            within = span_words(pattern.within)
            return f"{pattern.at_least} × {event_words(pattern.event)} within {within}{_kept(pattern.remember)}"
        case Sequence():
            steps = ", then ".join(map(event_words, pattern.steps))
            return f"{steps}, within {span_words(pattern.within)}{_kept(pattern.remember)}"
        case Dwell():
            return f"stay of {span_words(pattern.lasting)} at {event_words(pattern.inside)}"
    missing = f"no {event_words(pattern.missing)} within {span_words(pattern.lasting)}"
    return f"{missing} after {event_words(pattern.after)}{_kept(pattern.remember)}"


def event_words(match: EventMatch) -> str:
    """Which events, in words."""
    tests = ", ".join(_test_words(test) for test in match.tests)
    return "|".join(match.types) + (f"[{tests}]" if tests else "")


def _test_words(test: Test) -> str:
    if test.kind == "missing":
        return f"no {test.field}"
    if test.kind == "between":
        low = "" if test.least is None else f"{test.least:g} ≤ "
        return f"{low}{test.field}" + ("" if test.most is None else f" ≤ {test.most:g}")
    sign = {"one_of": "=", "none_of": "≠", "starts_with": "begins with", "contains": "contains"}[test.kind]
    return f"{test.field} {sign} {'|'.join(test.values[:5])}" + ("|…" if len(test.values) > 5 else "")


def span_words(milliseconds: int) -> str:
    """A span of time in the largest unit that it is a whole number of."""
    for unit, size in (("d", 24 * HOUR), ("h", HOUR), ("min", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"


def _kept(remember: int) -> str:
    return f" (remembered for {span_words(remember)})" if remember else ""
