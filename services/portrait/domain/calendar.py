"""Days as people live them: China's work calendar, the slots of a day and the window that a run looks at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

MOST_DAYS = 62
"""The longest window: days are counted as bits of one bigint."""

SLOTS: tuple[str, ...] = ("late", "early", "am", "noon", "pm", "eve", "night")
SLOT_HOURS: tuple[int, ...] = (0, 6, 9, 12, 14, 18, 21)
"""Local hour at which each slot begins; the last one ends at midnight."""

_KINDS = ("rest", "work")


@dataclass(frozen=True)
class WorkCalendar:
    """The State Council's calendar: named days win, otherwise Monday to Friday are worked."""

    named: Mapping[date, bool]
    """Date → whether it is worked; only the days that differ from, or confirm, the plain week."""

    def workday(self, day: date) -> bool:
        """Whether `day` is worked; public holidays and weekends that are not made up for are not."""
        return self.named.get(day, day.weekday() < 5)


def parse_calendar(text: str) -> WorkCalendar:
    """Calendar of a table `date,kind` (kind rest or work); lines that begin with # are remarks.

    Raises ValueError naming the line.
    """
    named: dict[date, bool] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith(("#", "date,")):
            continue
        day, _, kind = line.partition(",")
        if kind not in _KINDS:
            raise ValueError(f"line {number}: kind {kind!r} is neither rest nor work")
        named[date.fromisoformat(day)] = kind == "work"
    return WorkCalendar(named)


@dataclass(frozen=True)
class Window:
    """The days of one run, both inclusive, in the business time zone."""

    from_date: date
    to_date: date
    zone: str

    @property
    def days(self) -> int:
        """How many days there are."""
        return (self.to_date - self.from_date).days + 1

    def day(self, number: int) -> date:
        """The date of a day by its number, from 0."""
        return self.from_date + timedelta(days=number)

    def borders(self) -> npt.NDArray[np.int64]:
        """Where slots begin, in UTC milliseconds: border k opens slot k % 7 of day k // 7; the last one closes all."""
        zone = ZoneInfo(self.zone)
        opened = [
            datetime.combine(self.day(day), time(hour), zone).timestamp()
            for day in range(self.days)
            for hour in SLOT_HOURS
        ]
        closed = datetime.combine(self.day(self.days), time(), zone).timestamp()
        return (np.array([*opened, closed]) * 1000).astype(np.int64)

    def local_date(self, millis: int) -> date:
        """The local day of an instant in UTC milliseconds."""
        return datetime.fromtimestamp(millis / 1000, ZoneInfo(self.zone)).date()

    def workdays(self, calendar: WorkCalendar) -> npt.NDArray[np.bool_]:
        """For each day of the window whether it is worked."""
        return np.array([calendar.workday(self.day(day)) for day in range(self.days)])
