"""The hot read: stored portraits by key, over dedicated connections with a prepared statement.

Callers that come while a connection is busy are read together in its next round trip (`= ANY`), so that under load one
statement answers many calls. A connection that is lost is opened again and its readers asked again, until they run out
of patience: a restart of Postgres is a pause, not an error.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import structlog
from asyncpg.prepared_stmt import PreparedStatement

from services.kit.db import Driver
from services.portrait.domain.pack import Encoded

_log = structlog.get_logger(__name__)

_READ = """
    SELECT p.customer_key, p.body, p.clear, p.masked FROM current_run c JOIN portrait p ON p.run_no = c.run_no
    WHERE p.customer_key = ANY($1::bigint[])
"""
_MOST_KEYS = 1000
_RETRY_SECONDS = 0.1


class _Asked:
    """One caller: the keys that are wanted, and where the bodies go."""

    def __init__(self, keys: list[int], patience: float) -> None:
        self.keys = keys
        self.answer: asyncio.Future[dict[int, Encoded]] = asyncio.get_running_loop().create_future()
        self.give_up = time.monotonic() + patience


class HotPortraits:
    """Bodies of the current run. `run` does the reading: it must be running for `get` to be answered."""

    def __init__(
        self, connect: Callable[[], Awaitable[Driver]], connections: int = 2, patience_seconds: float = 8.0
    ) -> None:
        self._connect = connect
        self._connections = connections
        self._patience = patience_seconds
        self._asked: list[_Asked] = []
        self._wake = asyncio.Event()

    async def get(self, keys: list[int]) -> dict[int, Encoded]:
        """Portraits by key, those that are not known left out. Raises what Postgres said when patience runs out."""
        asked = _Asked(keys, self._patience)
        self._asked.append(asked)
        self._wake.set()
        return await asked.answer

    async def run(self, stop: asyncio.Event) -> None:
        """Read for callers until `stop`."""
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._reader()) for _ in range(self._connections)]
        tasks.append(asyncio.create_task(stop.wait()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what a reader died of
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reader(self) -> None:
        connection: Driver | None = None
        statement: PreparedStatement[asyncpg.Record] | None = None
        try:
            while True:
                batch = await self._batch()
                try:
                    if statement is None:
                        connection = await self._connect()
                        statement = await connection.prepare(_READ)
                    await _answer(batch, statement)
                except Exception as error:  # a connection that was cut while idle fails in more than one way
                    _log.warning("portrait_read_failed", error=type(error).__name__)
                    _drop(connection)
                    connection = statement = None
                    self._ask_again(batch, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                except BaseException:
                    self._ask_again(batch, None)
                    raise
        finally:
            _drop(connection)

    async def _batch(self) -> list[_Asked]:
        """The callers that wait, as many as fit into one statement; at least one."""
        while not self._asked:
            self._wake.clear()
            await self._wake.wait()
        count, keys = 0, 0
        while count < len(self._asked) and (count == 0 or keys + len(self._asked[count].keys) <= _MOST_KEYS):
            keys += len(self._asked[count].keys)
            count += 1
        batch, self._asked = self._asked[:count], self._asked[count:]
        return [asked for asked in batch if not asked.answer.done()]

    def _ask_again(self, batch: list[_Asked], error: Exception | None) -> None:
        """Put callers back in front of the others, except those whose patience is at an end."""
        now, waiting = time.monotonic(), []
        for asked in batch:
            if asked.answer.done():
                continue
            if error is not None and now > asked.give_up:
                asked.answer.set_exception(error)
            else:
                waiting.append(asked)
        self._asked[:0] = waiting


async def _answer(batch: list[_Asked], statement: "PreparedStatement[asyncpg.Record]") -> None:
    wanted = sorted({key for asked in batch for key in asked.keys})
    found = {row[0]: Encoded(row[1], row[2], row[3]) for row in await statement.fetch(wanted)}
    for asked in batch:
        if not asked.answer.done():
            asked.answer.set_result({key: found[key] for key in asked.keys if key in found})


def _drop(connection: "Driver | None") -> None:
    """Let go of what may be broken already."""
    if connection is not None and not connection.is_closed():
        connection.terminate()
