"""Cells of a definition as YAML nodes, read one by one into typed values; each refusal names its place.

Excel is read by the same functions: `rule_sheet` makes nodes of its cells.
"""

import re
from collections.abc import Callable, Collection
from datetime import date

import yaml

from services.points.domain.rule_set import EVENT_TYPES, MOST_AMOUNT_FEN, Span
from services.points.refusals import rule_set_invalid

TAG = "tag:yaml.org,2002:"
MOST_TEXT = 64
_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")
_KIND = {"int": "a number", "float": "a number", "bool": "a yes or no", "null": "empty", "timestamp": "a date"}


def values(node: yaml.Node, place: str, name: str) -> frozenset[str]:
    """The set that a cell lists."""
    listed = items(node, place)
    if not listed:
        raise rule_set_invalid(place, "lists no value; leave the cell out to accept all")
    texts = [text(item, place, MOST_TEXT) for item in listed]
    if name == "type" and "REFUND" in texts:
        raise rule_set_invalid(place, "REFUND is not scored: it takes back what its origin gave")
    for value in texts:
        if name == "type" and value not in EVENT_TYPES:
            raise rule_set_invalid(place, f"{value} is not one of {', '.join(sorted(EVENT_TYPES))}")
    if len(set(texts)) != len(texts):
        raise rule_set_invalid(place, "a value stands twice")
    return frozenset(texts)


def span(node: yaml.Node, place: str, name: str) -> Span:
    """A range with from, to or both."""
    ends = mapping(node, place, {"from", "to"}, set())
    read: Callable[[yaml.Node, str], int] = day if name == "date" else amount
    low = read(ends["from"], f"{place}.from") if "from" in ends else None
    high = read(ends["to"], f"{place}.to") if "to" in ends else None
    if low is None and high is None:
        raise rule_set_invalid(place, "needs from or to; leave the cell out to accept all")
    if low is not None and high is not None and low > high:
        raise rule_set_invalid(place, "ends before it begins")
    return Span(low, high)


def amount(node: yaml.Node, place: str) -> int:
    """Fen."""
    return whole(node, place, MOST_AMOUNT_FEN)


def day(node: yaml.Node, place: str) -> int:
    """A date as its proleptic ordinal."""
    if isinstance(node, yaml.ScalarNode):
        try:
            return date.fromisoformat(node.value).toordinal()
        except ValueError:
            pass
    raise rule_set_invalid(place, "is not a date like 2026-09-01")


def whole(node: yaml.Node, place: str, most: int) -> int:
    """A whole number within 0 and `most`."""
    if isinstance(node, yaml.ScalarNode) and node.tag == TAG + "int" and _WHOLE.fullmatch(node.value):
        value = int(node.value)
        if value <= most:
            return value
    raise rule_set_invalid(place, f"is not a whole number from 0 to {most:,}, written in decimal digits only")


def choice(node: yaml.Node, place: str, choices: Collection[str]) -> str:
    """One of some words."""
    value = text(node, place, MOST_TEXT)
    if value not in choices:
        raise rule_set_invalid(place, f"{value} is not one of {', '.join(sorted(choices))}")
    return value


def text(node: yaml.Node, place: str, most: int) -> str:
    """A text of 1 to `most` characters."""
    if not isinstance(node, yaml.ScalarNode):
        raise rule_set_invalid(place, "is not a text")
    if node.tag != TAG + "str":
        kind = _KIND.get(node.tag.removeprefix(TAG), "not a text")
        raise rule_set_invalid(place, f"{node.value!r} reads as {kind} here; put it in quotes to mean the text")
    if not 1 <= len(node.value) <= most or "\0" in node.value:
        raise rule_set_invalid(place, f"must be 1 to {most:,} characters")
    return str(node.value)


def items(node: yaml.Node, place: str) -> list[yaml.Node]:
    """The nodes of a list."""
    if not isinstance(node, yaml.SequenceNode):
        raise rule_set_invalid(place, "is not a list")
    return list(node.value)


def mapping(
    node: yaml.Node, place: str, known: Collection[str] | None, needed: Collection[str]
) -> dict[str, yaml.Node]:
    """The nodes of a mapping; only `known` names (None: any), all of `needed`."""
    if not isinstance(node, yaml.MappingNode):
        raise rule_set_invalid(place, "is not a mapping of names to values")
    result: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        where = f"{place}.{name}" if place != "definition" else name
        if known is not None and name not in known:
            raise rule_set_invalid(where, f"is not known here; known are {', '.join(sorted(known))}")
        if name in result:
            raise rule_set_invalid(where, "stands twice")
        result[name] = value
    for name in sorted(set(needed) - result.keys()):
        raise rule_set_invalid(f"{place}.{name}" if place != "definition" else name, "is missing")
    return result


def refuse_aliases(root: yaml.Node) -> None:
    """An alias makes one node stand twice: a small text could grow without bounds, and a reader would not see it."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            raise rule_set_invalid(f"line {node.start_mark.line + 1}", "anchors and aliases are not allowed")
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            waiting.extend(part for pair in node.value for part in pair)
