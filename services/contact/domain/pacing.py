"""Keeping the pace of a day: prices follow what is used against what should be, and drift asks for new ones.

The prices of a plan are right for the customers and scores it was made from. Within the day each limit's price follows
how far its use is ahead of, or behind, an even pace: a mild proportional feedback on the dual (in the sense of
Balseiro, Lu and Mirrokni 2020). When the bids that arrive are worth less or more than the plan expected, a little is
not enough and prices are made anew from what is left of the limits.
"""

from collections.abc import Mapping

GAIN = 10.0
"""By how much of itself a price moves when use is off the even pace by the whole limit."""
MOST = 3.0
"""A price is moved to at most so many times itself."""
DRIFT = 0.10
"""From this relative difference between what bids are worth and what they were expected to be, prices are made anew."""
SEEN = 1_000
"""So many bids at least are looked at before drift is believed."""


def paced(price: float, used: float, due: float, bound: float) -> float:
    """A limit's price when `used` of it went by now, where an even pace to its `bound` would be `due`.

    A limit without a price stays without one: it was not expected to bind, and at its end it binds by itself. A
    subsidy (below 0) stays as it is.
    """
    if price <= 0 or bound <= 0:
        return price
    return price * min(max(1.0 + GAIN * (used - due) / bound, 0.0), MOST)


def due(bound: float, begun: float, since: float, passed: float) -> float:
    """What an even pace uses of a limit by now, of which `begun` was used when `since` (0 … 1) of the day was over."""
    return begun + (bound - begun) * max(passed - since, 0.0) / max(1.0 - since, 1e-9)


def all_paced(
    prices: Mapping[str, float], used: Mapping[str, float], bounds: Mapping[str, float], passed: float
) -> dict[str, float]:
    """The prices of limits by name, `passed` (0 … 1) of the day's open hours being over."""
    return {
        name: paced(price, used.get(name, 0.0), bounds[name] * passed, bounds[name]) if name in bounds else price
        for name, price in prices.items()
    }


def drifted(expected: float, seen: float, bids: int) -> bool:
    """Whether bids are worth so much more or less than expected that the plan's prices are those of another day."""
    return bids >= SEEN and abs(seen - expected) > DRIFT * abs(expected)
