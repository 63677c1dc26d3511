"""A whole bucket's computation on the city: what it finds against the planted truth, and that it is always the same."""

import hashlib
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from services.portrait.domain.calendar import WorkCalendar
from services.portrait.domain.run import LakeFile
from services.portrait.domain.tag import LIFE_CIRCLES, Catalogue
from services.portrait.lake import Base, Damaged, Lake, ResultReader
from services.portrait.lake.segments import read_wide
from services.portrait.usecases.bucket import Outcome, Work, compute
from tests.portrait.conftest import BUCKETS, Town


def computed(
    town: Town,
    base: Base,
    catalogue: Catalogue,
    calendar: WorkCalendar,
    lake: Path,
    signalling: Sequence[LakeFile],
    buckets: int,
) -> list[Outcome]:
    work = Work("r", base, town.window, calendar, catalogue, buckets)
    return [
        compute(work, bucket, [file for file in signalling if file.bucket == bucket], Lake(lake.as_uri()))
        for bucket in range(buckets)
    ]


@pytest.fixture(scope="module")
def outcomes(
    town: Town, base: Base, catalogue: Catalogue, calendar: WorkCalendar, tmp_path_factory: pytest.TempPathFactory
) -> list[Outcome]:
    lake = tmp_path_factory.mktemp("lake")
    return computed(town, base, catalogue, calendar, lake, town.manifest["signalling"], BUCKETS)


def table(outcomes: Sequence[Outcome], name: str) -> pl.DataFrame:
    found = pl.concat([pl.read_parquet(each.files[name].uri.removeprefix("file://")) for each in outcomes])
    return found.sort(found.columns[:6] if name == "dwell" else ["customer_key"], maintain_order=True)


