"""The auction as arrays: customers, their candidates, and the limits that couple them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Small = NDArray[np.int32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Kinds = NDArray[np.uint16]

NO_LIMIT = -1
"""The value of a limit that is not set; 0 is a limit of none at all."""

MOST_KINDS = 1 << 16
"""Offers × channels × days that one auction may hold."""


@dataclass(frozen=True)
class Problem:
    """Who may be contacted by what, at which value, and what all contacts together must keep to.

    Candidates (J of them) stand customer by customer, `starts` [N + 1] says where each customer's begin. A candidate
    is of a `kind` [J] (an offer through a channel, perhaps on a day), and within a customer they are ordered by kind;
    the tables [T] say what a kind is, the kinds of a group standing together. Each candidate takes one unit of its
    customer's `cap` [N], of the capacity of its channel and of the volume of its campaign, and of each group a
    customer gets at most one contact. With `spacing` above 0 a customer gets at most one contact a day, and two
    through the same medium are at least so many days apart.
    """

    starts: Ints
    cap: Small
    kind: Kinds
    value: Floats
    group_of: Small
    channel_of: Small
    campaign_of: Small
    medium_of: Small
    day_of: Small
    capacity: Ints
    most: Ints
    least: Ints
    channels: tuple[str, ...]
    campaigns: tuple[str, ...]
    spacing: int = 0

    @property
    def customers(self) -> int:
        """N, the number of customers."""
        return len(self.cap)

    @property
    def candidates(self) -> int:
        """J, the number of candidates."""
        return len(self.value)

    @property
    def customer(self) -> Ints:
        """The customer of each candidate [J]."""
        return np.repeat(np.arange(self.customers), np.diff(self.starts))

    @property
    def group(self) -> Small:
        """The group of each candidate [J]."""
        return self.group_of[self.kind]

    @property
    def channel(self) -> Small:
        """The channel of each candidate [J]."""
        return self.channel_of[self.kind]

    @property
    def campaign(self) -> Small:
        """The campaign of each candidate [J]."""
        return self.campaign_of[self.kind]

    def usage(self, picked: Flags) -> tuple[Ints, Ints]:
        """Contacts per channel [C] and per campaign [K] of a selection [J]."""
        return self.folded(np.bincount(self.kind[picked], minlength=len(self.group_of)))

    def folded(self, by_kind: Ints) -> tuple[Ints, Ints]:
        """Contacts per kind [T] as contacts per channel [C] and per campaign [K]."""
        channel, campaign = np.zeros(len(self.capacity), np.int64), np.zeros(len(self.most), np.int64)
        np.add.at(channel, self.channel_of, by_kind)
        np.add.at(campaign, self.campaign_of, by_kind)
        return channel, campaign

    def price_of(self, prices: Floats) -> Floats:
        """What a contact of each kind [T] pays at prices [C + K]."""
        count = len(self.capacity)
        paid: Floats = prices[:count][self.channel_of] + prices[count:][self.campaign_of]
        return paid

    def rows(self) -> Iterator[tuple[str, bool, int, int]]:
        """The coupling limits that are set: (name, is a minimum, index of its price, bound)."""
        for index, (name, bound) in enumerate(zip(self.channels, self.capacity, strict=True)):
            if bound >= 0:
                yield f"capacity {name}", False, index, int(bound)
        for index, name in enumerate(self.campaigns):
            at = len(self.capacity) + index
            if self.most[index] >= 0:
                yield f"max {name}", False, at, int(self.most[index])
            if self.least[index] > 0:
                yield f"min {name}", True, at, int(self.least[index])

    def chosen(self, customers: Ints, capacity: Ints, most: Ints, least: Ints) -> "Problem":
        """These customers (ascending) with their candidates, under other limits."""
        lengths = (self.starts[1:] - self.starts[:-1])[customers]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        where = np.repeat(self.starts[customers] - starts[:-1], lengths) + np.arange(starts[-1])
        return self.replaced(starts, self.cap[customers], self.kind[where], self.value[where], capacity, most, least)

    def sample(self, step: int) -> "Problem":
        """Every step-th customer with his candidates, under limits that are as much smaller."""
        customers = np.arange(0, self.customers, step)
        return self.chosen(customers, _shrunk(self.capacity, step), _shrunk(self.most, step), self.least // step)

    def replaced(
        self, starts: Ints, cap: Small, kind: Kinds, value: Floats, capacity: Ints, most: Ints, least: Ints
    ) -> "Problem":
        """Other customers, candidates and bounds; kinds and names as they are."""
        changes = {"starts": starts, "cap": cap, "kind": kind, "value": value}
        return Problem(**{**self.__dict__, **changes, "capacity": capacity, "most": most, "least": least})


def _shrunk(bounds: Ints, step: int) -> Ints:
    return np.where(bounds < 0, NO_LIMIT, np.round(bounds / step).astype(np.int64))


def from_columns(
    *,
    customer: Ints | Small,
    kind: Ints | Kinds,
    value: Floats,
    cap: Small,
    group_of: Sequence[int] | Ints | Small,
    channel_of: Sequence[int] | Ints | Small,
    campaign_of: Sequence[int] | Ints | Small,
    capacity: Sequence[int],
    most: Sequence[int],
    least: Sequence[int],
    channels: Sequence[str],
    campaigns: Sequence[str],
    medium_of: Sequence[int] | Ints | Small | None = None,
    day_of: Sequence[int] | Ints | Small | None = None,
    spacing: int = 0,
) -> tuple[Problem, Ints]:
    """A problem from candidates in any order, and which of the caller's kinds each of its kinds is [T].

    `customer` [J] counts the customers from 0 to N − 1, `cap` [N] is theirs; `kind` [J] counts the kinds, whose tables
    follow. Candidates are ordered by customer, group, and kind in the caller's numbering, so that the same candidates
    in another order give the same problem. The arrays `kind` and `value` may be taken over and ordered in place.
    """
    told = [np.asarray(table, np.int32) for table in (group_of, channel_of, campaign_of)]
    assert len(told[0]) <= MOST_KINDS, "more kinds than an auction can hold"
    order = np.lexsort((np.arange(len(told[0])), told[0]))
    rank = np.empty(len(order), np.uint16)
    rank[order] = np.arange(len(order))
    kinds = rank[kind]
    starts = np.zeros(len(cap) + 1, np.int64)
    values = np.ascontiguousarray(value, np.float64)
    kinds, values = _arranged(customer, kinds, values, starts)
    none = np.zeros(len(order), np.int32)
    problem = Problem(
        starts=starts,
        cap=np.ascontiguousarray(cap, dtype=np.int32),
        kind=kinds,
        value=values,
        group_of=told[0][order],
        channel_of=told[1][order],
        campaign_of=told[2][order],
        medium_of=told[1][order] if medium_of is None else np.asarray(medium_of, np.int32)[order],
        day_of=none if day_of is None else np.asarray(day_of, np.int32)[order],
        capacity=np.asarray(capacity, dtype=np.int64),
        most=np.asarray(most, dtype=np.int64),
        least=np.asarray(least, dtype=np.int64),
        channels=tuple(channels),
        campaigns=tuple(campaigns),
        spacing=spacing,
    )
    return problem, order


def _arranged(customer: Ints | Small, kind: Kinds, value: Floats, starts: Ints) -> tuple[Kinds, Floats]:
    """Candidates by customer and kind, in linear time; fills `starts`. What comes in order is not copied."""
    if not _counted(customer, starts):
        placed_kind, placed_value = np.empty_like(kind), np.empty_like(value)
        _place(customer, kind, value, starts.copy(), placed_kind, placed_value)
        kind, value = placed_kind, placed_value
    elif not value.flags.writeable:
        value = value.copy()
    _order_within(starts, kind, value)
    return kind, value


@numba.njit(cache=True, nogil=True)
def _counted(customer: Ints | Small, starts: Ints) -> bool:
    """Where each customer's candidates begin; gives whether they stand customer by customer."""
    ordered = True
    last = 0
    for index in range(len(customer)):
        who = customer[index]
        starts[who + 1] += 1
        if who < last:
            ordered = False
        last = who
    for who in range(1, len(starts)):
        starts[who] += starts[who - 1]
    return ordered


@numba.njit(cache=True, nogil=True)
def _place(
    customer: Ints | Small, kind: Kinds, value: Floats, free: Ints, placed_kind: Kinds, placed_value: Floats
) -> None:
    """Counting sort by customer."""
    for index in range(len(customer)):
        at = free[customer[index]]
        free[customer[index]] += 1
        placed_kind[at] = kind[index]
        placed_value[at] = value[index]


@numba.njit(cache=True, nogil=True)
def _order_within(starts: Ints, kind: Kinds, value: Floats) -> None:
    """Insertion sort of each customer's candidates by kind, the more valuable of a kind first."""
    for customer in range(len(starts) - 1):
        for at in range(starts[customer] + 1, starts[customer + 1]):
            moving, worth = kind[at], value[at]
            to = at
            while to > starts[customer] and (
                kind[to - 1] > moving or (kind[to - 1] == moving and value[to - 1] < worth)
            ):
                kind[to] = kind[to - 1]
                value[to] = value[to - 1]
                to -= 1
            kind[to] = moving
            value[to] = worth
