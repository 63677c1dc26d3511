"""Fair comparison: who is held out, by hash, and what the difference between two groups is worth."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def shares(salt: str, customers: Ints) -> Floats:
    """A number in [0, 1) for each customer [N], evenly spread, that depends on the salt and the customer alone.

    The customer key, moved by 64 bits of the salt's SHA-256, goes through the finaliser of SplitMix64 (Steele et al.
    2014) twice; 53 bits of it make the number.
    """
    moved = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "big")
    bits = np.asarray(customers).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(moved)
    for _ in range(2):
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    numbers: Floats = (bits >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return numbers


def held_out(salt: str, customers: Ints, bps: int) -> Flags:
    """Which customers [N] fall into the share of `bps` basis points that the salt selects.

    The same customer falls on the same side of the same salt for ever, and a larger share holds the smaller one.
    """
    chosen: Flags = shares(salt, customers) < bps / 10_000
    return chosen


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval."""

    successes: int
    trials: int
    rate: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Rate:
    """The share and its Wilson score interval (Wilson 1927); nothing is known of no trials: [0, 1]."""
    if not trials:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    p, z2 = successes / trials, _Z95**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Rate(successes, trials, p, low, high)


def newcombe(first: Rate, second: Rate) -> tuple[float, float, float]:
    """first − second, and the ends of its 95 % interval from two Wilson intervals (Newcombe 1998, method 10)."""
    difference = first.rate - second.rate
    low = difference - math.hypot(first.rate - first.low, second.high - second.rate)
    high = difference + math.hypot(first.high - first.rate, second.rate - second.low)
    return difference, max(-1.0, low), min(1.0, high)
