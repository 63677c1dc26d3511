"""Days of signalling are kept: a new day costs that day, a change of the map the days that it touches."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from services.portrait.domain.calendar import Window, WorkCalendar
from services.portrait.domain.run import KeptDay, LakeFile
from services.portrait.domain.tag import Catalogue, parse
from services.portrait.lake import Base, Lake
from services.portrait.lake.city import cells_table, places_of_cells
from services.portrait.lake.days import Reading, read_day
from services.portrait.usecases.bucket import PAST, Outcome, Work, compute
from services.portrait.usecases.days import samples
from tests.portrait.conftest import DAYS, FIRST, HERE, Town

BUCKET, BUCKETS = 1, 2
ZONE = "Asia/Shanghai"


@pytest.fixture
def work(base: Base, catalogue: Catalogue, calendar: WorkCalendar, town: Town) -> Work:
    return Work("r", base, town.window, calendar, catalogue, BUCKETS)


def of(town: Town, window: Window) -> list[LakeFile]:
    return [
        file
        for file in town.manifest["signalling"]
        if file.bucket == BUCKET and window.from_date <= file.period <= window.to_date
    ]


def known(outcome: Outcome) -> Sequence[KeptDay]:
    return outcome.days.used


def test_a_window_that_moves_on_follows_the_new_day_and_tells_the_same(town: Town, work: Work, tmp_path: Path) -> None:
    lake, last = Lake((tmp_path / "a").as_uri()), FIRST + timedelta(days=DAYS - 1)
    earlier = Window(FIRST, last - timedelta(days=1), ZONE)
    later = Window(FIRST + timedelta(days=1), last, ZONE)
    before = compute(replace(work, window=earlier), BUCKET, of(town, earlier), lake)
    assert before.days_followed == DAYS - 1
    after = compute(replace(work, window=later), BUCKET, of(town, later), lake, known=known(before))
    assert [each.day for each in after.days.fresh] == [last]
    anew = compute(replace(work, window=later), BUCKET, of(town, later), Lake((tmp_path / "b").as_uri()))
    assert anew.days_followed == DAYS - 1
    assert (after.checksum, after.visits, after.signalling_rows) == (anew.checksum, anew.visits, anew.signalling_rows)
    assert {name: file.sha256 for name, file in after.files.items()} == {
        name: file.sha256 for name, file in anew.files.items()
    }


def test_a_change_of_the_map_follows_the_days_on_which_the_cell_was_heard(
    town: Town, work: Work, base: Base, tmp_path: Path
) -> None:
    lake = Lake(tmp_path.as_uri())
    first = compute(work, BUCKET, of(town, town.window), lake)
    heard: dict[int, set[object]] = {}
    for file in of(town, town.window):
        for cell in read_day([file], base.cells.cells).cell_id.tolist():
            heard.setdefault(cell, set()).add(file.period)
    cell, days = min(heard.items(), key=lambda each: (len(each[1]), each[0]))
    assert 0 < len(days) < DAYS
    at = int((base.cells.cell_id == cell).argmax())
    place = base.cells.cells.place.copy()
    place[:, at] = (place[:, at] + 1) % len(base.places)
    moved = replace(base, cells=replace(base.cells, cells=replace(base.cells.cells, place=place)))
    second = compute(replace(work, base=moved), BUCKET, of(town, town.window), lake, known=known(first))
    assert {each.day for each in second.days.fresh} == days
    anew = compute(replace(work, base=moved), BUCKET, of(town, town.window), Lake((tmp_path / "b").as_uri()))
    assert second.checksum == anew.checksum


def test_a_place_of_another_class_follows_no_day(town: Town, work: Work, base: Base, tmp_path: Path) -> None:
    lake = Lake(tmp_path.as_uri())
    first = compute(work, BUCKET, of(town, town.window), lake)
    classes = ["med.hospital.general"] * len(base.places)
    other = replace(base, places=replace(base.places, class_code=classes))
    second = compute(replace(work, base=other), BUCKET, of(town, town.window), lake, known=known(first))
    assert second.days_followed == 0
    assert second.files["tags"].sha256 != first.files["tags"].sha256


def test_a_changed_parameter_and_an_imported_tag_are_in_the_next_batch_alone(
    town: Town, work: Work, tmp_path: Path
) -> None:
    """R001-105, R001-106: a rule's parameter and a static tag come in as data; what was computed stays as it was."""
    lake = Lake(tmp_path.as_uri())
    first = compute(work, BUCKET, of(town, town.window), lake)
    before = pl.read_parquet(path_of(first))
    package = yaml.safe_load((HERE / "catalogue" / "tags.yaml").read_text(encoding="utf-8"))
    age = {"age": "ge 40"}
    adult = {"code": "ZZ01", "zh": "成年客户", "family": "f", "kind": "flag", "rule": {"stat": age}}
    package["tags"].append(adult)
    again = compute(
        replace(work, run_id="r2", catalogue=parse(package)), BUCKET, of(town, town.window), lake, known=known(first)
    )
    after = pl.read_parquet(path_of(again))
    assert len(after.filter(code="ZZ01")) > 0
    assert after.filter(pl.col("code") != "ZZ01").equals(before)
    age["age"] = "ge 60"
    third = compute(
        replace(work, run_id="r3", catalogue=parse(package)), BUCKET, of(town, town.window), lake, known=known(first)
    )
    older = pl.read_parquet(path_of(third)).filter(code="ZZ01")
    assert 0 < len(older) < len(after.filter(code="ZZ01"))
    assert pl.read_parquet(path_of(first)).equals(before)
    assert pl.read_parquet(path_of(again)).equals(after)


