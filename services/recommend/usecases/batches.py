"""A micro-queue: calls that come while an answer is made are answered together next."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Told = TypeVar("Told")

MOST = 64
"""Calls in a batch."""
LINGER_SECONDS = 0.005
"""How long a batch waits for as many calls as the one before had; one that follows a lone call does not wait."""


class Batches(Generic[Asked, Told]):
    """Answers calls by `answer`, which gives for each a value or an exception; a batch belongs to no caller."""

    def __init__(self, answer: Callable[[Sequence[Asked]], Awaitable[Sequence[Told | BaseException]]]) -> None:
        self._answer = answer
        self._waiting: list[tuple[Asked, asyncio.Future[Told]]] = []
        self._running: asyncio.Task[None] | None = None
        self._last = 1
        self._full: asyncio.Future[None] | None = None

    async def ask(self, asked: Asked) -> Told:
        """The answer to one call. Raises what `answer` gave for it."""
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._full is not None and len(self._waiting) >= self._last and not self._full.done():
            self._full.set_result(None)
        if self._running is None:
            # In a context of its own: it must see neither the caller's organisation nor his deadline.
            self._running = asyncio.create_task(self._run(), context=contextvars.Context())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < self._last:
                    await self._filled()
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                self._last = len(batch)
                await self._answered(batch)
        finally:
            self._running = None

    async def _filled(self) -> None:
        """Wait until as many calls wait as were answered together last, or for LINGER_SECONDS."""
        loop = asyncio.get_running_loop()
        self._full = loop.create_future()
        late = loop.call_later(LINGER_SECONDS, _fill, self._full)
        try:
            await self._full
        finally:
            late.cancel()
            self._full = None

    async def _answered(self, batch: Sequence[tuple[Asked, "asyncio.Future[Told]"]]) -> None:
        told: Sequence[Told | BaseException]
        try:
            told = await self._answer([asked for asked, _ in batch])
        except Exception as error:
            told = [error] * len(batch)
        except BaseException:  # the loop is closing
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), each in zip(batch, told, strict=True):
            if future.done():  # the caller went away
                continue
            if isinstance(each, BaseException):
                future.set_exception(each)
            else:
                future.set_result(each)


def _fill(full: "asyncio.Future[None]") -> None:
    if not full.done():
        full.set_result(None)
