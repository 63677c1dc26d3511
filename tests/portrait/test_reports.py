"""Reports and themes: over two published runs, held against sums made another way; suppression; domains; schedules."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc.aio
import polars as pl
import pytest
import yaml
from sqlalchemy import text

from lifecircle.portrait import v1
from services.kit.db import Database
from services.kit.domains import Directory, Known
from services.kit.idempotency import RequestKey
from services.kit.ids import system_ids
from services.portrait.api import RIGHTS, PortraitApi
from services.portrait.domain.calendar import WorkCalendar
from services.portrait.domain.report import parse_reports
from services.portrait.domain.tag import Catalogue
from services.portrait.lake import Lake
from services.portrait.lake.reports import FAMILIES
from services.portrait.store import Reports, Runs
from services.portrait.store.runs import Published
from services.portrait.usecases import ReportDesk
from tests.fixtures.serving import Serve, Served, refused
from tests.portrait.computed import Computed
from tests.portrait.conftest import HERE, Town
from tests.portrait.desks import shelf

NOW = datetime(2026, 9, 15, tzinfo=UTC)
DOCUMENT = yaml.safe_load((HERE / "catalogue" / "reports.yaml").read_text(encoding="utf-8"))
K = 10
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def computed(
    town: Town, catalogue: Catalogue, calendar: WorkCalendar, tmp_path_factory: pytest.TempPathFactory
) -> Computed:
    return Computed(town, catalogue, calendar, Lake(tmp_path_factory.mktemp("lake").as_uri()))


async def empty(db: Database) -> None:
    async with db.begin() as tx:
        for table in ("report_schedule", "report_version", "run_file", "current_run", "run", "request"):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()


@pytest.fixture
async def desk(db: Database, computed: Computed) -> AsyncIterator[ReportDesk]:
    await empty(db)
    async with db.begin() as tx:
        for run, files in computed.runs:
            run_no = await Runs().put(tx, Published(run, run.run_id, "v", "d", {}), NOW)
            assert run_no is not None
            await Runs().put_files(tx, run_no, files)
            await Runs().make_current(tx, run_no)
        await tx.commit()
    orgs = computed.table("features")["org_id"].unique().sort().to_list()
    tree = Directory(parents=dict.fromkeys(orgs[: len(orgs) // 2], "NORTH"))
    reports, definitions = Reports(), parse_reports(DOCUMENT)
    clock = lambda: NOW  # noqa: E731
    yield ReportDesk(db, Runs(), reports, definitions, shelf(db, clock), tree.domain, clock, system_ids)
    await empty(db)


async def test_a_scheduled_report_that_cannot_be_made_keeps_no_other_back(desk: ReportDesk, db: Database) -> None:
    """R001-086: it is tried again later, not at every look."""
    time = [NOW]
    tired = ReportDesk(db, Runs(), Reports(), parse_reports(DOCUMENT), shelf(db, lambda: NOW), lambda _: None,
                       lambda: time[0], lambda: f"s{next(number)}")  # fmt: skip
    number = iter(range(9))
    for report_id in ("circle_distribution", "theme_circle_spend"):
        await tired.schedule(report_id, False, "", "me", RequestKey("me", "CreateReportSchedule", report_id, b"x"))
    tried: list[str] = []

    def compute(asked: Any, *files: Any) -> list[Any]:
        tried.append(asked.report.report_id)
        if asked.report.report_id == "circle_distribution":
            raise MemoryError
        return []

    tired._compute = compute  # type: ignore[method-assign]
    assert [await tired.make_due(), await tired.make_due()] == [1, 0]
    assert tried == ["circle_distribution", "theme_circle_spend"]
    time[0] += timedelta(minutes=11)
    assert await tired.make_due() == 0
    assert tried[2:] == ["circle_distribution"]


@pytest.fixture
async def served(desk: ReportDesk, serving: Serve, computed: Computed) -> AsyncIterator[Served]:
    nobody: Any = None
    api = PortraitApi(nobody, nobody, nobody, nobody, nobody, nobody, nobody, desk, asyncio.Event())
    orgs = computed.table("features")["org_id"].unique().sort().to_list()
    known = Known(Directory(parents=dict.fromkeys(orgs[: len(orgs) // 2], "NORTH")))
    register = lambda server: v1.add_PortraitServiceServicer_to_server(api, server)  # noqa: E731
    async with serving("portrait", register=register, rights=RIGHTS, background=[], known=known) as running:
        yield running


async def asked(served: Served, report_id: str, org: str = "", **more: Any) -> v1.Report:
    stub = v1.PortraitServiceStub(served.channel(roles={"viewer"}, org=org))
    return (await stub.GetReport(v1.GetReportRequest(report_id=report_id, **more))).report


def rows(report: v1.Report, table_id: str) -> Rows:
    """A table as dicts; "*" for what is suppressed."""
    table = next(each for each in report.tables if each.table_id == table_id)
    names = [column.name for column in table.columns]

    def plain(cell: v1.ReportCell) -> Any:
        return "*" if cell.suppressed else getattr(cell, cell.WhichOneof("value") or "", None)

    return [{**dict(zip(names, map(plain, row.cells), strict=True)), "total": row.total} for row in table.rows]


def circles(computed: Computed, catalogue: Catalogue, run: int = 1) -> dict[str, set[int]]:
    """Who belongs to each circle, by its name."""
    flags = {tag.code: tag.name for tag in catalogue.tags if tag.kind == "flag" and tag.family in FAMILIES}
    tags = computed.table("tags", run).filter(pl.col("code").is_in(list(flags)))
    told = tags.group_by("code").agg(pl.col("customer_key").unique())
    return {flags[code]: set(keys) for code, keys in told.iter_rows()}


async def test_circle_distribution_equals_sums_made_another_way(
    served: Served, computed: Computed, catalogue: Catalogue
) -> None:
    """R001-120: the distribution of life circles is as the run's tags and features say."""
    report = await asked(served, "circle_distribution")
    customers = len(computed.table("features"))
    stats = computed.table("stats").select("customer_key", pl.col("arpu_1m").fill_nan(None))
    found = {row["circle"]: row for row in rows(report, "circles")}
    wanted = circles(computed, catalogue)
    assert set(found) == set(wanted)
    for name, who in wanted.items():
        row = found[name]
        if min(len(who), customers - len(who) or K) < K:
            assert row["customers"] == row["arpu"] == "*"
            continue
        assert row["customers"] == len(who)
        assert row["share"] == pytest.approx(len(who) / customers, abs=1e-6)
        arpu = stats.filter(pl.col("customer_key").is_in(list(who)))["arpu_1m"].mean()
        assert row["arpu"] == pytest.approx(arpu, abs=1e-5)
    towns = rows(report, "towns")
    assert towns[-1]["total"]
    assert towns[-1]["customers"] == customers