def test_city_events_of_earlier_windows_count_as_far_back_as_a_rule_looks(
    town: Town, work: Work, tmp_path: Path
) -> None:
    """R001-050, R001-156: who was at the concert of the window before still was there within so many days."""
    document = yaml.safe_load((HERE / "catalogue" / "tags.yaml").read_text(encoding="utf-8"))
    for code, days in (("ZZ01", 12), ("ZZ02", 9)):
        rule = {"attend": {"type": ["concert"], "events_ge": 1, "overlap_ge": 60, "window": f"{days}d"}}
        document["tags"].append({"code": code, "zh": code, "family": "f", "kind": "flag", "rule": rule})
    catalogue, lake = parse(document), Lake(tmp_path.as_uri())
    (concert,) = (event for event in work.base.events if event.type == "concert")
    day = town.window.local_date(concert.start)
    runs: list[Outcome] = []
    for number, (first, last) in enumerate([(FIRST, day), (day + timedelta(1), day + timedelta(5)),
                                            (day + timedelta(6), FIRST + timedelta(days=DAYS - 1))]):  # fmt: skip
        window = Window(first, last, ZONE)
        before = [[runs[-1].files[name]] for name in PAST] if runs else []
        here = replace(work, run_id=f"w{number}", window=window, catalogue=catalogue)
        runs.append(compute(here, BUCKET, of(town, window), lake, before))
    went = [
        set(frame.filter(pl.col("secs") >= 3600, type="concert")["customer_key"])
        for frame in (pl.read_parquet(run.files["attendance"].uri.removeprefix("file://")) for run in runs)
    ]
    assert went[0] == went[1] == went[2] != set(), "carried from run to run, once each"
    (after,) = (pl.read_parquet(path_of(run)) for run in runs[2:])
    confirmed = after.filter(pl.col("expire_date") == pl.col("expire_date").max().over("code"))
    assert (FIRST + timedelta(days=DAYS - 1) - day).days == 9
    assert set(confirmed.filter(code="ZZ01")["customer_key"]) == went[0]
    assert runs[2].files["attendance"].rows >= len(went[0])
    days = {code: set(after.filter(code=code)["expire_date"]) for code in ("ZZ01", "ZZ02")}
    assert max(days["ZZ01"]) > max(days["ZZ02"]), "nine days later it is outside of nine days, and only carried"


def path_of(outcome: Outcome) -> str:
    return outcome.files["tags"].uri.removeprefix("file://")


def test_a_kept_day_whose_file_is_gone_is_followed_again(town: Town, work: Work, tmp_path: Path) -> None:
    lake = Lake(tmp_path.as_uri())
    first = compute(work, BUCKET, of(town, town.window), lake)
    gone = first.days.used[3]
    Path(gone.stays.uri.removeprefix("file://")).unlink()
    second = compute(work, BUCKET, of(town, town.window), lake, known=known(first))
    assert [each.day for each in second.days.fresh] == [gone.day]
    assert second.checksum == first.checksum


def test_the_weights_of_a_shared_cell_are_part_of_its_reading(base: Base, town: Town) -> None:
    cells, day = base.cells.cells, town.window.from_date
    assert len(cells.shared.place)
    heavier = replace(cells, shared=replace(cells.shared, weight=cells.shared.weight * 0.9))
    one, other = (
        Reading(replace(base.cells, cells=each), base.places).of(day, base.cells.cell_id) for each in (cells, heavier)
    )
    changed = int((one != other).sum())
    assert 0 < changed < len(one) / 2, "the cells of one place are read as before"


def test_samples_are_kept_by_day(town: Town, tmp_path: Path) -> None:
    lake, signalling = Lake(tmp_path.as_uri()), town.manifest["signalling"]
    first, tables = samples(signalling, ZONE, lake, ())
    assert [each.day.toordinal() % 6 for each in first.fresh] == [0] * len(tables)
    assert len(tables) >= 2
    again, same = samples(signalling, ZONE, lake, first.used)
    assert not again.fresh
    assert [each.num_rows for each in same] == [each.num_rows for each in tables]


def test_the_map_of_a_run_is_kept_as_it_is_read(base: Base, tmp_path: Path) -> None:
    """Cells with their places, a shared one with the weightiest; those that serve none are left out."""
    table = cells_table(base.cells, base.places)
    told = places_of_cells(Lake(tmp_path.as_uri()).write("cells.parquet", table, -1))
    number, cells = base.cells.cells.place[-1], base.cells.cells
    assert len(told) == int((number >= 0).sum())
    for at, cell in enumerate(base.cells.cell_id.tolist()):
        if 0 <= number[at] < len(base.places):
            assert told[cell]["place_id"] == base.places.place_id[number[at]]
        elif number[at] >= 0:
            first = cells.shared.first[number[at] - len(base.places)]
            assert told[cell]["place_id"] == base.places.place_id[cells.shared.place[first]]
