"""Rule sets as analysts write them: YAML in, typed cells out. Nothing in the text is ever evaluated.

    description: 全业务积分 2026
    most_amount_fen: 10000000            # larger amounts wait in suspense; the proof of bounds uses it
    tables:
      new_business:
        component: development           # or stock
        to: staff                        # or owners: those of the customer's responsibility field, by share
        hit: first                       # the first row that matches gives; collect: every row that matches
        rows:
          - {id: NB1, type: [NEW], category: [宽带], amount_fen: {from: 3900}, fixed: 20000, num: 5, den: 1}
          - {id: NB2, type: [NEW], channel: [store, call], date: {from: 2026-01-01, to: 2026-12-31}, fixed: 3000}

Cells: type, product, category, channel and staff_role are lists of texts; amount_fen and date are ranges, both ends
inclusive; fixed (default 0), num (default 0) and den (default 1) are whole numbers >= 0 (den >= 1), in milli-points and
milli-points per fen. A place in a message is `tables.<table>[<row, from 1>].<column>`. Anchors, aliases and keys that
stand twice are refused: a table must mean what it shows.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date

import yaml

from services.points.domain.rule_set import (
    COMPONENTS,
    EVENT_TYPES,
    MOST_AMOUNT_FEN,
    MOST_INT64,
    SET_COLUMNS,
    SPAN_COLUMNS,
    Hit,
    Row,
    RuleSet,
    Span,
    Table,
    To,
    prove_bounds,
)
from services.points.refusals import rule_set_invalid

MOST_TABLES = 64
MOST_ROWS = 2_000
MOST_VALUES = 20_000
"""In all cells together; rows × values bound the kernel's bitsets to a few megabytes."""

_MOST_TEXT = 64
_MOST_DESCRIPTION = 2_000
_DEFAULT_MOST_AMOUNT_FEN = 10**9
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RULE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")
_TAG = "tag:yaml.org,2002:"
_KIND = {"int": "a number", "float": "a number", "bool": "a yes or no", "null": "empty", "timestamp": "a date"}


