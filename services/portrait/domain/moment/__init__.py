"""The moment: event patterns as typed data, compiled to closures, matched per customer in event time.

A pattern *holds* or does not at every millisecond of a customer's event time, whatever the order in which his events
became known; a rule *matches* when its pattern begins to hold. That makes the outcome a plain function of the events,
and a slow reference matcher a page of code (`tests/portrait/reference_matcher.py`).
"""

from services.portrait.domain.moment.engine import Engine, Match
from services.portrait.domain.moment.explain import Finding, explain
from services.portrait.domain.moment.pattern import (
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
    PatternInvalid,
    Rule,
    Sequence,
    Test,
    check,
)

__all__ = [
    "Absent",
    "All",
    "Any",
    "Counted",
    "Dwell",
    "Engine",
    "Event",
    "EventMatch",
    "Finding",
    "Happened",
    "Match",
    "Not",
    "Pattern",
    "PatternInvalid",
    "Rule",
    "Sequence",
    "Test",
    "check",
    "explain",
]
