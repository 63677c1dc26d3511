"""A rule set: decision tables with typed cells. Values only; `rule_text` and `rule_sheet` read, `scoring` runs them.

What an event gives, table by table: a row matches when every cell that it has accepts the event's value; a cell that is
not there accepts all. A matching row gives `fixed + floor(amount_fen × num / den)` milli-points, times the factors of
the multipliers in their order, each `floor(x × bps / 10,000)`. The gift is shared (`field`, `Split`) into lines.

What a period adds: tiers (an accelerator over the lines of a month, by the count or amount that an employee reached)
and then caps, both over sums, so that no order of events can matter. Magnitudes are never negative: points are taken
back by reversal only, so a floor is the same everywhere.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Protocol

EVENT_TYPES = frozenset({"NEW", "RENEW", "UPGRADE", "RETAIN", "CHURN", "ACTIVATE", "ORDER_RESPONDED", "ORDER_REFUSED",
                         "ORDER_UNREACHED"})  # fmt: skip
"""What rules may score. ORDER_… are outcomes of marketing orders. A REFUND is not among them: it takes its origin's
entries back, by whatever rules gave them."""

SET_COLUMNS = ("type", "product", "category", "channel", "staff_role", "customer_type")
"""Columns whose cell is a set of texts."""

SPAN_COLUMNS = ("amount_fen", "date")
"""Columns whose cell is a range, both ends inclusive; a date is held as its proleptic ordinal."""

COMPONENTS = frozenset({"development", "stock"})
"""What points are for: new business, or keeping and growing the business that is there."""

WHOLE_BPS = 10_000
MOST_BPS = 100_000
"""No factor is more than ten times."""

MOST_INT64 = 2**63 - 1
MOST_AMOUNT_FEN = 10**12
"""No rule set admits a larger amount (ten thousand million yuan)."""

MOST_MILLI_POINTS = 10**12
"""One event may give at most this, so that a sum over nine million of the largest events still fits an int64."""


class Hit(StrEnum):
    """Which of a table's matching rows give."""

    FIRST = "first"
    COLLECT = "collect"


class To(StrEnum):
    """Who gets what a table gives: the employee who made the business, or the owners of the customer's field.

    A table may also name a split of the rule set.
    """

    STAFF = "staff"
    OWNERS = "owners"


class Per(StrEnum):
    """Whose sum a cap looks at."""

    EMPLOYEE = "employee"
    FIELD = "field"