def parse(text: str) -> RuleSet:
    """The rule set that a definition says, checked whole, bounds included. Raises rule_set_invalid with the place."""
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "definition" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
        raise rule_set_invalid(place, f"is not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise rule_set_invalid("definition", "is not YAML text") from error
    if root is None:
        raise rule_set_invalid("definition", "is empty")
    _refuse_aliases(root)
    fields = _mapping(root, "definition", {"description", "most_amount_fen", "tables"}, {"tables"})
    description = _text(fields["description"], "description", _MOST_DESCRIPTION) if "description" in fields else ""
    most = _DEFAULT_MOST_AMOUNT_FEN
    if "most_amount_fen" in fields:
        most = _whole(fields["most_amount_fen"], "most_amount_fen", MOST_AMOUNT_FEN)
    tables = tuple(_tables(fields["tables"]))
    rules = RuleSet(description, most, tables)
    prove_bounds(rules)
    return rules


def _tables(node: yaml.Node) -> Iterator[Table]:
    named = _mapping(node, "tables", None, set())
    if not 1 <= len(named) <= MOST_TABLES:
        raise rule_set_invalid("tables", f"must hold 1 to {MOST_TABLES} tables")
    seen: dict[str, str] = {}
    values = 0
    for name, body in named.items():
        place = f"tables.{name}"
        if not _NAME.fullmatch(name):
            raise rule_set_invalid(place, "a table's name is lower case letters, digits and underscores, at most 63")
        fields = _mapping(body, place, {"component", "to", "hit", "rows"}, {"component", "to", "rows"})
        component = _choice(fields["component"], f"{place}.component", COMPONENTS)
        to = To(_choice(fields["to"], f"{place}.to", frozenset(To)))
        hit = Hit(_choice(fields["hit"], f"{place}.hit", frozenset(Hit))) if "hit" in fields else Hit.FIRST
        rows: list[Row] = []
        for number, each in enumerate(_items(fields["rows"], f"{place}.rows"), 1):
            row = _row(each, f"{place}[{number}]")
            if row.rule_id in seen:
                raise rule_set_invalid(f"{place}[{number}].id", f"{row.rule_id} stands at {seen[row.rule_id]} too")
            seen[row.rule_id] = f"{place}[{number}]"
            rows.append(row)
            values += sum(len(cell) for cell in row.sets.values())
            if len(seen) > MOST_ROWS or values > MOST_VALUES:
                problem = f"a rule set holds at most {MOST_ROWS:,} rows and {MOST_VALUES:,} values in their cells"
                raise rule_set_invalid(f"{place}[{number}]", problem)
        if not rows:
            raise rule_set_invalid(f"{place}.rows", "a table needs a row")
        yield Table(name, component, hit, to, tuple(rows))


def _row(node: yaml.Node, place: str) -> Row:
    known = {"id", "fixed", "num", "den", *SET_COLUMNS, *SPAN_COLUMNS}
    cells = _mapping(node, place, known, {"id"})
    rule_id = _text(cells["id"], f"{place}.id", _MOST_TEXT)
    if not _RULE_ID.fullmatch(rule_id):
        raise rule_set_invalid(f"{place}.id", "an id is letters, digits, points, dashes and underscores, at most 63")
    sets = {name: _set(cells[name], f"{place}.{name}", name) for name in SET_COLUMNS if name in cells}
    spans = {name: _span(cells[name], f"{place}.{name}", name) for name in SPAN_COLUMNS if name in cells}
    numbers = {"fixed": 0, "num": 0, "den": 1}
    for name in numbers:
        if name in cells:
            numbers[name] = _whole(cells[name], f"{place}.{name}", MOST_INT64)
    if numbers["den"] == 0:
        raise rule_set_invalid(f"{place}.den", "must be 1 or more")
    if "den" in cells and "num" not in cells:
        raise rule_set_invalid(f"{place}.den", "stands without num")
    return Row(rule_id, sets, spans, numbers["fixed"], numbers["num"], numbers["den"])


def _set(node: yaml.Node, place: str, name: str) -> frozenset[str]:
    items = _items(node, place)
    if not items:
        raise rule_set_invalid(place, "lists no value; leave the cell out to accept all")
    values = [_text(item, place, _MOST_TEXT) for item in items]
    if name == "type" and "REFUND" in values:
        raise rule_set_invalid(place, "REFUND is not scored: it takes back what its origin gave")
    for value in values:
        if name == "type" and value not in EVENT_TYPES:
            raise rule_set_invalid(place, f"{value} is not one of {', '.join(sorted(EVENT_TYPES))}")
    if len(set(values)) != len(values):
        raise rule_set_invalid(place, "a value stands twice")
    return frozenset(values)


def _span(node: yaml.Node, place: str, name: str) -> Span:
    ends = _mapping(node, place, {"from", "to"}, set())
    read: Callable[[yaml.Node, str], int] = _day if name == "date" else _amount
    low = read(ends["from"], f"{place}.from") if "from" in ends else None
    high = read(ends["to"], f"{place}.to") if "to" in ends else None
    if low is None and high is None:
        raise rule_set_invalid(place, "needs from or to; leave the cell out to accept all")
    if low is not None and high is not None and low > high:
        raise rule_set_invalid(place, "ends before it begins")
    return Span(low, high)


def _amount(node: yaml.Node, place: str) -> int:
    return _whole(node, place, MOST_AMOUNT_FEN)


def _day(node: yaml.Node, place: str) -> int:
    if isinstance(node, yaml.ScalarNode):
        try:
            return date.fromisoformat(node.value).toordinal()
        except ValueError:
            pass
    raise rule_set_invalid(place, "is not a date like 2026-09-01")


def _whole(node: yaml.Node, place: str, most: int) -> int:
    if isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "int" and _WHOLE.fullmatch(node.value):
        value = int(node.value)
        if value <= most:
            return value
    raise rule_set_invalid(place, f"is not a whole number from 0 to {most:,}, written in decimal digits only")


def _choice(node: yaml.Node, place: str, choices: frozenset[str]) -> str:
    value = _text(node, place, _MOST_TEXT)
    if value not in choices:
        raise rule_set_invalid(place, f"{value} is not one of {', '.join(sorted(choices))}")
    return value


def _text(node: yaml.Node, place: str, most: int) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise rule_set_invalid(place, "is not a text")
    if node.tag != _TAG + "str":
        kind = _KIND.get(node.tag.removeprefix(_TAG), "not a text")
        raise rule_set_invalid(place, f"{node.value!r} reads as {kind} here; put it in quotes to mean the text")
    if not 1 <= len(node.value) <= most or "\0" in node.value:
        raise rule_set_invalid(place, f"must be 1 to {most:,} characters")
    return str(node.value)


def _items(node: yaml.Node, place: str) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode):
        raise rule_set_invalid(place, "is not a list")
    return list(node.value)


def _mapping(node: yaml.Node, place: str, known: set[str] | None, needed: set[str]) -> dict[str, yaml.Node]:
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
    for name in sorted(needed - result.keys()):
        raise rule_set_invalid(f"{place}.{name}" if place != "definition" else name, "is missing")
    return result


def _refuse_aliases(root: yaml.Node) -> None:
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
