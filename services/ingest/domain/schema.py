"""What the events of known types must say: the network's own, which come one by one as they happen.

Events of files have the columns of their feed's contract; an event that is told by RPC or by a broker has what its
source sends. For the types below that is held against a schema, and one that breaks it is kept aside. A type that is
not listed, and an attribute beside those listed, is as its source means it.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Field:
    """What an attribute may be; `told` says it to people."""

    told: str
    check: Check


def _is_whole(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    if isinstance(value, float):
        return value >= 0 and value.is_integer()  # infinity is not
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _one_of(*words: str) -> Field:
    return Field(f"must be one of {', '.join(words)}", lambda value: value in words)


WHOLE = Field("must be a whole number, 0 or more", _is_whole)
TEXT = Field("must be a text that is not empty", lambda value: isinstance(value, str) and bool(value))


@dataclass(frozen=True)
class Schema:
    """The attributes of a type; of `either` one group must be there as a whole."""

    fields: Mapping[str, Field]
    either: tuple[tuple[str, ...], ...]


SCHEMAS: Mapping[str, Schema] = {
    "internet.access": Schema(  # 上网: what somebody turned to on the Internet
        {"host": TEXT, "app": TEXT, "category": TEXT, "keyword": TEXT, "seconds": WHOLE, "kb": WHOLE},
        (("host",), ("app",), ("category",)),
    ),
    "location.changed": Schema(  # 位置变更: the cell, or the place, where somebody is now
        {"lac": WHOLE, "cell": WHOLE, "cell_id": WHOLE, "place_id": TEXT, "place_class": TEXT, "town": TEXT},
        (("cell_id",), ("lac", "cell"), ("place_id",), ("place_class",)),
    ),
    "voice.call": Schema(  # 语音通话: a call that ended
        {"direction": _one_of("in", "out"), "seconds": WHOLE, "peer_class": TEXT,
         "call_type": _one_of("local", "long", "roam", "abroad")},
        (("direction", "seconds"),),
    ),
}  # fmt: skip


def problems(kind: str, attributes: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of an event breaks the schema of its type, by field; nothing for a type without one."""
    if kind not in SCHEMAS:
        return []
    fields, lacking = _looked_at(kind, tuple(attributes))
    found = [
        (f"event.attributes.{name}", field.told) for name, field in fields.items() if not field.check(attributes[name])
    ]
    return [*found, *lacking]


@functools.lru_cache(maxsize=1024)
def _looked_at(kind: str, names: tuple[str, ...]) -> tuple[dict[str, Field], list[tuple[str, str]]]:
    """The fields to check of an event with these names, and what it lacks; a source's events have the same names."""
    schema, lacking = SCHEMAS[kind], list[tuple[str, str]]()
    if not any(all(name in names for name in group) for group in schema.either):
        groups = ", or ".join(" and ".join(group) for group in schema.either)
        lacking = [("event.attributes", f"of {kind} must have {groups}")]
    return {name: field for name, field in schema.fields.items() if name in names}, lacking