async def test_dwell_distribution_equals_sums_made_another_way(
    served: Served, computed: Computed, catalogue: Catalogue
) -> None:
    """R001-121: dwell by class of place and kind of day."""
    report = await asked(served, "dwell_distribution")
    dwell = computed.table("dwell").with_columns(
        area=pl.col("place_class").map_elements(lambda code: catalogue.class_names[code][0], return_dtype=pl.String),
        day_type=pl.when("workday").then(pl.lit("工作日")).otherwise(pl.lit("休息日")),
    )
    wanted = {
        (area, day): (people, secs / 3600)
        for area, day, people, secs in dwell.group_by("area", "day_type")
        .agg(pl.col("customer_key").n_unique(), pl.col("secs").cast(pl.Int64).sum()).iter_rows()
    }  # fmt: skip
    told = [row for row in rows(report, "classes") if not row["total"] and row["customers"] != "*"]
    assert told
    for row in told:
        assert (row["customers"], row["hours"]) == pytest.approx(wanted[row["area"], row["day_type"]], abs=1e-5)
    for row in rows(report, "places"):
        assert row["customers"] >= K
    by_area: dict[str, list[Any]] = {}
    for row in rows(report, "slots"):
        by_area.setdefault(row["area"], []).append(row["share"])
    whole = [sum(shares) for shares in by_area.values() if "*" not in shares]
    assert whole == pytest.approx([1.0] * len(whole), abs=1e-5)


