"""The offline verb `compute`: the service's own results from files, whatever their format; one clear line when not."""

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.offline import compute
from services.portrait.offline.facts import places_of
from services.portrait.offline.spool import ROW, Sample
from tests.fixtures.counts import seeds
from tests.portrait.conftest import DAYS, FIRST, HERE, Town
from tests.portrait.planted import agreement

URBAN = {"莞城", "东城", "南城", "万江"}
CATALOGUE = str(HERE / "catalogue" / "tags.yaml")
TABLES = ("visits", "dwell", "grades", "anchors", "homes", "tags", "features")


def words(town: Path, out: Path, **over: str) -> list[str]:
    """The command line for a city's own files."""
    last = FIRST + timedelta(days=DAYS - 1)
    files = {
        "signalling": str(town), "cells": str(next(town.glob("CELL_*.TXT"))),
        "cell-places": str(next(town.glob("CELLPLACE_*.TXT"))), "places": str(next(town.glob("PLACE_*.TXT"))),
        "events": str(next(town.glob("CITYEVT_*.TXT"))), "profiles": str(next(town.glob("CUST_*.TXT"))),
        "catalogue": CATALOGUE, "from": f"{FIRST}", "to": f"{last}", "out": str(out),
    }  # fmt: skip
    return [word for name, value in (files | over).items() for word in (f"--{name}", value)] + ["--quiet"]


def read(out: Path, name: str) -> pl.DataFrame:
    frame = pl.read_parquet(out / f"{name}.parquet").with_columns(pl.col("customer_id").cast(pl.String))
    return frame.sort(pl.all())


