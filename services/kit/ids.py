"""Ids as an argument: whoever makes ids is given an Ids, so that every test and simulation can replay."""

import secrets
import time
import uuid
from collections.abc import Callable

Ids = Callable[[], str]
"""Gives a new id, unique for ever."""


def system_ids() -> str:
    """A UUIDv7 (RFC 9562, section 5.7) as text: 48 bits of Unix milliseconds, then 74 random bits; sorts by time."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return str(uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low))
