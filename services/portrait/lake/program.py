"""Runs the training program on a folder of the workbench; it is killed with us."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO

import structlog

_HIDDEN = ("DATABASE_URL", "ADMIN_DATABASE_URL", "SERVICE_TOKEN_FILE", "JWT_KEYS")
_log = structlog.get_logger(__name__)


class TrainingFailed(Exception):
    """The training program ended badly; its last words are in the log."""


async def run_training(folder: Path, tell: Callable[[str], Awaitable[None]]) -> None:
    """Run it and tell its steps. Raises TrainingFailed.

    Its standard input is a pipe that we hold and never write to: when this process dies, however it dies, the program
    reads the end of it and ends. It gets no database and no token.
    """
    environ = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as errors:
        process = _start(folder, environ, errors)
        step = "starting"
        try:
            assert process.stdout is not None, "is a pipe"
            while line := await asyncio.to_thread(process.stdout.readline):
                step = line.decode().strip()
                await tell(step)  # here the job learns that it was cancelled
            status = await asyncio.to_thread(process.wait)
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if status:
            errors.seek(0)
            _log.error("training_failed", step=step, status=status, said=errors.read()[-4000:].decode(errors="replace"))
            raise TrainingFailed(f"the training program ended with status {status} while {step}")


def _start(folder: Path, environ: dict[str, str], errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "services.portrait.training", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environ)