def rebucketed(town: Town, folder: Path, buckets: int) -> list[LakeFile]:
    """The same signalling in other buckets and another order of rows."""
    files = []
    for period in sorted({file.period for file in town.manifest["signalling"]}):
        parts = [file.uri.removeprefix("file://") for file in town.manifest["signalling"] if file.period == period]
        rows = pl.concat([pl.read_parquet(part) for part in parts]).sample(fraction=1.0, shuffle=True, seed=3)
        for bucket in range(buckets):
            path = folder / f"{period}-{bucket}.parquet"
            part = rows.filter(pl.col("customer_key") % buckets == bucket)
            part.write_parquet(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files.append(LakeFile(path.as_uri(), part.height, digest, bucket, period, f"d{period}"))
    return files


@pytest.mark.parametrize("buckets", [3])
def test_the_result_knows_neither_buckets_nor_the_order_of_rows(
    town: Town,
    base: Base,
    catalogue: Catalogue,
    calendar: WorkCalendar,
    outcomes: list[Outcome],
    tmp_path: Path,
    buckets: int,
) -> None:
    signalling = rebucketed(town, tmp_path, buckets)
    again = computed(town, base, catalogue, calendar, tmp_path / "lake", signalling, buckets)
    assert reduce(add, (each.checksum for each in again)) == reduce(add, (each.checksum for each in outcomes))
    for name in ("dwell", "anchors", "tags", "features"):
        assert table(again, name).equals(table(outcomes, name)), name


def test_the_same_bucket_is_the_same_file(
    town: Town, base: Base, catalogue: Catalogue, calendar: WorkCalendar, outcomes: list[Outcome], tmp_path: Path
) -> None:
    again = computed(town, base, catalogue, calendar, tmp_path, town.manifest["signalling"], BUCKETS)
    for old, new in zip(outcomes, again, strict=True):
        assert {name: file.sha256 for name, file in old.files.items()} == {
            name: file.sha256 for name, file in new.files.items()
        }
        assert Outcome.of_json(new.bucket, new.to_json()) == new


def test_a_bucket_of_nobody_has_the_columns_of_the_others(
    town: Town, base: Base, catalogue: Catalogue, calendar: WorkCalendar, outcomes: list[Outcome], tmp_path: Path
) -> None:
    """A platform may have fewer customers than buckets."""
    work = Work("r", base, town.window, calendar, catalogue, 10_000)
    nobody = compute(work, 9_999, [], Lake(tmp_path.as_uri()))
    assert nobody.customers == 0
    for name, file in nobody.files.items():
        there, full = (pq.read_schema(each.uri.removeprefix("file://")) for each in (file, outcomes[0].files[name]))
        assert there.remove_metadata().equals(full.remove_metadata()), name
    wide = read_wide([outcome.files["features"] for outcome in (nobody, *outcomes)])
    assert len(wide.customer_key) == len(base.customer_key)


def test_how_complete_the_map_is_follows_from_the_cells_that_were_heard(town: Town, outcomes: list[Outcome]) -> None:
    """R001-103: of the rows of tracks, the share whose cell serves a place, counted again from the files."""
    heard, served = (
        pl.concat([pl.read_parquet(file.uri.removeprefix("file://")) for file in town.manifest[feed]])
        for feed in ("signalling", "cell_places")
    )
    rows = sum(each.signalling_rows for each in outcomes)
    assert rows == heard.height
    share = heard["cell_id"].is_in(served["cell_id"].implode()).mean()
    assert share is not None
    assert 0.5 < share < 1, "roads have cells that serve no place"
    assert sum(each.mapped_rows for each in outcomes) / rows == pytest.approx(share, abs=0.02), "flicker aside"


def test_homes_works_and_tags_are_those_that_were_planted(town: Town, outcomes: list[Outcome]) -> None:
    """R001-139, R001-140, R002-075: from behaviour to attributes and tags, life circles and static ones, which are
    those of the city's files of truth.
    """
    anchors, truth = table(outcomes, "anchors"), pl.read_csv(town.truth / "customers.csv", infer_schema=False)
    for role, floor in (("home", 0.98), ("work", 0.97)):
        found = {row["customer_key"]: row["place_id"] for row in anchors.filter(role=role).to_dicts()}
        planted = {
            town.keys[row["msisdn"]]: row[f"{role}_anchor"] for row in truth.to_dicts() if row["msisdn"] in town.keys
        }
        right = [found.get(key) == place for key, place in planted.items() if place]
        assert sum(right) / len(right) >= floor, role
        assert not [key for key, place in planted.items() if not place and key in found], "nobody gets a false one"
    borne = {
        (row["customer_key"], f"{row['code']}={row['value']}" if row["value"] else row["code"])
        for row in table(outcomes, "tags").to_dicts()
    }
    planted_tags = pl.read_csv(town.truth / "tags.csv", infer_schema=False)
    wanted = {(town.keys[row["msisdn"]], row["tag"]) for row in planted_tags.to_dicts() if row["msisdn"] in town.keys}
    scores = {}
    for tag in {tag for _, tag in wanted}:
        told, meant = {pair for pair in borne if pair[1] == tag}, {pair for pair in wanted if pair[1] == tag}
        scores[tag] = 2 * len(told & meant) / (len(told) + len(meant))
    assert len(scores) >= 30
    assert {"HU", "PR", "RG", "BE"} <= {tag[:2] for tag in scores}, "life circles"
    assert {"BK", "VA", "CO", "CA"} <= {tag[:2] for tag in scores}, "static tags"
    assert sum(scores.values()) / len(scores) >= 0.97, scores


def test_features_tell_nothing_of_what_is_owned(outcomes: list[Outcome], catalogue: Catalogue) -> None:
    features = table(outcomes, "features")
    flags = {name.removeprefix("tag_") for name in features.columns if name.startswith("tag_")}
    assert "VA02" not in flags  # a flag made of products_active
    assert {"HU01", "PR19", "CA01"} <= flags
    assert not [name for name in features.columns if "product" in name]
    numbers = features.drop("customer_key", "org_id")
    assert set(numbers.dtypes) == {pl.Float32}
    assert numbers.select(pl.all().is_infinite().any()).row(0) == (False,) * numbers.width
    assert numbers.select(pl.col("^tag_.*$").is_in([0.0, 1.0]).all()).row(0) == (True,) * len(flags)


def test_a_portrait_is_read_back_as_it_was_written(
    town: Town, base: Base, catalogue: Catalogue, outcomes: list[Outcome]
) -> None:
    """R001-001: every active customer has one, of this run and not expired; the share with a life circle is told."""
    reader = ResultReader()
    portraits = {each.customer_key: each for outcome in outcomes for each in reader.portraits("r", outcome.files)}
    assert set(portraits) == set(table(outcomes, "features")["customer_key"])
    assert set(base.customer_key[base.active].tolist()) <= set(portraits)
    assert {each.run_id for each in portraits.values()} == {"r"}
    assert all(tag.expire_date > town.window.to_date for each in portraits.values() for tag in each.tags)
    circles = {tag.code for tag in catalogue.tags if tag.family in LIFE_CIRCLES}
    covered = sum(any(tag.code in circles for tag in each.tags) for each in portraits.values())
    assert covered / len(portraits) > 0.9, "how many bear a life circle"
    codes = [tag.code for tag in portraits[1].tags]
    assert codes == sorted(codes)
    bearers = [row for outcome in outcomes for row in reader.tag_bearers(outcome.files["tags"])]
    assert len(bearers) == len(set(bearers))
    enums = [tag for tag, key, _ in bearers if key == 1 and tag.startswith("BK01")]
    assert len(enums) == 2  # BK01 and BK01=…


def test_dwell_of_one_customer_adds_up(town: Town, outcomes: list[Outcome]) -> None:
    key = 6
    file = outcomes[key % BUCKETS].files["dwell"]
    lines = ResultReader().dwell_of(file, key)
    assert sum(line.dwell_seconds for line in lines) == table(outcomes, "dwell").filter(customer_key=key)["secs"].sum()
    assert lines == sorted(lines, key=lambda line: -line.dwell_seconds)
    assert {line.day_type for line in lines} == {"workday", "weekend"}
    assert {line.grade for line in lines} <= {1, 2, 3}


def test_a_damaged_file_is_refused(
    town: Town, base: Base, catalogue: Catalogue, calendar: WorkCalendar, tmp_path: Path
) -> None:
    first = town.manifest["signalling"][0]
    broken = LakeFile(first.uri, first.rows, "0" * 64, first.bucket, first.period, first.delivery_id)
    with pytest.raises(Damaged, match="checksum"):
        computed(town, base, catalogue, calendar, tmp_path, [broken], BUCKETS)