async def test_correlation_of_circle_area_and_service_is_phi(served: Served, computed: Computed) -> None:
    """R001-011, R001-004, R001-014, R001-122: the measure is stated, and follows from the counts that are told."""
    report = await asked(served, "circle_dwell_service")
    table = report.tables[0]
    assert "φ" in table.note
    assert next(column.formula for column in table.columns if column.name == "phi").startswith("(")
    told = rows(report, "correlation")
    assert told
    everyone = len(computed.table("features"))
    bases: dict[str, set[int]] = {}
    for row in told:
        n, users = row["customers"], row["users"]
        assert row["penetration"] == pytest.approx(users / n, abs=1e-6)
        if users:
            base = round(users / n / row["lift"] * everyone)
            bases.setdefault(row["service"], set()).add(base)
            wanted = (everyone * users - n * base) / (n * (everyone - n) * base * (everyone - base)) ** 0.5
            assert row["phi"] == pytest.approx(wanted, abs=1e-4)
        assert min(row["customers"], row["users"] or K, row["customers"] - row["users"] or K) >= K
    assert {len(each) for each in bases.values()} == {1}, "every circle's lift is over the one base of its service"
    assert any(row["lift"] < 1 for row in told), "what a circle has less of than everybody is told as well"


async def test_penetration_is_told_by_service_and_circle_before_and_after_with_a_control(
    served: Served, computed: Computed, catalogue: Catalogue
) -> None:
    """R001-009: the share of a circle that uses a service, that of everybody else, and both in the run before."""
    report = await asked(served, "circle_dwell_service", compare=True)
    told = [row for row in rows(report, "penetration") if row["service"] == "5G套餐"]

    def shares(run: int, circle: str) -> tuple[float, float]:
        stats = computed.table("stats", run)
        users = set(stats.filter(pl.col("plan_tier") == "5G")["customer_key"])
        who = circles(computed, catalogue, run).get(circle, set())
        others = set(stats["customer_key"]) - who
        return len(users & who) / len(who), len(users & others) / len(others)

    compared = 0
    for row in (row for row in told if row["penetration"] != "*"):
        inside, outside = shares(1, row["circle"])
        assert (row["penetration"], row["control"]) == pytest.approx((inside, outside), abs=1e-6)
        assert row["ahead"] == pytest.approx(inside - outside, abs=1e-6)
        if isinstance(row["penetration_before"], float):
            compared += 1
            before = shares(0, row["circle"])
            assert (row["penetration_before"], row["control_before"]) == pytest.approx(before, abs=1e-6)
            assert row["control_change"] == pytest.approx(outside - before[1], abs=1e-6)
    assert compared, "before and after stand side by side"


async def test_when_a_circles_customers_appear_at_places_is_a_distribution(
    served: Served, computed: Computed, catalogue: Catalogue
) -> None:
    """R001-160: by circle and kind of place, in which slot of the day its customers are first there."""
    told = rows(await asked(served, "dwell_distribution"), "arrivals")
    number = {"late": 0, "early": 1, "am": 2, "noon": 3, "pm": 4, "eve": 5, "night": 6}
    names = dict(zip(("深夜", "清晨", "上午", "午间", "下午", "傍晚", "夜间"), number, strict=True))
    circle = "写字楼白领圈" if any(row["circle"] == "写字楼白领圈" for row in told) else told[0]["circle"]
    who = circles(computed, catalogue)[circle]
    dwell = computed.table("dwell").filter(pl.col("customer_key").is_in(list(who)))
    first = dwell.group_by("customer_key", "date", "place_class").agg(
        pl.col("slot").replace_strict(number, return_dtype=pl.Int64).min()
    )
    area = {code: levels[0] for code, levels in catalogue.class_names.items()}
    wanted: dict[tuple[str, int], int] = {}
    for _, _, place_class, slot in first.iter_rows():
        key = (area[place_class], slot)
        wanted[key] = wanted.get(key, 0) + 1
    mine = [row for row in told if row["circle"] == circle and row["days"] != "*"]
    assert mine
    for row in mine:
        assert row["days"] == wanted[row["area"], number[names[row["slot"]]]]
        whole = sum(days for (kind, _), days in wanted.items() if kind == row["area"])
        assert row["share"] == pytest.approx(row["days"] / whole, abs=1e-6)
        assert row["customers"] >= K


