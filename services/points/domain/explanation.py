"""How an entry came to be, in the order of the arithmetic."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from services.points.domain.event import Event
from services.points.domain.field import WHOLE_BPS, Assignment
from services.points.domain.ledger import Entry
from services.points.domain.rule_set import Row


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the arithmetic, and the milli-points after it."""

    text: str
    milli_points: int


def steps(entry: Entry, origin: Entry, event: Event, row: Row) -> list[Step]:
    """The arithmetic of an entry; `origin` is what it takes back (itself when it takes back nothing), `event` and
    `row` are the origin's. The last step stands at the entry's amount."""
    amount = event.amount_fen or 0
    given = row.gives(amount)
    result = [Step(_formula(row, amount), given)]
    if origin.account.startswith("budget:"):
        result.append(Step(f"the {origin.component} budget gives it", origin.milli_points))
    elif origin.share_bps < WHOLE_BPS:
        floor = given * origin.share_bps // WHOLE_BPS
        more = origin.milli_points - floor
        remainder = f" + {more} of the remainder" if more else ""
        result.append(Step(f"{given:,} × {origin.share_bps:,} / 10,000 = {floor:,}{remainder}", origin.milli_points))
    if entry is not origin:
        result.append(
            Step(f"refund {entry.source_event_id} takes back what {event.source_event_id} gave", entry.milli_points)
        )
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
        who = f"{row.staff_id} is {row.role} of customer {row.customer_key} with {share}"
        return f"{who} from {begin} until {until}, known since {known} ({where})"
    if entry.staff_id:
        return f"{entry.staff_id} made the business"
    whole = entry.share_bps == WHOLE_BPS
    return (
        f"{share} of customer {customer_key} unassigned"
        if not whole
        else "unassigned: nobody made it or owns the customer"
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
