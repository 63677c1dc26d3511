"""JSON to the byte as Postgres writes jsonb, so that what an event says can be hashed before it is there.

Keys stand in the order of jsonb (the shorter first, then by their bytes), texts are escaped as Postgres does it, and a
number stands as Postgres prints it. One that Python and Postgres print in different ways has no such form here.
"""

import functools
import json
import math
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring as quoted
from typing import Any

_WHOLE = 1e15
"""Above that Python writes a float with an exponent, sooner or later; Postgres never does."""

encode = json.JSONEncoder(ensure_ascii=False).encode
"""Any JSON value as text, as Postgres takes it; json.dumps makes an encoder each time."""


class NotCanonical(Exception):
    """The value has no text here of which it is known that Postgres writes the same."""


def text_of(attributes: Mapping[str, Any]) -> str:
    """An object as jsonb. Raises NotCanonical."""
    parts = [
        head + (quoted(value) if type(value := attributes[name]) is str else _text(value))
        for name, head in _heads(tuple(attributes))
    ]
    return "{" + ", ".join(parts) + "}"


@functools.lru_cache(maxsize=4096)
def _heads(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names in order, each as it stands before its value; the events of a source have the same names."""
    return [(name, f"{quoted(name)}: ") for name in in_order(names)]


def in_order(names: Iterable[str]) -> list[str]:
    """Names of an object in the order of jsonb."""
    return sorted(names, key=lambda name: (len(name.encode()), name.encode()))


def _text(value: Any) -> str:
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return quoted(value)
        case int():
            return str(value)
        case float():
            return _float(value)
        case Mapping():
            return text_of(value)
        case list():
            return "[" + ", ".join(map(_text, value)) + "]"
    raise NotCanonical


def _float(value: float) -> str:
    if not value.is_integer() or abs(value) >= _WHOLE or (value == 0 and math.copysign(1, value) < 0):
        raise NotCanonical
    return repr(value)
