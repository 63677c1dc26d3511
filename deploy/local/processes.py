"""Processes that outlive the program that starts them, found again and stopped without touching a stranger's.

A process is known by its pid *and* the moment it started, counted from the machine's boot: a pid alone may have gone
to somebody else by the time `down` reads it, and a time of day moves when the clock is set.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SLACK = 1.5  # seconds: the kernel gives the moment of boot in whole seconds
_POLL = 0.02

# Kept so that a child that ends while we still run is reaped, not left as a zombie.
_children: list[subprocess.Popen[bytes]] = []
_reaping = threading.Lock()


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
    with _reaping:
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
    """Signals all, waits `patience` seconds until they and what they started have ended, kills what is left.

    Gives those it had to kill.
    """
    living = [child for child in children if alive(child)]
    waiting = [*living, *(descendant for child in living for descendant in _descendants(child))]
    for child in living:
        send(child, how)
    deadline = time.monotonic() + patience
    while waiting and time.monotonic() < deadline:
        time.sleep(_POLL)
        waiting = [child for child in waiting if alive(child)]
    killed = [child for child in waiting if send(child, signal.SIGKILL)]
    while any(alive(child) for child in killed):
        time.sleep(_POLL)
    return killed


def _descendants(child: Child) -> list[Child]:
    try:
        below = psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [found for found in (find(process.pid) for process in below) if found is not None]


def free_ports(count: int) -> list[int]:
    """Gives `count` different TCP ports of the loopback that nobody listens on at this moment.

    They lie below those that systems hand to outgoing connections (from 32768 or 49152), so that no chance connection
    takes one between this choice and the moment when a program listens on it.
    """
    found: list[int] = []
    for port in secrets.SystemRandom().sample(range(20_000, 32_000), 2_000):
        if len(found) == count:
            break
        if port_is_free(port):
            found.append(port)
    return found


def free_port() -> int:
    """Gives one port, chosen as in `free_ports`."""
    return free_ports(1)[0]


def port_is_free(port: int) -> bool:
    """Says whether a program could listen on the port; one that shares its port (SO_REUSEPORT) counts as there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that is just ending is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def tail(log: Path, *, after: int = 0, lines: int = 8) -> str:
    """Gives the last lines of a log, of what was written after byte `after`."""
    if not log.exists():
        return ""
    with log.open("rb") as text:
        text.seek(after)
        return "\n".join(text.read().decode(errors="replace").splitlines()[-lines:])


def _reap() -> None:
    """Collects the exit status of children that ended."""
    with _reaping:
        _children[:] = [process for process in _children if process.poll() is None]
