"""The ledger's months and days, in the zone that business is done in."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo


class State(StrEnum):
    """Where a period stands; entries are posted into open ones only."""

    OPEN = "OPEN"
    CALCULATED = "CALCULATED"
    LOCKED = "LOCKED"
    PAID = "PAID"


@dataclass(frozen=True, slots=True)
class Period:
    """A month with its sums. `milli_points` are those of employees and `unassigned`; the budgets hold as much."""

    period_id: str
    state: State
    entries: int
    milli_points: int
    sha256: str

    @property
    def first_date(self) -> date:
        """The first business day."""
        return date(int(self.period_id[:4]), int(self.period_id[5:]), 1)

    @property
    def last_date(self) -> date:
        """The last business day."""
        first = self.first_date
        return first.replace(day=monthrange(first.year, first.month)[1])


def business_day(time: datetime, zone: ZoneInfo) -> date:
    """The day that an instant belongs to."""
    return time.astimezone(zone).date()


def period_of(time: datetime, zone: ZoneInfo) -> str:
    """The period that an instant belongs to, e.g. `2026-09`."""
    day = business_day(time, zone)
    return f"{day.year:04d}-{day.month:02d}"
