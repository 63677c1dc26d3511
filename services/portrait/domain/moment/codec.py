"""Patterns and snapshots as JSON, for what is kept in tables."""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from services.portrait.domain.moment import pattern as ast
from services.portrait.domain.moment.pattern import EventMatch, Pattern, Test
from services.portrait.domain.moment.spans import Moment

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


_Matched: TypeAlias = tuple[int, int, str]
_Timer: TypeAlias = tuple[int, int, str, int, int]


class _Snapshot(msgspec.Struct):
    """How a snapshot is written: maps whose keys are numbers are lists of pairs, as JSON knows no such keys."""

    now: int
    slots: list[tuple[EventMatch, int]]
    histories: list[tuple[int, list[tuple[int, list[Moment]]]]]
    matched: list[tuple[int, list[tuple[str, list[_Matched]]]]]
    timers: list[_Timer]
    rules: list[str] = []


_reader = msgspec.json.Decoder(_Snapshot)


def packed(snapshot: Mapping[str, Any]) -> bytes:
    """An engine's snapshot as JSON. The engine must stand still meanwhile: for a tenth of what the standard library
    takes. `squeezed` needs it no more."""
    told = _Snapshot(
        snapshot["now"],
        snapshot["slots"],
        [(customer, list(history.items())) for customer, history in snapshot["histories"].items()],
        [(customer, list(by_rule.items())) for customer, by_rule in snapshot["matched"].items()],
        snapshot["timers"],
        snapshot["rules"],
    )
    return msgspec.json.encode(told)


def squeezed(data: bytes) -> bytes:
    """What packed() made, as it is kept."""
    return zlib.compress(data, 1)


def unpacked(kept: bytes) -> dict[str, Any]:
    """The snapshot that packed() and squeezed() made this of."""
    told = _reader.decode(zlib.decompress(kept))
    return {
        "now": told.now,
        "slots": told.slots,
        "histories": {customer: dict(history) for customer, history in told.histories},
        "matched": {customer: dict(by_rule) for customer, by_rule in told.matched},
        "timers": told.timers,
        "rules": told.rules,
    }
