"""Holding a leased row: work goes on while the lease is renewed, and ends when it is lost.

The lease's time is Postgres's, so machines need not agree on theirs. The epoch of a row grows with each owner and
fences the writes of an owner who only believes that he still holds it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
from sqlalchemy import ColumnElement, func, text

_log = structlog.get_logger(__name__)


class Lost(Exception):
    """The lease went to another owner; nothing more may be written under it."""


async def hold(
    work: Coroutine[Any, Any, None], *, renew: Callable[[], Awaitable[bool]], seconds: float, stop: asyncio.Event
) -> bool:
    """Run `work`, renewing its lease of `seconds` every third of that; says whether it came to its end.

    `renew` says whether the lease is still ours. False is returned when `stop` cut the work short; Lost is raised when
    the lease was lost; what `work` raises is raised.
    """
    tasks = [asyncio.create_task(work), asyncio.create_task(_renew(renew, seconds)), asyncio.create_task(stop.wait())]
    working, renewing, _ = tasks
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = working.done()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not working.cancelled() and working.exception() is not None:
        raise working.exception() or Lost
    if renewing.done() and not renewing.cancelled() and not ended:
        raise renewing.exception() or Lost
    return ended


async def _renew(renew: Callable[[], Awaitable[bool]], seconds: float) -> None:
    held = time.monotonic()
    while True:
        await asyncio.sleep(seconds / 3)
        try:
            if not await renew():
                raise Lost
            held = time.monotonic()
        except Lost:
            raise
        except Exception as error:  # Postgres does not answer: ours until the lease has certainly run out
            _log.warning("lease_not_renewed", error=type(error).__name__)
            if time.monotonic() - held > seconds:
                raise Lost from error


def until(seconds: float) -> ColumnElement[Any]:
    """The end of a lease that begins now, in Postgres's time."""
    return func.clock_timestamp() + text(f"interval '{seconds:f} seconds'")
