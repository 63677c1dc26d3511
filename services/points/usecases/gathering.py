"""Calls that come together are answered together: one transaction for many, so that callers do not queue for a lock."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from services.kit.errors import Refusal

A = TypeVar("A")
Q = TypeVar("Q")


class Gathering(Generic[Q, A]):
    """Gathers questions while `answer` works on those before, and gives each caller his own answer or refusal.

    `answer` takes up to `most` questions and gives as many answers, in one transaction. When it fails, each question
    is asked alone once, so that nobody fails for a neighbour's sake.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Awaitable[Sequence[A | Refusal]]], most: int) -> None:
        self._answer = answer
        self._most = most
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer. A caller who goes away does not stop the work: asking again gives the same."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._work is None or self._work.done():
            # Of no caller in particular, so it inherits nobody's deadline or trace.
            self._work = asyncio.create_task(self._run(), context=contextvars.Context())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                answers = await self._answer([question for question, _ in batch])
            except Exception as error:
                if len(batch) == 1:
                    _settle(batch[0][1], error)
                for question, future in batch if len(batch) > 1 else []:
                    await self._alone(question, future)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                _settle(future, answer)

    async def _alone(self, question: Q, future: asyncio.Future[A]) -> None:
        try:
            _settle(future, (await self._answer([question]))[0])
        except Exception as error:
            _settle(future, error)


def _settle(future: asyncio.Future[A], answer: A | Exception) -> None:
    if future.done():  # the caller went away
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
