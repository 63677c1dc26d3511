"""A micro-queue: calls that come while an answer is made are answered together next; nobody waits for company."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Told = TypeVar("Told")

MOST, AT_ONCE = 64, 2
"""Calls in a batch, and batches under way: while one is with Postgres the other is with the model."""


class Batches(Generic[Asked, Told]):
    """Answers calls by `answer`, which gives for each a value or an exception; a batch belongs to no caller."""

    def __init__(self, answer: Callable[[Sequence[Asked]], Awaitable[Sequence[Told | BaseException]]]) -> None:
        self._answer = answer
        self._waiting: list[tuple[Asked, asyncio.Future[Told]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, asked: Asked) -> Told:
        """The answer to one call. Raises what `answer` gave for it."""
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if len(self._running) < AT_ONCE:
            # In a context of its own: it must see neither the caller's organisation nor his deadline.
            task = asyncio.create_task(self._run(), context=contextvars.Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
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
