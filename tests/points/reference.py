"""The rules as one reads them: a plain interpreter, slow and simple, that the kernel is held against."""

from datetime import date

from services.points.domain.rule_set import Hit, Row, RuleSet
from services.points.domain.scoring import Facts


def score(rules: RuleSet, event: Facts) -> list[tuple[str, int]]:
    """(rule id, milli-points) of what an event gives, in the order of the tables and rows."""
    given = []
    for table in rules.tables:
        for row in table.rows:
            if matches(row, event):
                given.append((row.rule_id, row.fixed + event.amount_fen * row.num // row.den))
                if table.hit is Hit.FIRST:
                    break
    return given


def matches(row: Row, event: Facts) -> bool:
    """Whether every cell of the row accepts the event."""
    texts = {
        "type": event.type,
        "product": event.product,
        "category": event.category,
        "channel": event.channel,
        "staff_role": event.staff_role,
    }
    for column, values in row.sets.items():
        if texts[column] not in values:
            return False
    numbers = {"amount_fen": event.amount_fen, "date": date.fromordinal(event.day).toordinal()}
    for column, span in row.spans.items():
        if span.low is not None and numbers[column] < span.low:
            return False
        if span.high is not None and numbers[column] > span.high:
            return False
    return True
