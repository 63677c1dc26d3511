"""Where the lake's files are: a folder, or any store that fsspec knows by a URL (s3://bucket/prefix).

A file is made whole in a local folder and only then published: by rename in a folder, as one object in a store. It
counts once the manifest names it, so a half-written file is never read, and one that is never named is never seen.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import fsspec  # type: ignore[import-untyped]


class Files:
    """Files under one URL by relative path. All methods block: call them in a thread."""

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        parts = urlsplit(url)
        self._url = url.rstrip("/")
        self._remote = None
        if parts.scheme == "file":
            self.local = Path(unquote(parts.path))
            """Where files are made; of a store on this machine also where they stay."""
        else:
            self._remote, self._base = fsspec.core.url_to_fs(self._url, **(options or {}))
            self.local = (
                Path(tempfile.gettempdir()) / f"lifecircle-lake-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
            )

    def uri(self, path: str) -> str:
        """Where readers find a file."""
        return (self.local / path).as_uri() if self._remote is None else f"{self._url}/{path}"

    def publish(self, path: str) -> None:
        """Bring a file that was made under `local` to where readers find it."""
        if self._remote is not None:
            made = self.local / path
            self._remote.put_file(str(made), f"{self._base}/{path}")
            made.unlink()

    def open(self, path: str) -> BinaryIO:
        """A published file for reading."""
        if self._remote is None:
            return (self.local / path).open("rb")
        return cast(BinaryIO, self._remote.open(f"{self._base}/{path}", "rb"))

    def remove(self, path: str) -> None:
        """Remove a published file; nothing happens when it is not there."""
        with contextlib.suppress(FileNotFoundError):
            if self._remote is None:
                (self.local / path).unlink()
            else:
                self._remote.rm_file(f"{self._base}/{path}")

    def sync(self, path: str) -> None:
        """Make sure that a file made under `local` is on the disk."""
        with (self.local / path).open("rb") as file:
            os.fsync(file.fileno())