@pytest.fixture(scope="module")
def plain(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the operator's own files."""
    out = tmp_path_factory.mktemp("out")
    assert compute(words(town.files, out)) == 0
    return out


def test_what_was_planted_is_found(town: Town, plain: Path) -> None:
    """R001-033, R001-040, R001-047: home, work, life circles and who was at a concert are those of the real visits."""
    anchors, tags = (read(plain, name).rename({"customer_id": "msisdn"}) for name in ("anchors", "tags"))
    life = {"RG", "HU", "PR", "BE"}
    truth = agreement(town.truth, anchors, tags.rename({"tag": "code"}))
    assert truth.home >= 0.99
    assert truth.work >= 0.98
    assert truth.false_work == 0.0
    f1 = {tag: score for tag, score in truth.f1.items() if tag[:2] in life}
    assert len(f1) >= 15
    assert sum(f1.values()) / len(f1) >= 0.98, f1
    assert f1["PR19"] >= 0.95, "so precision and recall are at least 0.9"


def test_day_in_one_town_and_night_in_another_is_one_tag(plain: Path) -> None:
    """R001-039: who works in A and lives in B is told so, and sub-areas of the city have their own tags."""
    anchors = read(plain, "anchors")
    town = {(row["customer_id"], row["role"]): row["town"] for row in anchors.to_dicts()}
    both = {who for who, role in town if role == "work" and (who, "home") in town}
    tags = read(plain, "tags")
    told = {row["customer_id"]: row["value"] for row in tags.filter(pl.col("tag") == "RG03").to_dicts()}
    assert told == {who: f"{town[who, 'work']}→{town[who, 'home']}" for who in both}
    assert any(len(set(value.split("→"))) == 2 for value in told.values())
    central = set(tags.filter(pl.col("tag") == "RG04")["customer_id"])
    assert central == {who for (who, role), name in town.items() if role == "home" and name in URBAN}


def test_grades_differ_by_kind_of_day_and_by_slot(plain: Path) -> None:
    """R001-035: who works nine to five is often there on workdays by day, and hardly at weekends or at night."""
    grades = read(plain, "grades")
    workers = read(plain, "tags").filter(pl.col("tag") == "BE01").select("customer_id")
    work = read(plain, "anchors").filter(pl.col("role") == "work").join(workers, on="customer_id")
    there = grades.join(work.select("customer_id", "place_id"), on=["customer_id", "place_id"])

    def often(daytype: str, slot: str) -> float:
        some = there.filter(pl.col("daytype") == daytype, pl.col("slot") == slot, pl.col("grade") == 3)
        return some.height / work.height

    assert often("workday", "am") >= 0.95
    assert often("workday", "late") <= 0.05
    assert often("weekend", "am") <= 0.2


def test_every_table_has_its_columns_and_every_tag_its_evidence(plain: Path) -> None:
    """R001-115, R001-116, R001-117: tables of tags, dwell and tracks, each with its columns and its count of rows."""
    tags = read(plain, "tags")
    assert tags.columns == [
        "customer_id", "tag", "value", "version", "score", "landmark", "landmark_id", "evidence", "valid_from",
        "expires_at", "run_id",
    ]  # fmt: skip
    assert tags.filter((pl.col("tag") == "PR05") & (pl.col("evidence") == "")).is_empty()
    assert read(plain, "dwell").columns[1:] == [
        "date", "daytype", "slot", "place_id", "place_class", "secs", "visits", "max_visit_secs",
    ]  # fmt: skip
    assert set(read(plain, "grades")["grade"]) == {1, 2, 3}
    summary = json.loads((plain / "summary.json").read_text())
    assert summary["customers"] > 190
    assert summary["broken_rows"] > 0, "the city breaks some rows on purpose"
    assert summary["tags"] >= 103
    counts = {"tags": "tag_values", "dwell": "dwell_rows", "visits": "visits"}
    assert {name: summary[count] for name, count in counts.items()} == {name: len(read(plain, name)) for name in counts}
    assert {"HU01", "BK01"} <= set(tags["tag"]), "circles and static tags in one table"
    assert {"customer_id", "place_id", "place_class", "start_time", "end_time"} <= set(read(plain, "visits").columns)
    assert set(summary["outside_expected_coverage"]) <= set(summary["coverage"])


def as_csv(town: Town, folder: Path) -> dict[str, str]:
    """The city's files as CSV with a header, names for customers and cells, ISO times."""
    signalling = folder / "signalling"
    signalling.mkdir(parents=True)
    cell = pl.format("C-{}-{}", "lac", "cell").alias("cell_id")
    for path in sorted(town.files.glob("SIGNAL_*.TXT")):
        rows = [line.split("|") for line in path.read_text("gb18030", "replace").splitlines()]
        frame = pl.DataFrame(
            [row for row in rows if len(row) == 5], schema=["m", "t", "b", "lac", "cell"], orient="row"
        )
        local = pl.col("t").str.to_datetime("%Y%m%d%H%M%S", strict=False).dt.strftime("%Y-%m-%dT%H:%M:%S")
        frame.select(pl.format("U{}", "m").alias("user_id"), cell, local.alias("timestamp")).write_csv(
            signalling / f"{path.stem}.csv"
        )
    names = {
        "CELL": ["lac", "cell", "lon", "lat", "town", "valid_from", "valid_to"],
        "CELLPLACE": ["lac", "cell", "place_id", "weight"],
        "PLACE": ["place_id", "name", "class_code", "town", "lon", "lat"],
        "CITYEVT": ["event_id", "type", "name", "place_id", "start_time", "end_time"],
    }
    frames = {}
    for prefix, columns in names.items():
        text = next(town.files.glob(f"{prefix}_*.TXT")).read_text("gb18030")
        rows = [line.split("|") for line in text.splitlines()]
        frames[prefix] = pl.DataFrame([row for row in rows if len(row) == len(columns)], schema=columns, orient="row")
    cells = frames["CELLPLACE"].join(frames["CELL"].select("lac", "cell", "lon", "lat"), on=["lac", "cell"])
    cells.select(cell, "place_id", "weight", "lon", "lat").write_csv(folder / "cells.csv")
    frames["PLACE"].write_csv(folder / "places.csv")
    frames["CITYEVT"].write_csv(folder / "events.csv")
    return {
        "signalling": str(signalling), "cells": str(folder / "cells.csv"), "places": str(folder / "places.csv"),
        "events": str(folder / "events.csv"),
    }  # fmt: skip


def test_csv_with_names_for_ids_and_any_number_of_buckets_give_the_same(
    town: Town, plain: Path, tmp_path: Path
) -> None:
    files = as_csv(town, tmp_path / "csv")
    given = words(town.files, tmp_path / "out", **files)
    for name in ("--profiles", "--cell-places"):
        at = given.index(name)
        del given[at : at + 2]
    assert compute([*given, "--buckets", "3", "--map", "as-stated"]) == 0
    stated = tmp_path / "stated"
    again = words(town.files, stated)
    assert compute([*again, "--map", "as-stated"]) == 0
    for name in ("visits", "dwell", "grades", "anchors"):
        found = read(tmp_path / "out", name).with_columns(pl.col("customer_id").str.strip_prefix("U"))
        assert found.sort(pl.all()).equals(read(stated, name)), name


def test_csv_of_a_spreadsheet_in_gb18030_is_read_as_one_in_utf_8(town: Town, tmp_path: Path) -> None:
    files = as_csv(town, tmp_path / "csv")
    told = Path(files["places"]).read_text(encoding="utf-8")
    assert not told.isascii()
    found = [places_of(Path(files["places"]))]
    for encoding in ("gb18030", "utf-8-sig"):
        Path(files["places"]).write_text(told, encoding=encoding)
        found.append(places_of(Path(files["places"])))
    assert len({(tuple(each.place_id), tuple(each.name), tuple(each.town)) for each in found}) == 1


def test_killed_it_leaves_no_rows_behind_and_made_again_it_is_whole(town: Town, tmp_path: Path) -> None:
    out, calm = tmp_path / "out", tmp_path / "calm"
    day = {"signalling": str(min(town.files.glob("SIGNAL_*.TXT"))), "to": f"{FIRST}"}
    given = words(town.files, out, buckets="7", **day)
    command = [sys.executable, "-m", "services.portrait", "compute", *given]
    process = subprocess.Popen(command, cwd=HERE.parents[1], stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not list(out.glob("*.part")):
            time.sleep(0.005)  # then all rows are in the spool, with some buckets to come
    finally:
        process.kill()
        process.wait()
    assert not [path for path in out.iterdir() if path.suffix not in (".part", ".parquet")], "no rows of the spool"
    assert compute(given) == compute(words(town.files, calm, **day)) == 0
    for name in TABLES:
        assert read(out, name).equals(read(calm, name)), name
    assert read(out, "dwell").height > 300
    assert not list(out.glob("*.part"))


def test_parquet_gives_the_same(town: Town, plain: Path, tmp_path: Path) -> None:
    names = ["msisdn", "time", "behaviour", "lac", "cell"]
    folder = tmp_path / "parquet"
    folder.mkdir()
    for path in sorted(town.files.glob("SIGNAL_*.TXT")):
        rows = [line.split("|") for line in path.read_text("gb18030", "replace").splitlines()]
        frame = pl.DataFrame([row for row in rows if len(row) == 5], schema=names, orient="row")
        time = pl.col("time").str.to_datetime("%Y%m%d%H%M%S", strict=False, time_unit="ms")
        cell = pl.col("lac").cast(pl.Int64, strict=False) * 2**28 + pl.col("cell").cast(pl.Int64, strict=False)
        key = pl.col("msisdn").cast(pl.Int64, strict=False)
        frame.select(key.alias("customer_id"), time, cell.alias("cell_id")).write_parquet(
            folder / f"{path.stem}.parquet"
        )
    assert compute(words(town.files, tmp_path / "out", signalling=str(folder))) == 0
    for name in TABLES:
        assert read(tmp_path / "out", name).equals(read(plain, name)), name


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"signalling": "/nowhere"}, "/nowhere: no such file or folder"),
        ({"from": "2026-09-31"}, "--from, --to or --timezone"),
        ({"to": "2026-08-01"}, "--to must be 0 to 61 days after --from"),
        ({"timezone": "Mars/Olympus"}, "--timezone"),
        ({"catalogue": "{bad}"}, "no place class is like 'zoo.*'"),
        ({"places": "{empty}"}, "it is empty"),
        ({"cells": "{nocell}"}, "the column cell_id is missing; it has place_id, weight"),
        ({"signalling": "{junk}"}, "junk.parquet: cannot be read: Parquet magic bytes not found"),
        ({"signalling": "{none}"}, "none.parquet: cannot be read: Parquet file size is 0 bytes"),
        ({"places": "{latin}"}, "latin.csv: cannot be read: 'gb18030' codec can't decode byte 0xff"),
        ({"out": "{empty}"}, "empty.csv: File exists"),
        ({"out": "{empty}/deeper"}, "empty.csv/deeper: Not a directory"),
        ({"buckets": "501"}, "--buckets must be 0 to 500"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str], over: dict[str, str], told: str
) -> None:
    (tmp_path / "bad.yaml").write_text(
        "format: lct/1\nplace_classes: {spo.fit.gym: [a]}\n"
        "tags: [{code: T, zh: t, family: f, kind: flag, rule: {dwell: {place: [zoo.*], days_ge: 1}}}]\n"
    )
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "nocell.csv").write_text("place_id,weight\nP1,1\n")
    (tmp_path / "junk.parquet").write_bytes(b"junk" * 9)
    (tmp_path / "none.parquet").write_bytes(b"")
    (tmp_path / "latin.csv").write_bytes(b"place_id,class_code,name\nP1,spo.fit.gym,\xff\xff\n")
    files = {each.stem: str(each) for each in tmp_path.iterdir()}
    given = {name: value.format(**files) for name, value in over.items()}
    command = words(town.files, Path(given.pop("out", str(tmp_path / "out"))), **given)
    assert compute(command) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        compute(["--help"])
    assert ended.value.code == 0
    assert "Example:" in capsys.readouterr().out


