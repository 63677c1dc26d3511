"""How an entry came to be, in the order of the arithmetic."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from services.points.domain.event import Event
from services.points.domain.field import WHOLE_BPS, Assignment
from services.points.domain.ledger import Entry
from services.points.domain.rule_set import Cap, Row, RuleSet, Tier, accepts, cells_text


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the arithmetic, and the milli-points after it."""

    text: str
    milli_points: int


def rule_text(rules: RuleSet, rule_id: str) -> str:
    """A rule as written, in one line: a row, a tier or a cap, or a correction by hand."""
    rule = rules.period_rule(rule_id)
    if isinstance(rule, Cap):
        whose = f"per {rule.per.value} and {rule.window.value}"
        return f"{rule_id}: at most {rule.most:,} milli-points of {rule.component} {whose}"
    if isinstance(rule, Tier):
        ends = "; ".join(f"from {step.begin:,} × {step.bps:,} / 10,000 + {step.fixed:,}" for step in rule.steps)
        return f"{rule_id}: by the month's {rule.of} of {cells_text(rule)}: {ends}"
    try:
        return rules.find(rule_id)[1].text()
    except KeyError:
        return f"{rule_id}: a correction by hand, with a reason and a second person"


def steps(entry: Entry, origin: Entry, event: Event, rules: RuleSet, category: str = "", role: str = "") -> list[Step]:
    """The arithmetic of an entry; `origin` is what it takes back (itself when it takes back nothing), `event` is the
    origin's, `category` and `role` the facts that it was scored with. The last step stands at the entry's amount."""
    if entry.kind in ("TIER", "CAP", "ADJUSTMENT"):
        whole = f"{rule_text(rules, entry.rule_id)}: brought to what it says by {entry.source_event_id}"
        return [Step(whole, entry.milli_points)]
    table, row = rules.find(origin.rule_id)
    given = row.gives(event.amount_fen or 0)
    result = [Step(_formula(row, event.amount_fen or 0), given)]
    texts = {"type": event.type, "product": event.product_id, "category": category, "channel": event.channel,
             "staff_role": role, "customer_type": event.customer_type}  # fmt: skip
    day = origin.business_date.toordinal() if origin.business_date else 0
    for multiplier in rules.multiplied(table):
        numbers = {"amount_fen": event.amount_fen or 0, "date": day}
        factor = next((each for each in multiplier.rows if accepts(each, texts, numbers)), None)
        if factor is not None:
            given = given * factor.bps // WHOLE_BPS
            result.append(Step(f"{multiplier.name} {factor.rule_id}: × {factor.bps:,} / 10,000", given))
    if origin.account.startswith("budget:"):
        result.append(Step(f"the {origin.component} budget gives it", origin.milli_points))
    elif origin.share_bps < WHOLE_BPS:
        floor = given * origin.share_bps // WHOLE_BPS
        more = origin.milli_points - floor
        remainder = f" + {more} of the remainder" if more else ""
        result.append(Step(f"{given:,} × {origin.share_bps:,} / 10,000 = {floor:,}{remainder}", origin.milli_points))
    if entry is not origin:
        if abs(entry.milli_points) == abs(origin.milli_points):
            text = f"refund {entry.source_event_id} takes back what {event.source_event_id} gave"
        else:
            text = f"refund {entry.source_event_id} takes back its part of what {event.source_event_id} gave"
        result.append(Step(text, entry.milli_points))
    return result


def assignment_text(entry: Entry, assignment: Assignment | None, customer_key: int, zone: ZoneInfo) -> str:
    """In one sentence, why this account; times stand in `zone`."""
    if entry.account.startswith("budget:"):
        return f"the contra account of the {entry.component} component"
    share = f"{entry.share_bps / 100:.2f} %"
    if assignment is not None:
        row = assignment.row
        begin, known = _instant(row.valid_from, zone), _instant(assignment.known_from, zone)
        until = "open" if row.valid_to is None else _instant(row.valid_to, zone)
        where = f"delivery {row.delivery_id} line {row.line}" if row.delivery_id else "no delivery"
        who = f"{row.staff_id} is {row.role} of {row.place or f'customer {row.customer_key}'} with {share}"
        return f"{who} from {begin} until {until}, known since {known} ({where})"
    if entry.staff_id:
        return f"{entry.staff_id} made the business"
    whole = entry.share_bps == WHOLE_BPS
    return (
        f"{share} of customer {customer_key} unassigned"
        if not whole
        else "unassigned: nobody made it or answers for its customer, cell or grid"
    )


def source_text(event: Event) -> str:
    """Where the event came from."""
    place = f"delivery {event.delivery_id} line {event.line}" if event.delivery_id else "by RPC"
    return f"{event.source} {event.source_event_id}, {place}"


def _formula(row: Row, amount: int) -> str:
    parts = [f"{row.fixed:,} fixed"] if row.fixed or not row.num else []
    if row.num:
        parts.append(f"{amount:,} fen × {row.num:,} / {row.den:,}")
    return f"rule {row.rule_id}: {' + '.join(parts)} milli-points"


def _instant(time: datetime, zone: ZoneInfo) -> str:
    return time.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
