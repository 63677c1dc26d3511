"""Counter-based randomness: every draw is a hash of (seed, stream, keys).

A draw depends only on its keys, never on what was drawn before, so that the city is the same whichever way the work is
cut into pieces. The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom
number generators"), applied once per key.
"""

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Keys = Ints | Bits | int

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mix(state: Bits) -> Bits:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


@dataclass(frozen=True)
class Dice:
    """Draws for one seed. `stream` names what is drawn; `keys` are integers or integer arrays that broadcast."""

    seed: int

    def bits(self, stream: str, *keys: Keys) -> Bits:
        """64 random bits for each combination of keys."""
        name = zlib.crc32(stream.encode()) << 32
        state: Bits = _mix(np.full(1, (self.seed * 2 + 1 + name) & (2**64 - 1), dtype=np.uint64))
        for key in keys:
            state = _mix((state + _GOLDEN) ^ (np.asarray(key).astype(np.uint64) * _GOLDEN))
        return state

    def uniform(self, stream: str, *keys: Keys) -> Floats:
        """Uniform numbers in [0, 1)."""
        return (self.bits(stream, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, stream: str, *keys: Keys) -> Floats:
        """Standard normal numbers (Box and Muller 1958)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(stream, *keys)))
        return radius * np.cos(2.0 * np.pi * self.uniform(stream + ".angle", *keys))

    def choice(self, weights: Floats | list[float], stream: str, *keys: Keys) -> Ints:
        """Indices drawn in proportion to `weights`."""
        total = np.cumsum(np.asarray(weights, dtype=np.float64))
        found = np.searchsorted(total, self.uniform(stream, *keys) * total[-1], side="right")
        return np.asarray(np.minimum(found, len(total) - 1), dtype=np.int64)
