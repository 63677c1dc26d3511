"""The city's fixed tables, kept as CSV in `city/data`, and its calendar."""

import csv
import math
from dataclasses import dataclass
from datetime import date, timedelta, timezone
from functools import cache
from pathlib import Path

import numpy as np

from city.dice import Flags, Floats, Ints

TASTES = ("sport", "film", "music", "game", "shop", "nature", "family", "digital")
URBAN_TOWNS = ("莞城", "东城", "南城", "万江")
PROVINCE, CITY = "广东省", "东莞市"
SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")


@cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `city/data/<name>.csv`."""
    with (Path(__file__).parent / "data" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def column(name: str, field: str) -> list[str]:
    """One column of a table as text."""
    return [row[field] for row in rows(name)]


def numbers(name: str, field: str) -> Floats:
    """One column of a table as numbers."""
    return np.array([float(value) for value in column(name, field)])


@dataclass(frozen=True)
class Days:
    """The generated days: `count` of them from `start`, local calendar of Asia/Shanghai."""

    start: date
    count: int

    @property
    def last(self) -> date:
        """The last generated day."""
        return self.start + timedelta(days=self.count - 1)

    def on(self, day: int) -> date:
        """The date of day `day` (0 is the start)."""
        return self.start + timedelta(days=day)

    def weekday(self, days: Ints) -> Ints:
        """Weekdays of day numbers, Monday is 0; days before the start are negative."""
        return (days + self.start.weekday()) % 7

    def rest(self, first: int = -1) -> Flags:
        """Whether the days `first`.. are rest days, by the State Council's calendar where it is known."""
        return np.array([_rest(self.on(day)) for day in range(first, self.count)])

    def holiday(self, first: int = -1) -> Flags:
        """Whether the days `first`.. belong to a public holiday (a rest day that the calendar names)."""
        named = _calendar()
        return np.array([named.get(self.on(day)) == "rest" for day in range(first, self.count)])

    def bill_months(self) -> list[date]:
        """First days of the six months before the start, oldest first."""
        month = self.start.year * 12 + self.start.month - 1
        return [date(number // 12, number % 12 + 1, 1) for number in range(month - 6, month)]


@cache
def _calendar() -> dict[date, str]:
    return {date.fromisoformat(row["date"]): row["kind"] for row in rows("holidays")}


def _rest(day: date) -> bool:
    kind = _calendar().get(day)
    return day.weekday() >= 5 if kind is None else kind == "rest"


def kilometres(lon_a: Floats, lat_a: Floats, lon_b: Floats, lat_b: Floats) -> Floats:
    """Great-circle distance (haversine) on a sphere of 6371.0088 km; arguments in degrees, broadcast."""
    scale = math.pi / 180.0
    north, east = (lat_b - lat_a) * scale, (lon_b - lon_a) * scale
    chord = np.sin(north / 2) ** 2 + np.cos(lat_a * scale) * np.cos(lat_b * scale) * np.sin(east / 2) ** 2
    return np.asarray(2.0 * 6371.0088 * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0))))
