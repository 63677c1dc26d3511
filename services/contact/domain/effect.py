"""The effect of a campaign, line by line, as honest as its control: funnel, rates, ratio, money, complaints."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from services.contact.domain.experiment import Rate, wilson
from services.contact.domain.pilot import Ratio, success_ratio

Span = tuple[date, datetime, datetime | None]
"""The month in which a customer opened a product, when he did, and when he closed it."""

COST, OPINION, RESOURCE = "COST", "OPINION", "RESOURCE"


@dataclass(frozen=True)
class Line:
    """What is counted for one group of a campaign; trials are customers × offers, money is in fen.

    `worth_fen` is the worth of the openings of the contacted, `mean_worth_fen` what one opening is worth on average.
    What is `online` are trials by confirmed grants, which count for complaints and nowhere else in the line: nobody is
    held out beside them.
    """

    campaign_id: str
    name: str
    group: str
    first_time: datetime | None
    last_time: datetime | None
    sent: int
    reached: int
    responded: int
    opened: int
    controls: int
    control_opened: int
    contacts: int
    cost_fen: int
    other_cost_fen: int
    worth_fen: int
    mean_worth_fen: float
    complaints: int
    online_sent: int = 0
    online_responded: int = 0
    online_opened: int = 0
    online_cost_fen: int = 0
    online_worth_fen: int = 0


@dataclass(frozen=True)
class Report:
    """A line with what follows from it."""

    line: Line
    response: Rate
    opening: Rate
    control_opening: Rate
    online_response: Rate
    online_opening: Rate
    to_control: Ratio
    income_fen: int
    roi: float
    contacts_per_success: float
    control_per_success: float
    complaints_per_10000: float


def report(line: Line) -> Report:
    """What a line says: income is the worth of the openings beyond what the control's rate would have brought."""
    opening, control = wilson(line.opened, line.sent), wilson(line.control_opened, line.controls)
    income = round(line.worth_fen - control.rate * line.sent * line.mean_worth_fen)
    cost = line.cost_fen + line.other_cost_fen
    return Report(
        line=line,
        response=wilson(line.responded, line.sent),
        opening=opening,
        control_opening=control,
        online_response=wilson(line.online_responded, line.online_sent),
        online_opening=wilson(line.online_opened, line.online_sent),
        to_control=success_ratio(opening, control),
        income_fen=income,
        roi=(income - cost) / cost if cost else 0.0,
        contacts_per_success=line.sent / line.opened if line.opened else 0.0,
        control_per_success=line.controls / line.control_opened if line.control_opened else 0.0,
        complaints_per_10000=10_000 * line.complaints / line.contacts if line.contacts else 0.0,
    )


@dataclass(frozen=True)
class Assessment:
    """What people report of a campaign; `cost_fen` is that of a COST."""

    kind: str
    text: str
    cost_fen: int
    report_time: datetime | None = None


@dataclass(frozen=True)
class Quartiles:
    """Openings per customer in 30 days `before` or `after` the first contact, of `contacted` or `control`."""

    group: str
    period: str
    customers: int
    first: float
    median: float
    third: float
    mean: float


@dataclass(frozen=True)
class Evaluation:
    """A campaign as a whole: what was gathered, its effect by channel and in all, what to do better."""

    exposures: int
    clicks: int
    assessments: tuple[Assessment, ...]
    analysis: tuple[Report, ...]
    effect: Report | None
    measures: tuple[str, ...]


@dataclass(frozen=True)
class TimeSpace:
    """Contacts of a weekday (1 Monday … 7 Sunday), hour, organisation and channel, business time."""

    weekday: int
    hour: int
    org_id: str
    channel: str
    sent: int
    responded: int
    opened: int


@dataclass(frozen=True)
class Cohort:
    """Who opened a product in a month; `kept` after 1, 2, 3 … months, `holding` all who had it at the month's end."""

    month: date
    opened: int
    kept: tuple[int, ...]
    holding: int


@dataclass(frozen=True)
class Complaint:
    """A complaint with the contact that it follows; `link` says how that was found."""

    complaint_id: str
    customer_key: int
    kind: str
    contact_id: str
    link: str
    campaign_id: str
    open_time: datetime
    satisfied: str


def cohorts(spans: Sequence[Span], ends: Sequence[tuple[date, datetime]]) -> list[Cohort]:
    """Retention of each month's openings at the ends of the months (first day, end) up to now."""
    found = []
    for at, (month, end) in enumerate(ends):
        mine = [one for one in spans if one[0] == month]
        kept = tuple(sum(one[2] is None or one[2] > later for one in mine) for _, later in ends[at + 1 :])
        holding = sum(one[1] < end and (one[2] is None or one[2] >= end) for one in spans)
        found.append(Cohort(month, len(mine), kept, holding))
    return found
