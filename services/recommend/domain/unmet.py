"""Which circles want a product more than others do and could still open it: where a new offer or bundle would fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.recommend.domain.product import Floats, Ints

FEWEST = 10
"""Members who could open it, below which a cell says more of somebody than of a circle."""


@dataclass(frozen=True)
class Wanted:
    """Sums over a matrix: `could` (t, p) members of each circle who could open each product, `score` (t, p) of them.

    `members` (t,); the last row of each is of all customers.
    """

    members: Ints
    could: Floats
    score: Floats


@dataclass(frozen=True)
class Need:
    """One circle and product: `customers` could open it, with a mean `chance`; that of all customers is `usual`.

    `extra` is how many openings are expected beyond those of as many customers as everybody.
    """

    circle: str
    product_id: str
    members: int
    customers: int
    chance: float
    usual: float
    extra: float

    @property
    def lift(self) -> float:
        """The chance relative to the usual one."""
        return self.chance / self.usual


def needs(circles: Sequence[str], product_ids: Sequence[str], told: Wanted) -> list[Need]:
    """The cells that more is wanted in than usual, by circle and product."""
    mean = np.where(told.could > 0, told.score, 0.0) / np.maximum(told.could, 1.0)
    usual = mean[-1]
    found = []
    for row, circle in enumerate(circles):
        for column in np.flatnonzero((told.could[row] >= FEWEST) & (mean[row] > usual)).tolist():
            customers, chance = int(told.could[row, column]), float(mean[row, column])
            extra = customers * (chance - float(usual[column]))
            members = int(told.members[row])
            told_of = circle, product_ids[column], members, customers
            found.append(Need(*told_of, chance, float(usual[column]), extra))
    return found
