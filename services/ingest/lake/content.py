"""The content of an operator file, plain or compressed (gzip, zstd, zip of one file), never more than is allowed.

What expands to more than MOST_RATIO times its size (and ALWAYS_ALLOWED), or to more than MOST_BYTES, is a bomb.
"""

import contextlib
import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from services.ingest.domain.delivery import Problem

ALWAYS_ALLOWED = 64 << 20
MOST_RATIO = 100
MOST_BYTES = 64 << 30
_BLOCK_BYTES = 8 << 20
_PIECE_BYTES = 1 << 20
_DIRECTORY_BYTES = 1 << 16  # of a zip with one file
_END_OF_ZIP, _END_MARK = struct.Struct("<4s4H2LH"), b"PK\x05\x06"

BROKEN = Problem("COMPRESSION_BROKEN", "the file cannot be expanded: it is damaged, or not what its ending says")
BOMB = Problem("EXPANDS_TOO_MUCH", f"the file expands to more than {MOST_RATIO} times its size; send it plain")
NOT_ONE = Problem("COMPRESSION_BROKEN", "a zip must hold one file, not encrypted")


class Unfit(Exception):
    """The file cannot be expanded; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


def is_compressed(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix in (".gz", ".zst", ".zip")


def blocks(path: Path, size: int = _BLOCK_BYTES) -> Iterator[bytes]:
    """The content in blocks of at most `size` bytes. Raises Unfit, also after some blocks."""
    with opened(path) as file:
        if not is_compressed(path):
            while block := file.read(size):
                yield block
            return
        allowed = min(MOST_BYTES, ALWAYS_ALLOWED + MOST_RATIO * os.fstat(file.fileno()).st_size)
        try:
            with _expanded(file, path.suffix) as stream:
                while block := _read(stream, size):
                    allowed -= len(block)
                    if allowed < 0:
                        raise Unfit(BOMB)
                    yield block
        except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise Unfit(BROKEN) from error


def checksum(path: Path) -> str:
    """sha256 of a file as it lies there."""
    digest = hashlib.sha256()
    with opened(path) as file:
        while block := file.read(_PIECE_BYTES):
            digest.update(block)
    return digest.hexdigest()


def opened(path: Path) -> BinaryIO:
    """A regular file for reading; a link is never followed."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def _read(stream: BinaryIO, size: int) -> bytes:
    """A whole block: a stream may give less than it was asked for."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(min(size, _PIECE_BYTES))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


@contextlib.contextmanager
def _expanded(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    if suffix != ".zip":
        kind = {".gz": "gzip", ".zst": "zstd"}[suffix]
        with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), kind) as stream:
            yield stream
        return
    _check_end(file)
    with zipfile.ZipFile(file) as whole:
        members = whole.infolist()
        if len(members) != 1 or members[0].is_dir() or members[0].flag_bits & 1:
            raise Unfit(NOT_ONE)
        if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unfit(BROKEN)
        with whole.open(members[0]) as stream:
            yield stream  # type: ignore[misc]  # a ZipExtFile is a binary stream


def _check_end(file: BinaryIO) -> None:
    """A zip says at its end how many files it holds, and how long its directory is, which is read as a whole."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - _END_OF_ZIP.size))
    tail = file.read()
    at = tail.rfind(_END_MARK)
    if at < 0 or len(tail) < at + _END_OF_ZIP.size:
        raise Unfit(BROKEN)
    _, _, _, _, members, directory, _, _ = _END_OF_ZIP.unpack_from(tail, at)
    if members != 1 or directory > _DIRECTORY_BYTES:
        raise Unfit(NOT_ONE)
    file.seek(0)
