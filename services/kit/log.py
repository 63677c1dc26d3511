"""Following a table of facts in the order (xid, number): the transaction that wrote a fact, then the sequence within.

Only facts of transactions below the oldest one still open are given out, so that what commits late never lands behind
a cursor that has already passed. Price: a transaction that stays open holds back every follower;
idle_in_transaction_session_timeout bounds that.
"""

import asyncio
import base64
import re
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.kit.db import Database, Read
from services.kit.errors import cursor_invalid
from services.kit.waiting import pause

T = TypeVar("T")

Position = tuple[int, int]
"""A place in a log: the transaction, and the number within. (0, 0) is the beginning."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Facts after a place. All up to `reached` was looked at; `full`: more may be there; `head`: the next xid."""

    facts: Sequence[tuple[Position, T]]
    reached: Position
    full: bool
    head: int


@dataclass(frozen=True)
class Seen(Generic[T]):
    """Some facts, or (none) a checkpoint. `cursor` is the position just after them."""

    cursor: str
    facts: tuple[T, ...]


async def follow(
    db: Database,
    *,
    stream: str,
    cursor: str,
    fetch: Callable[[Read, Position], Awaitable[Page[T]]],
    stop: asyncio.Event,
    at_once: int = 1,
    poll: float = 0.2,
    checkpoint_every: float = 5.0,
) -> AsyncIterator[Seen[T]]:
    """Facts after `cursor` ("" for the beginning), at most `at_once` together, for ever or until `stop`.

    After `checkpoint_every` seconds without one comes a checkpoint. Looks into the table every `poll` seconds when
    there is nothing new. `stream` names the log: a cursor of another one raises cursor_invalid.
    """
    position = decode(cursor, stream)
    spoken = time.monotonic()
    while not stop.is_set():
        async with db.read() as read:
            page = await fetch(read, position)
        if position[0] > page.head:
            raise cursor_invalid(cursor)  # a position that this log has not reached: it was restored from an older copy
        for start in range(0, len(page.facts), at_once):
            part = page.facts[start : start + at_once]
            yield Seen(encode(part[-1][0], stream), tuple(fact for _, fact in part))
            spoken = time.monotonic()
        position = max(position, page.reached)
        if time.monotonic() - spoken >= checkpoint_every:
            yield Seen(encode(position, stream), ())
            spoken = time.monotonic()
        if not page.full:
            await pause(poll, stop)


def encode(position: Position, stream: str) -> str:
    """Opaque text; it names its stream, so that a cursor of another log is refused and not misread."""
    plain = f"{_mark(stream)}.{position[0]:x}.{position[1]:x}"
    return base64.urlsafe_b64encode(plain.encode()).rstrip(b"=").decode()


def decode(cursor: str, stream: str) -> Position:
    """Place of a cursor; "" is the beginning. Raises cursor_invalid."""
    if not cursor:
        return (0, 0)
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError as error:
        raise cursor_invalid(cursor) from error
    match = re.fullmatch(r"([0-9a-f]{8})\.([0-9a-f]{1,15})\.([0-9a-f]{1,15})", plain)
    if match is None or match[1] != _mark(stream):
        raise cursor_invalid(cursor)
    return (int(match[2], 16), int(match[3], 16))


def _mark(stream: str) -> str:
    return f"{zlib.crc32(stream.encode()):08x}"
