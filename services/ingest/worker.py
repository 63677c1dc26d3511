"""Inbound time: the landing folder is looked at, and deliveries are loaded."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from services.ingest.domain.upload import Source
from services.ingest.lake.remote import Place
from services.ingest.usecases import Collecting, Intake, Load, Supply, Uploads
from services.ingest.usecases.intake import LOAD
from services.kit import jobs
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.ids import system_ids
from services.kit.waiting import pause

_JOB_POLL_SECONDS = 0.1
_TIDY_SECONDS = 10.0

_log = structlog.get_logger(__name__)


def watch_landing(intake: Intake, uploads: Uploads, poll: timedelta) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Decides about what lies in the landing folder, every `poll`, until told to stop."""

    async def watching(stop: asyncio.Event) -> None:
        tidied = -_TIDY_SECONDS
        while not stop.is_set():
            if time.monotonic() - tidied >= _TIDY_SECONDS:
                await intake.tidy()
                await uploads.tidy()
                tidied = time.monotonic()
            await intake.sweep()
            await pause(poll.total_seconds(), stop)

    return watching


def watch_source(collecting: Collecting, source: Source, place: Place) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Fetches what is new at a remote source, at its own pace, until told to stop."""

    async def watching(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await collecting.look(source, place)
            await pause(source.poll.total_seconds(), stop)

    return watching


def watch_supply(supply: Supply, poll: timedelta) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Raises and clears alarms, every `poll`, until told to stop."""

    async def watching(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await supply.watch()
            await pause(poll.total_seconds(), stop)

    return watching


def load_deliveries(
    db: Database, load: Load, clock: Clock, *, lease: timedelta, at_once: int
) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Runs the jobs that load deliveries until told to stop."""
    owner = system_ids()  # host and process id are the same again in a container that was started anew

    async def loading(stop: asyncio.Event) -> None:
        await jobs.work(
            db,
            {LOAD: load.load},
            owner=owner,
            clock=clock,
            stop=stop,
            lease_seconds=lease.total_seconds(),
            poll=_JOB_POLL_SECONDS,
            at_once=at_once,
        )

    return loading
