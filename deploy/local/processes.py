"""Processes that outlive the program that starts them, found again and stopped without touching a stranger's.

A process is known by its pid *and* the moment it started, counted from the machine's boot: a pid alone may have gone
to somebody else by the time `down` reads it, and a time of day moves when the clock is set.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SLACK = 1.5  # seconds: the kernel gives the moment of boot in whole seconds
_POLL = 0.02

# Kept so that a child that ends while we still run is reaped, not left as a zombie.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Child:
    """A process of ours. `started` is in seconds after the machine's boot."""

    pid: int
    started: float


def spawn(
    argv: Sequence[object],
    *,
    log: Path,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: int | None = None,
) -> Child:
    """Starts `argv` in a session of its own, its output appended to `log`, nothing read from the terminal.

    `user` runs it as that user id, without further groups (needs root). Raises OSError when `argv[0]` cannot be run.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environ is None else dict(environ),
            cwd=cwd,
            user=user,
            extra_groups=None if user is None else [],
            start_new_session=True,
        )
    _children.append(process)
    return find(process.pid) or Child(process.pid, 0.0)


def find(pid: int) -> Child | None:
    """Gives the living process that has `pid` now."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Child(pid, round(process.create_time() - psutil.boot_time(), 2))
    except psutil.NoSuchProcess:
        return None


def alive(child: Child) -> bool:
    """Says whether `child` still runs; another process under the same pid does not count."""
    _reap()
    found = find(child.pid)
    return found is not None and abs(found.started - child.started) < _SLACK


def send(child: Child, how: signal.Signals) -> bool:
    """Signals `child` if it still runs, and says whether it did."""
    if not alive(child):
        return False
    try:
        os.kill(child.pid, how)
    except ProcessLookupError:
        return False
    return True


def stop(children: Iterable[Child], *, how: signal.Signals = signal.SIGTERM, patience: float = 15.0) -> list[Child]:
    """Signals all, waits `patience` seconds for the last to end, kills what is left; gives those it had to kill."""
    waiting = [child for child in children if send(child, how)]
    deadline = time.monotonic() + patience
    while waiting and time.monotonic() < deadline:
        time.sleep(_POLL)
        waiting = [child for child in waiting if alive(child)]
    killed = [child for child in waiting if send(child, signal.SIGKILL)]
    while any(alive(child) for child in killed):
        time.sleep(_POLL)
    return killed


def free_port() -> int:
    """Gives a TCP port of the loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    """Says whether somebody answers on a TCP port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tail(log: Path, *, after: int = 0, lines: int = 8) -> str:
    """Gives the last lines of a log, of what was written after byte `after`."""
    if not log.exists():
        return ""
    with log.open("rb") as text:
        text.seek(after)
        return "\n".join(text.read().decode(errors="replace").splitlines()[-lines:])


def _reap() -> None:
    """Collects the exit status of children that ended."""
    _children[:] = [process for process in _children if process.poll() is None]
