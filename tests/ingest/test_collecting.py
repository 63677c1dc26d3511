"""Remote sources: SFTP from a real OpenSSH where it is installed (else asyncssh's server), S3 from moto."""

import asyncio
import contextlib
import os
import random
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncssh
import boto3  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer

from services.ingest.domain.delivery import State
from services.ingest.domain.upload import Source
from services.ingest.lake.remote import Unreachable, place_of
from tests.ingest.house import House
from tests.ingest.made import control_of

NAME = "ORDER_20260901_001.TXT"
ROWS = "".join(f"T{row}|139000000{row:02}|P01|open|20260901120000\n" for row in range(50)).encode()
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") if os.getuid() == 0 else None


@dataclass
class Served:
    """A folder behind SSH."""

    folder: Path
    source: Source

    def put(self, name: str, data: bytes, control: bytes | None = None) -> None:
        (self.folder / name).write_bytes(data)
        if control != b"":
            (self.folder / name).with_suffix(".CHK").write_bytes(control or control_of(name, data))


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def keys(root: Path, port: int) -> tuple[Path, Path, Path]:
    """The host's key, the client's, and what the client knows of the host."""
    host, client = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    host_file, client_file, known = root / "host", root / "client", root / "known_hosts"
    for key, path in ((host, host_file), (client, client_file)):
        key.write_private_key(path)
        path.chmod(0o600)
    client.write_public_key(root / "authorized_keys")
    (root / "authorized_keys").chmod(0o600)
    known.write_bytes(f"[127.0.0.1]:{port} ".encode() + host.export_public_key())
    return host_file, client_file, known


@contextlib.asynccontextmanager
async def openssh(root: Path, host: Path, port: int) -> AsyncIterator[None]:
    """sshd in the foreground, on a port of its own, for this user and one key alone."""
    assert SSHD is not None
    Path("/run/sshd").mkdir(exist_ok=True)
    config = root / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {root}/authorized_keys\n"
        "PasswordAuthentication no\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n"
        "Subsystem sftp internal-sftp\n"
    )
    running = await asyncio.create_subprocess_exec(
        SSHD, "-D", "-e", "-f", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 0.1).close()
                break
            await asyncio.sleep(0.02)
        yield
    finally:
        running.terminate()
        await running.wait()


@contextlib.asynccontextmanager
async def asyncssh_server(root: Path, host: Path, port: int) -> AsyncIterator[None]:
    options = {"server_host_keys": [str(host)], "authorized_client_keys": str(root / "authorized_keys")}
    async with await asyncssh.listen("127.0.0.1", port, sftp_factory=True, **options):
        yield


