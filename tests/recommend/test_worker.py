"""The worker's own doings: it leaves nothing behind of a training that was stopped, and names all faults at once."""

import asyncio
import os
from pathlib import Path

import pytest

from services.kit.config import ConfigProblems
from services.recommend import app
from services.recommend.worker import TrainingFailed, run_training

linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts children and open files in /proc")


def children() -> set[str]:
    """The processes whose parent is this one, those that wait to be reaped too."""
    return {child for each in Path("/proc/self/task").iterdir() for child in (each / "children").read_text().split()}


async def quiet(step: str) -> None:
    """Nobody listens."""


@linux
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.01, 0.3])
async def test_a_training_that_is_cancelled_leaves_no_process_and_no_open_file(tmp_path: Path, seconds: float) -> None:
    before, files = children(), len(os.listdir("/proc/self/fd"))
    training = asyncio.create_task(run_training(tmp_path, quiet))
    await asyncio.sleep(seconds)
    training.cancel()
    with pytest.raises(asyncio.CancelledError):
        await training
    await asyncio.sleep(0.2)  # one that was about to start is there by then
    assert children() == before
    assert len(os.listdir("/proc/self/fd")) == files


@linux
async def test_a_training_that_is_told_to_stop_leaves_no_process_and_no_open_file(tmp_path: Path) -> None:
    async def stop(step: str) -> None:
        raise RuntimeError(step)

    before, files = children(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeError, match="starting"):
        await run_training(tmp_path, stop)
    assert children() == before
    assert len(os.listdir("/proc/self/fd")) == files


@linux
async def test_a_training_program_that_fails_fails_the_attempt(tmp_path: Path) -> None:
    before, files = children(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(TrainingFailed, match="status 1 while starting"):
        await run_training(tmp_path / "nowhere", quiet)
    assert children() == before
    assert len(os.listdir("/proc/self/fd")) == files


async def test_a_missing_token_is_named_with_all_that_is_missing() -> None:
    with pytest.raises(ConfigProblems) as problems:
        await app.run({}, serving=True, working=True)
    missing = {problem.split()[0] for problem in problems.value.problems}
    assert missing == {
        "DATABASE_URL", "JWT_KEYS", "SERVICE_TOKEN_FILE", "PEER_INGEST", "PEER_PORTRAIT", "LAKE_URL"
    }  # fmt: skip
    with pytest.raises(ConfigProblems) as problems:
        await app.run({}, serving=True, working=False)
    assert not any("SERVICE_TOKEN_FILE" in problem for problem in problems.value.problems)
