"""The landing folder. A file moves by rename only: landing → .taken → .archive/<feed> or .quarantine.

    LANDING/SIGNAL_20260901_001.TXT, .CHK        as the supplier put them
    LANDING/.taken/<delivery_id>/                while they are loaded: a new file of the same name cannot disturb
    LANDING/.archive/<feed>/<delivery_id>/       loaded, or known before
    LANDING/.quarantine/<delivery_id>/           held
    LANDING/.uploads/<upload_id>                 on its way by RPC
    LANDING/.collected/                          on its way from a remote source

They hold numbers in clear, as the operator wrote them: these folders are for this service alone (0700, files 0600).

Names that begin with a dot, or end in .part, .tmp or .filepart, are uploads under way and are never looked at.
"""

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.ingest.domain.reconciliation import LONGEST_CONTROL, Measured
from services.ingest.lake import content

_UPLOADING = (".part", ".tmp", ".filepart")
_MEASURE_BYTES = 1 << 20
_OURS = 0o700


@dataclass(frozen=True)
class Found:
    """A name in the landing folder. `regular` is False for a link, a pipe or a device, which are never opened.

    `inode` and `written_ns` tell it from another file that takes its name.
    """

    name: str
    size: int
    change_time: datetime
    regular: bool
    inode: int
    written_ns: int

    def still(self, is_at: os.stat_result) -> bool:
        """Whether a file is the one that was found."""
        return (is_at.st_ino, is_at.st_size, is_at.st_mtime_ns) == (self.inode, self.size, self.written_ns)

    @property
    def shown(self) -> str:
        """The name as text that can be stored and shown, also when its bytes are no UTF-8."""
        text = self.name.encode("utf-8", "backslashreplace").decode()
        return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


class Changed(Exception):
    """The file is not any more what was measured when it was taken."""


class Landing:
    """One folder, polled. All methods block: call them in a thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for name in (".taken", ".archive", ".quarantine", ".uploads", ".collected"):
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name).chmod(_OURS)  # also one that an earlier release made

    def found(self) -> list[Found]:
        """What lies there, by name; folders are not looked at."""
        entries = []
        with os.scandir(self._root) as listing:
            for entry in listing:
                if entry.name.startswith(".") or entry.name.lower().endswith(_UPLOADING):
                    continue
                with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
                    is_at = entry.stat(follow_symlinks=False)
                    if not stat.S_ISDIR(is_at.st_mode):
                        changed = datetime.fromtimestamp(is_at.st_ctime, UTC)  # a supplier can set mtime, not this
                        regular = stat.S_ISREG(is_at.st_mode)
                        told = (entry.name, is_at.st_size, changed, regular, is_at.st_ino, is_at.st_mtime_ns)
                        entries.append(Found(*told))
        return sorted(entries, key=lambda each: each.name)

    def control(self, name: str) -> bytes:
        """The bytes of a control file; no more than a control file may have."""
        return read_control(self._root / name)

    def taken_control(self, delivery_id: str, name: str) -> bytes:
        """The bytes of the control file of a taken file."""
        return read_control(self._root / ".taken" / delivery_id / name)

    def measure(self, name: str) -> Measured:
        """Size, lines and checksums of a file in one pass."""
        return read_measured(self._root / name)

    def take(self, name: str, control: str, delivery_id: str) -> None:
        """Put a file and its control file aside for loading."""
        self._move(name, control, self._root / ".taken" / delivery_id)

    def taken(self) -> list[str]:
        """Delivery ids of what is put aside."""
        return sorted(path.name for path in (self._root / ".taken").iterdir())

    def blocks(self, name: str, control: str, delivery_id: str, sha256: str) -> Iterator[bytes]:
        """The bytes of a taken file. Raises Changed at the end when they are not those that were measured."""
        folder = self._root / ".taken" / delivery_id
        if not (folder / name).exists():  # the process died between the transaction and the renames
            self.take(name, control, delivery_id)
        if content.is_compressed(folder / name):
            if content.checksum(folder / name) != sha256:
                raise Changed(name)
            yield from content.blocks(folder / name)
            return
        digest = hashlib.sha256()
        for block in content.blocks(folder / name):
            digest.update(block)
            yield block
        if digest.hexdigest() != sha256:
            raise Changed(name)

    def archive(self, delivery_id: str, feed_id: str) -> None:
        """Put a taken delivery where loaded ones are kept; nothing happens when it is not there."""
        self._settle(delivery_id, self._root / ".archive" / feed_id / delivery_id)

    def hold(self, delivery_id: str) -> None:
        """Put a taken delivery where quarantined ones are kept; nothing happens when it is not there."""
        self._settle(delivery_id, self._root / ".quarantine" / delivery_id)

    def archive_again(self, files: Iterable[Found], delivery_id: str, feed_id: str) -> None:
        """Put files that are known already to those that were loaded."""
        self._move_found(files, self._root / ".archive" / feed_id / delivery_id)

    def quarantine(self, files: Iterable[Found], delivery_id: str) -> None:
        """Put files that were never taken where quarantined ones are kept."""
        self._move_found(files, self._root / ".quarantine" / delivery_id)

    def put_aside(self, name: str, data: bytes, delivery_id: str) -> None:
        """Write a file that the platform itself made (a replay) where files are loaded from."""
        folder = self._root / ".taken" / delivery_id
        _make(folder)
        _write(folder / name, 0, data)

    def forget_taken(self, delivery_id: str, before: datetime) -> None:
        """Remove what was put aside before an instant for a delivery that never came to be."""
        folder = self._root / ".taken" / delivery_id
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime < before.timestamp():
                shutil.rmtree(folder)

    def append(self, upload_id: str, offset: int, data: bytes) -> None:
        """Write a part of an upload; durable afterwards."""
        _write(self._root / ".uploads" / upload_id, offset, data)

    def holds(self, upload_id: str, offset: int, data: bytes) -> bool:
        """Whether a part of an upload is what was written there."""
        with content.opened(self._root / ".uploads" / upload_id) as file:
            file.seek(offset)
            return file.read(len(data)) == data

    def land(self, upload_id: str, name: str, control_name: str, control: bytes) -> None:
        """Put an upload into the landing folder, then its control file. Raises FileExistsError when one waits there."""
        part = self._root / ".uploads" / f"{upload_id}.control"
        part.unlink(missing_ok=True)
        _write(part, 0, control)
        self.land_collected(self._root / ".uploads" / upload_id, name, part, control_name)

    def collected(self, name: str) -> Path:
        """Where a file on its way from a remote source is written to."""
        return self._root / ".collected" / name

    def land_collected(self, data: Path, name: str, control: Path, control_name: str) -> None:
        """Put a whole file into the landing folder, then its control file. Raises FileExistsError when one waits."""
        data.chmod(0o600)
        (self._root / name).hardlink_to(data)
        control.rename(self._root / control_name)

    def forget_collected(self, before: datetime) -> None:
        """Remove what a process that died was fetching."""
        for path in (self._root / ".collected").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()

    def drop_upload(self, upload_id: str) -> None:
        """Remove what was uploaded; nothing happens when it is not there."""
        for name in (upload_id, f"{upload_id}.control"):
            (self._root / ".uploads" / name).unlink(missing_ok=True)

    def forget(self, before: datetime) -> int:
        """Remove what was archived before an instant; gives how many deliveries that were."""
        removed = 0
        for folder in (self._root / ".archive").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):  # removed by another process
                if folder.stat().st_mtime < before.timestamp():  # since the last file was moved into it
                    shutil.rmtree(folder)
                    removed += 1
        return removed

    def _move(self, name: str, control: str, folder: Path) -> None:
        _make(folder)
        for each in (control, name):  # while the data file lies there, its delivery is not done
            if each:
                with contextlib.suppress(FileNotFoundError):
                    _rename(self._root / each, folder / each)

    def _move_found(self, files: Iterable[Found], folder: Path) -> None:
        """Move what was decided on. A correction that took its name meanwhile lies there afterwards as before."""
        _make(folder)
        for file in files:
            path, away = self._root / file.name, folder / f".{file.name}"
            with contextlib.suppress(FileNotFoundError):
                path.rename(away)
                if file.still(away.lstat()):
                    _rename(away, folder / file.name)
                    continue
                with contextlib.suppress(FileExistsError):  # the supplier has replaced it himself once more
                    os.link(away, path, follow_symlinks=False)
                away.unlink()

    def _settle(self, delivery_id: str, folder: Path) -> None:
        taken = self._root / ".taken" / delivery_id
        with contextlib.suppress(FileNotFoundError):  # done before, or at this moment by tidying
            paths = list(taken.iterdir())
            _make(folder)
            for path in paths:
                _rename(path, folder / path.name)
            taken.rmdir()


def _make(folder: Path) -> None:
    folder.parent.mkdir(mode=_OURS, exist_ok=True)
    folder.mkdir(mode=_OURS, exist_ok=True)


def _write(path: Path, offset: int, data: bytes) -> None:
    """Write bytes at a place of a file, made when it is not there; durable afterwards."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())


