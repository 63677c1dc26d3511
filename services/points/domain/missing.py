"""Why an event gave nothing, or less: the rows that it nearly matched, and what would have earned them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from services.points.domain.rule_set import Hit, Row, RuleSet, accepts, in_days

MOST_MISSED = 10


@dataclass(frozen=True, slots=True)
class Missed:
    """A row that did not give: for want of the cells that `reasons` name, or since a row above it gave."""

    rule_id: str
    table: str
    reasons: tuple[str, ...]
    milli_points: int


def nearest(rules: RuleSet, texts: Mapping[str, str], amount_fen: int, day: date) -> tuple[list[str], list[Missed]]:
    """(rows that gave, as text; rows missed, the nearest first). `texts` by column of SET_COLUMNS."""
    numbers = {"amount_fen": amount_fen, "date": day.toordinal()}
    given: list[str] = []
    missed: list[Missed] = []
    for table in rules.tables:
        upper: Row | None = None
        for row in table.rows:
            reasons = _reasons(row, texts, numbers)
            bound = in_days(row, table.valid)
            if bound is None or (not reasons and not accepts(bound, texts, numbers)):
                reasons.append("the date lies outside the campaign's days")
            if reasons:
                missed.append(Missed(row.rule_id, table.name, tuple(reasons), row.gives(amount_fen)))
            elif upper is not None and table.hit is Hit.FIRST:
                why = (f"{upper.rule_id} stands above it and gave",)
                missed.append(Missed(row.rule_id, table.name, why, row.gives(amount_fen)))
            else:
                given.append(row.text())
                upper = row
    missed.sort(key=lambda each: (len(each.reasons), -each.milli_points, each.rule_id))
    return given, missed[:MOST_MISSED]


def _reasons(row: Row, texts: Mapping[str, str], numbers: Mapping[str, int]) -> list[str]:
    found = [
        f"{name} is {texts[name] or 'empty'}; it must be {' or '.join(sorted(values))}"
        for name, values in row.sets.items()
        if texts[name] not in values
    ]
    for name, span in row.spans.items():
        if not span.accepts(numbers[name]):
            low, high = (_written(name, end) for end in (span.low, span.high))
            found.append(f"{name} is {_written(name, numbers[name])}; it must be from {low} to {high}")
    return found


def _written(name: str, value: int | None) -> str:
    if value is None:
        return "any"
    return date.fromordinal(value).isoformat() if name == "date" else f"{value:,}"
