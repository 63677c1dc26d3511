"""Stat columns and the wide table from detail feeds: equal to what a plain count of the same rows says."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import yaml

from services.portrait.domain.calendar import WorkCalendar
from services.portrait.domain.detail import Details, DetailsInvalid, parse_details
from services.portrait.domain.run import LakeFile
from services.portrait.domain.tag import Catalogue
from services.portrait.domain.wide import parse_features
from services.portrait.lake import Base, Beside, Lake, read_base
from services.portrait.lake.details import contacts_table
from services.portrait.lake.whole import bucket_of, called
from services.portrait.usecases.bucket import Work, compute
from tests.portrait.conftest import BUCKETS, DAYS, Town

HERE = Path("services/portrait/catalogue")
Files = Mapping[str, list[LakeFile]]


@pytest.fixture(scope="module")
def shipped() -> Details:
    return parse_details(yaml.safe_load((HERE / "details.yaml").read_text(encoding="utf-8")))


def contacts(town: Town) -> pa.Table:
    noon = datetime(2026, 9, 10, 4, tzinfo=UTC)
    return contacts_table([(1, noon, "responded", True), (1, noon, "refused", True), (2, noon, "unreached", False)])


@pytest.fixture(scope="module")
def base(town: Town, details: Files, shipped: Details, catalogue: Catalogue, calendar: WorkCalendar) -> Base:
    beside = Beside(details=shipped, contacts=contacts(town), buckets=BUCKETS)
    return read_base({**town.manifest, **details}, town.window, catalogue, calendar, beside)


def rows(files: list[LakeFile]) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file.uri.removeprefix("file://")) for file in files], how="vertical_relaxed")


def share(frame: pl.DataFrame, column: str, chosen: pl.Expr) -> dict[int, float]:
    whole = frame.group_by("customer_key").agg(part=pl.col(column).filter(chosen).sum(), of=pl.col(column).sum())
    return {row["customer_key"]: row["part"] / row["of"] for row in whole.to_dicts() if row["of"]}


def test_the_columns_are_those_of_a_plain_count(town: Town, details: Files, base: Base) -> None:
    """R003-037: Internet content, channels, campaigns; and the use of voice and data."""
    calls, web = rows(details["call_details"]), rows(details["web_logs"])
    local = pl.col("start_time").dt.convert_time_zone("Asia/Shanghai").dt.hour()
    expected = {
        "mou_longdist_share": share(calls, "seconds", pl.col("call_type").is_in([2, 4])),
        "mou_night_share": share(calls, "seconds", (local >= 22) | (local < 6)),
        "content_video_share": share(web, "seconds", pl.col("category") == "video"),
    }
    distinct = calls.group_by("customer_key").agg(pl.col("peer").n_unique())
    expected["call_contacts_1m"] = dict(distinct.iter_rows())
    for name, wanted in expected.items():
        column = np.asarray(base.columns[name], dtype=float)
        assert len(wanted) > 50, name
        for key, value in wanted.items():
            assert column[np.searchsorted(base.customer_key, key)] == pytest.approx(value), (name, key)
    minutes = np.asarray(base.columns["content_minutes_30d"], dtype=float)
    assert minutes.sum() == pytest.approx(web["seconds"].sum() / 60)
    asked, accepted = (base.columns[f"campaign_{each}_180d"] for each in ("contacts", "accepts"))
    assert (asked[0], accepted[0], asked[1], accepted[1]) == (2, 1, 0, 0)
    assert np.isnan(np.asarray(base.columns["competitor_call_share"], dtype=float)).all(), "no feed tells the classes"
    assert np.isnan(np.asarray(base.columns["complaints_90d"], dtype=float)).all(), "no such delivery"


def test_the_tags_of_content_and_channel_are_given(
    town: Town, base: Base, catalogue: Catalogue, calendar: WorkCalendar, tmp_path: Path
) -> None:
    """R003-037: campaign, channel and Internet-content preference tags in a run of the service."""
    work = Work("r", base, town.window, calendar, catalogue, BUCKETS)
    outcome = compute(work, 1, [f for f in town.manifest["signalling"] if f.bucket == 1], Lake(tmp_path.as_uri()))
    tags = pl.read_parquet(outcome.files["tags"].uri.removeprefix("file://"))
    borne = set(tags["code"].to_list())
    assert {"IC01", "IC02", "CH01", "CA07", "CA08"} <= borne
    assert tags.filter(pl.col("code") == "IC01").height > 50
    silent = pl.read_parquet(outcome.files["stats"].uri.removeprefix("file://"))["silent_days"]
    assert 0 <= silent.min() <= silent.max() <= DAYS  # type: ignore[operator]
    assert silent.max() == DAYS, "who was never heard was silent all the time"


def test_the_wide_table_holds_the_catalogues_items_for_every_customer(
    town: Town, details: Files, base: Base, catalogue: Catalogue, calendar: WorkCalendar, tmp_path: Path
) -> None:
    """R004-006: the wide table with contact and peer features, for the customers of a run."""
    lake, items = Lake(tmp_path.as_uri()), parse_features(yaml.safe_load((HERE / "features.yaml").read_text("utf-8")))
    work = Work("r", base, town.window, calendar, catalogue, BUCKETS)
    outcome = compute(work, 1, [f for f in town.manifest["signalling"] if f.bucket == 1], lake)
    peers = called(details, town.window.from_date)
    table = bucket_of(items, details, outcome.files, 1, town.window.to_date, town.window.zone, peers)
    assert table.num_rows == outcome.customers
    assert table.num_columns > 700
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    calls = rows(details["call_details"])
    mine = calls.filter(pl.col("customer_key") % BUCKETS == 1)
    assert frame["call_count_30d"].sum() == mine.height
    seen = calls.group_by("peer").agg(pl.col("customer_key").n_unique().alias("callers"))
    reach = mine.join(seen, on="peer").group_by("customer_key").agg(pl.col("callers").mean())
    told = {row["customer_key"]: row["reach_callers_30d"] for row in frame.to_dicts()}
    for key, callers in reach.iter_rows():
        assert told[key] == pytest.approx(callers, rel=1e-6)
    ways = (
        mine.filter(pl.col("direction").is_in([1, 2]))
        .group_by("customer_key", "peer")
        .agg(pl.col("direction").n_unique())
    )
    mutual = dict(ways.filter(pl.col("direction") == 2).group_by("customer_key").len().iter_rows())
    assert sum(mutual.values()) == frame["circle_mutual_30d"].sum()
    dwell = pl.read_parquet(outcome.files["dwell"].uri.removeprefix("file://"))
    assert frame["slot_night_secs_30d"].sum() == pytest.approx(
        dwell.filter(pl.col("slot") == "night")["secs"].sum(), rel=1e-5
    )


@pytest.mark.parametrize(
    "body",
    [{"source": "calls", "days": 3}, {"source": "calls", "days": 3, "count": True, "sum": "x"},
     {"source": "calls", "count": True}, {"source": "calls", "days": 3, "count": True, "how": 1},
     {"source": "calls", "days": 3, "count": True, "where": {"a": [1], "b": [2]}}],
)  # fmt: skip
def test_a_definition_that_cannot_be_used_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(DetailsInvalid):
        parse_details({"format": "details/1", "columns": {"x": body}})


def test_every_column_of_the_shipped_details_is_one_of_the_catalogue(shipped: Details, catalogue: Catalogue) -> None:
    assert {item.name for item in shipped.items} <= set(catalogue.columns)
