"""What admin reads of the lake: the operator's organisation file, as ingest has conformed it."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq
from pyarrow import BufferReader

from services.admin.domain.organisation import Organisation
from services.kit import lake

_COLUMNS = ["org_id", "parent_org_id", "level", "name"]


@dataclass(frozen=True)
class File:
    """A file of a snapshot."""

    uri: str
    sha256: str


def organisations(files: Sequence[File]) -> list[Organisation]:
    """The organisations of a snapshot, the latest file's word last. Blocking, so to be called off the event loop."""
    found: dict[str, Organisation] = {}
    for file in files:
        data = BufferReader(lake.content(file.uri, file.sha256))
        for row in pq.read_table(data, columns=_COLUMNS).to_pylist():
            found[row["org_id"]] = Organisation(row["org_id"], row["parent_org_id"] or "", row["level"], row["name"])
    return list(found.values())
