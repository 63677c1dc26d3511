"""The ledger's months and days, in the zone that business is done in."""

from calendar import monthrange
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

_QUARTER = 900_000_000  # microseconds: offsets change at quarters of an hour
_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class State(StrEnum):
    """Where a period stands; entries are posted into open ones only."""

    OPEN = "OPEN"
    CALCULATED = "CALCULATED"
    LOCKED = "LOCKED"
    PAID = "PAID"


@dataclass(frozen=True, slots=True)
class Period:
    """A month with its sums. `milli_points` are those of employees and `unassigned`; the budgets hold as much.

    `sha256` is over what is posted in it, `accrual_sha256` over what belongs to it, wherever that is posted; they
    differ when events came late. `late_entries` belong to an earlier month.
    """

    period_id: str
    state: State
    entries: int
    milli_points: int
    sha256: str
    accrual_sha256: str = ""
    late_entries: int = 0

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


def business_days(times: npt.NDArray[np.int64], zone: ZoneInfo) -> npt.NDArray[np.int32]:
    """Proleptic ordinals of the days that instants belong to, in microseconds since 1970; neighbours share the work."""
    quarters = times // _QUARTER
    begin = np.concatenate([np.zeros(min(1, len(times)), np.int64), np.flatnonzero(quarters[1:] != quarters[:-1]) + 1])
    micros = np.array([_offset(quarter, zone) for quarter in quarters[begin].tolist()], np.int64)
    local = times + np.repeat(micros, np.diff([*begin, len(times)]))
    return (local // _DAY + 719_163).astype(np.int32)


@lru_cache(maxsize=8192)
def _offset(quarter: int, zone: ZoneInfo) -> int:
    """Microseconds that the zone is ahead of UTC in a quarter of an hour."""
    offset = (_EPOCH + timedelta(seconds=quarter * 900)).astimezone(zone).utcoffset() or timedelta()
    return offset // timedelta(microseconds=1)


def period_of(time: datetime, zone: ZoneInfo) -> str:
    """The period that an instant belongs to, e.g. `2026-09`."""
    day = business_day(time, zone)
    return f"{day.year:04d}-{day.month:02d}"


def posts_in(states: Mapping[str, str], months: Collection[str]) -> dict[str, str]:
    """For each closed month the period that takes its late entries: the next that is not closed.

    `states` gives the state of every period that was opened.
    """
    found = {}
    for month in months:
        later = month
        while states.get(later, State.OPEN) != State.OPEN:
            later = next_period(later)
        if later != month:
            found[month] = later
    return found


def next_period(period_id: str) -> str:
    """The month after."""
    year, month = int(period_id[:4]), int(period_id[5:])
    return f"{year + month // 12:04d}-{month % 12 + 1:02d}"
