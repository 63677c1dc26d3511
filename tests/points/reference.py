"""The rules as one reads them: a plain interpreter, slow and simple, that the kernel is held against."""

from datetime import date

from services.points.domain.rule_set import Factor, Hit, Row, RuleSet
from services.points.domain.scoring import Facts


def score(rules: RuleSet, event: Facts) -> list[tuple[str, int]]:
    """(rule id, milli-points) of what an event gives, in the order of the tables and rows."""
    given = []
    for table in rules.tables:
        for row in table.rows:
            if matches(row, event) and (table.valid is None or table.valid.accepts(event.day)):
                points = row.fixed + event.amount_fen * row.num // row.den
                for each in rules.multipliers:
                    hits = [factor.bps for factor in each.rows if matches(factor, event)]
                    if hits and (not each.on or table.name in each.on):
                        points = points * hits[0] // 10_000
                given.append((row.rule_id, points))
                if table.hit is Hit.FIRST:
                    break
    return given


def matches(row: Row | Factor, event: Facts) -> bool:
    """Whether every cell of the row accepts the event."""
    texts = {
        "type": event.type,
        "product": event.product,
        "category": event.category,
        "channel": event.channel,
        "staff_role": event.staff_role,
        "customer_type": event.customer_type,
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
