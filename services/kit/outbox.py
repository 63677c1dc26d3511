"""The service's own log of facts: written in the transaction of the effect, followed by Watch RPCs."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.kit.db import Database, Write


@dataclass(frozen=True)
class Event:
    """One fact. `cursor` is the position just after it."""

    cursor: str
    kind: str
    key: str
    payload: Mapping[str, Any]
    time: datetime
    traceparent: str


@dataclass(frozen=True)
class Checkpoint:
    """Nothing new up to `cursor`: the follower may keep it, so that a quiet stream resumes where it is."""

    cursor: str


async def put(tx: Write, kind: str, key: str, payload: Mapping[str, Any]) -> None:
    """Append a fact (JSON payload) in the transaction of its effect; the current trace goes with it."""
    raise NotImplementedError


def follow(
    db: Database,
    *,
    cursor: str,
    kinds: Collection[str] | None,
    stop: asyncio.Event | None = None,
    poll: float = 0.2,
    checkpoint_every: float = 5.0,
) -> AsyncIterator[Event | Checkpoint]:
    """Events after `cursor` ("" for the beginning) for ever, or until `stop`. Raises cursor_invalid."""
    raise NotImplementedError
