"""What answers teach of a customer: the channels and the hours in which he answers more, or less, than elsewhere.

Answers are few, so each share is shrunk towards what all customers do there: a gamma prior of mean 1 and `STRENGTH`
expected answers (Gelman et al., Bayesian Data Analysis, 2.6), as disease rates of small areas are. A customer's shares
are compared with his own overall one: that he answers at all is told by the matrix, here it is only where and when.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from services.contact.domain.experiment import Floats, Ints
from services.contact.domain.timing import WEEKEND, WORKDAY, Hours

STRENGTH = 4.0
SETTLED = timedelta(days=3)
"""A contact that is younger may yet be answered, and teaches nothing."""
MEMORY = timedelta(days=180)

BANDS = ((0, 9), (9, 12), (12, 14), (14, 18), (18, 24))
"""Hours [from, to) of a day that are alike in how people answer."""

_UNKNOWN = 0.5
"""How well a band suits a customer of whom only answers are known, before they are looked at."""


class Answers(NamedTuple):
    """Contacts by customer and cell (a channel, or a band of hours), rows [R] in any order: how many, and answered."""

    customer: Ints
    cell: Ints
    sent: Ints
    answered: Ints


class Leaning(NamedTuple):
    """By how much an acceptance is more (above 1) or less in a cell, of the customers [P] of whom that is known."""

    customers: Ints
    factor: Floats

    def of(self, customers: Ints) -> Floats:
        """The factor of each of these customers; 1 of whom nothing is known."""
        if not len(self.customers):
            return np.ones(len(customers))
        at = np.minimum(np.searchsorted(self.customers, customers), len(self.customers) - 1)
        found: Floats = np.where(self.customers[at] == customers, self.factor[at], 1.0)
        return found


def leanings(told: Answers, cells: int) -> list[Leaning]:
    """The leaning of each cell 0 … cells − 1."""
    keys, who = np.unique(told.customer, return_inverse=True)
    rate = np.bincount(told.cell, told.answered, cells) / np.maximum(np.bincount(told.cell, told.sent, cells), 1)
    expected = told.sent * rate[told.cell]
    own = _shrunk(who, told, expected)
    found = []
    for cell in range(cells):
        here = told.cell == cell
        mine, at = np.unique(who[here], return_inverse=True)
        part = Answers(*(column[here] for column in told))
        found.append(Leaning(keys[mine], _shrunk(at, part, expected[here]) / own[mine]))
    return found


def _shrunk(who: Ints, told: Answers, expected: Floats) -> Floats:
    """The answers of each of `who` [R] as a share of those expected, the prior's among both."""
    share: Floats = (np.bincount(who, told.answered) + STRENGTH) / (np.bincount(who, expected) + STRENGTH)
    return share


def band(hour: int) -> int:
    """The band of an hour 0 … 23."""
    return next(at for at, (_, to) in enumerate(BANDS) if hour < to)


def hours(told: Mapping[int, Sequence[Hours]], learnt: Sequence[Leaning]) -> dict[int, list[Hours]]:
    """Customers' good hours (told by portrait) with what their answers teach: each window is cut at the bands, and each
    part's score is multiplied by the leaning to it. Who has answered and has no windows has the bands as such."""
    factors: dict[int, dict[int, float]] = {}
    for at, one in enumerate(learnt):
        for key, factor in zip(one.customers.tolist(), one.factor.tolist(), strict=True):
            factors.setdefault(key, {})[at] = factor
    whole = [Hours(kind, *span, _UNKNOWN) for kind in (WORKDAY, WEEKEND) for span in BANDS]
    found = {key: list(windows) for key, windows in told.items()}
    for key, mine in factors.items():
        if any(factor != 1.0 for factor in mine.values()):
            found[key] = [
                Hours(one.day_type, max(one.from_hour, start), min(one.to_hour, end), one.score * mine.get(at, 1.0))
                for one in found.get(key) or whole
                for at, (start, end) in enumerate(BANDS)
                if max(one.from_hour, start) < min(one.to_hour, end)
            ]
    return found
