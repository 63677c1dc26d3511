"""Stat columns and the wide table from detail feeds: equal to what a plain count of the same rows says."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import yaml
from pyroaring import BitMap

from services.portrait.domain.audience import members
from services.portrait.domain.audience import parse as parse_audience
from services.portrait.domain.audience.evaluation import Source
from services.portrait.domain.calendar import WorkCalendar
from services.portrait.domain.detail import Details, DetailsInvalid, parse_details
from services.portrait.domain.dwell import Attendance
from services.portrait.domain.run import LakeFile
from services.portrait.domain.tag import Catalogue, Facts, judge
from services.portrait.domain.wide import parse_features
from services.portrait.lake import Base, Beside, Lake, read_base
from services.portrait.lake.details import bucket_tables, contacts_table, groups
from services.portrait.lake.whole import called, groups_of, wide_of
from services.portrait.lake.wide import wide_table
from services.portrait.usecases.bucket import Outcome, Work, compute
from tests.portrait.conftest import BUCKETS, DAYS, Town
from tests.portrait.plain import PLACES, TO_DATE

HERE = Path("services/portrait/catalogue")
Files = Mapping[str, list[LakeFile]]


@pytest.fixture(scope="module")
def shipped() -> Details:
    return parse_details(yaml.safe_load((HERE / "details.yaml").read_text(encoding="utf-8")))


def contacts(town: Town) -> pa.Table:
    noon = datetime(2026, 9, 10, 4, tzinfo=UTC)
    return contacts_table(
        [
            (1, noon, "responded", True, True),
            (1, noon, "refused", True, True),
            (2, noon, "unreached", False, None),
            (3, noon, "responded", True, True),
            (3, noon, "responded", True, True),
            (3, noon, "responded", True, False),
            (3, noon, "responded", True, None),
            (4, noon, "responded", True, False),
        ]
    )


@pytest.fixture(scope="module")
def base(town: Town, details: Files, shipped: Details, catalogue: Catalogue, calendar: WorkCalendar) -> Base:
    beside = Beside(details=shipped, contacts=contacts(town), buckets=BUCKETS)
    return read_base({**town.manifest, **details}, town.window, catalogue, calendar, beside)


@pytest.fixture(scope="module")
def outcome(
    town: Town, base: Base, catalogue: Catalogue, calendar: WorkCalendar, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """One bucket of a run with its detail feeds."""
    work = Work("r", base, town.window, calendar, catalogue, BUCKETS)
    signalling = [file for file in town.manifest["signalling"] if file.bucket == 1]
    return compute(work, 1, signalling, Lake(tmp_path_factory.mktemp("run").as_uri()))


def rows(files: list[LakeFile]) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file.uri.removeprefix("file://")) for file in files], how="vertical_relaxed")


def share(frame: pl.DataFrame, column: str, chosen: pl.Expr) -> dict[int, float]:
    whole = frame.group_by("customer_key").agg(part=pl.col(column).filter(chosen).sum(), of=pl.col(column).sum())
    return {row["customer_key"]: row["part"] / row["of"] for row in whole.to_dicts() if row["of"]}


def test_the_columns_are_those_of_a_plain_count(town: Town, details: Files, base: Base) -> None:
    """R003-037, R004-009: Internet content, channels, campaigns; and the use of voice and data."""
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
    discounts = np.asarray(base.columns["campaign_discount_share"], dtype=float)[:5]
    assert discounts == pytest.approx([1, np.nan, 2 / 3, 0, np.nan], nan_ok=True), "of those that were accepted"
    assert np.isnan(np.asarray(base.columns["competitor_call_share"], dtype=float)).all(), "no feed tells the classes"
    assert np.isnan(np.asarray(base.columns["complaints_90d"], dtype=float)).all(), "no such delivery"


def test_static_tags_of_plan_contract_terminal_and_products_are_those_of_a_plain_count(
    town: Town, details: Files, outcome: Outcome
) -> None:
    """R001-064, R003-037, R001-140: package, terminal and background tags come of the operator's own feeds."""
    stats = pl.read_parquet(outcome.files["stats"].uri.removeprefix("file://"))
    who = rows(town.manifest["customers"]).filter(pl.col("customer_key") % BUCKETS == 1)
    plans = {row["plan"]: row for row in rows(details["plans"]).to_dicts()}
    classes = dict(rows(details["terminals"]).select("device", "terminal_class").iter_rows())
    bills = rows(town.manifest["bills"])
    used = dict(bills.filter(pl.col("month") == bills["month"].max()).select("customer_key", "data_mb").iter_rows())
    agreed = rows(details["agreements"])
    members = set(agreed.filter(kind="group")["customer_key"])
    ends = dict(agreed.filter(kind="contract").select("customer_key", "to_date").iter_rows())
    opened = rows(town.manifest["orders"]).sort("time").group_by("customer_key", "product_id").last()
    music = set(opened.filter(pl.col("product_id").is_in(["P08", "P10"]), action="open")["customer_key"])
    told = {row["customer_key"]: row for row in stats.to_dicts()}
    for row in who.to_dicts():
        mine, key = told[row["customer_key"]], row["customer_key"]
        assert mine["plan_fee"] == plans[row["plan"]]["fee_fen"] / 100
        assert mine["terminal_class"] == classes[row["device"]]
        assert mine["is_group_customer"] == (key in members)
        assert mine["product_music"] == (key in music)
        assert (mine["contract_months_left"] >= 0) == (key in ends)
        if key in used:
            assert mine["data_used_share"] == pytest.approx(used[key] / plans[row["plan"]]["data_mb"])
    tags = pl.read_parquet(outcome.files["tags"].uri.removeprefix("file://"))
    borne = dict(tags.group_by("code").len().iter_rows())
    assert {"BK05", "BK06", "PL01", "PL02", "PL03", "PL04", "SP01"} <= set(borne)
    assert borne["BK06"] == who.height
    soon = {key for key, end in ends.items() if (end.year - 2026) * 12 + end.month - 9 <= 2 and key % BUCKETS == 1}
    assert set(tags.filter(code="PL04")["customer_key"]) == soon


