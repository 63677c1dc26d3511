"""Keeping the pace of a day: prices follow what is used against what should be, and drift asks for new ones.

The prices of a plan are right for the scores it was made from. Within the day each limit's price is moved a little by
how far its use is ahead of, or behind, an even pace (a dual step in the sense of Balseiro, Lu and Mirrokni 2020); when
the bids that arrive are worth less or more than the plan expected, a little is not enough and prices are made anew.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATE = 0.02
"""How much of a typical value a price moves when use is off by as much as was due."""
DRIFT = 0.10
"""From this relative difference between what bids are worth and what they were expected to be, prices are made anew."""
SEEN = 1_000
"""So many bids at least are looked at before drift is believed."""


@dataclass(frozen=True)
class Pace:
    """Prices of the limits [R] under way; `low` and `high` bound them, `unit` is a typical value."""

    prices: Floats
    low: Floats
    high: Floats
    unit: float
    rate: float = RATE

    def moved(self, used: Floats, due: Floats) -> "Pace":
        """The prices after a step in which `used` [R] of each limit went, where `due` [R] was an even pace."""
        off = np.where(due > 0, (used - due) / np.maximum(due, 1.0), used)
        step = np.clip(off, -1.0, 1.0) * self.rate * self.unit
        return Pace(np.clip(self.prices + step, self.low, self.high), self.low, self.high, self.unit, self.rate)


def drifted(expected: float, seen: float, bids: int) -> bool:
    """Whether bids are worth so much more or less than expected that the plan's prices are those of another day."""
    return bids >= SEEN and abs(seen - expected) > DRIFT * abs(expected)
