"""A process that may die or freeze at any moment, as a Database that does: real Postgres behind it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

from services.kit.db import Database, Read, Write


class Died(BaseException):
    """kill -9: nothing of ours catches it, and nothing can be tidied up any more."""


class Mortal(Database):
    """The database as one process sees it; before and after each commit the process may die, or freeze for a while."""

    def __init__(self, db: Database, chance: random.Random, *, death: float, freeze: float, frozen: float) -> None:
        super().__init__(db._engine, db._connect, db.schema, db._patience)
        self._chance = chance
        self._death = death
        self._freeze = freeze
        self._frozen = frozen
        self._dead = False

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Read]:
        await self.fate()
        async with super().read() as read:
            yield read

    @contextlib.asynccontextmanager
    async def begin(self, *, statement_seconds: float | None = None) -> AsyncIterator[Write]:
        await self.fate()
        async with super().begin() as tx:
            yield _MortalWrite(tx, self)
        await self.fate()

    async def fate(self) -> None:
        """What happens to the process now."""
        if self._dead or self._chance.random() < self._death:
            self._dead = True
            raise Died
        if self._chance.random() < self._freeze:
            await asyncio.sleep(self._frozen)  # the others go on, and the lease runs out


class _MortalWrite(Write):
    def __init__(self, tx: Write, process: Mortal) -> None:
        self.__dict__.update(tx.__dict__)
        self._process = process

    async def commit(self) -> None:
        await self._process.fate()
        await super().commit()


async def live_and_die(life: Any) -> bool:
    """Run a process to its end; says whether it died."""
    try:
        await life
    except Died:
        return True
    return False
