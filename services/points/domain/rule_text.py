"""Rule sets as analysts write them: YAML in, typed cells out, and back. Nothing in the text is ever evaluated.

    description: 全业务积分 2026
    most_amount_fen: 10000000            # larger amounts wait in suspense; the proof of bounds uses it
    weights: {development: 6000, stock: 4000}
    splits:
      shared_sale: {staff: 7000, owner: 3000}
    tables:
      new_business:
        component: development           # or stock
        to: staff                        # or owners (of the customer's responsibility field, by share), or a split
        hit: first                       # the first row that matches gives; collect: every row that matches
        valid: {from: 2026-01-01}        # a campaign's days; leave it out for always
        rows:
          - {id: NB1, type: [NEW], category: [宽带], amount_fen: {from: 3900}, fixed: 20000, num: 5, den: 1}
          - {id: NB2, type: [NEW], channel: [store, call], date: {from: 2026-01-01, to: 2026-12-31}, fixed: 3000}
    multipliers:
      channel_factor:
        tables: [new_business]           # leave it out for all
        rows: [{id: F1, channel: [store], bps: 12000}]
    tiers:
      - {id: TEN, component: development, of: count, type: [NEW], tables: [new_business],
         steps: [{from: 10, bps: 11000}, {from: 20, bps: 12000, fixed: 50000}]}
    caps:
      - {id: DAY, component: development, per: employee, window: day, most: 500000}

Cells: type, product, category, channel, staff_role and customer_type are lists of texts; amount_fen and date are
ranges, both ends inclusive; fixed (default 0), num (default 0) and den (default 1) are whole numbers >= 0 (den >= 1),
in milli-points and milli-points per fen. A place in a message is `tables.<table>[<row, from 1>].<column>`. Anchors,
aliases and keys that stand twice are refused: a table must mean what it shows.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import yaml

from services.points.domain import rule_cells as cell
from services.points.domain.gate import prove_bounds
from services.points.domain.rule_set import (
    COMPONENTS,
    MOST_AMOUNT_FEN,
    MOST_BPS,
    MOST_INT64,
    MOST_MILLI_POINTS,
    SET_COLUMNS,
    SPAN_COLUMNS,
    WHOLE_BPS,
    Cap,
    Factor,
    Hit,
    Multiplier,
    Per,
    Row,
    RuleSet,
    Span,
    Split,
    Step,
    Table,
    Tier,
    To,
    Window,
)
from services.points.refusals import rule_set_invalid

MOST_TABLES = 64
MOST_ROWS = 2_000
MOST_VALUES = 20_000
"""In all cells together; rows × values bound the kernel's bitsets to a few megabytes."""
MOST_EACH = 32
"""Multipliers, tiers, caps and splits, of each."""

_MOST_DESCRIPTION = 2_000
_DEFAULT_MOST_AMOUNT_FEN = 10**9
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RULE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_CELLS = frozenset({*SET_COLUMNS, *SPAN_COLUMNS})
_PARTS = {"description", "most_amount_fen", "tables", "multipliers", "tiers", "caps", "splits", "weights"}


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
    cell.refuse_aliases(root)
    return read(root)


def read(root: yaml.Node) -> RuleSet:
    """The rule set that a tree of nodes says. Raises rule_set_invalid with the place."""
    fields = cell.mapping(root, "definition", _PARTS, {"tables"})
    description = cell.text(fields["description"], "description", _MOST_DESCRIPTION) if "description" in fields else ""
    most = _DEFAULT_MOST_AMOUNT_FEN
    if "most_amount_fen" in fields:
        most = cell.whole(fields["most_amount_fen"], "most_amount_fen", MOST_AMOUNT_FEN)
    ids = _Ids()
    splits = tuple(_splits(fields))
    tables = tuple(_tables(fields["tables"], {*To, *(each.name for each in splits)}, ids))
    names = {table.name: table.component for table in tables}
    rules = RuleSet(
        description, most, tables,
        multipliers=tuple(_multipliers(fields, names, ids)),
        tiers=tuple(_tiers(fields, names, ids)),
        caps=tuple(_caps(fields, names, ids)),
        splits=splits,
        weights=_weights(fields),
    )  # fmt: skip
    _check_caps(rules)
    prove_bounds(rules)
    return rules


def dump(rules: RuleSet) -> str:
    """The definition as YAML text: `parse(dump(rules)) == rules`."""
    return yaml.safe_dump(tree(rules), allow_unicode=True, sort_keys=False, width=120, default_flow_style=None)


