"""The landing folder: measured in one pass, moved by rename, never led elsewhere."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.lake import landing
from services.ingest.lake.landing import Landing
from tests.ingest.made import patient


@settings(patient, max_examples=80)
@given(st.binary(max_size=300).map(lambda data: data.replace(b"a", b"\n")), st.integers(1, 40))
def test_a_file_is_measured_as_a_plain_count_measures_it(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, block: int
) -> None:
    path = tmp_path_factory.mktemp("measured") / "file"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing, "_MEASURE_BYTES", block)
        found = landing.read_measured(path)
    parts = data.split(b"\n")
    lines = len(parts) - (parts[-1] == b"")
    assert (found.size, found.lines, found.holds_nul) == (len(data), lines, b"\0" in data)
    assert max(found.longest_line, block) == max(*map(len, parts), block)
    assert (found.md5, found.sha256) == (hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())


def test_links_and_pipes_are_seen_but_never_opened(tmp_path: Path) -> None:
    place = Landing(tmp_path / "landing")
    (tmp_path / "elsewhere").write_text("secret")
    (tmp_path / "landing" / "LINK").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "landing" / "PIPE")
    (tmp_path / "landing" / "FOLDER").mkdir()
    assert [(each.name, each.regular) for each in place.found()] == [("LINK", False), ("PIPE", False)]
    with pytest.raises(OSError, match="symbolic link"):
        place.measure("LINK")


def test_a_taken_delivery_is_settled_once_and_a_second_time_is_nothing(tmp_path: Path) -> None:
    place = Landing(tmp_path)
    (tmp_path / "A.TXT").write_text("a")
    (tmp_path / "A.CHK").write_text("c")
    place.take("A.TXT", "A.CHK", "d1")
    assert place.found() == []
    assert place.taken() == ["d1"]
    place.archive("d1", "bills")
    place.archive("d1", "bills")
    assert place.taken() == []
    assert sorted(path.name for path in (tmp_path / ".archive" / "bills" / "d1").iterdir()) == ["A.CHK", "A.TXT"]


@pytest.mark.parametrize("by_rename", [True, False])
def test_a_correction_that_comes_while_its_forerunner_is_put_away_stays(tmp_path: Path, by_rename: bool) -> None:
    place = Landing(tmp_path)
    (tmp_path / "A.TXT").write_text("a")
    (tmp_path / "A.CHK").write_text("c")
    decided = place.found()
    if by_rename:
        (tmp_path / ".A.TXT.part").write_text("b")
        (tmp_path / ".A.TXT.part").rename(tmp_path / "A.TXT")
    else:
        (tmp_path / "A.TXT").write_text("longer")
    corrected = (tmp_path / "A.TXT").read_text()
    place.quarantine(decided, "d1")
    place.archive_again(decided, "d2", "bills")
    assert (tmp_path / "A.TXT").read_text() == corrected
    assert [path.name for path in (tmp_path / ".quarantine" / "d1").iterdir()] == ["A.CHK"]
    assert not list((tmp_path / ".archive" / "bills" / "d2").iterdir())
    place.quarantine(place.found(), "d3")
    assert (tmp_path / ".quarantine" / "d3" / "A.TXT").read_text() == corrected


def test_operator_files_that_are_kept_are_for_this_service_alone(tmp_path: Path) -> None:
    (tmp_path / ".archive").mkdir(mode=0o755)
    place = Landing(tmp_path)
    for name in ("A.TXT", "A.CHK", "B.TXT"):
        (tmp_path / name).write_text("13912345678")
        (tmp_path / name).chmod(0o664)
    place.take("A.TXT", "A.CHK", "d1")
    place.archive("d1", "bills")
    place.quarantine(place.found(), "d2")
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    files = {".archive/bills/d1/A.TXT", ".archive/bills/d1/A.CHK", ".quarantine/d2/B.TXT"}
    assert {name for name, mode in modes.items() if mode == 0o600} == files
    assert {mode for name, mode in modes.items() if name not in files} == {0o700}


def test_a_link_that_is_held_leaves_the_mode_of_what_it_leads_to(tmp_path: Path) -> None:
    place = Landing(tmp_path / "landing")
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "elsewhere").chmod(0o644)
    (tmp_path / "landing" / "LINK").symlink_to(tmp_path / "elsewhere")
    place.quarantine(place.found(), "d1")
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o644


def test_a_load_finds_its_file_also_when_the_process_died_before_it_was_put_aside(tmp_path: Path) -> None:
    place = Landing(tmp_path)
    (tmp_path / "A.TXT").write_text("a\n")
    digest = hashlib.sha256(b"a\n").hexdigest()
    assert b"".join(place.blocks("A.TXT", "A.CHK", "d1", digest)) == b"a\n"
    with pytest.raises(landing.Changed):
        list(place.blocks("A.TXT", "A.CHK", "d1", "another"))
