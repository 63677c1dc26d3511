"""The engine: events in, matches out. It holds its customers' histories and knows no clock but the one it is told.

An event is found its event matches by an index (type, then value), put in its place in the customer's histories, and
the rules that look at those are evaluated from its time on, since nothing before it can change. What begins to hold
later is evaluated again by a timer. So the order of arrival does not matter, an event that comes twice is one, and a
match has the same id whoever finds it.
"""

import hashlib
import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.portrait.domain.moment import pattern as ast
from services.portrait.domain.moment.pattern import Event, EventMatch, Rule
from services.portrait.domain.moment.predicate import Index
from services.portrait.domain.moment.spans import FOREVER, History, Moment, Node, compiled, stays

_KEPT = 32  # matches remembered per customer and rule; the database's unique key remembers them all
_TRIMMED = 16  # a history shorter than this is not worth trimming
_NOTHING: Mapping[str, list[tuple[int, int, str]]] = {}


class Match(NamedTuple):
    """A rule began to hold for a customer. Times are milliseconds; `found` is the clock when it was found."""

    match_id: str
    rule_id: str
    version: int
    customer_key: int
    time: int
    start_time: int
    start_event_id: str
    found: int


@dataclass(frozen=True, eq=False)
class _Compiled:
    rule: Rule
    node: Node
    needs: frozenset[int]
    """Slots without an event in each of which it can't hold, so that most events need not be looked at further."""
    wait: int
    """From when it holds to when that is decided."""
    end: int
    first: int
    """Of a sequence, the slot of its first step, in which each of its matches begins; -1 for every other pattern."""


@dataclass
class _Slot:
    """An event match in use: which rules look at it, and for how long its events matter."""

    match: EventMatch
    reach: int = 0
    rules: list[_Compiled] = field(default_factory=list)
    late_rules: list[_Compiled] = field(default_factory=list)
    """Rules that only an event out of order can make match anew."""
    inside: set[int] = field(default_factory=set)
    """For an area's `located`: the numbers of its `inside`s."""
    dwelt: bool = False
    """Whether it is one of those."""
    kept: int = 0
    """For how long its events are kept: its reach, or the longest of its `inside`s."""


def everybody(rule: Rule, customer_key: int) -> bool:
    """The audience of a rule without one."""
    return True


def match_id(rule: Rule, customer_key: int, start_event_id: str) -> str:
    """The same match has the same id, whoever finds it, however often: 32 hexadecimal digits."""
    told = f"{rule.rule_id}\0{rule.version}\0{customer_key}\0{start_event_id}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


