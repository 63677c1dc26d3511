"""Backup and point-in-time restore of one machine's platform: database, lake and keys.

    <to>/base/<moment>/      a base backup each (pg_basebackup), with a manifest of checksums
    <to>/wal/                the log of every change, received as it is written (pg_receivewal over a slot)
    <to>/lake, keys, …       the lake's files, which never change once written, and the keys without which nothing reads

What is lost at a crash is what the receiver had not yet written: well under a minute. A file of the lake is written
before the row that names it, and copied every few seconds, so that a restored row never names a file that is not there.
In a cluster CloudNativePG does the same to object storage (the chart's postgres.cluster.backup).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from deploy.local import private, processes
from deploy.local.postgres import Postgres, PostgresFailed, binary, take_over
from deploy.local.run import POSTGRES, Run

SLOT = "lifecircle_backup"
_KEPT = ("keys", "certificates", "tokens")
_FILES_EVERY = 10.0  # seconds between two looks at the lake
_REPLAY_SECONDS = 900.0
_TABLES = """
SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


class BackupFailed(Exception):
    """A backup or a restore cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Restored:
    """What a restore did: the base it began with, and how long it took until the database answered, in seconds."""

    base: Path
    seconds: float


def take(run: Run, to: Path) -> Path:
    """Makes a base backup and copies files; gives the folder of the base. The receiver must be running for later."""
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = to / "base" / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    target.parent.mkdir(exist_ok=True)
    copy_files(run, to)
    options = ["--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256", "--no-password"]
    _program(run, "pg_basebackup", "-D", f"{target}.part", *options)
    shutil.copy2(run.state / f"{POSTGRES}.password", to / "postgres.password")
    Path(f"{target}.part").rename(target)
    return target


def receive(run: Run, to: Path) -> processes.Child:
    """Starts to receive the log of changes into <to>/wal; goes on where an earlier receiver stopped."""
    wal = to / "wal"
    wal.mkdir(mode=0o700, parents=True, exist_ok=True)
    common = [binary("pg_receivewal"), *_where(run), f"--slot={SLOT}", "--no-password"]
    slot = [*map(str, common), "--create-slot", "--if-not-exists"]
    made = subprocess.run(slot, env=_environ(run), capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise BackupFailed(f"the slot for the log of changes cannot be made: {made.stderr.strip()}")
    command = [*common, "-D", wal, "--synchronous", "--status-interval=5"]
    return processes.spawn(command, log=to / "receiver.log", environ=_environ(run))


def follow(run: Run, to: Path, going_on: Callable[[], bool], told: Callable[[str], None]) -> None:
    """Receives changes and copies files until `going_on` says no; starts the receiver again when it dies."""
    receiver = receive(run, to)
    try:
        take(run, to)
        told("a base backup was made; changes are received")
        copied = time.monotonic()
        while going_on():
            if not processes.alive(receiver):
                told("the receiver ended; it is started again")
                receiver = receive(run, to)
            if time.monotonic() - copied > _FILES_EVERY:
                copy_files(run, to)
                copied = time.monotonic()
            time.sleep(0.5)
    finally:
        processes.stop([receiver], patience=10)


def copy_files(run: Run, to: Path) -> int:
    """Copies what the lake has and the backup has not, and the keys; gives how many files were copied."""
    for name in _KEPT:
        source = run.state / name
        if source.exists():
            shutil.copytree(source, to / name, dirs_exist_ok=True)
    return _copied(run.lake, to / "lake")


def restore(source: Path, state: Path, until: datetime | None = None) -> Restored:
    """Makes a state anew from a backup, as it was at `until` (its latest moment). The platform is not started.

    Raises BackupFailed when the state is not empty, no base is old enough, or a checksum does not fit.
    """
    if (state / POSTGRES).exists():
        raise BackupFailed(f"{state} holds a database already: restore into an empty state, or move it away")
    base = _base(source, until)
    began = time.monotonic()
    _verify(base)
    data = state / POSTGRES
    shutil.copytree(base, data, symlinks=True)
    for name in (*_KEPT, "lake"):
        if (source / name).exists():
            shutil.copytree(source / name, state / name, dirs_exist_ok=True)
    private.write(state / f"{POSTGRES}.password", (source / "postgres.password").read_text())
    wal = (source / "wal").absolute()
    lines = [
        f'restore_command = \'cp "{wal}/%f" "%p" 2>/dev/null || cp "{wal}/%f.partial" "%p"\'',
        "recovery_target_timeline = 'latest'",
        "recovery_target_action = 'promote'",
    ]
    if until is not None:
        lines.append(f"recovery_target_time = '{until.astimezone(UTC).isoformat()}'")
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("\n".join(["", *lines, ""]))
    (data / "recovery.signal").touch()
    take_over(data)
    _recover(data, state / "logs" / "restore.log")
    return Restored(base, time.monotonic() - began)


async def checksums(url: str) -> dict[str, tuple[int, str]]:
    """Rows and a checksum of every table, all in one snapshot: what two databases are compared by."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = {}
            for row in await connection.fetch(_TABLES):
                name = row["name"]
                content = await connection.fetchrow(
                    f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 7)::numeric), 0)::text FROM {name} t"
                )
                assert content is not None, "an aggregate has a row"
                found[name] = (int(content[0]), hashlib.sha256(content[1].encode()).hexdigest()[:16])
            return found
    finally:
        await connection.close()