def tree(rules: RuleSet) -> dict[str, Any]:
    """The definition as plain values, as YAML holds it."""
    value: dict[str, Any] = {"description": rules.description} if rules.description else {}
    value |= {"most_amount_fen": rules.most_amount_fen}
    if rules.weights:
        value["weights"] = dict(rules.weights)
    if rules.splits:
        value["splits"] = {each.name: dict(each.roles) for each in rules.splits}
    value["tables"] = {
        table.name: {"component": table.component, "to": str(table.to), "hit": table.hit.value}
        | ({} if table.valid is None else {"valid": _ends(table.valid, "date")})
        | {"rows": [_cells(row) | {"fixed": row.fixed} | _rate(row) for row in table.rows]}
        for table in rules.tables
    }
    if rules.multipliers:
        value["multipliers"] = {
            each.name: _on(each.on) | {"rows": [_cells(row) | {"bps": row.bps} for row in each.rows]}
            for each in rules.multipliers
        }
    if rules.tiers:
        value["tiers"] = [
            _cells(each) | {"component": each.component, "of": each.of} | _on(each.on)
            | {"steps": [{"from": step.begin, "bps": step.bps, "fixed": step.fixed} for step in each.steps]}
            for each in rules.tiers
        ]  # fmt: skip
    if rules.caps:
        value["caps"] = [
            {"id": cap.rule_id, "component": cap.component, "per": cap.per.value, "window": cap.window.value}
            | _on(cap.on) | {"most": cap.most}
            for cap in rules.caps
        ]  # fmt: skip
    return value


