"""Remote sources of operator files: SFTP (asyncssh) and object storage (fsspec). A source is read, never written.

Each opens as `async with place.open() as folder`, and a folder lists and fetches. Unreachable is raised for everything
that may be over at the next look: a host that is down, a key that is refused, a connection that is cut.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import asyncssh
import fsspec  # type: ignore[import-untyped]

from services.ingest.domain.upload import Remote, Source

_CONNECT_SECONDS = 15
_SILENCE_SECONDS = 30
_PIECE_BYTES = 8 << 20


class Unreachable(Exception):
    """The source cannot be read now."""


@contextlib.contextmanager
def _reaching(source: Source, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise Unreachable(f"{source.name}: {type(error).__name__}") from error


class Folder(Protocol):
    """An open remote folder."""

    async def files(self) -> list[Remote]:
        """The plain files in it, by name; folders and links are left out."""

    async def fetch(self, name: str, to: Path) -> None:
        """Copy one file to a local one. Raises Unreachable; what was written so far then stays."""


class Place(Protocol):
    """A remote source."""

    def open(self) -> contextlib.AbstractAsyncContextManager[Folder]:
        """Its folder, for one look. Raises Unreachable."""


def place_of(source: Source) -> Place:
    """How a source is reached."""
    return SftpPlace(source) if source.url.startswith("sftp:") else StoragePlace(source)


class SftpPlace:
    """A folder of an SSH server: the private key alone is shown, and the host's key must be a known one."""

    def __init__(self, source: Source) -> None:
        parts = urlsplit(source.url)
        self._source = source
        self._folder = unquote(parts.path) or "."
        self._to = {"host": parts.hostname or "", "port": parts.port or 22, "username": unquote(parts.username or "")}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Folder]:
        """The folder."""
        options: dict[str, Any] = {
            "client_keys": [self._source.key],
            "known_hosts": self._source.known_hosts,
            "agent_path": None,
            "config": None,
            "preferred_auth": "publickey",
            "connect_timeout": _CONNECT_SECONDS,
            "login_timeout": _CONNECT_SECONDS,
            "keepalive_interval": _SILENCE_SECONDS,
        }
        async with contextlib.AsyncExitStack() as stack:
            with _reaching(self._source, asyncssh.Error, OSError):
                connection = await stack.enter_async_context(asyncssh.connect(**self._to, **options))
                client = await stack.enter_async_context(connection.start_sftp_client())
            yield _SftpFolder(self._source, client, self._folder)


class _SftpFolder:
    def __init__(self, source: Source, client: asyncssh.SFTPClient, folder: str) -> None:
        self._source = source
        self._client = client
        self._folder = folder

    async def files(self) -> list[Remote]:
        found = []
        with _reaching(self._source, asyncssh.Error, OSError):
            listed = await self._client.readdir(self._folder)
        for entry in listed:
            attributes, name = entry.attrs, entry.filename
            text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
            if attributes.type == asyncssh.FILEXFER_TYPE_REGULAR and "/" not in text:
                changed = datetime.fromtimestamp(attributes.mtime or 0, UTC)
                found.append(Remote(text, attributes.size or 0, changed))
        return sorted(found, key=lambda each: each.name)

    async def fetch(self, name: str, to: Path) -> None:
        with _reaching(self._source, asyncssh.Error, OSError):
            await self._client.get(f"{self._folder}/{name}", to)


class StoragePlace:
    """A prefix of a storage that fsspec knows: `s3://…`, `file://…`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if source.endpoint:
            options["endpoint_url"] = source.endpoint
        self._options = options if source.url.startswith("s3:") else {}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Folder]:
        """The prefix."""
        with _reaching(self._source, Exception):
            storage, prefix = await asyncio.to_thread(fsspec.url_to_fs, self._source.url, **self._options)
        yield _StorageFolder(self._source, storage, prefix)


class _StorageFolder:
    """Every storage has its own family of errors, of no common ancestor: any is one of the storage."""

    def __init__(self, source: Source, storage: Any, prefix: str) -> None:
        self._source = source
        self._storage = storage
        self._prefix = prefix.rstrip("/")

    async def files(self) -> list[Remote]:
        with _reaching(self._source, Exception):
            listed = await asyncio.to_thread(self._storage.ls, self._prefix, detail=True)
        plain = [each for each in listed if each["type"] == "file" and not each.get("islink")]
        found = [Remote(each["name"].rpartition("/")[2], int(each["size"]), _changed(each)) for each in plain]
        return sorted((each for each in found if each.name), key=lambda each: each.name)

    async def fetch(self, name: str, to: Path) -> None:
        with _reaching(self._source, Exception):
            await asyncio.to_thread(_copy, self._storage, f"{self._prefix}/{name}", to)


def _copy(storage: Any, path: str, to: Path) -> None:
    """Copy an object piece by piece: fsspec's own way holds ten large parts of it in memory.

    A storage that numbers its versions refuses a piece of another one than that which was opened.
    """
    with storage.open(path, "rb", block_size=_PIECE_BYTES, cache_type="none") as source, to.open("wb") as target:
        shutil.copyfileobj(source, target, _PIECE_BYTES)


def _changed(listed: Mapping[str, Any]) -> datetime:
    at = listed.get("LastModified") or listed.get("mtime") or 0.0
    return at if isinstance(at, datetime) else datetime.fromtimestamp(float(at), UTC)
