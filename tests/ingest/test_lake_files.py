"""The lake's files, in a folder and in an object store: made whole, then there for readers; removed without fuss."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from services.ingest.lake.files import Files


@pytest.fixture
def store() -> Iterator[str]:
    """An S3 server of its own; gives its endpoint."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make(files: Files, path: str, data: bytes) -> None:
    (files.local / path).parent.mkdir(parents=True, exist_ok=True)
    (files.local / path).write_bytes(data)


def test_a_file_of_an_object_store_is_one_object_and_leaves_nothing_behind(store: str) -> None:
    options = {"key": "k", "secret": "s", "endpoint_url": store, "skip_instance_cache": True}
    fsspec.filesystem("s3", **options).mkdir("lake")
    files = Files("s3://lake/city", options)
    path = "ingest/bills/period=20260901/d.parquet"
    make(files, path, b"rows")
    files.publish(path)
    assert not (files.local / path).exists()
    assert files.uri(path) == f"s3://lake/city/{path}"
    with files.open(path) as file:
        assert file.read() == b"rows"
    files.remove(path)
    files.remove(path)
    with pytest.raises(FileNotFoundError):
        files.open(path)


def test_a_file_of_a_folder_stays_where_it_was_made(tmp_path: Path) -> None:
    files = Files((tmp_path / "the lake").as_uri())
    make(files, "a/b.parquet", b"rows")
    files.publish("a/b.parquet")
    with files.open("a/b.parquet") as file:
        assert file.read() == b"rows"
    assert files.uri("a/b.parquet") == (tmp_path / "the lake" / "a" / "b.parquet").as_uri()
    files.remove("a/b.parquet")
    files.remove("a/b.parquet")
