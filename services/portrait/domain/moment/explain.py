"""Why a rule did or did not match a customer at a time, part by part."""

from collections.abc import Iterator
from dataclasses import dataclass

from services.portrait.domain.moment import pattern as ast
from services.portrait.domain.moment.spans import FOREVER, History, Node


@dataclass(frozen=True)
class Finding:
    """One part: whether it held at the time, since and until when (None: unknown or never), and what was seen."""

    text: str
    depth: int
    holds: bool
    since: int | None
    until: int | None
    because: str


def explain(node: Node, history: History, numbers: dict[ast.EventMatch, int], at: int, depth: int = 0) -> list[Finding]:
    """The whole and its parts as they stood at `at`; events after it are not looked at."""
    seen = {number: [one for one in events if one[0] <= at] for number, events in history.items()}
    return list(_explain(node, seen, numbers, at, depth))


def _explain(
    node: Node, history: History, numbers: dict[ast.EventMatch, int], at: int, depth: int
) -> Iterator[Finding]:
    began = [span for span in node.spans(history, 0) if span[0] <= at]
    last = began[-1] if began else None
    holds = last is not None and last[1] >= at
    until = None if last is None or last[1] >= FOREVER else last[1]
    because = _because(node.pattern, history, numbers, at, holds)
    yield Finding(ast.words(node.pattern), depth, holds, last[0] if last else None, until, because)
    for part in node.parts:
        yield from _explain(part, history, numbers, at, depth + 1)


def _because(pattern: ast.Pattern, history: History, numbers: dict[ast.EventMatch, int], at: int, holds: bool) -> str:
    def count(match: ast.EventMatch, within: int) -> int:
        return sum(1 for time, _ in history.get(numbers[match], ()) if at - within <= time)

    match pattern:
        case ast.Happened():
            return f"{count(pattern.event, pattern.remember)} such events in reach"
        case ast.Counted():
            seen = count(pattern.event, pattern.within)
            return f"{seen} of {pattern.at_least} events within {ast.span_words(pattern.within)}"
        case ast.Sequence():
            counts = ", ".join(str(count(step, pattern.within)) for step in pattern.steps)
            return f"events of the steps within {ast.span_words(pattern.within)}: {counts}"
        case ast.Dwell():
            return _stay(pattern, history, numbers, at)
        case ast.Absent():
            reach = pattern.lasting + pattern.remember
            return f"{count(pattern.after, reach)} events to follow, {count(pattern.missing, reach)} that followed"
        case ast.Not():
            return "its part does not hold" if holds else "its part holds"
    return "its parts hold together" if holds else "its parts do not hold together"


def _stay(pattern: ast.Dwell, history: History, numbers: dict[ast.EventMatch, int], at: int) -> str:
    inside = history.get(numbers[pattern.inside], [])
    located = history.get(numbers[ast.located(pattern)], [])
    if not located:
        return "he was not located"
    if not inside or located[-1] != inside[-1]:
        return "he was last seen outside"
    outside = [moment for moment in located if moment not in set(inside)]
    entered = next(moment for moment in inside if not outside or moment > outside[-1])
    return f"inside for {ast.span_words((at - entered[0]) // 1000 * 1000)} of {ast.span_words(pattern.lasting)}"
