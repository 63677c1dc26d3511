"""Anchors: the places that a life is tied to, found from time spent per customer and place.

The rules are data (`anchors:` of the catalogue): candidates by place class, over ALL slots, since a night-shift worker
sleeps by day; the one with most minutes among those that meet the requirement; home first, then work without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

from services.portrait.domain.calendar import Window
from services.portrait.domain.place import NOWHERE, Places

ROLES: tuple[str, ...] = ("home", "work", "study")

_EPOCH = date(1970, 1, 1)

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AnchorRule:
    """How one role is found. `fallback` is tried for customers without an anchor, over the night's dwell only."""

    role: str
    candidates: tuple[str, ...]
    days_ge: int
    minutes_per_day_ge: int
    apart_from: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    fallback_days_ge: int = 0


@dataclass(frozen=True)
class PlaceTime:
    """Time of customers at places, one row for each pair, by customer; (rows,) each.

    `night_*` speak of the slots late and night only; days are counts of distinct dates.
    """

    customer: Ints
    place: Ints
    days: Ints
    secs: Longs
    night_days: Ints
    night_secs: Longs


@dataclass(frozen=True)
class Anchors:
    """The anchors of one role; (customers,) each. `place` is -1 where there is none, the others 0 there."""

    place: Ints
    days: Ints
    secs: Longs
    confidence: Floats

    @property
    def exists(self) -> npt.NDArray[np.bool_]:
        """Who has one."""
        return np.asarray(self.place >= 0)


@dataclass(frozen=True)
class _Chosen:
    row: Longs = field(repr=False)
    runner_up: Longs = field(repr=False)


def find(rules: Sequence[AnchorRule], time: PlaceTime, places: Places, customers: int) -> Mapping[str, Anchors]:
    """Anchors of every role, for customers 0 … customers − 1. A rule may only look at roles before it."""
    found: dict[str, Anchors] = {}
    observed = np.zeros(customers, dtype=np.int64)
    np.maximum.at(observed, time.customer, time.days)
    for rule in rules:
        allowed = places.of_class(rule.candidates)[time.place]
        for role in rule.apart_from:
            allowed &= found[role].place[time.customer] != time.place
        fits = allowed & (time.days >= rule.days_ge) & (time.secs >= rule.minutes_per_day_ge * 60 * time.days)
        chosen = _best(fits, allowed, time.customer, time.place, time.secs, customers)
        anchors = _anchors(chosen, time.place, time.days, time.secs, observed)
        if rule.fallback:
            missing = ~anchors.exists[time.customer]
            allowed = missing & places.of_class(rule.fallback)[time.place] & (time.night_secs > 0)
            fits = allowed & (time.night_days >= rule.fallback_days_ge)
            chosen = _best(fits, allowed, time.customer, time.place, time.night_secs, customers)
            second = _anchors(chosen, time.place, time.night_days, time.night_secs, observed)
            anchors = _either(anchors, second)
        found[rule.role] = anchors
    return found


@dataclass(frozen=True)
class Tie:
    """Since when somebody has been tied to the place of an anchor; (customers,) each, days from 1970-01-01."""

    since_day: Longs
    moved_day: Longs
    """The day on which he was first seen to have come there from another place; -1 when he did not."""


def ties(
    anchors: Mapping[str, Anchors],
    place_id: Sequence[str],
    window: Window,
    place: Mapping[str, npt.NDArray[np.object_]],
    since_day: Mapping[str, Longs],
    moved_day: Mapping[str, Longs],
) -> dict[str, Tie]:
    """How the anchors of a run follow those of the run before (`place` "" for none). Who is at the same place is there
    since then; who is at another one has moved by the last day; somebody new is there since the first day."""
    names = np.array([*place_id, ""], dtype=object)
    first, last = ((day - _EPOCH).days for day in (window.from_date, window.to_date))
    found = {}
    for role, each in anchors.items():
        here = names[each.place]
        there = place.get(role, np.full(len(here), "", dtype=object))
        same, moved = (here == there) & (here != ""), (here != there) & (here != "") & (there != "")
        since = np.where(moved, last, first)
        known = since_day.get(role, np.full(len(here), -1))
        since = np.where(same & (known >= 0), known, since)
        kept = moved_day.get(role, np.full(len(here), -1))
        found[role] = Tie(since.astype(np.int64), np.where(moved, last, np.where(same, kept, -1)).astype(np.int64))
    return found


def _best(
    fits: npt.NDArray[np.bool_], rivals: npt.NDArray[np.bool_], customer: Ints, place: Ints, secs: Longs, customers: int
) -> _Chosen:
    """Of each customer's rows that fit the one with most time, then the smaller place; and the most time of a rival."""
    best = np.full(customers, NOWHERE, dtype=np.int64)
    rows = np.flatnonzero(fits)
    order = rows[np.lexsort((-place[rows], secs[rows]))]
    best[customer[order]] = order  # the last assignment of a customer wins: the most time, the smaller place
    others = rivals.copy()
    others[best[best >= 0]] = False
    runner_up = np.zeros(customers, dtype=np.int64)
    np.maximum.at(runner_up, customer[others], secs[others])
    return _Chosen(best, runner_up)


def _anchors(chosen: _Chosen, place: Ints, days: Ints, secs: Longs, observed: Longs) -> Anchors:
    """Confidence: the time there against the next candidate's, best / (best + next), times how well the days support
    it: min(1, 2 × days there / most days at any one place)."""
    has = chosen.row >= 0
    row = np.where(has, chosen.row, 0)
    if not len(place):
        nothing = np.zeros(len(has), dtype=np.int64)
        return Anchors(np.full(len(has), NOWHERE, np.int32), nothing.astype(np.int32), nothing, nothing.astype(float))
    there, spent = np.where(has, days[row], 0), np.where(has, secs[row], 0)
    lead = spent / np.maximum(spent + chosen.runner_up, 1)
    support = np.minimum(1.0, 2.0 * there / np.maximum(observed, 1))
    return Anchors(
        place=np.where(has, place[row], NOWHERE).astype(np.int32),
        days=there.astype(np.int32),
        secs=spent.astype(np.int64),
        confidence=np.where(has, lead * support, 0.0),
    )


def _either(first: Anchors, second: Anchors) -> Anchors:
    has = first.exists
    return Anchors(
        place=np.where(has, first.place, second.place),
        days=np.where(has, first.days, second.days),
        secs=np.where(has, first.secs, second.secs),
        confidence=np.where(has, first.confidence, second.confidence),
    )
