"""Reference feeds, as ingest hands them on."""

from collections.abc import Sequence
from dataclasses import dataclass

FEEDS = ("organisations", "staff", "products", "fields")
"""The feeds that must have been loaded before anything is scored."""

PLACE_FIELDS = "place_fields"
"""The feed that says who answers for cells and grids; an operator need not have it."""


@dataclass(frozen=True)
class File:
    """One of the lake's files."""

    uri: str
    delivery_id: str
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """Everything that stands of a feed: the files of every delivery that was not superseded, the oldest first."""

    feed_id: str
    files: Sequence[File]

    def manifest(self) -> str:
        """What tells one snapshot from another."""
        return "\n".join(f"{file.delivery_id} {file.sha256}" for file in self.files)
