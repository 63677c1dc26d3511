"""Patterns and snapshots as JSON, for what is kept in tables."""

import dataclasses
import json
import zlib
from collections.abc import Mapping
from typing import Any

from services.portrait.domain.moment import pattern as ast
from services.portrait.domain.moment.pattern import EventMatch, Pattern, Test

_KINDS = {
    kind.__name__: kind
    for kind in (ast.Happened, ast.Counted, ast.Sequence, ast.Dwell, ast.Absent, ast.All, ast.Any, ast.Not)
}


def to_json(value: object) -> Any:
    """A pattern, or a part of one, as JSON values; a pattern carries its `kind`."""
    if isinstance(value, tuple):
        return [to_json(each) for each in value]
    if dataclasses.is_dataclass(value):
        made = {one.name: to_json(getattr(value, one.name)) for one in dataclasses.fields(value)}
        name = type(value).__name__
        return {"pattern": name, **made} if name in _KINDS else made
    return value


def pattern_of(told: Mapping[str, Any]) -> Pattern:
    """The pattern that to_json made this of."""
    kind = _KINDS[told["pattern"]]
    return kind(**{name: _value(name, each) for name, each in told.items() if name != "pattern"})


def _value(name: str, told: Any) -> Any:
    if name in ("event", "inside", "after", "missing"):
        return match_of(told)
    if name == "steps":
        return tuple(map(match_of, told))
    if name == "parts":
        return tuple(map(pattern_of, told))
    return pattern_of(told) if name == "part" else told


def match_of(told: Mapping[str, Any]) -> EventMatch:
    """The event match that to_json made this of."""
    tests = tuple(Test(**{**test, "values": tuple(test["values"])}) for test in told["tests"])
    return EventMatch(tuple(told["types"]), tests)


def packed(snapshot: Mapping[str, Any]) -> bytes:
    """An engine's snapshot as bytes."""
    told = {
        "now": snapshot["now"],
        "slots": [(to_json(match), reach) for match, reach in snapshot["slots"]],
        "histories": [(customer, list(history.items())) for customer, history in snapshot["histories"].items()],
        "matched": [(customer, list(by_rule.items())) for customer, by_rule in snapshot["matched"].items()],
        "timers": snapshot["timers"],
        "rules": snapshot["rules"],
    }
    return zlib.compress(json.dumps(told, separators=(",", ":")).encode(), 1)


def unpacked(data: bytes) -> dict[str, Any]:
    """The snapshot that packed() made this of."""
    told = json.loads(zlib.decompress(data))
    return {
        "now": told["now"],
        "slots": [(match_of(match), reach) for match, reach in told["slots"]],
        "histories": {
            customer: {number: [(time, key) for time, key in events] for number, events in history}
            for customer, history in told["histories"]
        },
        "matched": {
            customer: {rule_id: [tuple(one) for one in seen] for rule_id, seen in by_rule}
            for customer, by_rule in told["matched"]
        },
        "timers": [tuple(timer) for timer in told["timers"]],
        "rules": told.get("rules", []),
    }