CLEAN, WRONG, SHARED = (), ("--wrong-map", "0.1"), ("--shared-cells", "0.3")


@pytest.mark.parametrize("seed", seeds(1, 5))
@pytest.mark.parametrize(("worse", "macro"), [(CLEAN, 0.98), (WRONG, 0.94), (SHARED, 0.93)])
def test_the_planted_truth_is_found_on_maps_of_every_quality(
    tmp_path: Path, worse: tuple[str, ...], macro: float, seed: int
) -> None:
    """R001-026, R001-154: tags against the rules on the noise-free visits, each tag told when the mean is too low."""
    town = tmp_path / "town"
    size = ["--customers", "400", "--days", str(DAYS), "--seed", str(31 + seed), "--start", f"{FIRST}", "--quiet"]
    command = [sys.executable, "-m", "city", *size, "--out", str(town), "--truth", str(tmp_path / "truth"), *worse]
    subprocess.run(command, check=True, cwd=HERE.parents[1])
    assert compute(words(town, tmp_path / "out")) == 0
    anchors, tags = (read(tmp_path / "out", name).rename({"customer_id": "msisdn"}) for name in ("anchors", "tags"))
    found = agreement(tmp_path / "truth", anchors, tags.rename({"tag": "code"}))
    scores = {tag: score for tag, score in found.f1.items() if tag[:2] in ("RG", "HU", "PR", "BE")}
    assert sum(scores.values()) / len(scores) >= macro, scores
    if not worse:
        assert found.home >= 0.99
        assert found.night_home >= 0.98
        assert found.false_work <= 0.005


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(1, 7), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_sample_is_of_the_same_customers_in_whatever_order_their_rows_come(
    customers: list[int], batch: int, turn: int
) -> None:
    """Nor do the parts matter in which it is computed, so that the same files give the same results."""
    rows = np.zeros(len(customers), dtype=ROW)
    rows["customer"], rows["time"] = customers, np.arange(len(customers))
    found = []
    for each in (rows, np.roll(rows, turn)):
        sample = Sample(most=50)
        for at in range(0, len(each), batch):
            sample.put(each[at : at + batch])
        found.append(np.sort(sample.rows(), order="time"))
    assert np.array_equal(*found)
    kept = set(found[0]["customer"].tolist())
    assert len(found[0]) == sum(one in kept for one in customers), "all of a customer, or nothing"
    assert len(found[0]) <= 50 or len(kept) == 1