def test_what_vgop_tells_stands_beside_what_was_counted(
    town: Town, details: Files, base: Base, outcome: Outcome
) -> None:
    """R001-150, R001-151: the coarse portrait is in the wide table, in stat columns and tags, as VGOP tells it."""
    told = rows(details["coarse_portrait"])
    items = parse_features(yaml.safe_load((HERE / "features.yaml").read_text("utf-8")))
    given = {item.where[1][0]: item for item in items if item.source == "coarse_portrait"}
    assert set(given) == set(told["tag"]), "each tag that VGOP makes is an item of the catalogue"
    table = wide_of(list(given.values()), details, {1: outcome.files}, town.window.to_date, town.window.zone, None)[1]
    scores = {(key, tag): score for key, tag, score in told.select("customer_key", "tag", "score").iter_rows()}
    for tag, item in given.items():
        wanted = [scores.get((key, tag), 0.0) for key in table["customer_key"].to_pylist()]
        assert table[item.name].to_pylist() == pytest.approx(wanted)
        if (column := f"vgop_{tag.partition('.')[2]}_score") in base.columns:
            wanted = [scores.get((key, tag), 0.0) for key in base.customer_key.tolist()]
            assert np.asarray(base.columns[column], dtype=float) == pytest.approx(wanted)
    tags = pl.read_parquet(outcome.files["tags"].uri.removeprefix("file://")).filter(pl.col("code") == "IC03")
    mine = {key for key, tag in scores if tag.startswith("content.") and key % BUCKETS == 1}
    assert set(tags["customer_key"]) == mine != set()


def test_a_tag_that_vgop_takes_back_is_borne_no_more(tmp_path: Path) -> None:
    """Of the months delivered the latest counts; without a score VGOP is sure, and N is as good as silence."""
    names = ("customer_key", "month", "tag", "value", "score")
    months = {
        date(2026, 7, 1): [(1, "data.heavy", "Y", 0.9), (2, "data.heavy", "Y", 0.9)],
        date(2026, 8, 1): [(2, "data.heavy", "Y", None), (3, "data.heavy", "N", 0.8), (4, "voice.heavy", "Y", 0.7)],
    }
    files = []
    for month, each in months.items():
        path = tmp_path / f"{month}.parquet"
        pl.DataFrame(
            [(key, month, *rest) for key, *rest in each], schema=names, orient="row", infer_schema_length=None
        ).write_parquet(path)
        files.append(LakeFile(path.as_uri(), len(each), hashlib.sha256(path.read_bytes()).hexdigest(), -1, month, "d"))
    items = [
        each
        for each in parse_features(yaml.safe_load((HERE / "features.yaml").read_text("utf-8")))
        if each.name in ("vgop_data_heavy_score_92d", "vgop_voice_heavy_score_92d")
    ]
    tables = dict(bucket_tables(items, {"coarse_portrait": files}, {0}, date(2026, 8, 31)))
    table = wide_table(items, tables, pa.array([1, 2, 3, 4]), date(2026, 8, 31), "Asia/Shanghai")
    assert table["vgop_data_heavy_score_92d"].to_pylist() == [0, 1, 0, 0]
    assert table["vgop_voice_heavy_score_92d"].to_pylist() == [0, 0, 0, 0.7]