class _Ids:
    """Where each id stands, and how many values all cells hold."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._values = 0

    def take(self, node: yaml.Node, place: str) -> str:
        rule_id = cell.text(node, f"{place}.id", cell.MOST_TEXT)
        if not _RULE_ID.fullmatch(rule_id):
            raise rule_set_invalid(
                f"{place}.id", "an id is letters, digits, points, dashes and underscores, at most 63"
            )
        if rule_id in self._seen:
            raise rule_set_invalid(f"{place}.id", f"{rule_id} stands at {self._seen[rule_id]} too")
        self._seen[rule_id] = place
        return rule_id

    def cells(self, cells: Mapping[str, yaml.Node], place: str) -> tuple[dict[str, frozenset[str]], dict[str, Span]]:
        sets = {name: cell.values(cells[name], f"{place}.{name}", name) for name in SET_COLUMNS if name in cells}
        spans = {name: cell.span(cells[name], f"{place}.{name}", name) for name in SPAN_COLUMNS if name in cells}
        self._values += sum(map(len, sets.values()))
        if len(self._seen) > MOST_ROWS or self._values > MOST_VALUES:
            problem = f"a rule set holds at most {MOST_ROWS:,} rows and {MOST_VALUES:,} values in their cells"
            raise rule_set_invalid(place, problem)
        return sets, spans


def _splits(fields: Mapping[str, yaml.Node]) -> Iterator[Split]:
    for name, body in _named(fields, "splits").items():
        place = f"splits.{name}"
        if name in frozenset(To):
            raise rule_set_invalid(place, f"{name} has a meaning of its own")
        roles = cell.mapping(body, place, None, set())
        shares = [(role, cell.whole(node, f"{place}.{role}", WHOLE_BPS)) for role, node in roles.items()]
        if sum(share for _, share in shares) != WHOLE_BPS or not all(share for _, share in shares):
            raise rule_set_invalid(place, f"the shares must be positive and sum to exactly {WHOLE_BPS:,}")
        yield Split(name, tuple(shares))


def _tables(node: yaml.Node, receivers: set[str], ids: _Ids) -> Iterator[Table]:
    named = cell.mapping(node, "tables", None, set())
    if not 1 <= len(named) <= MOST_TABLES:
        raise rule_set_invalid("tables", f"must hold 1 to {MOST_TABLES} tables")
    for name, body in named.items():
        place = f"tables.{name}"
        _check_name(name, place)
        fields = cell.mapping(body, place, {"component", "to", "hit", "valid", "rows"}, {"component", "to", "rows"})
        component = cell.choice(fields["component"], f"{place}.component", COMPONENTS)
        to = cell.choice(fields["to"], f"{place}.to", receivers)
        hit = Hit(cell.choice(fields["hit"], f"{place}.hit", frozenset(Hit))) if "hit" in fields else Hit.FIRST
        valid = cell.span(fields["valid"], f"{place}.valid", "date") if "valid" in fields else None
        items = enumerate(cell.items(fields["rows"], f"{place}.rows"), 1)
        rows = tuple(_row(each, f"{place}[{number}]", ids) for number, each in items)
        if not rows:
            raise rule_set_invalid(f"{place}.rows", "a table needs a row")
        yield Table(name, component, hit, To(to) if to in frozenset(To) else to, rows, valid)


def _row(node: yaml.Node, place: str, ids: _Ids) -> Row:
    cells = cell.mapping(node, place, {"id", "fixed", "num", "den", *_CELLS}, {"id"})
    rule_id = ids.take(cells["id"], place)
    sets, spans = ids.cells(cells, place)
    numbers = {"fixed": 0, "num": 0, "den": 1}
    for name in numbers:
        if name in cells:
            numbers[name] = cell.whole(cells[name], f"{place}.{name}", MOST_INT64)
    if numbers["den"] == 0:
        raise rule_set_invalid(f"{place}.den", "must be 1 or more")
    if "den" in cells and "num" not in cells:
        raise rule_set_invalid(f"{place}.den", "stands without num")
    return Row(rule_id, sets, spans, numbers["fixed"], numbers["num"], numbers["den"])


def _multipliers(fields: Mapping[str, yaml.Node], tables: Mapping[str, str], ids: _Ids) -> Iterator[Multiplier]:
    for name, body in _named(fields, "multipliers").items():
        place = f"multipliers.{name}"
        parts = cell.mapping(body, place, {"tables", "rows"}, {"rows"})
        on = _tables_named(parts, place, tables, None)
        rows = []
        for number, each in enumerate(cell.items(parts["rows"], f"{place}.rows"), 1):
            where = f"{place}[{number}]"
            cells = cell.mapping(each, where, {"id", "bps", *_CELLS}, {"id", "bps"})
            rule_id = ids.take(cells["id"], where)
            sets, spans = ids.cells(cells, where)
            rows.append(Factor(rule_id, sets, spans, cell.whole(cells["bps"], f"{where}.bps", MOST_BPS)))
        yield Multiplier(name, on, tuple(rows))


def _tiers(fields: Mapping[str, yaml.Node], tables: Mapping[str, str], ids: _Ids) -> Iterator[Tier]:
    for number, body in enumerate(_listed(fields, "tiers"), 1):
        place = f"tiers[{number}]"
        parts = cell.mapping(body, place, {"id", "component", "of", "tables", "steps", *_CELLS},
                             {"id", "component", "of", "tables", "steps"})  # fmt: skip
        rule_id = ids.take(parts["id"], place)
        component = cell.choice(parts["component"], f"{place}.component", COMPONENTS)
        sets, spans = ids.cells(parts, place)
        on = _tables_named(parts, place, tables, component)
        of = cell.choice(parts["of"], f"{place}.of", {"count", "amount_fen"})
        yield Tier(rule_id, component, of, sets, spans, on, tuple(_steps(parts["steps"], f"{place}.steps")))


def _steps(node: yaml.Node, place: str) -> Iterator[Step]:
    last = Step(0, 0, 0)
    items = cell.items(node, place)
    if not 1 <= len(items) <= MOST_EACH:
        raise rule_set_invalid(place, f"must hold 1 to {MOST_EACH} steps")
    for number, each in enumerate(items, 1):
        where = f"{place}[{number}]"
        parts = cell.mapping(each, where, {"from", "bps", "fixed"}, {"from"})
        begin = cell.whole(parts["from"], f"{where}.from", MOST_INT64 // MOST_BPS)
        bps = cell.whole(parts["bps"], f"{where}.bps", MOST_BPS) if "bps" in parts else WHOLE_BPS
        fixed = cell.whole(parts["fixed"], f"{where}.fixed", MOST_MILLI_POINTS) if "fixed" in parts else 0
        if begin <= last.begin:
            raise rule_set_invalid(f"{where}.from", "must be 1 or more, and more than the step before")
        if bps < WHOLE_BPS:
            raise rule_set_invalid(f"{where}.bps", f"must be {WHOLE_BPS:,} or more: points are taken by reversal only")
        last = Step(begin, bps, fixed)
        yield last


def _caps(fields: Mapping[str, yaml.Node], tables: Mapping[str, str], ids: _Ids) -> Iterator[Cap]:
    for number, body in enumerate(_listed(fields, "caps"), 1):
        place = f"caps[{number}]"
        parts = cell.mapping(body, place, {"id", "component", "per", "window", "tables", "most"},
                             {"id", "component", "per", "window", "most"})  # fmt: skip
        rule_id = ids.take(parts["id"], place)
        component = cell.choice(parts["component"], f"{place}.component", COMPONENTS)
        per = Per(cell.choice(parts["per"], f"{place}.per", frozenset(Per)))
        window = Window(cell.choice(parts["window"], f"{place}.window", frozenset(Window)))
        most = cell.whole(parts["most"], f"{place}.most", MOST_INT64 // MOST_BPS)
        yield Cap(rule_id, component, per, window, _tables_named(parts, place, tables, component), most)


def _check_caps(rules: RuleSet) -> None:
    """Caps come narrow before wide, and a later one holds all of an earlier one's scope or nothing of it."""
    for number, cap in enumerate(rules.caps, 1):
        for earlier in rules.caps[: number - 1]:
            if earlier.rank > cap.rank:
                problem = f"stands after {earlier.rule_id}: a field comes before an employee, a day before a month"
                raise rule_set_invalid(f"caps[{number}].window", problem)
            mine, theirs = rules.scope(cap), rules.scope(earlier)
            if mine & theirs and not theirs <= mine:
                problem = f"overlaps {earlier.rule_id} in part; hold all of its tables or none"
                raise rule_set_invalid(f"caps[{number}].tables", problem)


