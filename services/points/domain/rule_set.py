"""A rule set: decision tables with typed cells. Values only; `rule_text` reads them from YAML, `scoring` runs them.

A row matches an event when every cell that it has accepts the event's value; a cell that is not there accepts all. What
a matching row gives is `fixed + floor(amount_fen × num / den)` milli-points. Magnitudes are never negative: points are
taken back by reversal only, so a floor is the same everywhere.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from services.points.refusals import rule_set_invalid

EVENT_TYPES = frozenset({"NEW", "RENEW", "UPGRADE", "RETAIN", "CHURN", "ACTIVATE"})
"""What rules may score. A REFUND is not among them: it takes its origin's entries back, by whatever rules gave them."""

SET_COLUMNS = ("type", "product", "category", "channel", "staff_role")
"""Columns whose cell is a set of texts."""

SPAN_COLUMNS = ("amount_fen", "date")
"""Columns whose cell is a range, both ends inclusive; a date is held as its proleptic ordinal."""

COMPONENTS = frozenset({"development", "stock"})
"""What points are for: new business, or keeping and growing the business that is there."""

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
    """Who gets what a table gives: the employee who made the business, or the owners of the customer's field."""

    STAFF = "staff"
    OWNERS = "owners"


@dataclass(frozen=True, slots=True)
class Span:
    """A range, both ends inclusive; None is open."""

    low: int | None
    high: int | None

    def accepts(self, value: int) -> bool:
        """Whether the value lies in it."""
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True)
class Row:
    """One rule. `sets` and `spans` hold only the cells that restrict."""

    rule_id: str
    sets: Mapping[str, frozenset[str]]
    spans: Mapping[str, Span]
    fixed: int
    num: int
    den: int

    def gives(self, amount_fen: int) -> int:
        """Milli-points for an amount."""
        return self.fixed + amount_fen * self.num // self.den

    def text(self) -> str:
        """The row in one line, for people."""
        cells = [f"{name} in {{{', '.join(sorted(values))}}}" for name, values in self.sets.items()]
        cells += [_span_text(name, span) for name, span in self.spans.items()]
        given = f"{self.fixed:,}"
        if self.num:
            given += f" + amount_fen × {self.num:,} / {self.den:,}"
        return f"{self.rule_id}: {' and '.join(cells) or 'any event'} gives {given} milli-points"


@dataclass(frozen=True, slots=True)
class Table:
    """One decision table."""

    name: str
    component: str
    hit: Hit
    to: To
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What a definition says. Amounts up to `most_amount_fen` are admissible; a larger one waits in suspense."""

    description: str
    most_amount_fen: int
    tables: tuple[Table, ...]

    def find(self, rule_id: str) -> tuple[Table, Row]:
        """The row with this id and its table; ids are unique over the tables. Raises KeyError."""
        for table in self.tables:
            for row in table.rows:
                if row.rule_id == rule_id:
                    return table, row
        raise KeyError(rule_id)


def canonical(rules: RuleSet) -> str:
    """The one text of everything that says the same: JSON with sorted keys, tables by name, rows in their order."""
    tables = [
        {
            "component": table.component,
            "hit": table.hit.value,
            "name": table.name,
            "rows": [_row_value(row) for row in table.rows],
            "to": table.to.value,
        }
        for table in sorted(rules.tables, key=lambda table: table.name)
    ]
    value = {"description": rules.description, "most_amount_fen": rules.most_amount_fen, "tables": tables}
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def checksum(rules: RuleSet) -> str:
    """SHA-256 of the canonical text, hex."""
    return hashlib.sha256(canonical(rules).encode()).hexdigest()


def prove_bounds(rules: RuleSet) -> None:
    """Prove that no admissible event overflows: each product fits an int64, and an event gives at most 10^12.

    Raises rule_set_invalid with the row, when one row is too much, or with the tables, when all together are.
    """
    worst = 0
    for table in rules.tables:
        given: list[int] = []
        for number, row in enumerate(table.rows, 1):
            span = row.spans.get("amount_fen")
            high = rules.most_amount_fen if span is None or span.high is None else min(span.high, rules.most_amount_fen)
            if high * row.num > MOST_INT64 or row.gives(high) > MOST_MILLI_POINTS:
                problem = f"an amount of {high:,} fen would give more than {MOST_MILLI_POINTS:,} milli-points"
                raise rule_set_invalid(f"tables.{table.name}[{number}].num", problem)
            given.append(row.gives(high))
        worst += max(given, default=0) if table.hit is Hit.FIRST else sum(given)
    if worst > MOST_MILLI_POINTS:
        raise rule_set_invalid(
            "tables", f"one event could give {worst:,}, more than {MOST_MILLI_POINTS:,} milli-points"
        )


def in_force(effective: Sequence[tuple[str, date, str]], day: date) -> list[str]:
    """Ids of the rule sets that score a business day: of each name the version with the latest effective date.

    `effective` holds (name, effective date, rule_set_id) of the published versions; the ids come by name.
    """
    best: dict[str, tuple[date, str]] = {}
    for name, begin, rule_set_id in effective:
        if begin <= day and (name not in best or best[name][0] < begin):
            best[name] = (begin, rule_set_id)
    return [best[name][1] for name in sorted(best)]


def _row_value(row: Row) -> dict[str, Any]:
    value: dict[str, Any] = {"id": row.rule_id, "fixed": row.fixed, "num": row.num, "den": row.den}
    value |= {name: sorted(values) for name, values in row.sets.items()}
    value |= {name: [span.low, span.high] for name, span in row.spans.items()}
    return value


def _span_text(name: str, span: Span) -> str:
    def end(value: int) -> str:
        return date.fromordinal(value).isoformat() if name == "date" else f"{value:,}"

    if span.low is None:
        return f"{name} ≤ {end(span.high)}" if span.high is not None else f"any {name}"
    return f"{name} ≥ {end(span.low)}" if span.high is None else f"{name} {end(span.low)} … {end(span.high)}"
