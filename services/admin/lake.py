"""What admin reads of the lake: the operator's organisation file, as ingest has conformed it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq
from pyarrow import BufferReader, fs

from services.admin.domain.organisation import Organisation

_COLUMNS = ["org_id", "parent_org_id", "level", "name"]


class FactsDamaged(Exception):
    """A file of the lake is not what its manifest says."""


@dataclass(frozen=True)
class File:
    """A file of a snapshot."""

    uri: str
    sha256: str


def organisations(files: Sequence[File]) -> list[Organisation]:
    """The organisations of a snapshot, the latest file's word last. Blocking, so to be called off the event loop."""
    found: dict[str, Organisation] = {}
    for file in files:
        system, path = fs.FileSystem.from_uri(file.uri)
        with system.open_input_file(path) as stream:
            data = stream.read_buffer()
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise FactsDamaged(f"{file.uri} does not have the checksum of its manifest")
        for row in pq.read_table(BufferReader(data), columns=_COLUMNS).to_pylist():
            found[row["org_id"]] = Organisation(row["org_id"], row["parent_org_id"] or "", row["level"], row["name"])
    return list(found.values())
