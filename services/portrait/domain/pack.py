"""A pack: many small byte strings by customer key in one immutable buffer, read in place (memory-mapped).

    "LCPACK1\\n" | values | starts: uint64[n] | sizes: uint32[n] | n: uint64 | "LCPACK1\\n"

The key is the index: customer keys are dense. Size 0 means that the customer is not in it. All numbers are
little-endian, and the starts lie at a multiple of 8.
"""

import struct
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import numpy as np

_MAGIC = b"LCPACK1\n"
_LENGTHS = struct.Struct("<II")
_TAIL = struct.Struct("<Q8s")


class PackDamaged(ValueError):
    """A buffer that is no whole pack."""


class Encoded(NamedTuple):
    """A portrait as it is answered: `body`, then `clear` for roles that see everything or `masked` for others. Each is
    a serialised GetPortraitResponse; protobuf merges those that stand one after the other."""

    body: bytes
    clear: bytes
    masked: bytes


class Pack:
    """A reader over a buffer."""

    def __init__(self, buffer: memoryview) -> None:
        if len(buffer) < len(_MAGIC) + _TAIL.size or bytes(buffer[: len(_MAGIC)]) != _MAGIC:
            raise PackDamaged("is no pack")
        count, magic = _TAIL.unpack(buffer[-_TAIL.size :])
        begin = len(buffer) - _TAIL.size - 12 * count
        if magic != _MAGIC or begin < len(_MAGIC):
            raise PackDamaged("ends too early")
        self._buffer = buffer
        self._count: int = count
        self._starts = buffer[begin : begin + 8 * count].cast("Q")
        self._sizes = buffer[begin + 8 * count : begin + 12 * count].cast("I")

    def get(self, key: int) -> bytes | None:
        """The value of a key; None when it has none."""
        if not 0 <= key < self._count:
            return None
        size = self._sizes[key]
        if not size:
            return None
        start = self._starts[key]
        return bytes(self._buffer[start : start + size])

    def portrait(self, key: int, clear: bool) -> bytes | None:
        """A portrait that was packed by `packed_portrait`, for roles that see everything or for others."""
        if not 0 <= key < self._count or not self._sizes[key]:
            return None
        start, buffer = self._starts[key], self._buffer
        body, apart = _LENGTHS.unpack_from(buffer, start)
        first = start + _LENGTHS.size
        if clear:
            return bytes(buffer[first : first + body + apart])
        return bytes(buffer[first : first + body]) + bytes(buffer[first + body + apart : start + self._sizes[key]])


def packed_portrait(encoded: Encoded) -> bytes:
    """A portrait as a value of a pack."""
    return _LENGTHS.pack(len(encoded.body), len(encoded.clear)) + b"".join(encoded)


def write(values: Iterable[tuple[int, bytes]], sink: BinaryIO) -> int:
    """Write a pack of (key, value) in any order of keys, each once; gives how many there were."""
    at = sink.write(_MAGIC)
    keys, starts, sizes = [], [], []
    for key, value in values:
        keys.append(key)
        starts.append(at)
        sizes.append(len(value))
        at += sink.write(value)
    sink.write(b"\0" * (-at % 8))
    count = max(keys, default=-1) + 1
    at_of, size_of = np.zeros(count, "<u8"), np.zeros(count, "<u4")
    at_of[keys], size_of[keys] = starts, sizes
    sink.write(at_of.tobytes())
    sink.write(size_of.tobytes())
    sink.write(_TAIL.pack(count, _MAGIC))
    return len(keys)