@pytest.fixture(params=["openssh", "asyncssh"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    if request.param == "openssh" and SSHD is None:
        pytest.skip("no sshd on PATH (Debian: openssh-server); the same tests run against asyncssh's server")
    root, port = tmp_path / "ssh", free_port()
    (root / "out").mkdir(parents=True)
    host, client, known = keys(root, port)
    start = openssh if request.param == "openssh" else asyncssh_server
    async with start(root, host, port):
        user = "root" if SSHD else "lifecircle"
        url = f"sftp://{user}@127.0.0.1:{port}{root}/out"
        yield Served(root / "out", Source("probe", url, timedelta(seconds=1), str(client), str(known)))


async def look(house: House, source: Source) -> int:
    return await house.collecting.look(source, place_of(source))


async def test_a_file_is_fetched_with_its_control_file_once_and_again_when_it_was_corrected(
    house: House, served: Served
) -> None:
    """R000-010: SFTP drops; a partial upload (no control file yet) is left alone."""
    served.put(NAME, ROWS, control=b"")
    served.put("notes.txt", b"no feed has such files", control=b"")
    assert await look(house, served.source) == 0
    served.put(NAME, ROWS)
    assert await look(house, served.source) == 1
    assert house.waiting() == ["ORDER_20260901_001.CHK", NAME]
    await house.settle()
    assert (await house.latest(NAME)).loaded_rows == 50
    assert await look(house, served.source) == 0
    served.put(NAME, ROWS + b"T50|13900000050|P01|open|20260901120000\n")
    assert await look(house, served.source) == 1
    await house.settle()
    assert (await house.latest(NAME)).loaded_rows == 51


async def test_a_host_that_shows_another_key_and_a_key_that_is_not_authorised_are_refused(
    house: House, served: Served, tmp_path: Path
) -> None:
    served.put(NAME, ROWS)
    other = asyncssh.generate_private_key("ssh-ed25519")
    other.write_private_key(tmp_path / "other")
    (tmp_path / "known").write_bytes(b"* " + other.export_public_key())
    for wrong in (
        Source("probe", served.source.url, key=served.source.key, known_hosts=str(tmp_path / "known")),
        Source("probe", served.source.url, key=str(tmp_path / "other"), known_hosts=served.source.known_hosts),
    ):
        with pytest.raises(Unreachable):
            async with place_of(wrong).open():
                pass
        assert await look(house, wrong) == 0
    assert house.waiting() == []


class Cutting:
    """A wire to a server that is cut after so many bytes towards the client."""

    def __init__(self, port: int, after: int) -> None:
        self._port = port
        self.left = after

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter, *, counted: bool) -> None:
            with contextlib.suppress(OSError):
                while (data := await source.read(4096)) and self.left > 0:
                    self.left -= len(data) if counted else 0
                    to.write(data)
                    await to.drain()
            for each in (writer, other_writer):
                each.close()

        await asyncio.gather(copy(reader, other_writer, counted=False), copy(other_reader, writer, counted=True))


async def test_a_transfer_that_is_cut_in_the_middle_leaves_nothing_and_the_file_comes_once_whole(
    house: House, served: Served
) -> None:
    """SFTP cut in mid transfer: picked up once, whole."""
    data = "".join(f"T{row}|13{row:09}|P01|open|20260901120000\n" for row in range(400_000, 440_000)).encode()
    served.put(NAME, data)
    port = int(served.source.url.rpartition(":")[2].partition("/")[0])
    Path(served.source.known_hosts).write_bytes(
        Path(served.source.known_hosts).read_bytes().replace(f"[127.0.0.1]:{port}".encode(), b"*")
    )
    for after in (3_000, 20_000, 400_000, 1_000_000):
        wire = await asyncio.start_server(Cutting(port, after), "127.0.0.1", 0)
        async with wire:
            through = served.source.url.replace(str(port), str(wire.sockets[0].getsockname()[1]), 1)
            cut = Source("probe", through, key=served.source.key, known_hosts=served.source.known_hosts)
            assert await look(house, cut) == 0
        assert house.waiting() == []
        assert not list((house.landing / ".collected").iterdir())
    assert await look(house, served.source) == 1
    await house.settle()
    found = await house.deliveries.page(feed_id="", state=None, file_name="", before=None, size=10)
    assert [(each.state, each.loaded_rows) for each in found] == [(State.LOADED, 40_000)]


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 endpoint."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


async def test_a_file_of_an_object_storage_is_fetched_once(house: House, storage: str) -> None:
    client = boto3.client("s3", endpoint_url=storage)
    client.create_bucket(Bucket="operator")
    source = Source("bucket", "s3://operator/out", endpoint=storage)
    client.put_object(Bucket="operator", Key=f"out/{NAME}", Body=ROWS)
    assert await look(house, source) == 0
    client.put_object(Bucket="operator", Key="out/ORDER_20260901_001.CHK", Body=control_of(NAME, ROWS))
    assert await look(house, source) == 1
    await house.settle()
    assert (await house.latest(NAME)).loaded_rows == 50
    assert await look(house, source) == 0


async def test_a_storage_that_is_not_there_is_said_and_left(house: House) -> None:
    assert await look(house, Source("bucket", "file:///nowhere/at/all")) == 0


async def test_an_object_of_several_pieces_comes_whole(storage: str, tmp_path: Path) -> None:
    client = boto3.client("s3", endpoint_url=storage)
    client.create_bucket(Bucket="large")
    data = random.Random(7).randbytes((20 << 20) + 7)
    client.put_object(Bucket="large", Key="out/LARGE.TXT", Body=data)
    async with place_of(Source("bucket", "s3://large/out", endpoint=storage)).open() as folder:
        assert [each.size for each in await folder.files()] == [len(data)]
        await folder.fetch("LARGE.TXT", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == data