def test_the_tags_of_content_and_channel_are_given(outcome: Outcome) -> None:
    """R003-037, R004-010, R004-016: scored circles; campaign, channel and content preference tags in a run."""
    tags = pl.read_parquet(outcome.files["tags"].uri.removeprefix("file://"))
    borne = set(tags["code"].to_list())
    assert {"IC01", "IC02", "CH01", "CA07", "CA08"} <= borne
    takers = tags.filter(pl.col("code") == "MP02")["customer_key"].to_list()
    assert takers == [3], "who accepted several campaigns, most of them with a discount"
    assert tags.filter(pl.col("code") == "IC01").height > 50
    assert tags["score"].is_between(0, 1).all()
    assert tags.filter(pl.col("code").str.starts_with("HU"))["score"].n_unique() > 10, "how sure a circle is, for each"
    silent = pl.read_parquet(outcome.files["stats"].uri.removeprefix("file://"))["silent_days"]
    assert 0 <= silent.min() <= silent.max() <= DAYS  # type: ignore[operator]
    assert silent.max() == DAYS, "who was never heard was silent all the time"


RFM = """
    WITH told AS (
        SELECT customer_key, min(ago) AS r, count(*) FILTER (ago < 90) AS f,
               sum(amount_fen) FILTER (ago < 90) / 100 AS m
        FROM (SELECT *, date_diff('day', (time AT TIME ZONE 'Asia/Shanghai')::DATE, $last) AS ago FROM recharges)
        WHERE ago BETWEEN 0 AND 364 GROUP BY customer_key),
    cut AS (SELECT quantile_cont(coalesce(f, 0), [.2, .4, .6, .8]) AS f,
                   quantile_cont(coalesce(m, 0), [.2, .4, .6, .8]) AS m
            FROM who LEFT JOIN told USING (customer_key) WHERE active)
    SELECT customer_key,
           'R' || CASE WHEN r <= 7 THEN 5 WHEN r <= 15 THEN 4 WHEN r <= 30 THEN 3 WHEN r <= 60 THEN 2 ELSE 1 END,
           'F' || (1 + len(list_filter(cut.f, lambda x: told.f >= x))),
           'M' || (1 + len(list_filter(cut.m, lambda x: told.m >= x)))
    FROM told, cut WHERE customer_key % $buckets = 1 ORDER BY 1
"""
"""Recency by fixed days, frequency and money by quintiles of the active customers."""


def test_rfm_is_that_of_plain_sql_and_its_cells_are_audiences(
    town: Town, details: Files, base: Base, outcome: Outcome
) -> None:
    """R004-004, R004-005, R004-024, R004-033: ratings equal a SQL reference; one of 125 cells is chosen as audience.

    R002-064: value scores of each customer, and the group that they make.
    """
    with duckdb.connect() as engine:
        engine.register("recharges", rows(details["recharges"]).to_arrow())
        engine.register("who", pa.table({"customer_key": base.customer_key, "active": base.active}))
        expected = engine.execute(RFM, {"last": town.window.to_date, "buckets": BUCKETS}).fetchall()
    tags = pl.read_parquet(outcome.files["tags"].uri.removeprefix("file://"))
    told: dict[int, dict[str, str]] = {}
    bearers: dict[tuple[str, str], set[int]] = {}
    for key, code, value in tags.select("customer_key", "code", "value").iter_rows():
        told.setdefault(key, {})[code] = value
        bearers.setdefault((code, value), set()).add(key)
    assert len(expected) > 20
    for key, *scores in expected:
        assert [told[key].get(code) for code in ("VA03", "VA04", "VA05")] == scores, key
        assert told[key]["VA06"].endswith("客户")
    cell = expected[0][1:]
    words = {code: frozenset(v for c, v in bearers if c == code) for code in ("VA03", "VA04", "VA05")}
    asked = parse_audience(
        " AND ".join(f"{code} IN ({value})" for code, value in zip(words, cell, strict=True)), words, {}
    )
    source = SimpleNamespace(tag=lambda code, value: BitMap(bearers.get((code, value), ())))
    found = members(asked, cast(Source, source))
    assert list(found) == [key for key, *scores in expected if tuple(scores) == tuple(cell)]


