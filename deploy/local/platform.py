"""`up`, `down` and what runs between them: PostgreSQL, Envoy and the services, as processes that outlive the terminal.

`up` is the same work the first time and the tenth: keys, database, front door, schemas, services; each step does only
what is missing. Everything it starts it writes into run.json at once, and a first `up` that fails stops it all again.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from deploy.local import certificates, processes, services
from deploy.local import run as runs
from deploy.local.keys import SERVICES
from deploy.local.postgres import Postgres
from deploy.local.run import ENVOY, POSTGRES, Run, process_name
from deploy.mesh import envoy, traces

FRONT_DOOR = 8088
_OLDEST = 15  # the first PostgreSQL with all that the schemas use
_PATIENCE = 30.0  # seconds until the front door must answer, and until a process must have ended
_LONG_LOG = 16 * 1024 * 1024  # bytes after which a first `up` puts a log aside

Step = Callable[[str, int, int], None]  # what is done now, how many steps that makes, of how many


def _silent(what: str, done: int, total: int) -> None:
    """Hears of every step and says nothing."""


class PlatformFailed(Exception):
    """The platform cannot come up; the message says why and what to do."""


def up(
    state: Path,
    *,
    chosen: Sequence[str] = SERVICES,
    replicas: Mapping[str, int] | None = None,
    workers: Mapping[str, int] | None = None,
    port: int | None = None,
    database_url: str = "",
    environ: Mapping[str, str] | None = None,
    mutual: bool = True,
    step: Step = _silent,
) -> tuple[Run, list[str]]:
    """Brings the platform up; gives it with the names of what had to be started.

    `chosen` are the services, `replicas` how many of each (1), `workers` how many of these work as well (1), `port`
    the front door's (None: 8088 or a free one, 0: a free one), `database_url` an administrator's URL of a PostgreSQL
    >= 15 ("": the embedded one), `environ` further variables for every service, `mutual` whether services speak mutual
    TLS to one another. `step` hears of each step when it is done.

    Where a run is up already only what died is started again, on its old port, and the choices are not looked at.
    Raises PlatformFailed, PostgresFailed, ServiceFailed or KeysLost.
    """
    state = state.absolute()
    with _alone(state):
        run = runs.load(state)
        if run is not None and any(processes.alive(child) for child in run.children.values()):
            return run, _raise(run, step)
        work = dict(workers or {})
        count = {name: max((replicas or {}).get(name, 1), work.get(name, 1)) for name in [*(replicas or {}), *work]}
        run = _plan(state, chosen, count, port, environ or {})
        run.mutual, run.workers = mutual, work
        run.database_url = re.sub("^postgres:", "postgresql:", database_url)  # libpq takes both names, drivers one
        _put_logs_aside(run)
        try:
            return run, _raise(run, step)
        except BaseException:
            _lower(run, _silent)
            raise


def down(state: Path, *, step: Step = _silent) -> list[str]:
    """Stops everything of this state and keeps the data; gives the names of what ran. Nothing of others is touched."""
    state = state.absolute()
    if not state.exists():
        return []
    with _alone(state):
        run = runs.load(state)
        if run is not None:
            return _lower(run, step)
        stray = Postgres.running(state / POSTGRES) if (state / POSTGRES).exists() else None
        if stray is None:
            return []
        stray.stop()
        return [POSTGRES]


def _plan(
    state: Path, chosen: Sequence[str], replicas: Mapping[str, int], port: int | None, environ: Mapping[str, str]
) -> Run:
    unknown = [name for name in [*chosen, *replicas] if name not in SERVICES]
    if unknown or not chosen:
        raise PlatformFailed(f"no such service: {', '.join(unknown) or 'none named'}; there are {', '.join(SERVICES)}")
    free = processes.free_ports(3 + sum(replicas.get(service, 1) for service in chosen))
    if port and not processes.port_is_free(port):
        raise PlatformFailed(f"port {port} is taken: choose another, or --port 0 for any free one")
    if port is None and processes.port_is_free(FRONT_DOOR):
        port = FRONT_DOOR
    return runs.plan(state, port or free[-1], free[:-1], chosen, replicas, environ)


def _raise(run: Run, step: Step) -> list[str]:
    """Starts what does not run, in order, and waits until the front door answers for every service."""
    tell = _counted(step, 2 + len(run.processes) + (0 if run.complete else len(run.replicas)))
    run.keys.prepare()
    run.certificates.prepare()
    for folder in (run.landing, run.ocrm_out, run.lake):
        folder.mkdir(parents=True, exist_ok=True)
    started = _database(run)
    tell("PostgreSQL takes connections")
    started += _front_door(run)  # it needs a second to come up, and the services take longer
    if not run.complete:
        # Two at once: they are mostly Python's imports, and there may be two cores.
        with ThreadPoolExecutor(2) as pool:
            for service, done in [(name, pool.submit(services.migrate, run, name)) for name in run.replicas]:
                done.result()
                tell(f"{service}: schema up to date")
    missing = [
        (service, replica) for service, replica in run.processes if not _runs(run, process_name(service, replica))
    ]
    for service, replica in missing:
        services.launch(run, service, replica)
    for service, replica in run.processes:
        services.wait(run, [(service, replica)])
        tell(f"{process_name(service, replica)} serves")
    _await_front_door(run)
    tell("the front door answers")
    run.complete = True
    run.save()
    return started + [process_name(service, replica) for service, replica in missing]


def _database(run: Run) -> list[str]:
    """Makes sure of a database: the one that was named, or the embedded one, on its old port if it had one."""
    if run.database_url and not run.postgres_port:
        _check_version(run.database_url)
        return []
    if _runs(run, POSTGRES):
        return []
    server = Postgres.start(run.state / POSTGRES, port=run.postgres_port, log=run.log(POSTGRES))
    run.database_url, run.postgres_port = server.url, server.port
    run.children[POSTGRES] = server.child
    run.save()
    return [POSTGRES]


def _check_version(url: str) -> None:
    """Refuses a database that cannot be reached or is too old."""

    async def version() -> int:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return int(await connection.fetchval("SHOW server_version_num"))
        finally:
            await connection.close()

    try:
        number = asyncio.run(version())
    except (OSError, asyncpg.PostgresError, TimeoutError, ValueError) as error:
        raise PlatformFailed(f"the database that DATABASE_URL names cannot be reached: {error}") from error
    if number < _OLDEST * 10_000:
        raise PlatformFailed(f"DATABASE_URL names a PostgreSQL {number // 10_000}; it must be {_OLDEST} or newer")


def _front_door(run: Run) -> list[str]:
    if _runs(run, ENVOY):
        return []
    try:
        files = envoy.contract(run.replicas)
    except ImportError as error:
        raise PlatformFailed(f"the generated contract is not there: run `make proto` ({error})") from error
    folder = run.state / "mesh"
    config = envoy.write(
        folder,
        port=run.port,
        admin_port=run.admin_port,
        replicas=run.replicas,
        files=files,
        mutual=envoy.Mutual(run.mesh_port, run.certificates.sds, certificates.spiffe) if run.mutual else None,
        told=traces.of({**os.environ, **run.environ}),
    )
    run.children[ENVOY] = processes.spawn(envoy.command(config), log=run.log(ENVOY))
    run.save()
    return [ENVOY]


def _await_front_door(run: Run) -> None:
    deadline = time.monotonic() + _PATIENCE
    for service in run.replicas:
        while not services.serving(run.port, service=service):
            if not processes.alive(run.children[ENVOY]) or time.monotonic() > deadline:
                said = processes.tail(run.log(ENVOY))
                raise PlatformFailed(f"the front door does not answer for {service}; from {run.log(ENVOY)}:\n{said}")
            time.sleep(0.05)


def _lower(run: Run, step: Step) -> list[str]:
    """Stops the services, then the front door, then PostgreSQL.

    In this order, since a service that drains still calls its peers through the front door and still commits.
    """
    tell = _counted(step, 3)
    ran = [name for name, child in run.children.items() if processes.alive(child)]
    others = {name: child for name, child in run.children.items() if name not in (ENVOY, POSTGRES)}
    processes.stop(others.values(), patience=_PATIENCE)
    tell("the services have stopped")
    if ENVOY in run.children:
        processes.stop([run.children[ENVOY]], patience=_PATIENCE)
        tell("the front door is closed")
    if POSTGRES in run.children:
        processes.stop([run.children[POSTGRES]], how=signal.SIGINT, patience=_PATIENCE)
        tell("PostgreSQL has stopped")
    run.forget()
    return ran


def _counted(step: Step, total: int) -> Callable[[str], None]:
    numbers = itertools.count(1)
    return lambda what: step(what, next(numbers), total)


def _runs(run: Run, name: str) -> bool:
    return name in run.children and processes.alive(run.children[name])


def _put_logs_aside(run: Run) -> None:
    """Keeps one older part of a log that has grown long."""
    for log in (run.state / "logs").glob("*.log"):
        if log.stat().st_size > _LONG_LOG:
            log.replace(log.with_suffix(".log.old"))


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Lets one `up` or `down` at a time work on a state; a second one waits."""
    state.mkdir(parents=True, exist_ok=True)
    handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
