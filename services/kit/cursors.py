"""A consumer's own position in a peer's Watch stream: a leased row, moved in the transaction of the effect."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.kit.db import Database, Write

T = TypeVar("T")


@dataclass(frozen=True)
class Followed(Generic[T]):
    """One item of a Watch: an event, or (event None) a checkpoint. `cursor` is the position just after it."""

    cursor: str
    event: T | None
    traceparent: str = ""


async def follow(
    db: Database,
    *,
    consumer: str,
    owner: str,
    watch: Callable[[str], AsyncIterator[Followed[T]]],
    handle: Callable[[Write, T], Awaitable[None]],
    stop: asyncio.Event,
    lease_seconds: float = 15,
) -> None:
    """Follow `watch` from the consumer's committed cursor until `stop`, exactly one owner at a time."""
    raise NotImplementedError
