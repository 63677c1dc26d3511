"""What points reads of the lake is what the manifest says, or nothing."""

from pathlib import Path

import pytest

from services.points.domain.reference import File, Snapshot
from services.points.lake import Damaged, Lake
from tests.points import ingest


def delivered(folder: Path) -> Snapshot:
    peer = ingest.Ingest(folder)
    peer.deliver("staff", ingest.FEEDS["staff"])
    return Snapshot("staff", [File(file.uri, file.delivery_id, file.sha256) for file in peer.files["staff"]])


def test_files_are_read_by_id(tmp_path: Path) -> None:
    assert Lake().by_id(delivered(tmp_path))["S3"] == ("S3", "G2", "caller")


def test_a_file_that_is_not_what_was_published_is_refused(tmp_path: Path) -> None:
    snapshot = delivered(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    peer = ingest.Ingest(other)
    peer.deliver("staff", {**ingest.FEEDS["staff"], "org_id": ["G9", "G9", "G9"]})
    (tmp_path / "staff-0.parquet").write_bytes((other / "staff-0.parquet").read_bytes())
    with pytest.raises(Damaged, match=r"staff-0\.parquet does not have the checksum of its manifest"):
        Lake().by_id(snapshot)
