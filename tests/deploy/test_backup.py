"""R002-096: a backup is taken while the platform works; when the machine is lost, all of it or a moment comes back."""

import asyncio
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from deploy.local import backup, processes, run
from deploy.local.backup import BackupFailed
from deploy.local.postgres import Postgres
from deploy.local.run import POSTGRES, Run

SETUP = (
    "CREATE SCHEMA ledger CREATE TABLE entry (entry_id bigint PRIMARY KEY, time timestamptz DEFAULT clock_timestamp())"
)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Run]:
    """A database with a lake and keys, as `up` leaves them; the services are not needed for this."""
    server = Postgres.start(tmp_path / "state" / POSTGRES)
    made = run.plan(tmp_path / "state", 0, processes.free_ports(2), [], {}, {})
    made.database_url, made.postgres_port = server.url, server.port
    made.children[POSTGRES] = server.child
    made.keys.prepare()
    made.lake.mkdir()
    execute(made, SETUP)
    yield made
    processes.stop(made.children.values())


def execute(of: Run, statement: str, *arguments: object) -> list[asyncpg.Record]:
    async def work() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(of.database_url)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    return asyncio.run(work())


def write(of: Run, first: int, last: int) -> None:
    """A file of the lake, then the rows, as the services do it."""
    (of.lake / f"{first}.parquet").write_bytes(b"x" * 1000)
    execute(of, "INSERT INTO ledger.entry SELECT generate_series($1::bigint, $2::bigint)", first, last)


def until_received(of: Run, patience: float = 30) -> None:
    wanted = execute(of, "SELECT pg_current_wal_lsn() AS lsn")[0]["lsn"]
    deadline = time.monotonic() + patience
    query = "SELECT restart_lsn >= $1 AS there FROM pg_replication_slots WHERE slot_name = $2"
    while not execute(of, query, wanted, backup.SLOT)[0]["there"]:
        assert time.monotonic() < deadline, "the receiver does not keep up"
        time.sleep(0.1)


def test_the_lost_machine_comes_back_whole_and_to_any_moment(up: Run, tmp_path: Path) -> None:
    """R001-145: a hot backup, the machine lost, and the state of a moment before it back again."""
    to, stop = tmp_path / "backup", threading.Event()
    write(up, 1, 1000)
    told: list[str] = []
    following = threading.Thread(target=backup.follow, args=(up, to, lambda: not stop.is_set(), told.append))
    following.start()
    while not told:
        time.sleep(0.05)
    write(up, 1001, 2000)
    time.sleep(0.05)
    between = datetime.now(UTC)
    time.sleep(0.05)
    write(up, 2001, 3000)
    expected = asyncio.run(backup.checksums(up.database_url))
    until_received(up)
    backup.copy_files(up, to)
    processes.stop([up.children[POSTGRES]], how=signal.SIGKILL)
    stop.set()
    following.join()
    shutil.rmtree(up.state)

    restored = backup.restore(to, tmp_path / "again")
    assert restored.seconds < 15 * 60
    again = Postgres.start(tmp_path / "again" / POSTGRES)
    assert asyncio.run(backup.checksums(again.url)) == expected
    assert len(list((tmp_path / "again" / "lake").iterdir())) == 3
    assert (tmp_path / "again" / "keys" / "vault.json").exists()
    again.stop()

    backup.restore(to, tmp_path / "then", between)
    then = Postgres.start(tmp_path / "then" / POSTGRES)
    found = asyncio.run(backup.checksums(then.url))
    assert found["ledger.entry"][0] == 2000
    then.stop()


def test_a_damaged_backup_and_a_full_state_are_refused(up: Run, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    base = backup.take(up, to)
    with pytest.raises(BackupFailed, match="holds a database already"):
        backup.restore(to, up.state)
    with pytest.raises(BackupFailed, match="old enough"):
        backup.restore(to, tmp_path / "too early", datetime(2020, 1, 1, tzinfo=UTC))
    victim = next(path for path in (base / "base").rglob("*") if path.is_file() and path.stat().st_size > 8192)
    content = bytearray(victim.read_bytes())
    content[100] ^= 0xFF
    victim.write_bytes(content)
    with pytest.raises(BackupFailed, match="is damaged"):
        backup.restore(to, tmp_path / "damaged")
