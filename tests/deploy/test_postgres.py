"""The embedded PostgreSQL: starts for anybody, survives a kill, keeps the data, and says clearly why it cannot."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.local import processes
from deploy.local.postgres import Postgres, PostgresFailed

FAST = {"fsync": "off"}


def ask(url: str, *statements: str) -> Any:
    """Runs the statements in one session; gives the last one's value."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(run())


def copied(template: Path, data: Path) -> Path:
    shutil.copytree(template, data)
    shutil.copy2(template.with_name("postgres.password"), data.with_name("postgres.password"))
    return data


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that was made once and stopped."""
    data = tmp_path_factory.mktemp("template") / "postgres"
    Postgres.start(data, settings=FAST).stop()
    return data


@pytest.fixture
def data(template: Path, tmp_path: Path) -> Iterator[Path]:
    data = copied(template, tmp_path / "postgres")
    yield data
    left = Postgres.running(data)
    if left is not None:
        left.stop()


def test_it_serves_utf8_on_the_loopback_alone_with_a_password(data: Path) -> None:
    server = Postgres.start(data, settings=FAST)
    assert ask(server.url, "SELECT current_database()") == "lifecircle"
    assert ask(server.url, "SHOW server_encoding") == "UTF8"
    assert ask(server.url, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(server.url, "SHOW unix_socket_directories") == ""
    assert ask(server.url, "SELECT '生活圈' < '生活團'") is True
    assert int(ask(server.url, "SHOW server_version_num")) >= 150_000
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/lifecircle", "SELECT 1")


def test_the_password_is_readable_by_its_owner_alone(template: Path) -> None:
    assert stat.S_IMODE(template.with_name("postgres.password").stat().st_mode) == 0o600


def test_a_second_start_keeps_the_data_and_may_keep_the_port(data: Path) -> None:
    first = Postgres.start(data, settings=FAST)
    ask(first.url, "CREATE TABLE kept (a int)", "INSERT INTO kept VALUES (7) RETURNING a")
    first.stop()
    second = Postgres.start(data, port=first.port, settings=FAST)
    assert second.port == first.port
    assert ask(second.url, "SELECT a FROM kept") == 7


def test_what_was_committed_survives_kill_9(data: Path) -> None:
    first = Postgres.start(data)
    ask(first.url, "CREATE TABLE kept (a int)", "INSERT INTO kept VALUES (7) RETURNING a")
    os.kill(first.pid, signal.SIGKILL)
    second = Postgres.start(data)
    assert second.pid != first.pid
    assert ask(second.url, "SELECT a FROM kept") == 7


def test_starting_what_runs_gives_the_same_server(data: Path) -> None:
    first = Postgres.start(data, settings=FAST)
    assert Postgres.start(data, settings=FAST) == first


def test_stop_leaves_no_process(data: Path) -> None:
    server = Postgres.start(data, settings=FAST)
    server.stop()
    assert not processes.alive(server.child)
    assert Postgres.running(data) is None


def test_notes_of_a_dead_server_do_not_wait_for_the_program_that_has_its_pid_now(data: Path) -> None:
    notes = [str(os.getpid()), str(data), "1", "5432", "", "127.0.0.1", "1 1", "ready"]
    (data / "postmaster.pid").write_text("\n".join(notes) + "\n")
    assert ask(Postgres.start(data, settings=FAST).url, "SELECT 1") == 1


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "postgres"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    (tmp_path / "postgres.password").write_text("x\n")
    with pytest.raises(PostgresFailed, match="is not a PostgreSQL data folder"):
        Postgres.start(other)
    assert (other / "thesis.txt").read_text() == "mine"


def test_data_of_another_version_is_refused_with_the_way_out(data: Path) -> None:
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresFailed, match=r"made by PostgreSQL 9.*dump it"):
        Postgres.start(data)


def test_a_server_that_ends_shows_the_last_lines_of_its_log(data: Path) -> None:
    with pytest.raises(PostgresFailed, match="unrecognized configuration parameter"):
        Postgres.start(data, settings={"no_such_setting": "1"})


def test_another_password_than_the_kept_one_is_refused(data: Path) -> None:
    with pytest.raises(PostgresFailed, match="is not the one"):
        Postgres.start(data, password="another")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must become somebody else")
def test_root_without_user_namespaces_runs_it_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no `unshare` to be found
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        with pytest.raises(PostgresFailed, match=f"cannot enter {state}"):
            Postgres.start(state / "postgres", settings=FAST)
        state.chmod(0o755)
        server = Postgres.start(state / "postgres", settings=FAST)
        try:
            assert ask(server.url, "SELECT 1") == 1
            assert (state / "postgres").stat().st_uid != 0
        finally:
            server.stop()
