"""What is told of dwell: grades (经常 / 一般 / 偶尔), attendance at city events, radius of movement, the checksum."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.portrait.domain.place import Places, kilometres
from services.portrait.domain.track import SLOTS_A_DAY, DwellDays, Stays, Visits

OFTEN, SOMETIMES, RARELY = 3, 2, 1

Longs = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]
_MASK = (1 << 64) - 1


def grade(
    days: Counts,
    seconds: Counts,
    observed_days: Counts,
    often_share: float = 0.5,
    often_minutes: float = 15.0,
    sometimes_share: float = 0.2,
) -> Counts:
    """Grades of customers' dwell at places in one kind of day and slot; (rows,) each.

    3 often: on at least half of the days on which he was seen in that kind of day, and 15 minutes a day; 2 sometimes:
    on at least a fifth of them; 1 rarely: at all.
    """
    share = days / np.maximum(observed_days, 1)
    often = (share >= often_share) & (seconds >= often_minutes * 60.0 * days)
    return np.where(often, OFTEN, np.where(share >= sometimes_share, SOMETIMES, RARELY))


@dataclass(frozen=True)
class CityEvent:
    """Something that draws people to one place; times are UTC milliseconds with lead and lag already added."""

    event_id: str
    type: str
    place: int
    start: int
    end: int


@dataclass(frozen=True)
class Attendance:
    """Time of customers at city events, by event, then customer; (rows,) each. `event` is a number into the events."""

    customer: npt.NDArray[np.int32]
    event: npt.NDArray[np.int32]
    secs: Longs


NOBODY_ATTENDED = Attendance(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))


def attendance(visits: Visits, events: Sequence[CityEvent], customers: int) -> Attendance:
    """Who was at which event for how long: the visits at the event's place, as far as they overlap with it, summed."""
    found: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Longs]] = []
    for number, event in enumerate(events):
        there = (visits.place == event.place) & (visits.start < event.end) & (visits.end > event.start)
        overlap = np.minimum(visits.end[there], event.end) - np.maximum(visits.start[there], event.start)
        secs = np.bincount(visits.customer[there], weights=overlap, minlength=customers).astype(np.int64) // 1000
        who = np.flatnonzero(secs > 0).astype(np.int32)
        found.append((who, np.full(len(who), number, dtype=np.int32), secs[who]))
    if not found:
        return NOBODY_ATTENDED
    who, event_number, secs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Attendance(who, event_number, secs)


def with_earlier(own: Attendance, earlier: Attendance) -> Attendance:
    """Attendance of a run with what runs before knew, both by number into one list of events. Somebody whom
    both saw at an event was there for the longer of the two: it began before the run's first day, so neither saw all
    of it."""
    customer = np.concatenate([own.customer, earlier.customer])
    people = int(customer.max()) + 1 if len(customer) else 1
    event = np.concatenate([own.event, earlier.event]).astype(np.int64)
    pair, at = np.unique(event * people + customer, return_inverse=True)
    longest = np.zeros(len(pair), dtype=np.int64)
    np.maximum.at(longest, at, np.concatenate([own.secs, earlier.secs]))
    return Attendance((pair % people).astype(np.int32), (pair // people).astype(np.int32), longest)


def silent_days(stays: Stays, borders: Longs, customers: int) -> npt.NDArray[np.float64]:
    """Whole days of the window since the network last heard of each customer; all its days for one never heard."""
    midnights = borders[::SLOTS_A_DAY]
    days = len(midnights) - 1
    last = np.full(customers, midnights[0] - 1, dtype=np.int64)
    np.maximum.at(last, stays.customer, np.minimum(stays.last, midnights[-1] - 1))
    heard = np.searchsorted(midnights, last, side="right") - 1
    return np.asarray(days - 1 - heard, dtype=np.float64)


def radius(dwell: DwellDays, places: Places, customers: int) -> npt.NDArray[np.float64]:
    """Radius of gyration in km, weighted by dwell (González, Hidalgo, Barabási 2008); (customers,), NaN without any."""
    secs = dwell.secs.astype(np.float64)
    lon, lat = places.lon[dwell.place], places.lat[dwell.place]
    total = np.bincount(dwell.customer, weights=secs, minlength=customers)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle_lon = np.bincount(dwell.customer, weights=secs * lon, minlength=customers) / total
        middle_lat = np.bincount(dwell.customer, weights=secs * lat, minlength=customers) / total
        away = kilometres(lon, lat, middle_lon[dwell.customer], middle_lat[dwell.customer])
        squares = np.bincount(dwell.customer, weights=secs * away**2, minlength=customers)
        return np.asarray(np.sqrt(squares / total))


@dataclass(frozen=True)
class Checksum:
    """A checksum of a set of dwell rows, whatever their order and however they are cut into buckets.

    Each row is hashed on its own (SplitMix64 over its fields); sums modulo 2**64 of two such hashes are kept.
    """

    rows: int = 0
    secs: int = 0
    first: int = 0
    second: int = 0

    def __add__(self, other: "Checksum") -> "Checksum":
        return Checksum(
            self.rows + other.rows,
            self.secs + other.secs,
            (self.first + other.first) & _MASK,
            (self.second + other.second) & _MASK,
        )

    def sha256(self) -> str:
        """The checksum as a hex digest."""
        return hashlib.sha256(f"{self.rows}|{self.secs}|{self.first}|{self.second}".encode()).hexdigest()


def checksum(dwell: DwellDays, customer_key: Longs, places: Places) -> Checksum:
    """Checksum of one bucket's dwell; `customer_key` gives the key of each customer number."""
    fields = (
        customer_key[dwell.customer],
        places.stable_hashes()[dwell.place],
        dwell.day,
        dwell.slot,
        dwell.secs,
        dwell.visits,
        dwell.longest,
    )
    sums = []
    for seed in (0x6C69666563697263, 0x6C65706F72747261):
        state = np.full(len(dwell.customer), seed, dtype=np.uint64)
        for field in fields:
            state = _mix(state + np.uint64(0x9E3779B97F4A7C15) + field.astype(np.uint64))
        sums.append(int(state.sum(dtype=np.uint64)) if len(state) else 0)
    return Checksum(len(dwell.customer), int(dwell.secs.sum(dtype=np.int64)), sums[0], sums[1])


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))
