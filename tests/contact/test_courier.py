"""Hand-overs reach OCRM's server by SFTP and by FTP: whole, the control file last, and each pair once."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from sqlalchemy import text

from services.contact.lake import Carrier, Folder, carrier
from services.contact.store import Store
from services.contact.usecases import Courier
from services.kit.db import Database

NOW = datetime(2026, 10, 1, 4, tzinfo=UTC)
NAMES = ["OCRM_CONTACT_20261001_001.TXT", "OCRM_CONTACT_20261001_001.CHK"]


@pytest.fixture
async def sftp(tmp_path: Path) -> AsyncIterator[Carrier]:
    """An SFTP server that knows one key."""
    host, client = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    client.write_private_key(str(tmp_path / "key"))
    (tmp_path / "authorized").write_bytes(client.export_public_key())
    root = tmp_path / "remote"
    root.mkdir()

    def jailed(channel: Any) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=str(root).encode())

    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=str(tmp_path / "authorized"),
        sftp_factory=jailed,
    )  # fmt: skip
    port = server.get_port()
    public = host.export_public_key().decode().strip()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {public}\n")
    made = carrier(f"sftp://ocrm@127.0.0.1:{port}/", known_hosts=str(tmp_path / "known"), key=str(tmp_path / "key"))
    assert made is not None
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[Carrier]:
    """An FTP server, in a process of its own."""
    root = tmp_path / "remote"
    root.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["-m", "pyftpdlib", "-i", "127.0.0.1", "-p", str(port), "-w", "-d", str(root), "-u", "ocrm", "-P", "secret"]
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        made = carrier(f"ftp://ocrm:secret@127.0.0.1:{port}/")
        assert made is not None
        yield made
        server.terminate()


async def arrives(carrying: Carrier, tmp_path: Path) -> None:
    files = [tmp_path / name for name in NAMES]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 100_000)
    await carrying.carry(files)
    await carrying.carry(files)  # once more: the same bytes under the same names
    remote = tmp_path / "remote"
    assert sorted(path.name for path in remote.iterdir()) == sorted(NAMES)
    assert [(remote / file.name).read_bytes() for file in files] == [file.read_bytes() for file in files]


async def test_a_pair_of_files_arrives_whole_by_sftp_and_leaves_no_part(sftp: Carrier, tmp_path: Path) -> None:
    """R001-147: the list to OCRM by SFTP."""
    await arrives(sftp, tmp_path)


async def test_a_pair_of_files_arrives_whole_by_ftp_and_leaves_no_part(ftp: Carrier, tmp_path: Path) -> None:
    """R001-147: the list to OCRM by FTP."""
    await arrives(ftp, tmp_path)


class Remembering:
    """A carrier that remembers, and is away at first."""

    def __init__(self) -> None:
        self.away = True
        self.carried: list[list[str]] = []

    async def carry(self, files: Any) -> None:
        """Remember."""
        await asyncio.sleep(0)
        if self.away:
            raise OSError("nobody there")
        self.carried.append([file.name for file in files])


async def test_what_waits_is_carried_once_when_the_server_is_back(db: Database, tmp_path: Path) -> None:
    """R001-149: tried again after the server was away."""
    async with db.begin() as tx:
        await tx.execute(
            text("INSERT INTO policy VALUES (1, '{}', now())"),
        )
        await tx.execute(
            text(
                "INSERT INTO plan (plan_id, plan_date, sequence, state, matrix_id, policy_version, candidates,"
                " contacts, control_contacts, objective_fen, bound_fen, gap, prices, sha256, create_time) VALUES"
                " ('p', '2026-10-01', 1, 'HANDED_OVER', 'm', 1, 0, 0, 0, 0, 0, 0, '[]', '', now())"
            )
        )
        await tx.execute(text(f"INSERT INTO handover_file VALUES ('{NAMES[0]}', 'p', 1, 'md5', now(), NULL, 0)"))
        await tx.commit()
    carrying = Remembering()
    courier = Courier(db, Store(), lambda: NOW, Folder(tmp_path), carrying)
    assert await courier.carry() == 0
    carrying.away = False
    assert [await courier.carry(), await courier.carry()] == [1, 0]
    assert carrying.carried == [NAMES]


def test_a_url_of_another_kind_and_sftp_without_known_hosts_are_refused() -> None:
    assert carrier("") is None
    for url in ("http://ocrm/", "sftp://ocrm/"):
        with pytest.raises(ValueError, match="sftp"):
            carrier(url)
