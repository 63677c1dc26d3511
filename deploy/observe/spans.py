"""The traces that were heard, in memory: the latest ones, and nothing for ever."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

MOST_TRACES = 2000
MOST_SPANS = 5000  # of one trace: a run away stream must not eat the machine


@dataclass(frozen=True)
class Span:
    """One span; times in nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, str]

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e6


@dataclass
class Heard:
    """Spans by trace, the latest trace last. Threads add and read."""

    _traces: OrderedDict[str, dict[str, Span]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, spans: Iterable[Span]) -> None:
        """Keep spans; a span that comes again replaces itself."""
        with self._lock:
            for span in spans:
                kept = self._traces.setdefault(span.trace_id, {})
                if len(kept) < MOST_SPANS:
                    kept[span.span_id] = span
                self._traces.move_to_end(span.trace_id)
            while len(self._traces) > MOST_TRACES:
                self._traces.popitem(last=False)

    def traces(self) -> list[list[Span]]:
        """Every trace, the latest first; the spans of each in the order in which they began."""
        with self._lock:
            found = [list(spans.values()) for spans in reversed(self._traces.values())]
        return [sorted(spans, key=lambda span: span.start) for spans in found]

    def trace(self, trace_id: str) -> list[Span]:
        """One trace; empty when it is not known."""
        with self._lock:
            spans = list(self._traces.get(trace_id, {}).values())
        return sorted(spans, key=lambda span: span.start)


def depths(spans: list[Span]) -> dict[str, int]:
    """How deep each span lies below the root of its trace; a span whose parent was not heard is a root."""
    known = {span.span_id: span for span in spans}
    found: dict[str, int] = {}
    for span in spans:
        depth, parent, seen = 0, known.get(span.parent_id), {span.span_id}
        while parent is not None and parent.span_id not in seen:
            seen.add(parent.span_id)
            depth, parent = depth + 1, known.get(parent.parent_id)
        found[span.span_id] = depth
    return found


def tree(spans: list[Span]) -> list[Span]:
    """The spans of a trace, each below its parent, brothers by time."""
    known = {span.span_id for span in spans}
    below: dict[str, list[Span]] = {}
    for span in spans:
        below.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    found: list[Span] = []
    waiting = list(reversed(below.get("", [])))
    while waiting:
        span = waiting.pop()
        found.append(span)
        waiting += reversed(below.get(span.span_id, []))
    return found


def edges(traces: Iterable[list[Span]]) -> Counter[tuple[str, str]]:
    """How often one service called, or was followed by, another: (parent's service, child's service)."""
    found: Counter[tuple[str, str]] = Counter()
    for spans in traces:
        known = {span.span_id: span.service for span in spans}
        for span in spans:
            parent = known.get(span.parent_id)
            if parent is not None and parent != span.service:
                found[parent, span.service] += 1
    return found
