"""Processes: they outlive their starter, and nothing that is not ours is ever touched."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from deploy.local import processes
from deploy.local.processes import Child
from deploy.local.services import ROOT

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
PARENT = f"import subprocess, sys; p = subprocess.Popen({SLEEPER!r}); print(p.pid, flush=True); p.wait()"


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "child.log"


def test_a_child_survives_the_program_that_started_it(log: Path) -> None:
    program = (
        "from deploy.local import processes; from pathlib import Path; import sys; "
        f"print(processes.spawn({SLEEPER!r}, log=Path({str(log)!r})).pid)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    child = processes.find(int(done.stdout))
    assert child is not None
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    assert processes.stop([child]) == []
    assert not processes.alive(child)


def test_a_stranger_under_the_same_pid_is_neither_alive_nor_touched(log: Path) -> None:
    stranger = processes.spawn(SLEEPER, log=log)
    ours = dataclasses.replace(stranger, started=stranger.started - 100)
    assert not processes.alive(ours)
    assert not processes.send(ours, signal.SIGKILL)
    assert processes.stop([ours]) == []
    assert processes.alive(stranger)
    processes.stop([stranger])


def test_one_that_ignores_sigterm_is_killed_after_the_patience(log: Path) -> None:
    child = processes.spawn([sys.executable, "-c", STUBBORN], log=log)
    eventually(lambda: log.read_text())
    assert processes.stop([child], patience=0.3) == [child]
    assert not processes.alive(child)


def test_what_a_child_started_ends_with_it(log: Path) -> None:
    child = processes.spawn([sys.executable, "-c", PARENT], log=log)
    eventually(lambda: log.read_text().endswith("\n"))
    grandchild = int(log.read_text())
    processes.stop([child], patience=0.5)
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_a_process_that_ended_is_not_alive(log: Path) -> None:
    child = processes.spawn([sys.executable, "-c", ""], log=log)
    eventually(lambda: not processes.alive(child))
    assert not processes.alive(Child(child.pid, child.started))


def test_free_ports_are_different_and_can_be_listened_on() -> None:
    ports = processes.free_ports(50)
    assert len(set(ports)) == 50
    assert all(processes.port_is_free(port) for port in ports)