class Engine:
    """Rules and the customers of one partition. `member` says whether a customer belongs to a rule's audience now."""

    def __init__(self, member: Callable[[Rule, int], bool] = everybody) -> None:
        self.now = 0
        self._member = member
        self._numbers: dict[EventMatch, int] = {}
        self._slots: list[_Slot] = []
        self._index = Index({})
        self._rules: dict[tuple[str, int], _Compiled] = {}
        self._histories: dict[int, History] = {}
        self._matched: dict[int, dict[str, list[tuple[int, int, str]]]] = {}
        self._timers: list[tuple[int, int, str, int, int]] = []
        self._set: set[tuple[int, int, str, int, int]] = set()
        self._watched: set[str] = set()

    @property
    def customers(self) -> int:
        """How many customers have a history."""
        return len(self._histories)

    def purge(self, customer: int) -> bool:
        """Forget a customer: his histories, matches and timers. Says whether there was anything."""
        known = customer in self._histories or customer in self._matched
        self._histories.pop(customer, None)
        self._matched.pop(customer, None)
        timers = [timer for timer in self._timers if timer[1] != customer]
        if len(timers) < len(self._timers):
            heapq.heapify(timers)
            self._timers, self._set, known = timers, set(timers), True
        return known

    def set_rules(self, rules: Iterable[Rule]) -> dict[EventMatch, int]:
        """Watch for these rules from now on, and no others. Gives the event matches whose past is not known yet, with
        how far back it matters: `remember` them, then `reconsider` the new rules, and no match is missed."""
        rules = list(rules)
        for slot in self._slots:
            slot.rules, slot.late_rules, slot.inside = [], [], set()
        wanting: dict[EventMatch, int] = {}
        self._rules, self._watched = {}, {rule.rule_id for rule in rules}
        for rule in rules:
            reach = ast.look_back(rule.pattern) + rule.stale_after + rule.lateness + 2
            for match in dict.fromkeys(ast.matches_of(rule.pattern)):
                slot = self._slots[self._number(match)]
                if reach > slot.reach:
                    wanting[match] = slot.reach = reach
            self._add(rule)
        used = {slot.match: number for number, slot in enumerate(self._slots) if slot.rules or slot.late_rules}
        self._index = Index(used)
        self._unlearn(number for number, slot in enumerate(self._slots) if slot.reach and slot.match not in used)
        dwelt = {number for slot in self._slots for number in slot.inside}
        for number, slot in enumerate(self._slots):
            slot.dwelt = number in dwelt
            slot.kept = max([slot.reach, *(self._slots[each].reach for each in slot.inside)])
        return wanting

    def watches(self, rule: Rule) -> bool:
        """Whether this version of a rule is watched for."""
        return (rule.rule_id, rule.version) in self._rules

    def knows_matches(self, rule_id: str) -> bool:
        """Whether what a rule matched before is known; if it is not, `restore_matches` tells, for its cool-down."""
        return rule_id in self._watched

    def apply(self, event: Event, received: int) -> list[Match]:
        """Take an event that became known at `received`; gives the matches found up to then."""
        found = self.advance(received) if received > self.now else []
        numbers = self._index.find(event.type, event.fields)
        if numbers:
            self._take(event, numbers, found)
        return found

    def advance(self, now: int) -> list[Match]:
        """Let time go on, and find what matches by the clock."""
        found: list[Match] = []
        timers = self._timers
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)
            self._set.discard(timer)
            self.now = max(self.now, timer[0])
            rule, history = self._rules.get((timer[2], timer[3])), self._histories.get(timer[1])
            if rule is not None and history is not None:
                self._evaluate(rule, timer[1], history, timer[4] - 1, found)
        self.now = max(self.now, now)
        return found

    def remember(self, event: Event, matches: Iterable[EventMatch]) -> None:
        """Put a past event into the histories of these event matches, without looking for matches."""
        wanted = {self._numbers[match] for match in matches}
        for number in self._index.find(event.type, event.fields):
            if number in wanted:
                events = self._histories.setdefault(event.customer_key, {}).setdefault(number, [])
                moment = (event.time, event.event_id)
                at = bisect_left(events, moment)
                if at == len(events) or events[at] != moment:
                    events.insert(at, moment)

    def reconsider(self, rules: Iterable[Rule]) -> list[Match]:
        """Evaluate rules for every customer: what they remember may match already, or soon."""
        chosen = [self._rules[rule.rule_id, rule.version] for rule in rules]
        found: list[Match] = []
        for customer, history in self._histories.items():
            for rule in chosen:
                self._evaluate(rule, customer, history, self.now - rule.rule.stale_after - rule.wait - 1, found)
        return found

    def forget(self) -> None:
        """Drop what can matter no more, and customers of whom nothing is left."""
        for customer in list(self._histories):
            self._trim(self._histories[customer])
            if not self._histories[customer]:
                del self._histories[customer]
        longest = max((slot.reach for slot in self._slots), default=0)
        oldest: dict[str, int] = {}
        for rule in (each.rule for each in self._rules.values()):
            oldest[rule.rule_id] = min(self.now - max(longest, rule.cool_down), oldest.get(rule.rule_id, self.now))
        for customer, by_rule in list(self._matched.items()):
            for rule_id, seen in list(by_rule.items()):
                kept = [one for one in seen if rule_id in oldest and one[0] >= oldest[rule_id]]
                if kept:
                    by_rule[rule_id] = kept
                else:
                    del by_rule[rule_id]
            if not by_rule:
                del self._matched[customer]

    def snapshot(self) -> dict[str, Any]:
        """Everything that was learnt, as plain values; rules are not part of it."""
        return {
            "now": self.now,
            "slots": [(slot.match, slot.reach) for slot in self._slots],
            "histories": self._histories,
            "matched": self._matched,
            "timers": self._timers,
            "rules": sorted(self._watched),
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from a snapshot; set_rules() follows."""
        self.now = kept["now"]
        self._slots = [_Slot(match, reach) for match, reach in kept["slots"]]
        self._numbers = {slot.match: number for number, slot in enumerate(self._slots)}
        self._histories, self._matched = kept["histories"], kept["matched"]
        self._timers = list(kept["timers"])
        self._set = set(self._timers)
        self._watched = set(kept["rules"])

    def restore_matches(self, matches: Iterable[Match]) -> None:
        """Know of matches that were delivered after the snapshot was made."""
        for found in matches:
            seen = self._matched.setdefault(found.customer_key, {}).setdefault(found.rule_id, [])
            if all((version, start) != (found.version, found.start_event_id) for _, version, start in seen):
                seen.append((found.time, found.version, found.start_event_id))

    @property
    def numbers(self) -> dict[EventMatch, int]:
        """The number of each event match."""
        return self._numbers

    def node(self, rule_id: str, version: int) -> Node:
        """A rule's compiled pattern."""
        return self._rules[rule_id, version].node

    def history(self, customer_key: int) -> History:
        """What is known of a customer."""
        return self._histories.get(customer_key, {})

    def _unlearn(self, unused: Iterable[int]) -> None:
        """What no rule looks at any more is not recorded: what is known of it would have gaps when one does again."""
        numbers = list(unused)
        for number in numbers:
            self._slots[number].reach = 0
        if numbers:
            for history in self._histories.values():
                for number in numbers:
                    history.pop(number, None)

    def _number(self, match: EventMatch) -> int:
        number = self._numbers.get(match)
        if number is None:
            number = self._numbers[match] = len(self._slots)
            self._slots.append(_Slot(match))
        return number

    def _add(self, rule: Rule) -> None:
        pattern = rule.pattern
        wait = rule.lateness + 1 if ast.by_clock(pattern) else 0
        needs = frozenset(self._numbers[match] for match in ast.needed(pattern))
        end = FOREVER if rule.retire_time is None else rule.retire_time
        first = self._numbers[pattern.steps[0]] if isinstance(pattern, ast.Sequence) else -1
        made = _Compiled(rule, compiled(pattern, self._numbers), needs, wait, end, first)
        self._rules[rule.rule_id, rule.version] = made
        parts = [part for _, _, part in ast.walk(pattern)]
        dwells = [part for part in parts if isinstance(part, ast.Dwell)]
        # To be seen outside ends a stay; alone, or under an All, nothing begins to hold by that, if it is the latest.
        ends_only = not any(isinstance(part, ast.Any | ast.Not) for part in parts)
        outside = {self._numbers[ast.located(dwell)] for dwell in dwells} if ends_only else set()
        others = (part for part in parts if not isinstance(part, ast.All | ast.Any | ast.Not | ast.Dwell))
        always = {self._numbers[match] for part in others for match in ast.matches_of(part)}
        always |= {self._numbers[dwell.inside] for dwell in dwells}
        for number in {self._numbers[match] for match in ast.matches_of(pattern)}:
            lazy = number in outside and number not in always
            (self._slots[number].late_rules if lazy else self._slots[number].rules).append(made)
        for dwell in dwells:
            self._slots[self._numbers[ast.located(dwell)]].inside.add(self._numbers[dwell.inside])

    def _take(self, event: Event, numbers: list[int], found: list[Match]) -> None:
        customer, moment = event.customer_key, (event.time, event.event_id)
        history = self._histories.get(customer)
        if history is None:
            history = self._histories[customer] = {}
        touched: list[_Compiled] = []
        for number in numbers:
            slot = self._slots[number]
            events = history.get(number)
            if events is None:
                history[number] = [moment]
            elif moment > events[-1]:
                events.append(moment)
            else:
                at = bisect_left(events, moment)
                if events[at] == moment:
                    continue  # it came before
                events.insert(at, moment)
                touched += slot.late_rules
            touched += slot.rules
            if events is not None and len(events) > _TRIMMED and events[0][0] < self.now - slot.reach:
                self._trim(history)
        there, since = history.keys(), event.time - 1
        for rule in touched if len(touched) < 2 else dict.fromkeys(touched):
            if rule.needs <= there and not (rule.first >= 0 and self._is_told(rule, customer, history, since)):
                self._evaluate(rule, customer, history, since, found)

    def _is_told(self, made: _Compiled, customer: int, history: History, since: int) -> bool:
        """Whether whatever chains of a sequence end after `since`, their match was delivered: most evaluations of a
        sequence whose last step happens often would only find that.

        The last delivered match rests on a chain c0 < c1 < … < ck, and ck happened at `time`. A chain that ends at
        e > ck has as its next to last event the latest of that step before e, which is c(k-1) or later; and so on down
        to the first, which is c0 or later. If c0 is the latest event of its step, that is c0: the same match.
        """
        seen = self._matched.get(customer, _NOTHING).get(made.rule.rule_id)
        if not seen:
            return False
        time, version, event_id = seen[-1]
        return time <= since and version == made.rule.version and history[made.first][-1][1] == event_id

    def _evaluate(self, made: _Compiled, customer: int, history: History, since: int, found: list[Match]) -> None:
        """Deliver what begins to hold after `since` and is decided; set a timer for what is not yet."""
        rule = made.rule
        oldest = max(self.now - rule.stale_after, rule.publish_time)
        for first, start in made.node.begins(history, since):
            if first + made.wait > self.now:
                timer = (first + made.wait, customer, rule.rule_id, rule.version, first)
                if timer not in self._set:
                    self._set.add(timer)
                    heapq.heappush(self._timers, timer)
            elif oldest <= first < made.end and self._member(rule, customer):
                self._deliver(made, customer, first, start or made.node.support(history, first), found)

    def _deliver(self, made: _Compiled, customer: int, first: int, start: Moment | None, found: list[Match]) -> None:
        assert start is not None, "an anchored pattern rests on an event"
        rule = made.rule
        matched = self._matched.get(customer)
        if matched is None:
            matched = self._matched[customer] = {}
        seen = matched.get(rule.rule_id)
        if seen is None:
            seen = matched[rule.rule_id] = []
        for time, version, event_id in seen:
            if (version == rule.version and event_id == start[1]) or abs(first - time) < rule.cool_down:
                return
        seen.append((first, rule.version, start[1]))
        del seen[:-_KEPT]
        key = match_id(rule, customer, start[1])
        found.append(Match(key, rule.rule_id, rule.version, customer, first, start[0], start[1], self.now))

    def _trim(self, history: History) -> None:
        """Drop events that can matter no more. Of a stay that goes on, its first event stays."""
        for number in [number for number in history if self._slots[number].inside]:
            slot = self._slots[number]
            oldest = (self.now - slot.kept, "")
            for each in slot.inside & history.keys():
                lasting = stays(history[each], history[number])
                going_on = [first for first, left in lasting if first < oldest and left >= oldest[0]]
                _replace(history, each, going_on + history[each][bisect_left(history[each], oldest) :])
        for number, events in list(history.items()):
            slot = self._slots[number]
            if not slot.dwelt and events[0][0] < self.now - slot.kept:
                _replace(history, number, events[bisect_left(events, (self.now - slot.kept, "")) :])


def _replace(history: History, number: int, events: list[tuple[int, str]]) -> None:
    if events:
        history[number] = events
    else:
        del history[number]
