"""The auction as arrays: customers, their candidates, and the limits that couple them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Small = NDArray[np.int32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NO_LIMIT = -1
"""The value of a limit that is not set; 0 is a limit of none at all."""


@dataclass(frozen=True)
class Problem:
    """Who may be contacted by what, at which value, and what all contacts together must keep to.

    Candidates (J of them) stand customer by customer, `starts` [N + 1] says where each customer's begin; within a
    customer they are ordered by `group`. Each candidate takes one unit of its customer's `cap` [N], of the capacity
    of its `channel` and of the volume of its `campaign`, and of each `group` a customer gets at most one contact.
    """

    starts: Ints
    cap: Small
    group: Small
    channel: Small
    campaign: Small
    value: Floats
    capacity: Ints
    most: Ints
    least: Ints
    channels: tuple[str, ...]
    campaigns: tuple[str, ...]

    @property
    def customers(self) -> int:
        """N, the number of customers."""
        return len(self.cap)

    @property
    def candidates(self) -> int:
        """J, the number of candidates."""
        return len(self.value)

    def usage(self, picked: Flags) -> tuple[Ints, Ints]:
        """Contacts per channel [C] and per campaign [K] of a selection [J]."""
        return (
            np.bincount(self.channel[picked], minlength=len(self.capacity)),
            np.bincount(self.campaign[picked], minlength=len(self.most)),
        )

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

    def sample(self, step: int) -> "Problem":
        """Every step-th customer with his candidates, under limits that are as much smaller."""
        chosen = np.arange(0, self.customers, step)
        lengths = (self.starts[1:] - self.starts[:-1])[chosen]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        where = np.repeat(self.starts[chosen] - starts[:-1], lengths) + np.arange(starts[-1])
        return Problem(
            starts=starts,
            cap=self.cap[chosen],
            group=self.group[where],
            channel=self.channel[where],
            campaign=self.campaign[where],
            value=self.value[where],
            capacity=_shrunk(self.capacity, step),
            most=_shrunk(self.most, step),
            least=self.least // step,
            channels=self.channels,
            campaigns=self.campaigns,
        )


def _shrunk(bounds: Ints, step: int) -> Ints:
    return np.where(bounds < 0, NO_LIMIT, np.round(bounds / step).astype(np.int64))


def from_columns(
    *,
    customer: Ints,
    group: Small,
    channel: Small,
    campaign: Small,
    value: Floats,
    order: Ints,
    cap: Small,
    capacity: Sequence[int],
    most: Sequence[int],
    least: Sequence[int],
    channels: Sequence[str],
    campaigns: Sequence[str],
) -> tuple[Problem, Ints]:
    """A problem from candidates in any order, and where its candidates stood [J].

    `customer` [J] counts the customers from 0 to N − 1, `cap` [N] is theirs; `order` [J] breaks ties within a
    customer's group, so that the same candidates in another order give the same problem.
    """
    where = np.lexsort((channel, order, group, customer))
    starts = np.searchsorted(customer[where], np.arange(len(cap) + 1), side="left")
    problem = Problem(
        starts=starts.astype(np.int64),
        cap=np.ascontiguousarray(cap, dtype=np.int32),
        group=np.ascontiguousarray(group[where], dtype=np.int32),
        channel=np.ascontiguousarray(channel[where], dtype=np.int32),
        campaign=np.ascontiguousarray(campaign[where], dtype=np.int32),
        value=np.ascontiguousarray(value[where], dtype=np.float64),
        capacity=np.asarray(capacity, dtype=np.int64),
        most=np.asarray(most, dtype=np.int64),
        least=np.asarray(least, dtype=np.int64),
        channels=tuple(channels),
        campaigns=tuple(campaigns),
    )
    return problem, where
