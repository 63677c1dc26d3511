"""The slow reference matcher: what a moment rule means, without an index, a span, a trim or a timer.

It keeps every event, asks of every millisecond that could matter whether the pattern holds then, by the definition of
each part, and looks for where it begins to.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from services.portrait.domain.moment import (
    Absent,
    All,
    Any,
    Counted,
    Dwell,
    Event,
    EventMatch,
    Happened,
    Not,
    Pattern,
    Rule,
    Test,
)
from services.portrait.domain.moment import Sequence as InOrder


def passes(event: Event, match: EventMatch) -> bool:
    return event.type in match.types and all(_passes(event.fields.get(test.field), test) for test in match.tests)


def _passes(value: object, test: Test) -> bool:
    if value is None or test.kind == "missing":
        return value is None and test.kind == "missing"
    if test.kind == "between":
        assert isinstance(value, int | float)
        return (test.least is None or value >= test.least) and (test.most is None or value <= test.most)
    text = str(value)
    return {
        "one_of": text in test.values,
        "none_of": text not in test.values,
        "starts_with": any(text.startswith(head) for head in test.values),
        "contains": any(part in text for part in test.values),
    }[test.kind]


def holds(pattern: Pattern, events: Sequence[Event], at: int) -> Event | bool:
    """The first event on which it rests, or True or False for what rests on none. `events` are in order."""
    match pattern:
        case All():
            found = [holds(part, events, at) for part in pattern.parts]
            return all(found) and _first(found)
        case Any():
            return _first([holds(part, events, at) for part in pattern.parts])
        case Not():
            return not holds(pattern.part, events, at)
        case Happened():
            return _first([e for e in events if passes(e, pattern.event) and e.time <= at <= e.time + pattern.remember])
        case Counted():
            such = [event for event in events if passes(event, pattern.event)]
            runs = [such[n : n + pattern.at_least] for n in range(len(such) - pattern.at_least + 1)]
            near = [run for run in runs if run[-1].time - run[0].time <= pattern.within]
            return _first([run[0] for run in near if run[-1].time <= at <= run[-1].time + pattern.remember])
        case InOrder():
            return _first([c[0] for c in _chains(pattern, events) if c[1] <= at <= c[1] + pattern.remember])
        case Absent():
            return _first([e for e in events if _unanswered(pattern, events, e, at)])
        case Dwell():
            return _first([e for e in events if _stayed(pattern, events, e, at)])


def _first(found: Iterable[Event | bool]) -> Event | bool:
    events = [one for one in found if isinstance(one, Event)]
    return min(events, key=lambda event: (event.time, event.event_id)) if events else any(found)


def _chains(pattern: InOrder, events: Sequence[Event]) -> list[tuple[Event, int]]:
    """(first event, time of the last) of each completion: for each last event the chain that began the latest."""
    chains: list[tuple[int, int]] = [(n, n) for n, event in enumerate(events) if passes(event, pattern.steps[0])]
    for step in pattern.steps[1:]:
        longer = [(a, n) for a, b in chains for n, event in enumerate(events) if n > b and passes(event, step)]
        chains = [(max(a for a, end in longer if end == n), n) for n in {end for _, end in longer}]
    near = [(a, b) for a, b in chains if events[b].time - events[a].time <= pattern.within]
    return [(events[a], events[b].time) for a, b in near]


def _unanswered(pattern: Absent, events: Sequence[Event], event: Event, at: int) -> bool:
    due = event.time + pattern.lasting
    if not passes(event, pattern.after) or not due <= at <= due + pattern.remember:
        return False
    later = events[events.index(event) + 1 :]
    return not any(passes(each, pattern.missing) and each.time <= due for each in later)


def _stayed(pattern: Dwell, events: Sequence[Event], event: Event, at: int) -> bool:
    located = [each for each in events if each.type in pattern.inside.types]
    if event not in located or not passes(event, pattern.inside) or at < event.time + pattern.lasting:
        return False
    here = located.index(event)
    if here and passes(located[here - 1], pattern.inside):
        return False  # he was there before
    out = next((each.time for each in located[here + 1 :] if not passes(each, pattern.inside)), None)
    return out is None or (at <= out and out >= event.time + pattern.lasting)


@dataclass
class Reference:
    """Rules, every event of one customer, and what was delivered."""

    rules: list[Rule]
    member: Callable[[Rule, int], bool] = lambda rule, customer: True
    now: int = 0
    events: list[Event] = field(default_factory=list)
    delivered: list[tuple[str, int, int, str]] = field(default_factory=list)
    """(rule_id, version, time, id of the first event)"""

    def advance(self, now: int) -> None:
        while True:
            due = [ready for rule in self.rules for ready in self._ready(rule) if self.now < ready <= now]
            if not due:
                break
            self.now = min(due)
            self._deliver()
        self.now = max(self.now, now)

    def apply(self, event: Event, received: int) -> None:
        self.advance(received)
        if event not in self.events:
            self.events = sorted([*self.events, event], key=lambda each: (each.time, each.event_id))
        self._deliver()

    def _begins(self, rule: Rule) -> list[int]:
        """When the pattern begins to hold: it can only at an event, or some sum of its spans of time after one."""
        spans = _spans(rule.pattern)
        points = {event.time + span + late for event in self.events for span in spans for late in (0, 1)}
        return [
            at
            for at in sorted(points)
            if holds(rule.pattern, self.events, at) and not holds(rule.pattern, self.events, at - 1)
        ]

    def _ready(self, rule: Rule) -> list[int]:
        wait = rule.lateness + 1 if _by_clock(rule.pattern) else 0
        return [at + wait for at in self._begins(rule)]

    def _deliver(self) -> None:
        for rule in self.rules:
            wait = rule.lateness + 1 if _by_clock(rule.pattern) else 0
            for at in self._begins(rule):
                fresh = at >= max(self.now - rule.stale_after, rule.publish_time)
                if at + wait > self.now or not fresh or (rule.retire_time is not None and at >= rule.retire_time):
                    continue
                start = holds(rule.pattern, self.events, at)
                assert isinstance(start, Event)
                seen = [one for one in self.delivered if one[0] == rule.rule_id]
                again = any((one[1], one[3]) == (rule.version, start.event_id) for one in seen)
                soon = any(abs(one[2] - at) < rule.cool_down for one in seen)
                if not again and not soon and self.member(rule, start.customer_key):
                    self.delivered.append((rule.rule_id, rule.version, at, start.event_id))


def _by_clock(pattern: Pattern) -> bool:
    if isinstance(pattern, All | Any):
        return any(map(_by_clock, pattern.parts))
    return isinstance(pattern, Dwell | Absent | Not)


def _spans(pattern: Pattern) -> set[int]:
    """Every time after an event at which some part may begin or cease to hold."""
    if isinstance(pattern, All | Any):
        return {span for part in pattern.parts for span in _spans(part)}
    if isinstance(pattern, Not):
        return _spans(pattern.part)
    if isinstance(pattern, Dwell):
        return {0, pattern.lasting}
    if isinstance(pattern, Absent):
        return {0, pattern.lasting, pattern.lasting + pattern.remember}
    return {0, pattern.remember}