def _weights(fields: Mapping[str, yaml.Node]) -> dict[str, int]:
    if "weights" not in fields:
        return {}
    parts = cell.mapping(fields["weights"], "weights", COMPONENTS, COMPONENTS)
    weights = {name: cell.whole(node, f"weights.{name}", WHOLE_BPS) for name, node in parts.items()}
    if sum(weights.values()) != WHOLE_BPS:
        raise rule_set_invalid("weights", f"must sum to exactly {WHOLE_BPS:,}")
    return weights


def _named(fields: Mapping[str, yaml.Node], part: str) -> dict[str, yaml.Node]:
    named = cell.mapping(fields[part], part, None, set()) if part in fields else {}
    _check_count(len(named), part)
    for name in named:
        _check_name(name, f"{part}.{name}")
    return named


def _listed(fields: Mapping[str, yaml.Node], part: str) -> list[yaml.Node]:
    listed = cell.items(fields[part], part) if part in fields else []
    _check_count(len(listed), part)
    return listed


def _check_count(count: int, part: str) -> None:
    if count > MOST_EACH:
        raise rule_set_invalid(part, f"holds more than {MOST_EACH}")


def _check_name(name: str, place: str) -> None:
    if not _NAME.fullmatch(name):
        raise rule_set_invalid(place, "a name is lower case letters, digits and underscores, at most 63")


def _tables_named(
    parts: Mapping[str, yaml.Node], place: str, tables: Mapping[str, str], component: str | None
) -> tuple[str, ...]:
    names = []
    for node in cell.items(parts["tables"], f"{place}.tables") if "tables" in parts else []:
        name = cell.choice(node, f"{place}.tables", tables)
        if component is not None and tables[name] != component:
            raise rule_set_invalid(f"{place}.tables", f"{name} is not of the component {component}")
        names.append(name)
    if len(set(names)) != len(names):
        raise rule_set_invalid(f"{place}.tables", "a table stands twice")
    return tuple(names)


def _cells(row: Row | Factor | Tier) -> dict[str, Any]:
    value: dict[str, Any] = {"id": row.rule_id}
    value |= {name: sorted(row.sets[name]) for name in SET_COLUMNS if name in row.sets}
    return value | {name: _ends(row.spans[name], name) for name in SPAN_COLUMNS if name in row.spans}


def _ends(span: Span, name: str) -> dict[str, Any]:
    ends = {"from": span.low, "to": span.high}
    kind = date.fromordinal if name == "date" else int
    return {end: kind(value) for end, value in ends.items() if value is not None}


def _rate(row: Row) -> dict[str, int]:
    return {"num": row.num, "den": row.den} if row.num or row.den != 1 else {}


def _on(tables: tuple[str, ...]) -> dict[str, list[str]]:
    return {"tables": list(tables)} if tables else {}
