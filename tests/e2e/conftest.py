"""The whole platform for tests: a small city, five real processes, real PostgreSQL, real Envoy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.local import platform
from deploy.local.run import Run
from tests.fixtures import traces
from tools.tidy import ROOT


@dataclass
class Walked:
    """A platform on which the campaign was made twice, and what each time found."""

    run: Run
    city: Path
    first: dict[str, Any]
    second: dict[str, Any]
    heard: traces.Receiver
    printed: str

    def token(self, who: str) -> str:
        return self.run.keys.token(who).read_text().strip()


CUSTOMERS, DAYS, SEED = 300, 10, 11


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator files and the planted truth of 300 customers over 10 days."""
    folder = tmp_path_factory.mktemp("city")
    command = [sys.executable, "-m", "city", "--customers", str(CUSTOMERS), "--days", str(DAYS), "--seed", str(SEED)]
    command += ["--out", str(folder / "files"), "--truth", str(folder / "truth")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@contextmanager
def running(state: Path, environ: Mapping[str, str] | None = None) -> Iterator[Run]:
    """Brings a platform up for a window of 10 days, and takes it down whatever happens."""
    # The tests' own lib of threads is not the services': two platforms may share two cores here.
    try:
        run, _ = platform.up(state, port=0, environ={"WINDOW_DAYS": str(DAYS), "CONTROL_GRACE": "2", **(environ or {})})
        yield run
    finally:
        platform.down(state)
