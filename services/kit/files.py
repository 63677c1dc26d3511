"""A small file that may change under a running process: keys, tokens; or the same behind a URL."""

import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 1.0
_FETCH_SECONDS = 300.0
_FETCH_TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 1024 * 1024


class Watched(Generic[T]):
    """What `parse` makes of a file, made again within a second of a change of the file.

    A file that cannot be read or parsed any more is logged, and the last good value stays in force.
    """

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._stamp = self._now()
        self._value = parse(path.read_text())
        self._looked = time.monotonic()

    def value(self) -> T:
        """The value in force; the same object until the file changes."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            stamp = self._now()
            if stamp != self._stamp:
                self._value = self._parse(self._path.read_text())
                self._stamp = stamp
                _log.info("file_read_again", path=str(self._path))
        except Exception:
            _log.exception("file_not_readable", path=str(self._path))

    def _now(self) -> tuple[int, int, int]:
        stat = self._path.stat()
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


class Fetched(Generic[T]):
    """What `parse` makes of the document at a URL, fetched again every five minutes beside the calls.

    The first is fetched at once; later ones in a thread, while the last good value stays in force.
    """

    def __init__(self, url: str, parse: Callable[[str], T], *, every: float = _FETCH_SECONDS) -> None:
        if not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
            raise ValueError(f"{url} is not an https:// address")
        self._url = url
        self._parse = parse
        self._every = every
        self._fetching = threading.Lock()
        self._text = self._read()
        self._value = parse(self._text)
        self._fetched = time.monotonic()

    def value(self) -> T:
        """The value in force; the same object until the document changes."""
        if time.monotonic() - self._fetched > self._every:
            self._fetched = time.monotonic()
            threading.Thread(target=self._fetch, daemon=True).start()
        return self._value

    def _fetch(self) -> None:
        if not self._fetching.acquire(blocking=False):
            return
        try:
            text = self._read()
            if text != self._text:
                self._value, self._text = self._parse(text), text
                _log.info("document_fetched_again", url=self._url)
        except Exception:
            _log.exception("document_not_fetched", url=self._url)
        finally:
            self._fetching.release()

    def _read(self) -> str:
        with urllib.request.urlopen(self._url, timeout=_FETCH_TIMEOUT_SECONDS) as answer:  # noqa: S310 - checked above
            return str(answer.read(_MOST_BYTES).decode())
