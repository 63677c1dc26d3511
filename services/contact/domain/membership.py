"""A campaign's audience as a bitmap: a bit for each customer key, since keys are dense."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contact.domain.experiment import Flags, Ints


@dataclass(frozen=True)
class Members:
    """Who belongs to an audience: bit key % 8 of byte key // 8 of `bits`, the lowest first."""

    bits: NDArray[np.uint8]

    def has(self, customers: Ints) -> Flags:
        """Which customers [N] belong to it."""
        at = customers >> 3
        inside = (customers >= 0) & (at < len(self.bits))
        byte = self.bits[np.where(inside, at, 0)] if len(self.bits) else np.zeros(len(customers), np.uint8)
        found: Flags = inside & ((byte >> (customers & 7).astype(np.uint8)) & 1).astype(np.bool_)
        return found

    def holds(self, customer: int) -> bool:
        """Whether a customer belongs to it."""
        return bool(self.has(np.array([customer], np.int64))[0])

    def __len__(self) -> int:
        return int(np.bitwise_count(self.bits).sum())

    def changed(self, *, gone: Iterable[int], come: Iterable[int] = ()) -> "Members":
        """Without some customers, then with others."""
        keys = np.flatnonzero(np.unpackbits(self.bits, bitorder="little"))
        return members(np.union1d(np.setdiff1d(keys, list(gone)), np.array(list(come), np.int64)))

    def packed(self) -> bytes:
        """As it is kept."""
        return zlib.compress(self.bits.tobytes(), 1)


def members(customers: Ints) -> Members:
    """An audience of these customers, in any order, each above 0."""
    bits = np.zeros(int(customers.max(initial=-1)) + 1, np.uint8)
    bits[customers] = 1
    return Members(np.packbits(bits, bitorder="little"))


def unpacked(kept: bytes) -> Members:
    """An audience as it was kept."""
    return Members(np.frombuffer(zlib.decompress(kept), np.uint8))


NOBODY = Members(np.zeros(0, np.uint8))
