"""The folder in which OCRM finds its hand-over: whole files only, the control file last."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from services.contact.domain.handover import control, control_name, tagged


@dataclass(frozen=True)
class Written:
    """A data file with its control file: rows, MD5 (hex), the rows with tags, and the first column of its rows."""

    file_name: str
    rows: int
    md5: str
    tagged: int
    contact_ids: frozenset[str]


class Folder:
    """OCRM_OUT."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def published(self, name: str) -> Written | None:
        """The file, if it lies there with a control file that agrees with it."""
        try:
            data = (self._path / name).read_bytes()
            told = (self._path / control_name(name)).read_bytes()
        except FileNotFoundError:
            return None
        lines = data.splitlines()
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        with_tags = sum(map(tagged, lines))
        if told != control(name, len(lines), digest, len(data), with_tags):
            return None
        ids = frozenset(line.split(b"|", 1)[0].decode("ascii") for line in lines)
        return Written(name, len(lines), digest, with_tags, ids)

    def strike(self, name: str, contact_ids: frozenset[str]) -> Written | None:
        """Write the file anew without the rows of these contacts; None when it is not there any more.

        Between the file and its control file the two do not agree, and nobody takes them.
        """
        try:
            rows = (self._path / name).read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return None
        with Writing(self._path, name, 0) as writing:
            for row in rows:
                contact_id = row.split(b"|", 1)[0].decode("ascii")
                if contact_id not in contact_ids:
                    writing.write(contact_id, row)
            return writing.publish()

    def begin(self, name: str, turn: int) -> "Writing":
        """A file that appears under its name only when it is whole; what earlier turns left behind is thrown away.

        A writer of an earlier turn who still lives finds his part gone, and cannot publish any more.
        """
        self._path.mkdir(parents=True, exist_ok=True)
        for left in self._path.glob(f".{name}.*.part"):
            left.unlink(missing_ok=True)
        return Writing(self._path, name, turn)


class Writing:
    """A file being written; leaving the block without publish() throws it away."""

    def __init__(self, folder: Path, name: str, turn: int) -> None:
        self._folder = folder
        self._name = name
        self._part = folder / f".{name}.{turn}.part"
        self._digest = hashlib.md5(usedforsecurity=False)
        self._bytes = 0
        self._tagged = 0
        self._ids: list[str] = []

    def __enter__(self) -> "Writing":
        # Clear numbers: for this user and his group alone, from the first byte on.
        self._file = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def write(self, contact_id: str, row: bytes) -> None:
        """Add a row."""
        self._file.write(row)
        self._digest.update(row)
        self._bytes += len(row)
        self._tagged += tagged(row)
        self._ids.append(contact_id)

    def publish(self) -> Written:
        """Make it durable and give it its name, then write its control file in the same way."""
        digest = self._digest.hexdigest()
        self._settle()
        os.replace(self._part, self._folder / self._name)
        self._file.close()
        self._file = self._part.open("wb")
        self._file.write(control(self._name, len(self._ids), digest, self._bytes, self._tagged))
        self._settle()
        os.replace(self._part, self._folder / control_name(self._name))
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return Written(self._name, len(self._ids), digest, self._tagged, frozenset(self._ids))

    def _settle(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
