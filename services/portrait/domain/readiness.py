"""When a window's feeds are complete, and what exactly a run is made of."""

import calendar
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

EVERY = ("window", "month", "week", "day")


_DAYS = {"week": 7, "day": 1}


@dataclass(frozen=True)
class Delivery:
    """One loaded delivery of ingest, by its natural key feed, period and sequence."""

    feed_id: str
    period: date
    sequence: int
    delivery_id: str
    loaded_rows: int = 1


@dataclass(frozen=True)
class ReadinessRule:
    """Which feeds a window needs, and how far it moves; see readiness.yaml."""

    daily: str
    at_least: Mapping[str, int]
    every: str
    window_days: int
    where_there: Mapping[str, int] = field(default_factory=dict)
    """Feeds that a window reads without waiting for them, with how many days back."""

    @property
    def feeds(self) -> frozenset[str]:
        """The feeds that a window waits for."""
        return frozenset({self.daily, *self.at_least})

    @property
    def reads(self) -> frozenset[str]:
        """All feeds that a run reads."""
        return self.feeds | self.where_there.keys()


@dataclass(frozen=True)
class Inputs:
    """What a run is made of: a span and the deliveries by feed, each feed's in order."""

    from_date: date
    to_date: date
    deliveries: Mapping[str, tuple[str, ...]]

    def key(self, catalogue: str) -> str:
        """Name of the work: the same span, deliveries and catalogue (its digest) give the same key."""
        text = json.dumps([self.to_spec(), catalogue], sort_keys=True)
        return f"{self.to_date:%Y%m%d}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    def to_spec(self) -> dict[str, Any]:
        """The inputs as a job's spec."""
        return {
            "from_date": self.from_date.isoformat(),
            "to_date": self.to_date.isoformat(),
            "deliveries": {feed: list(ids) for feed, ids in sorted(self.deliveries.items())},
        }

    @staticmethod
    def of_spec(spec: Mapping[str, Any]) -> "Inputs":
        """The inputs that a job's spec speaks of."""
        return Inputs(
            date.fromisoformat(spec["from_date"]),
            date.fromisoformat(spec["to_date"]),
            {feed: tuple(ids) for feed, ids in spec["deliveries"].items()},
        )


def parse_rule(document: Any, window_days: int) -> ReadinessRule:
    """Rule of a YAML document; raises ValueError naming the key."""
    if not isinstance(document, dict) or set(document) - {"where_there"} != {"daily", "at_least", "every"}:
        raise ValueError("expected the keys daily, at_least and every, and no other than where_there")
    if not isinstance(document["daily"], str):
        raise ValueError("daily: expected a feed")
    at_least = document["at_least"]
    if not isinstance(at_least, dict) or not all(isinstance(n, int) and n > 0 for n in at_least.values()):
        raise ValueError("at_least: expected feeds with whole numbers above 0")
    if document["every"] not in EVERY:
        raise ValueError(f"every: {document['every']!r} is none of {', '.join(EVERY)}")
    there = document.get("where_there", {})
    if not isinstance(there, dict) or not all(isinstance(n, int) and n > 0 for n in there.values()):
        raise ValueError("where_there: expected feeds with days above 0")
    return ReadinessRule(document["daily"], at_least, document["every"], window_days, there)


def inputs_of(rule: ReadinessRule, known: Iterable[Delivery], from_date: date, to_date: date) -> Inputs:
    """The deliveries that a run over the span reads, whether or not it is complete; those without a row left out."""
    chosen: dict[str, list[Delivery]] = {}
    for each in known:
        first = from_date if each.feed_id == rule.daily else date.min
        if each.feed_id in rule.where_there:
            first = to_date - timedelta(days=rule.where_there[each.feed_id])
        if each.loaded_rows and each.feed_id in rule.reads and first <= each.period <= to_date:
            chosen.setdefault(each.feed_id, []).append(each)
    return Inputs(
        from_date,
        to_date,
        {
            feed: tuple(each.delivery_id for each in sorted(found, key=lambda each: (each.period, each.sequence)))
            for feed, found in chosen.items()
        },
    )


def missing(rule: ReadinessRule, known: Iterable[Delivery], from_date: date, to_date: date) -> list[str]:
    """What a span still lacks, for people: `signalling 2026-09-03`, `bills 4 of 6`; empty when it is complete."""
    periods: dict[str, set[date]] = {}
    for each in known:
        if each.period <= to_date:
            periods.setdefault(each.feed_id, set()).add(each.period)
    days = [from_date + timedelta(days=number) for number in range((to_date - from_date).days + 1)]
    lacking = [f"{rule.daily} {day}" for day in days if day not in periods.get(rule.daily, set())]
    for feed, least in sorted(rule.at_least.items()):
        there = len(periods.get(feed, set()))
        if there < least:
            lacking.append(f"{feed} {there} of {least}")
    return lacking


def next_window(rule: ReadinessRule, known: Iterable[Delivery], last_to_date: date | None) -> tuple[date, date] | None:
    """The window to compute now, or None: the earliest complete one that ends at or after the next due day."""
    known = list(known)
    days = {each.period for each in known if each.feed_id == rule.daily}
    due = _due(rule, last_to_date) if last_to_date is not None else date.min
    for to_date in sorted(day for day in days if day >= due):
        from_date = to_date - timedelta(days=rule.window_days - 1)
        if not missing(rule, known, from_date, to_date):
            return from_date, to_date
    return None


def _due(rule: ReadinessRule, last_to_date: date) -> date:
    if rule.every == "window":
        return last_to_date + timedelta(days=rule.window_days)
    if rule.every in _DAYS:
        return last_to_date + timedelta(days=_DAYS[rule.every])
    months = last_to_date.year * 12 + last_to_date.month
    year, month = months // 12, months % 12 + 1
    return date(year, month, min(last_to_date.day, calendar.monthrange(year, month)[1]))