class Window(StrEnum):
    """Over which time a cap sums."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Span:
    """A range, both ends inclusive; None is open."""

    low: int | None
    high: int | None

    def accepts(self, value: int) -> bool:
        """Whether the value lies in it."""
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)

    def meets(self, other: "Span") -> "Span | None":
        """What both accept; None when that is nothing."""
        lows = [each for each in (self.low, other.low) if each is not None]
        highs = [each for each in (self.high, other.high) if each is not None]
        both = Span(max(lows, default=None), min(highs, default=None))
        return None if both.low is not None and both.high is not None and both.low > both.high else both


class Cells(Protocol):
    """Whatever has cells: `sets` and `spans` hold only those that restrict."""

    @property
    def sets(self) -> Mapping[str, frozenset[str]]:
        """By column of SET_COLUMNS."""

    @property
    def spans(self) -> Mapping[str, Span]:
        """By column of SPAN_COLUMNS."""


@dataclass(frozen=True, slots=True)
class Row:
    """One rule."""

    rule_id: str
    sets: Mapping[str, frozenset[str]]
    spans: Mapping[str, Span]
    fixed: int
    num: int
    den: int

    def gives(self, amount_fen: int) -> int:
        """Milli-points for an amount, before any factor."""
        return self.fixed + amount_fen * self.num // self.den

    def text(self) -> str:
        """The row in one line, for people."""
        given = f"{self.fixed:,}"
        if self.num:
            given += f" + amount_fen × {self.num:,} / {self.den:,}"
        return f"{self.rule_id}: {cells_text(self)} gives {given} milli-points"


@dataclass(frozen=True, slots=True)
class Table:
    """One decision table. `to` is staff, owners or a split's name; `valid` bounds a campaign's days."""

    name: str
    component: str
    hit: Hit
    to: str
    rows: tuple[Row, ...]
    valid: Span | None = None


@dataclass(frozen=True, slots=True)
class Factor:
    """One row of a multiplier: the gifts of an event that it accepts are times bps / 10,000."""

    rule_id: str
    sets: Mapping[str, frozenset[str]]
    spans: Mapping[str, Span]
    bps: int


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Factors on the gifts of some tables: of the rows that accept an event the first one counts, none is × 1."""

    name: str
    on: tuple[str, ...]
    rows: tuple[Factor, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """From this count or amount on: a bonus in milli-points, and basis points >= 10,000 on the month's lines."""

    begin: int
    bps: int
    fixed: int


@dataclass(frozen=True, slots=True)
class Tier:
    """An accelerator over a month: the highest step that an employee reached holds for all his lines of `on`.

    `of` is count or amount_fen of the events that he made and that the cells accept, refunds taken off.
    """

    rule_id: str
    component: str
    of: str
    sets: Mapping[str, frozenset[str]]
    spans: Mapping[str, Span]
    on: tuple[str, ...]
    steps: tuple[Step, ...]

    def reached(self, value: int) -> Step | None:
        """The highest step reached."""
        return next((step for step in reversed(self.steps) if value >= step.begin), None)


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `most` milli-points per employee or field (customer) in a day or month, over the lines of `on`."""

    rule_id: str
    component: str
    per: Per
    window: Window
    on: tuple[str, ...]
    most: int

    @property
    def rank(self) -> tuple[bool, bool]:
        """Narrow before wide: a field before an employee, a day before a month."""
        return self.per is Per.EMPLOYEE, self.window is Window.MONTH


@dataclass(frozen=True, slots=True)
class Split:
    """How a gift is shared between roles, in basis points that sum to 10,000, in the order of the remainder rule.

    `staff` is who made the business; any other role is held by those whom the field names in it, by their shares.
    """

    name: str
    roles: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What a definition says. Amounts up to `most_amount_fen` are admissible; a larger one waits in suspense.

    `weights` are the components' parts of the appraisal's score in basis points.
    """

    description: str
    most_amount_fen: int
    tables: tuple[Table, ...]
    multipliers: tuple[Multiplier, ...] = ()
    tiers: tuple[Tier, ...] = ()
    caps: tuple[Cap, ...] = ()
    splits: tuple[Split, ...] = ()
    weights: Mapping[str, int] = field(default_factory=dict)

    def find(self, rule_id: str) -> tuple[Table, Row]:
        """The row with this id and its table; ids are unique over the rule set. Raises KeyError."""
        for table in self.tables:
            for row in table.rows:
                if row.rule_id == rule_id:
                    return table, row
        raise KeyError(rule_id)

    def period_rule(self, rule_id: str) -> Tier | Cap | None:
        """The tier or cap with this id, if it is one."""
        rules: list[Tier | Cap] = [*self.tiers, *self.caps]
        return next((each for each in rules if each.rule_id == rule_id), None)

    def scope(self, cap: Cap) -> frozenset[str]:
        """What a cap sums: tables by name and, when it names no table, the tiers of its component by id."""
        if cap.on:
            return frozenset(cap.on)
        tables = {table.name for table in self.tables if table.component == cap.component}
        return frozenset(tables | {tier.rule_id for tier in self.tiers if tier.component == cap.component})

    def multiplied(self, table: Table) -> list[Multiplier]:
        """The multipliers on a table, in their order."""
        return [each for each in self.multipliers if not each.on or table.name in each.on]


def accepts(cells: Cells, texts: Mapping[str, str], numbers: Mapping[str, int]) -> bool:
    """Whether every cell accepts the event's value."""
    return all(texts[name] in values for name, values in cells.sets.items()) and all(
        span.accepts(numbers[name]) for name, span in cells.spans.items()
    )


def in_days(row: Row, valid: Span | None) -> Row | None:
    """The row bound to its campaign's days; None when no day is left."""
    if valid is None:
        return row
    both = valid.meets(row.spans.get("date", Span(None, None)))
    if both is None:
        return None
    return Row(row.rule_id, row.sets, {**row.spans, "date": both}, row.fixed, row.num, row.den)


def canonical(rules: RuleSet) -> str:
    """The one text of everything that says the same: JSON with sorted keys, tables by name, rows in their order."""
    value: dict[str, Any] = {
        "description": rules.description,
        "most_amount_fen": rules.most_amount_fen,
        "tables": [_table_value(table) for table in sorted(rules.tables, key=lambda table: table.name)],
    }
    parts = {
        "multipliers": [
            {"name": each.name, "on": sorted(each.on), "rows": [_cells(row) | {"bps": row.bps} for row in each.rows]}
            for each in rules.multipliers
        ],
        "tiers": [
            _cells(each)
            | {"component": each.component, "of": each.of, "on": sorted(each.on)}
            | {"steps": [[step.begin, step.bps, step.fixed] for step in each.steps]}
            for each in rules.tiers
        ],
        "caps": [
            {"id": cap.rule_id, "component": cap.component, "per": cap.per, "window": cap.window, "on": sorted(cap.on)}
            | {"most": cap.most}
            for cap in rules.caps
        ],
        "splits": [{"name": each.name, "roles": list(each.roles)} for each in rules.splits],
        "weights": dict(rules.weights),
    }
    value |= {name: part for name, part in parts.items() if part}
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def checksum(rules: RuleSet) -> str:
    """SHA-256 of the canonical text, hex."""
    return hashlib.sha256(canonical(rules).encode()).hexdigest()


def in_force(effective: Sequence[tuple[str, date, str]], day: date) -> list[str]:
    """Ids of the rule sets that score a business day: of each name the version with the latest effective date.

    `effective` holds (name, effective date, rule_set_id) of the published versions; the ids come by name.
    """
    best: dict[str, tuple[date, str]] = {}
    for name, begin, rule_set_id in effective:
        if begin <= day and (name not in best or best[name][0] < begin):
            best[name] = (begin, rule_set_id)
    return [best[name][1] for name in sorted(best)]


def cells_text(cells: Cells) -> str:
    """What the cells accept, in one line."""
    texts = [f"{name} in {{{', '.join(sorted(values))}}}" for name, values in cells.sets.items()]
    texts += [_span_text(name, span) for name, span in cells.spans.items()]
    return " and ".join(texts) or "any event"


def _table_value(table: Table) -> dict[str, Any]:
    rows = [_cells(row) | {"fixed": row.fixed, "num": row.num, "den": row.den} for row in table.rows]
    value = {"component": table.component, "hit": table.hit.value, "name": table.name, "rows": rows, "to": table.to}
    return value if table.valid is None else value | {"valid": [table.valid.low, table.valid.high]}


def _cells(row: Row | Factor | Tier) -> dict[str, Any]:
    value: dict[str, Any] = {"id": row.rule_id}
    value |= {name: sorted(values) for name, values in row.sets.items()}
    return value | {name: [span.low, span.high] for name, span in row.spans.items()}


def _span_text(name: str, span: Span) -> str:
    def end(value: int) -> str:
        return date.fromordinal(value).isoformat() if name == "date" else f"{value:,}"

    if span.low is None:
        return f"{name} ≤ {end(span.high)}" if span.high is not None else f"any {name}"
    return f"{name} ≥ {end(span.low)}" if span.high is None else f"{name} {end(span.low)} … {end(span.high)}"