async def test_monitor_shows_who_joined_and_drift(served: Served, computed: Computed, catalogue: Catalogue) -> None:
    """R001-124, R003-039: the characteristics of circles over two cycles, and the trend between them."""
    report = await asked(served, "circle_monitor", compare=True)
    assert (report.run_id, report.compare_run_id) == ("run-1", "run-0")
    now, before = circles(computed, catalogue), circles(computed, catalogue, 0)
    told = [row for row in rows(report, "movement") if row["stayed"] != "*"]
    assert told
    for row in told:
        new, old = now.get(row["circle"], set()), before.get(row["circle"], set())
        assert (row["stayed"], row["joined"], row["gone"]) == (len(new & old), len(new - old), len(old - new))
        assert row["psi"] >= 0
    compared = [row for row in rows(report, "features") if isinstance(row.get("customers_change"), int)]
    assert compared
    for row in compared:
        assert row["customers_before"] == len(before[row["circle"]])
        assert row["customers_change"] == row["customers"] - row["customers_before"]


async def test_themes_are_there_and_the_large_one_is_made_of_the_small(served: Served, computed: Computed) -> None:
    """R001-006, R001-087, R001-088, R001-089, R001-142, R002-003: themes of active users, and their merger."""
    life, spend, large = [
        await asked(served, name) for name in ("theme_active_life", "theme_active_spend", "theme_active")
    ]
    assert [each.SerializeToString() for each in large.tables] == [
        each.SerializeToString() for each in (*life.tables, *spend.tables)
    ]
    stats = computed.table("stats")
    active = stats.filter(pl.col("active") & (pl.col("dou_mb_1m").fill_nan(0) > 0))
    levels = rows(spend, "spend_levels")
    assert levels[-1]["customers"] == len(active)
    assert levels[-1]["share"] == levels[-1]["spend_share"] == 1.0


async def test_cross_of_white_collar_and_basketball_equals_reference(
    served: Served, computed: Computed, catalogue: Catalogue
) -> None:
    """R001-090: intersection counts and profile."""
    report = await asked(served, "theme_cross")
    found = circles(computed, catalogue)
    white, ball = found.get("写字楼白领圈", set()), found.get("狂热篮球圈", set())
    everybody = set(computed.table("features")["customer_key"])
    wanted = {
        "白领且篮球": white & ball,
        "仅白领": white - ball,
        "仅篮球": ball - white,
        "都不是": everybody - white - ball,
    }
    told = [row for row in rows(report, "white_collar_basketball") if not row["total"]]
    assert {row["group"] for row in told} == {name for name, who in wanted.items() if who}
    for row in told:
        assert row["customers"] in ("*", len(wanted[row["group"]]))
    pairs = rows(report, "pairs")
    assert pairs
    for row in pairs:
        assert row["customers"] == len(found[row["left"]] & found[row["right"]])


async def test_consumption_structure_sums_to_one(served: Served) -> None:
    """R001-091: the proportions of a circle sum to 100 %, and the contribution to data services is told."""
    report = await asked(served, "theme_circle_spend")
    shares: dict[str, list[Any]] = {}
    for row in rows(report, "levels"):
        if not row["total"]:
            shares.setdefault(row["circle"], []).append(row["share"])
    whole = [sum(each) for each in shares.values() if "*" not in each]
    totals = [row["share"] for row in rows(report, "levels") if row["total"] and row["share"] != "*"]
    assert totals
    assert totals == pytest.approx([1.0] * len(totals))
    assert whole == pytest.approx([1.0] * len(whole), abs=1e-5)
    assert any(isinstance(row["data_share"], float) for row in rows(report, "contribution"))