def test_the_wide_table_holds_the_catalogues_items_for_every_customer(
    town: Town, details: Files, outcome: Outcome
) -> None:
    """R002-015, R004-006: the wide table with contact and peer features, for the customers of a run."""
    items = parse_features(yaml.safe_load((HERE / "features.yaml").read_text("utf-8")))
    peers = called(details, town.window.from_date)
    table = wide_of(items, details, {1: outcome.files}, town.window.to_date, town.window.zone, peers)[1]
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


def frame_of(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def test_small_buckets_are_built_together_and_large_ones_alone(
    town: Town,
    details: Files,
    outcome: Outcome,
    base: Base,
    catalogue: Catalogue,
    calendar: WorkCalendar,
    tmp_path: Path,
) -> None:
    """R002-015: a wide table of few customers costs one scan; it is the same as bucket by bucket."""
    work = Work("r", base, town.window, calendar, catalogue, BUCKETS)
    signalling = [file for file in town.manifest["signalling"] if file.bucket == 0]
    run = {0: compute(work, 0, signalling, Lake(tmp_path.as_uri())).files, 1: outcome.files}
    assert [list(some) for some in groups_of(details, run)] == [[0, 1]]
    items = parse_features(yaml.safe_load((HERE / "features.yaml").read_text("utf-8")))
    few = [item for item in items if item.source in ("recharges", "coarse_portrait") or item.base == "slot_night"]
    told = town.window.to_date, town.window.zone, None
    both = wide_of(few, details, run, *told)
    for bucket in run:
        one = wide_of(few, details, {bucket: run[bucket]}, *told)[bucket]
        assert frame_of(both[bucket]).equals(frame_of(one)), "not known is equal to not known"
    large = {bucket: {name: replace(file, rows=9_000) for name, file in files.items()} for bucket, files in run.items()}
    assert [list(some) for some in groups_of(details, large)] == [[0], [1]]
    assert list(groups({"x": [replace(outcome.files["dwell"], bucket=each, rows=600_000) for each in (0, 1, 1)]},
                       {0: 1, 1: 1, 2: 1})) == [{0}, {1}, {2}]  # fmt: skip


def test_who_calls_the_numbers_of_an_industry_bears_its_interest(shipped: Details, catalogue: Catalogue) -> None:
    """R002-052: calls to classed numbers, counted by industry, give the tag for which the magazine has its themes."""
    calls = [(1, "clinic")] * 3 + [(2, "clinic")] * 2 + [(2, "friend")] * 9 + [(3, "diner")] * 4 + [(4, "bank")] * 3
    number = {"clinic": 1, "diner": 2, "bank": 3, "friend": 4}
    noon = datetime(TO_DATE.year, TO_DATE.month, TO_DATE.day, 4, tzinfo=UTC).replace(tzinfo=None)
    told = pa.table(
        {"customer": [who for who, _ in calls], "peer": [number[peer] for _, peer in calls],
         "start_time": pa.array([noon - timedelta(days=at) for at in range(len(calls))], pa.timestamp("ms"))}
        | {name: [1] * len(calls) for name in ("direction", "call_type", "seconds", "fee_fen")}
    )  # fmt: skip
    lines = pa.table({"peer": [1, 2, 3], "peer_class": ["health", "food", "finance"]})
    items = [item for item in shipped.items if item.name.startswith("calls_")]
    table = wide_table(items, {"call_details": told}, pa.array([1, 2, 3, 4]), TO_DATE, "Asia/Shanghai", lines)
    columns = {item.name: np.array(table[item.name].to_pylist(), dtype=float) for item in items}
    assert columns["calls_health_30d"].tolist() == [3, 2, 0, 0]
    only = replace(catalogue, tags=tuple(tag for tag in catalogue.tags if tag.code == "SP02"))
    none = np.zeros(0, dtype=np.int32)
    facts = Facts(4, 30, TO_DATE, {}, {}, {}, Attendance(none, none, none.astype(np.int64)), [], columns, {}, PLACES)
    borne = {each.value: each.bearers.tolist() for each in judge(only, facts)}
    assert borne == {"医疗": [0], "餐饮": [2], "金融": [3]}
    assert only.tags[0].hint == ("生活杂志",)


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
