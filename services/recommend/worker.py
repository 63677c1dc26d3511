"""Inbound time: recommend follows its neighbours, works its jobs, and runs the training program."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from services.kit import cursors, jobs
from services.kit.clock import Clock
from services.kit.cursors import Followed
from services.kit.db import Database
from services.recommend.domain.snapshot import Delivery, Published
from services.recommend.usecases import Learning, Scoring, Taking
from services.recommend.usecases.asking import MATRIX, TRAIN

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
    taking: Taking
    learning: Learning
    scoring: Scoring
    owner: str
    clock: Clock

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

    async def follow_runs(self, stop: asyncio.Event) -> None:
        """Begin the training of published runs."""
        await cursors.follow(
            self.db, consumer="runs", owner=self.owner, watch=self.runs, handle=self.taking.take_run, stop=stop
        )

    async def work(self, stop: asyncio.Event) -> None:
        """Train and score, one job at a time: both take all the cores they are given."""
        handlers = {TRAIN: self.learning.train, MATRIX: self.scoring.score}
        await jobs.work(self.db, handlers, owner=self.owner, clock=self.clock, stop=stop)


async def run_training(folder: Path, tell: Callable[[str], Awaitable[None]]) -> None:
    """Run the training program on a folder and tell its steps; it is killed with us. Raises TrainingFailed.

    Its standard input is a pipe that we hold and never write to: when this process dies, however it dies, the program
    reads the end of it and ends.
    """
    command = [sys.executable, "-m", "services.recommend.training", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**_quiet(os.environ), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    stdout = process.stdout
    errors = asyncio.create_task(process.stderr.read())
    step = "starting"
    try:
        while process.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    line = await stdout.readline()
                    if not line:
                        await process.wait()
                        break
                    step = line.decode().strip()
            await tell(step)  # here the job learns that it was cancelled
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        said = (await errors).decode(errors="replace")
    if process.returncode:
        _log.error("training_failed", step=step, status=process.returncode, said=said[-4000:])
        raise TrainingFailed(f"the training program ended with status {process.returncode} while {step}")


def _quiet(environ: "os._Environ[str]") -> dict[str, str]:
    """The environment without what the program must not have: no database, no token."""
    hidden = ("DATABASE_URL", "ADMIN_DATABASE_URL", "SERVICE_TOKEN_FILE", "JWT_KEYS")
    return {name: value for name, value in environ.items() if name not in hidden}
