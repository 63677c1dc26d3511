"""Dwell and anchors computed from the noise-free stays, plainly: the auditor's own reading of the tag grammar.

It shares nothing with the platform. A stay is cut at slot borders; a row is one customer x day x slot x place with the
seconds and the longest single piece; anchors follow the catalogue's section `anchors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from city.dice import Flags, Floats, Ints
from city.lives import Stays
from city.tables import Days
from city.world import AWAY, CityEvent, World, matches

SLOTS = {
    "late": (0, 6),
    "early": (6, 9),
    "am": (9, 12),
    "noon": (12, 14),
    "pm": (14, 18),
    "eve": (18, 21),
    "night": (21, 24),
}
WINDOW_DAYS = 30
HOME_CLASSES = ("res.*", "edu.school.university", "svc.stay.hotel")
WORK_CLASSES = (
    "off.*",
    "ind.*",
    "biz.*",
    "med.*",
    "edu.school.middle",
    "edu.school.primary",
    "edu.school.kinder",
    "svc.stay.hotel",
)
NONE = -1


@dataclass(frozen=True)
class Leaf:
    """The metrics of one dwell leaf, one entry per customer of the block; zero where nothing satisfies it."""

    days: Ints
    minutes: Floats
    places: Ints

    @property
    def minutes_per_day(self) -> Floats:
        """Minutes on the days that count."""
        return self.minutes / np.maximum(self.days, 1)


class Dwell:
    """The dwell rows of a block of consecutive customers in the window, and their anchors."""

    def __init__(self, world: World, days: Days, who: Ints, stays: Stays) -> None:
        self.world, self.count, self.first = world, len(who), int(who[0])
        self._rest = days.rest(0)
        self._width = days.count
        self.stays = stays.only((stays.place != AWAY) & (stays.day >= days.count - WINDOW_DAYS))
        self._pieces()
        home = self._anchor(HOME_CLASSES, None, 5, 120)
        # Without a home among the candidates: where somebody is at night.
        nights = np.flatnonzero(np.isin(self.slot, [0, 6]) & (home[self.who] == NONE))
        self.home: Ints = np.where(home == NONE, self._best(nights, 5, 0), home)
        self.work = self._anchor(WORK_CLASSES, self.home, 8, 180)

    def _pieces(self) -> None:
        parts: list[tuple[Ints, Ints, Ints]] = []
        for number, (opens, closes) in enumerate(SLOTS.values()):
            seconds = np.minimum(self.stays.end, closes * 3600) - np.maximum(self.stays.start, opens * 3600)
            some = np.flatnonzero(seconds > 0)
            parts.append((some, np.full(len(some), number), seconds[some]))
        index, slot, seconds = (np.concatenate(column) for column in zip(*parts, strict=True))
        who, day, place = self.stays.who[index] - self.first, self.stays.day[index], self.stays.place[index]
        places = len(self.world.lon)
        key = ((who * self._width + day) * len(SLOTS) + slot) * places + place
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.concatenate([[True], np.diff(key[order]) > 0])) if len(key) else order
        self.seconds = np.add.reduceat(seconds[order], starts) if len(key) else seconds
        self.longest = np.maximum.reduceat(seconds[order], starts) if len(key) else seconds
        rows = order[starts] if len(key) else order
        self.who, self.day, self.slot, self.place = who[rows], day[rows], slot[rows], place[rows]

    def _anchor(self, classes: Sequence[str], other_than: Ints | None, days: int, minutes: float) -> Ints:
        chosen = self._of_class(classes)[self.place]
        if other_than is not None:
            chosen &= self.place != other_than[self.who]
        return self._best(np.flatnonzero(chosen), days, minutes)

    def _best(self, rows: Ints, days: int, minutes: float) -> Ints:
        """The place with the most seconds among those that meet the requirement; the smaller id breaks a tie."""
        places = len(self.world.lon)
        pair, back = np.unique(self.who[rows] * places + self.place[rows], return_inverse=True)
        total = np.bincount(back, self.seconds[rows], minlength=len(pair))
        dated = np.unique(back * self._width + self.day[rows])
        dates = np.bincount(dated // self._width, minlength=len(pair))
        fit = np.flatnonzero((dates >= days) & (total >= 60 * minutes * np.maximum(dates, 1)))
        order = fit[np.lexsort((pair[fit], -total[fit], pair[fit] // places))]
        owner = pair[order] // places
        top = np.flatnonzero(np.concatenate([[True], np.diff(owner) > 0])) if len(order) else order
        best = np.full(self.count, NONE, dtype=np.int64)
        best[owner[top]] = pair[order][top] % places
        return best

    def _of_class(self, selectors: Sequence[str]) -> Flags:
        kinds = np.array([matches(code, tuple(selectors)) for code in self.world.classes])
        return np.asarray(kinds[self.world.place_class])

    def leaf(
        self,
        place: Sequence[str] | str,
        *,
        apart: Sequence[str] = (),
        daytype: str = "all",
        slots: Sequence[str] = (),
        min_visit: float = 0,
    ) -> Leaf:
        """One dwell leaf: `place` is "home", "work" or class selectors; `apart` removes the anchors named there."""
        if place in ("home", "work"):
            chosen = self.place == getattr(self, str(place))[self.who]
        else:
            chosen = self._of_class(place)[self.place]
        for anchor in apart:
            chosen &= self.place != getattr(self, anchor)[self.who]
        chosen &= self.longest >= 60 * min_visit
        if daytype != "all":
            chosen &= self._rest[self.day] == (daytype == "weekend")
        if slots:
            chosen &= np.isin(self.slot, [list(SLOTS).index(name) for name in slots])
        rows = np.flatnonzero(chosen)
        dates = np.unique(self.who[rows] * self._width + self.day[rows]) // self._width
        visited = np.unique(self.who[rows] * len(self.world.lon) + self.place[rows]) // len(self.world.lon)
        return Leaf(
            np.bincount(dates, minlength=self.count),
            np.bincount(self.who[rows], self.seconds[rows], minlength=self.count) / 60,
            np.bincount(visited, minlength=self.count),
        )

    def observed(self, daytype: str) -> Ints:
        """Days on which the customers were observed at all in a day type."""
        return self.leaf(["*"], daytype=daytype).days

    def overlap(self, event: CityEvent) -> Floats:
        """Minutes at an event's place between its start less lead and its end plus lag."""
        begin, until = (event.start - event.lead) * 60, (event.end + event.lag) * 60
        here = np.flatnonzero((self.stays.place == event.place) & (self.stays.day == event.day))
        seconds = np.minimum(self.stays.end[here], until) - np.maximum(self.stays.start[here], begin)
        return np.bincount(self.stays.who[here] - self.first, np.maximum(seconds, 0), minlength=self.count) / 60