def _recover(data: Path, log: Path) -> None:
    """Starts the database once, which replays the log to its target, and stops it again."""
    try:
        server = Postgres.start(data, log=log)
    except PostgresFailed as failure:
        raise BackupFailed(f"the database could not be brought to that moment: {failure}") from failure
    try:
        asyncio.run(_promoted(server.url))
    finally:
        server.stop()
    settings = data / "postgresql.auto.conf"
    kept = [line for line in settings.read_text().splitlines() if not line.startswith(("restore_command", "recovery_"))]
    settings.write_text("\n".join(kept) + "\n")


async def _promoted(url: str) -> None:
    """Waits until the log is replayed to its target and the database takes writes."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(_REPLAY_SECONDS):
            while await connection.fetchval("SELECT pg_is_in_recovery()"):  # noqa: ASYNC110 - it happens elsewhere
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


def _base(source: Path, until: datetime | None) -> Path:
    """The latest base that was complete before the moment."""
    bases = sorted(path for path in (source / "base").glob("*Z") if path.is_dir())
    if until is not None:
        bases = [base for base in bases if datetime.strptime(base.name, "%Y%m%dT%H%M%S.%f%z") <= until]
    if not bases:
        raise BackupFailed(f"{source} holds no base backup that is old enough")
    return bases[-1]


def _verify(base: Path) -> None:
    command = [str(binary("pg_verifybackup")), "--no-parse-wal", str(base)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupFailed(f"{base} is damaged: {done.stderr.strip()[-300:]}")


def _copied(source: Path, target: Path) -> int:
    """Copies the files that are not there yet; the lake writes a file under its name only when it is whole."""
    count = 0
    for path in source.rglob("*"):
        there = target / path.relative_to(source)
        if path.is_file() and not path.name.startswith(".") and not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            fresh = there.with_name(f".{there.name}.part")
            try:
                shutil.copy2(path, fresh)
            except FileNotFoundError:  # compacted away in between
                continue
            fresh.replace(there)
            count += 1
    return count


def _program(run: Run, name: str, *arguments: str) -> None:
    command = [str(binary(name)), *_where(run), *arguments]
    done = subprocess.run(command, env=_environ(run), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupFailed(f"{name} failed: {done.stderr.strip()[-500:]}")


def _where(run: Run) -> list[str]:
    url = urlsplit(run.database_url)
    return [f"--host={url.hostname}", f"--port={url.port}", f"--username={url.username}"]


def _environ(run: Run) -> dict[str, str]:
    return {**os.environ, "PGPASSWORD": unquote(urlsplit(run.database_url).password or "")}
