"""Durable jobs over Postgres: claim, heartbeat, resume, cancel; the end in the transaction of the effect."""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.kit.clock import Clock
from services.kit.db import Database, Read, Write


class State(enum.Enum):
    """Where a job stands; moved only by the kit."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Cancelled(Exception):
    """Somebody asked the job to stop; raised by Running.progress() and save()."""


class Lost(Exception):
    """The lease of the job went to another worker; nothing more may be written for it."""


@dataclass(frozen=True)
class Job:
    """A job as it stands."""

    job_id: str
    kind: str
    key: str
    spec: Mapping[str, Any]
    state: State
    done: int
    total: int
    counts: Mapping[str, int]
    message: str
    error: str
    attempt: int
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    checkpoint: Mapping[str, Any]


class Running:
    """A job in the hands of a handler."""

    job: Job

    async def progress(self, done: int, total: int, **counts: int) -> None:
        """Publish progress; raises Cancelled when asked to stop, Lost when another worker has the job."""
        raise NotImplementedError

    async def save(self, checkpoint: Mapping[str, Any], tx: Write | None = None) -> None:
        """Keep a checkpoint for the next attempt, in `tx` (with the effect it speaks of) or on its own."""
        raise NotImplementedError

    async def succeed(self, tx: Write, **counts: int) -> None:
        """End the job in the transaction of its effect."""
        raise NotImplementedError


Handler = Callable[[Running], Awaitable[None]]


async def create(tx: Write, *, job_id: str, kind: str, key: str, spec: Mapping[str, Any], now: datetime) -> Job:
    """Queue a job. (kind, key) is unique: the same key returns the job that is there."""
    raise NotImplementedError


async def get(read: Read, job_id: str) -> Job:
    """The job; raises job_not_found."""
    raise NotImplementedError


async def page(read: Read, *, kind: str | None = None, after: str | None = None, size: int) -> list[Job]:
    """The newest jobs first, `size` of them, those after the job `after`."""
    raise NotImplementedError


async def cancel(tx: Write, job_id: str, now: datetime) -> Job:
    """Ask the job to stop: a queued one is cancelled at once, a running one at its next progress()."""
    raise NotImplementedError


async def work(
    db: Database,
    handlers: Mapping[str, Handler],
    *,
    owner: str,
    clock: Clock,
    stop: asyncio.Event,
    lease_seconds: float = 15,
    poll: float = 0.3,
    at_once: int = 1,
) -> None:
    """Claim and run jobs of the handlers' kinds until `stop`, at most `at_once` together."""
    raise NotImplementedError
