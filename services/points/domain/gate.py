"""What is proved of a rule set before it may be published: its bounds, rows that cannot match, rows that overlap."""

from collections.abc import Iterator
from dataclasses import dataclass

from services.points.domain.rule_set import (
    MOST_INT64,
    MOST_MILLI_POINTS,
    WHOLE_BPS,
    Cells,
    Hit,
    Row,
    RuleSet,
    Span,
    Table,
    in_days,
)
from services.points.refusals import rule_set_invalid

MOST_OVERLAPS = 200
"""Findings of one kind that are listed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at: UNREACHABLE or OVERLAPPING, where, and why."""

    kind: str
    place: str
    message: str


def prove_bounds(rules: RuleSet) -> int:
    """Prove that no admissible event overflows; gives the most that one event may give, at most 10^12 milli-points.

    Each product fits an int64: amount × num, and each step of the factors (at most 10^12 × 10^5). A share is at most
    10^12 × 10^4. A tier is computed as (S div 10^4) × b + (S mod 10^4) × b div 10^4 with b <= 9 × 10^4, which fits for
    every sum of a million of the largest events. Raises rule_set_invalid with the row, when one row is too much, or
    with the tables, when all together are.
    """
    worst = 0
    for table in rules.tables:
        given: list[int] = []
        for number, row in enumerate(table.rows, 1):
            span = row.spans.get("amount_fen")
            high = rules.most_amount_fen if span is None or span.high is None else min(span.high, rules.most_amount_fen)
            most = row.gives(high)
            place = f"tables.{table.name}[{number}].num"
            if high * row.num > MOST_INT64 or most > MOST_MILLI_POINTS:
                problem = f"an amount of {high:,} fen would give more than {MOST_MILLI_POINTS:,} milli-points"
                raise rule_set_invalid(place, problem)
            for multiplier in rules.multiplied(table):
                most = max(most, most * max((each.bps for each in multiplier.rows), default=WHOLE_BPS) // WHOLE_BPS)
                if most > MOST_MILLI_POINTS:
                    problem = f"with {multiplier.name} it could give {most:,}, more than {MOST_MILLI_POINTS:,}"
                    raise rule_set_invalid(place, problem)
            given.append(most)
        worst += max(given, default=0) if table.hit is Hit.FIRST else sum(given)
    if worst > MOST_MILLI_POINTS:
        raise rule_set_invalid(
            "tables", f"one event could give {worst:,}, more than {MOST_MILLI_POINTS:,} milli-points"
        )
    return worst


def findings(rules: RuleSet) -> list[Finding]:
    """Rows that no event can reach, and rows of one FIRST table that a same event could match, by place."""
    found: list[Finding] = []
    for table in rules.tables:
        found += _unreachable(table, rules.most_amount_fen)
        found += _overlapping(table)
    return found


def overlap(one: Cells, other: Cells) -> bool:
    """Whether some event matches both."""
    if any(one.sets[name].isdisjoint(other.sets[name]) for name in one.sets.keys() & other.sets.keys()):
        return False
    return all(one.spans[name].meets(other.spans[name]) for name in one.spans.keys() & other.spans.keys())


def covers(wide: Cells, narrow: Cells) -> bool:
    """Whether every event that matches `narrow` matches `wide`."""
    for name, values in wide.sets.items():
        if name not in narrow.sets or not narrow.sets[name] <= values:
            return False
    return all(_holds(span, narrow.spans.get(name)) for name, span in wide.spans.items())


def _holds(wide: Span, narrow: Span | None) -> bool:
    if narrow is None:
        return False
    low = wide.low is None or (narrow.low is not None and wide.low <= narrow.low)
    high = wide.high is None or (narrow.high is not None and narrow.high <= wide.high)
    return low and high


def _unreachable(table: Table, most_amount_fen: int) -> Iterator[Finding]:
    above: list[Row] = []
    for number, row in enumerate(table.rows, 1):
        place = f"tables.{table.name}[{number}]"
        bound = in_days(row, table.valid)
        amount = row.spans.get("amount_fen")
        if bound is None:
            yield Finding("UNREACHABLE", place, f"{row.rule_id}: its dates lie outside the table's")
        elif amount is not None and amount.low is not None and amount.low > most_amount_fen:
            yield Finding("UNREACHABLE", place, f"{row.rule_id}: its amount is above most_amount_fen")
        elif table.hit is Hit.FIRST:
            first = next((each for each in above if covers(each, row)), None)
            if first is not None:
                yield Finding("UNREACHABLE", place, f"{row.rule_id}: {first.rule_id} above it takes every event")
        above.append(row)


def _overlapping(table: Table) -> list[Finding]:
    """In a FIRST table order decides: worth a look, but where one row covers the other it is meant as a default."""
    if table.hit is not Hit.FIRST:
        return []
    found: list[Finding] = []
    for later, row in enumerate(table.rows):
        for earlier in table.rows[:later]:
            if overlap(earlier, row) and not covers(row, earlier) and not covers(earlier, row):
                place = f"tables.{table.name}[{later + 1}]"
                found.append(Finding("OVERLAPPING", place, f"{row.rule_id} and {earlier.rule_id}: the upper one gives"))
                if len(found) == MOST_OVERLAPS:
                    return found
    return found