async def test_a_limited_caller_has_figures_of_his_organisations_only(served: Served, computed: Computed) -> None:
    """The same report for the half of the organisations below NORTH counts their customers."""
    features = computed.table("features")
    orgs = features["org_id"].unique().sort().to_list()
    mine = features.filter(pl.col("org_id").is_in(orgs[: len(orgs) // 2]))
    north, whole = [await asked(served, "circle_distribution", org=org) for org in ("NORTH", "")]
    assert (north.org_id, whole.org_id) == ("NORTH", "")
    assert rows(north, "towns")[-1]["customers"] == len(mine)
    assert rows(whole, "towns")[-1]["customers"] == len(features)
    nobody = await asked(served, "circle_distribution", org="ELSEWHERE")
    assert rows(nobody, "circles") == []
    stub = v1.PortraitServiceStub(served.channel(roles={"viewer"}, org="ELSEWHERE"))
    listed = await stub.ListReportVersions(v1.ListReportVersionsRequest(report_id="circle_distribution"))
    assert [version.org_id for version in listed.versions] == ["ELSEWHERE"]


async def test_a_scheduled_report_is_made_for_each_run_and_kept(served: Served, desk: ReportDesk) -> None:
    """R001-086: schedules are kept, made once for a run, and given up."""
    stub = v1.PortraitServiceStub(served.channel(roles={"operator"}))
    request = v1.CreateReportScheduleRequest(report_id="circle_monitor", compare=True, request_id="s1")
    made = (await stub.CreateReportSchedule(request)).schedule
    assert (await stub.CreateReportSchedule(request)).schedule == made
    assert [await desk.make_due(), await desk.make_due()] == [1, 0]
    versions = (await stub.ListReportVersions(v1.ListReportVersionsRequest(report_id="circle_monitor"))).versions
    assert [(each.run_id, each.compare_run_id) for each in versions] == [("run-1", "run-0")]
    await asked(served, "circle_monitor", compare=True, period="2026-09")
    again = (await stub.ListReportVersions(v1.ListReportVersionsRequest(report_id="circle_monitor"))).versions
    assert list(again) == list(versions)
    listed = await stub.ListReportSchedules(v1.ListReportSchedulesRequest())
    assert list(listed.schedules) == [made]
    drop = v1.DeleteReportScheduleRequest(schedule_id=made.schedule_id, request_id="s2")
    assert (await stub.DeleteReportSchedule(drop)).schedule == made
    assert not (await stub.ListReportSchedules(v1.ListReportSchedulesRequest())).schedules


async def test_periods_and_what_is_not_there(served: Served) -> None:
    """A period is a day or a month; what is not known is refused by its reason."""
    early = await asked(served, "circle_distribution", period="2026-09-07", compare=True)
    assert (early.run_id, early.compare_run_id) == ("run-0", "")
    assert date(early.to_date.year, early.to_date.month, early.to_date.day) == date(2026, 9, 7)
    stub = v1.PortraitServiceStub(served.channel(roles={"operator"}))
    gone = v1.DeleteReportScheduleRequest(schedule_id="x", request_id="s3")
    for call, reason in (
        (stub.GetReport(v1.GetReportRequest(report_id="sales")), "REPORT_NOT_FOUND"),
        (stub.GetReport(v1.GetReportRequest(report_id="theme_cross", period="2026-08")), "REPORT_PERIOD_NOT_FOUND"),
        (stub.DeleteReportSchedule(gone), "REPORT_SCHEDULE_NOT_FOUND"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert refused(caught.value)[1] == reason
    listed = (await stub.ListReports(v1.ListReportsRequest())).reports
    assert len(listed) == 9
    assert all(table.columns and not table.rows for report in listed for table in report.tables)
