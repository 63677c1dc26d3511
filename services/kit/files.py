"""A small file that may change under a running process: keys, tokens."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 1.0


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
