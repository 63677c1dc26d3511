"""Inbound time: recommend follows its neighbours, works its jobs, and runs the training program."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import structlog

from services.kit import cursors, jobs
from services.kit.clock import Clock
from services.kit.cursors import Followed
from services.kit.db import Database
from services.kit.server import Background
from services.recommend.domain.outcome import Gone, Outcome
from services.recommend.domain.ownership import Orders
from services.recommend.domain.snapshot import Delivery, Published
from services.recommend.usecases import Accepting, Comparing, Influencing, Learning, Noting, Scoring, Taking
from services.recommend.usecases.asking import ACCEPTANCE, COMPARISON, INFLUENCE, MATRIX, TRAIN

_log = structlog.get_logger(__name__)
_TICK_SECONDS = 1.0


class TrainingFailed(Exception):
    """The training program ended badly; its last words are in the log."""


@dataclass(frozen=True)
class Worker:
    """The background work of one process; `owner` is unique to it."""

    db: Database
    deliveries: Callable[[str], AsyncIterator[Followed[Delivery]]]
    runs: Callable[[str], AsyncIterator[Followed[Published]]]
    orders: Callable[[str], AsyncIterator[Followed[Orders]]]
    taking: Taking
    learning: Learning
    scoring: Scoring
    owner: str
    clock: Clock
    noting: Noting
    accepting: Accepting
    comparing: Comparing
    influencing: Influencing
    gone: Callable[[str], AsyncIterator[Followed[list[Gone]]]]
    outcomes: Callable[[str], AsyncIterator[Followed[list[Outcome]]]] | None = None

    @property
    def all(self) -> list[Background]:
        """Everything that it does, each for itself."""
        follows = [self.follow_deliveries, self.follow_orders, self.follow_runs, self.follow_gone]
        return [*follows, *([self.follow_outcomes] if self.outcomes is not None else []), self.work]

    async def follow_deliveries(self, stop: asyncio.Event) -> None:
        """Keep products and ownership."""
        await cursors.follow(
            self.db,
            consumer="deliveries",
            owner=self.owner,
            watch=self.deliveries,
            handle=self.taking.take_delivery,
            stop=stop,
        )

    async def follow_orders(self, stop: asyncio.Event) -> None:
        """Keep ownership up to the second: an order changes the customer's next answer."""
        await cursors.follow(
            self.db, consumer="orders", owner=self.owner, watch=self.orders, handle=self.taking.take_orders, stop=stop
        )

    async def follow_runs(self, stop: asyncio.Event) -> None:
        """Begin the training of published runs."""
        await cursors.follow(
            self.db, consumer="runs", owner=self.owner, watch=self.runs, handle=self.taking.take_run, stop=stop
        )

    async def follow_gone(self, stop: asyncio.Event) -> None:
        """Forget who was erased; follow who was merged."""
        await cursors.follow(
            self.db, consumer="gone", owner=self.owner, watch=self.gone, handle=self.noting.take_gone, stop=stop
        )

    async def follow_outcomes(self, stop: asyncio.Event) -> None:
        """Keep what came of contacts, where contact is a neighbour."""
        if self.outcomes is not None:
            await cursors.follow(
                self.db,
                consumer="outcomes",
                owner=self.owner,
                watch=self.outcomes,
                handle=self.noting.take_outcomes,
                stop=stop,
            )

    async def work(self, stop: asyncio.Event) -> None:
        """Train, score and compare, one job at a time: each takes all the cores it is given."""
        handlers = {
            TRAIN: self.learning.train,
            MATRIX: self.scoring.score,
            ACCEPTANCE: self.accepting.learn,
            COMPARISON: self.comparing.compare,
            INFLUENCE: self.influencing.weigh,
        }
        await jobs.work(self.db, handlers, owner=self.owner, clock=self.clock, stop=stop)


async def run_training(folder: Path, tell: Callable[[str], Awaitable[None]]) -> None:
    """Run the training program on a folder and tell its steps; it is killed with us. Raises TrainingFailed.

    Its standard input is a pipe that we hold and never write to: when this process dies, however it dies, the program
    reads the end of it and ends. It is started by subprocess and not by the event loop, since uvloop forks: a fork of a
    process with gRPC's threads may crash before it becomes the program, where subprocess's vfork runs nothing of ours.
    """
    environ = {**_quiet(os.environ), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as errors:
        starting = asyncio.create_task(asyncio.to_thread(_start, folder, environ, errors))
        try:
            status, step = await _followed(await asyncio.shield(starting), tell)
        finally:  # also when we are cancelled while it starts, and to the end when we are cancelled twice
            await asyncio.shield(asyncio.create_task(_end(starting)))
        if status:
            errors.seek(0)
            said = errors.read()[-4000:].decode(errors="replace")
            _log.error("training_failed", step=step, status=status, said=said)
            raise TrainingFailed(f"the training program ended with status {status} while {step}")


def _start(folder: Path, environ: dict[str, str], errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "services.recommend.training", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environ)


async def _followed(process: "subprocess.Popen[bytes]", tell: Callable[[str], Awaitable[None]]) -> tuple[int, str]:
    """Tell the steps until it ends; its status and last step."""
    assert process.stdout is not None
    step = "starting"
    line = asyncio.create_task(asyncio.to_thread(process.stdout.readline))
    try:
        while True:
            await asyncio.wait({line}, timeout=_TICK_SECONDS)
            if line.done():
                if not line.result():
                    break
                step = line.result().decode().strip()
                line = asyncio.create_task(asyncio.to_thread(process.stdout.readline))
            await tell(step)  # here the job learns that it was cancelled
        return await asyncio.to_thread(process.wait), step
    finally:
        process.kill()  # does nothing to one that has ended
        await asyncio.shield(line)  # it has come to the end of the pipe by then


async def _end(starting: "asyncio.Task[subprocess.Popen[bytes]]") -> None:
    """Kill it, reap it and close its pipes; one that never started needs nothing."""
    await asyncio.wait({starting})
    if starting.exception() is not None:
        return
    process = starting.result()
    process.kill()
    await asyncio.to_thread(process.wait)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            await asyncio.to_thread(pipe.close)  # waits for who still reads


def _quiet(environ: "os._Environ[str]") -> dict[str, str]:
    """The environment without what the program must not have: no database, no token."""
    hidden = ("DATABASE_URL", "ADMIN_DATABASE_URL", "SERVICE_TOKEN_FILE", "JWT_KEYS")
    return {name: value for name, value in environ.items() if name not in hidden}