def _rename(path: Path, to: Path) -> None:
    """Move a file where this service alone can come, and let it alone read it."""
    path.rename(to)
    if stat.S_ISREG(to.lstat().st_mode):  # never what a link leads to
        with contextlib.suppress(PermissionError):  # the supplier's own: the folder keeps others out
            to.chmod(0o600)


def read_measured(path: Path) -> Measured:
    """Size and checksums of a file as it lies there, and the lines of its content."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    counted, size, fault = _Lines(), 0, None
    compressed = content.is_compressed(path)
    with content.opened(path) as file:
        while block := file.read(_MEASURE_BYTES):
            md5.update(block)
            sha256.update(block)
            size += len(block)
            if not compressed:
                counted.add(block)
    if compressed:
        try:
            for block in content.blocks(path, _MEASURE_BYTES):
                counted.add(block)
        except content.Unfit as unfit:
            fault = unfit.problem
    return Measured(size, counted.total(), md5.hexdigest(), sha256.hexdigest(), counted.nul, counted.longest, fault)


class _Lines:
    """Counts lines block by block. `longest` is right when it is more than a block."""

    def __init__(self) -> None:
        self.nul = False
        self.longest = 0
        self._ends = self._open = 0
        self._last = b"\n"

    def add(self, block: bytes) -> None:
        """Take in a block that is not empty."""
        self._ends += block.count(b"\n")
        self.nul = self.nul or b"\0" in block
        cut = block.find(b"\n")
        self._open += len(block) if cut < 0 else cut
        self.longest = max(self.longest, self._open)
        self._open = self._open if cut < 0 else len(block) - block.rfind(b"\n") - 1
        self._last = block[-1:]

    def total(self) -> int:
        """Lines so far; one without a line feed at the end too."""
        self.longest = max(self.longest, self._open)
        return self._ends + (self._last != b"\n")


def read_control(path: Path) -> bytes:
    """The bytes of a control file; no more than a control file may have."""
    with content.opened(path) as file:
        return file.read(LONGEST_CONTROL + 1)
