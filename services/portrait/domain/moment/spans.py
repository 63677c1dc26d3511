"""When a pattern holds: spans of milliseconds, compiled to closures over a customer's history.

A history is a list of (time, event_id) in order, for each event match by its number. A span is (first, last), both
included; spans of a list are in order and apart by a millisecond at least. `spans(history, since)` gives those that
reach `since` or later; the first of them may be cut anywhere at or before `since`. `begins(history, since)` gives when
it begins to hold after `since`, each with the first event on which it rests then; None where `support` must be asked.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from services.portrait.domain.moment import pattern as ast

Moment: TypeAlias = tuple[int, str]
History: TypeAlias = dict[int, list[Moment]]
Span: TypeAlias = tuple[int, int]
Spans: TypeAlias = Callable[[History, int], list[Span]]
Begins: TypeAlias = Callable[[History, int], list[tuple[int, Moment | None]]]
Support: TypeAlias = Callable[[History, int], Moment | None]
FOREVER = 1 << 62


@dataclass(frozen=True)
class Node:
    """A compiled part: when it holds, and the first event on which it rests at a time at which it does."""

    pattern: ast.Pattern
    spans: Spans
    begins: Begins
    support: Support
    parts: tuple["Node", ...] = ()


def compiled(pattern: ast.Pattern, numbers: Mapping[ast.EventMatch, int]) -> Node:
    """The pattern as closures; `numbers` are those of its event matches."""
    match pattern:
        case ast.Happened():
            return _pairs(pattern, _events(numbers[pattern.event], pattern.remember), pattern.remember)
        case ast.Counted():
            window = _windows(numbers[pattern.event], pattern.at_least, pattern.within, pattern.remember)
            return _pairs(pattern, window, pattern.remember)
        case ast.Sequence():
            steps = tuple(numbers[step] for step in pattern.steps)
            return _pairs(pattern, _chains(steps, pattern.within, pattern.remember), pattern.remember)
        case ast.Absent():
            after, missing = numbers[pattern.after], numbers[pattern.missing]
            return _pairs(pattern, _gaps(after, missing, pattern.lasting, pattern.remember), pattern.remember)
        case ast.Dwell():
            return _dwell(pattern, numbers[pattern.inside], numbers[ast.located(pattern)])
        case ast.Not():
            return _not(pattern, compiled(pattern.part, numbers))
    parts = tuple(compiled(part, numbers) for part in pattern.parts)
    return _all(pattern, parts) if isinstance(pattern, ast.All) else _any(pattern, parts)


def _at(events: list[Moment], time: int) -> int:
    """Where what happened at a time or later begins; mostly that is the last event, or none."""
    last = len(events) - 1
    if last > 0 and events[last - 1][0] < time:
        return last if events[last][0] >= time else last + 1
    return bisect_left(events, (time,))


Completed: TypeAlias = Callable[[History, int], list[tuple[int, Moment]]]
"""When it was completed and by which first event, in order of time, for all that reach `since` or later."""


def _pairs(pattern: ast.Pattern, completed: Completed, remember: int) -> Node:
    """What holds for `remember` from each completion on."""

    def spans(history: History, since: int) -> list[Span]:
        found: list[Span] = []
        for time, _ in completed(history, since):
            if found and time <= found[-1][1] + 1:
                found[-1] = (found[-1][0], max(found[-1][1], time + remember))
            else:
                found.append((time, time + remember))
        return found

    def begins(history: History, since: int) -> list[tuple[int, Moment | None]]:
        found: list[tuple[int, Moment | None]] = []
        until = 0
        for time, first in completed(history, since):
            if not found or time > until + 1:
                found.append((time, first))
            elif found[-1][0] == time:  # completed twice at once: it rests on the earlier of the two
                found[-1] = (time, min(first, found[-1][1] or first))
            until = max(until, time + remember)
        return [one for one in found if one[0] > since]

    def support(history: History, at: int) -> Moment | None:
        return min((first for time, first in completed(history, at) if time <= at <= time + remember), default=None)

    return Node(pattern, spans, begins, support)


def _beginnings(spans: Spans) -> Begins:
    def begins(history: History, since: int) -> list[tuple[int, Moment | None]]:
        return [(first, None) for first, _ in spans(history, since) if first > since]

    return begins


def _events(number: int, remember: int) -> Completed:
    def completed(history: History, since: int) -> list[tuple[int, Moment]]:
        events = history.get(number)
        if not events:
            return []
        return [(moment[0], moment) for moment in events[_at(events, since - remember) :]]

    return completed


def _windows(number: int, count: int, within: int, remember: int) -> Completed:
    def completed(history: History, since: int) -> list[tuple[int, Moment]]:
        events = history.get(number, [])
        first = max(_at(events, since - remember), count - 1)
        return [
            (events[last][0], events[last - count + 1])
            for last in range(first, len(events))
            if events[last][0] - events[last - count + 1][0] <= within
        ]

    return completed


def _chains(steps: tuple[int, ...], within: int, remember: int) -> Completed:
    before, last = steps[-2::-1], steps[-1]

    def completed(history: History, since: int) -> list[tuple[int, Moment]]:
        events = history.get(last)
        if not events:
            return []
        found = []
        for end in events[_at(events, since - remember) :]:
            moment = end
            for step in before:  # the latest of each step before the next gives the shortest chain
                earlier = history.get(step)
                if not earlier or earlier[0] >= moment:
                    break
                moment = earlier[-1] if earlier[-1] < moment else earlier[bisect_left(earlier, moment) - 1]
            else:
                if end[0] - moment[0] <= within:
                    found.append((end[0], moment))
        return found

    return completed


def _gaps(after: int, missing: int, lasting: int, remember: int) -> Completed:
    def completed(history: History, since: int) -> list[tuple[int, Moment]]:
        events, others = history.get(after), history.get(missing, ())
        if not events:
            return []
        found = []
        for moment in events[_at(events, since - remember - lasting) :]:
            at = bisect_left(others, moment)
            if at < len(others) and others[at] == moment:
                at += 1
            if at == len(others) or others[at][0] > moment[0] + lasting:
                found.append((moment[0] + lasting, moment))
        return found

    return completed


def stays(inside: list[Moment], located: list[Moment]) -> list[tuple[Moment, int]]:
    """Each stay: its first event, and when he was seen outside (FOREVER: not yet). Events inside are located too."""
    found: list[tuple[Moment, int]] = []
    at, end = 0, len(inside)
    while at < end:
        first = inside[at]
        seen = bisect_left(located, first)
        while seen < len(located):
            while at < end and inside[at] < located[seen]:
                at += 1
            if at == end or inside[at] != located[seen]:
                break
            seen += 1
        left = located[seen] if seen < len(located) else None
        found.append((first, FOREVER if left is None else left[0]))
        at = end if left is None else bisect_left(inside, left, at)
    return found


def _dwell(pattern: ast.Dwell, inside: int, located: int) -> Node:
    lasting = pattern.lasting

    def spans(history: History, since: int) -> list[Span]:
        events = history.get(inside)
        if not events:
            return []
        found: list[Span] = []
        for (time, _), left in stays(events, history.get(located, [])):
            if left >= since and left >= time + lasting:
                if found and time + lasting <= found[-1][1] + 1:
                    found[-1] = (found[-1][0], max(found[-1][1], left))
                else:
                    found.append((time + lasting, left))
        return found

    def support(history: History, at: int) -> Moment | None:
        held = (
            first
            for first, left in stays(history.get(inside, []), history.get(located, []))
            if first[0] + lasting <= at <= left
        )
        return min(held, default=None)

    return Node(pattern, spans, _beginnings(spans), support)


def _all(pattern: ast.Pattern, parts: tuple[Node, ...]) -> Node:
    # What is rare comes first, so that most evaluations end at once: negations hold nearly always.
    order = sorted(parts, key=lambda part: isinstance(part.pattern, ast.Not))

    def spans(history: History, since: int) -> list[Span]:
        found: list[Span] | None = None
        for part in order:
            its = part.spans(history, since)
            found = its if found is None else _both(found, its)
            if not found:
                return []
        return found or []

    def support(history: History, at: int) -> Moment | None:
        return min((one for part in parts if (one := part.support(history, at)) is not None), default=None)

    return Node(pattern, spans, _beginnings(spans), support, parts)


def _any(pattern: ast.Pattern, parts: tuple[Node, ...]) -> Node:
    def spans(history: History, since: int) -> list[Span]:
        found: list[Span] = []
        for first, last in sorted(span for part in parts for span in part.spans(history, since)):
            if found and first <= found[-1][1] + 1:
                found[-1] = (found[-1][0], max(found[-1][1], last))
            else:
                found.append((first, last))
        return found

    def support(history: History, at: int) -> Moment | None:
        holding = (part for part in parts if any(first <= at <= last for first, last in part.spans(history, at)))
        return min((one for part in holding if (one := part.support(history, at)) is not None), default=None)

    return Node(pattern, spans, _beginnings(spans), support, parts)


def _not(pattern: ast.Pattern, part: Node) -> Node:
    def spans(history: History, since: int) -> list[Span]:
        found, free = [], since
        for first, last in part.spans(history, since):
            if first > free:
                found.append((free, first - 1))
            free = max(free, last + 1)
        if free < FOREVER:
            found.append((free, FOREVER))
        return found

    return Node(pattern, spans, _beginnings(spans), lambda history, at: None, (part,))


def _both(left: list[Span], right: list[Span]) -> list[Span]:
    found, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        first, last = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if first <= last:
            found.append((first, last))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return found
