"""A caller of one organisation asks everything that can be asked, and learns nothing of another's."""

import io
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pyarrow.parquet as pq
import pytest

from lifecircle.points import v1
from services.kit.db import Database
from services.points.api import RIGHTS, PointsApi
from services.points.domain.reference import PLACE_FIELDS
from tests.fixtures.postgres import Fresh
from tests.fixtures.serving import Serve, Served
from tests.points.desk import Desk, forget
from tests.points.made import RULES, event, placed, rows
from tests.points.test_periods import work

SECRET = ("S3", "G2", "SECRET", "99999")
"""What is told of organisation G2 alone: its employee, its events and their amount."""
MONTHS = {"from_period_id": "2026-09", "to_period_id": "2026-09"}
COMPANY_WIDE = {"GetRuleSet", "ListRuleSets", "GetRuleSetWorkbook", "GetJob"}
"""Rules, and how far a job is: no row of anybody's."""


@pytest.fixture
async def desk(db: Database, database: Fresh) -> Desk:
    forget(database)
    desk = Desk(db)
    desk.told.fields_rows = rows((7, "S1", 10000), (8, "S3", 10000))
    desk.told.place_rows = [placed("grid", "G1", "S1"), placed("grid", "SECRET", "S3")]
    await desk.learn()
    await desk.learn(PLACE_FIELDS)
    await desk.publish()
    return desk


@pytest.fixture
async def served(serving: Serve, desk: Desk) -> AsyncIterator[Served]:
    api = PointsApi(desk.corrections, desk.analysis, desk.rules, desk.scoring, desk.reading, desk.periods, desk.clock)
    register: Callable[[grpc.aio.Server], None] = lambda server: v1.add_PointsServiceServicer_to_server(api, server)  # noqa: E731
    async with serving("points", register=register, rights=RIGHTS) as served:
        yield served


async def lived(desk: Desk) -> dict[str, Any]:
    """Both organisations do the same; gives the requests that ask for what G2's employee has."""
    theirs = {"source": "boss", "staff_id": "S3", "amount_fen": 99_999}
    for one in (
        event(1, staff_id="S1", customer_key=7),
        event(2, staff_id="S1", customer_key=7, amount_fen=-1),
        event(3, source_event_id="SECRET3", customer_key=8, **theirs),
        event(4, source_event_id="SECRET4", customer_key=8, **(theirs | {"amount_fen": -99_999})),
        event(5, source_event_id="SECRET3", customer_key=8, **(theirs | {"product_id": "P2"})),
        event(6, source_event_id="SECRET6", customer_key=8, type="RENEW", **theirs),
        event(7, source_event_id="SECRET7", customer_key=8, **theirs),
    ):
        await desk.take(one)
    corrections = desk.corrections
    await corrections.propose(desk.key(), "S3", "stock", -99_999, "told twice", "SECRET")
    await corrections.dispute(desk.key(), "S3", ("boss", "SECRET3"), "he is mine", "S3")
    await corrections.find_fraud(desk.key(), "2026-09", {"S3": 8})
    await desk.publish(RULES.replace("fixed: 20000", "fixed: 25000"), retroactive=True, name="main2")
    job = await desk.periods.begin(desk.key(), "recalculate", "2026-09", "li.lei")
    await work(desk)
    version = (await desk.rules.page("main", None, 1))[0]
    entry = next(e for e in (await desk.ledger()).values() if e.staff_id == "S3")
    desk.clock.advance(minutes=5)
    of, key = {"staff_id": "S3", "period_id": "2026-09"}, {"source": "boss", "source_event_id": "SECRET3"}
    return {
        "GetRuleSet": v1.GetRuleSetRequest(rule_set_id=version.rule_set_id),
        "ListRuleSets": v1.ListRuleSetsRequest(),
        "GetRuleSetWorkbook": v1.GetRuleSetWorkbookRequest(rule_set_id=version.rule_set_id),
        "GetJob": v1.GetJobRequest(job_id=job.job_id),
        "ExplainEntry": v1.ExplainEntryRequest(entry_id=entry.entry_id),
        "ListEntries": v1.ListEntriesRequest(),
        "ListSuspense": v1.ListSuspenseRequest(),
        "ListAssignments": v1.ListAssignmentsRequest(grid_id="SECRET"),
        "ListLeaderboard": v1.ListLeaderboardRequest(period_id="2026-09"),
        "GetPeriod": v1.GetPeriodRequest(period_id="2026-09"),
        "ExplainMissing": v1.ExplainMissingRequest(**key),
        "ListPeriods": v1.ListPeriodsRequest(),
        "GetScoreRun": v1.GetScoreRunRequest(run_id=str(job.spec["run_id"])),
        "ListAdjustments": v1.ListAdjustmentsRequest(),
        "ListDisputes": v1.ListDisputesRequest(),
        "GetStatement": v1.GetStatementRequest(**of),
        "GetAppraisal": v1.GetAppraisalRequest(**of),
        "GetAnalysis": v1.GetAnalysisRequest(**MONTHS, dimensions=["grid", "staff", "customer"]),
        "GetUnitStatement": v1.GetUnitStatementRequest(org_id="G2", **MONTHS),
        "ListFraudCases": v1.ListFraudCasesRequest(),
        "ExportPeriod": v1.ExportPeriodRequest(period_id="2026-09"),
    }


async def answered(served: Served, org: str, method: str, request: Any) -> str:
    """The answer as text, without what the request itself named; a refusal by its status."""
    stub = v1.PointsServiceStub(served.channel(roles={"viewer"}, org=org, subject=f"viewer-{org}"))
    try:
        if method == "ExportPeriod":
            return unpacked(b"".join([part.data async for part in stub.ExportPeriod(request)]))
        text = str(await getattr(stub, method)(request))
    except grpc.aio.AioRpcError as refused:
        return str(refused.code())
    for name, value in request.ListFields():
        text = text.replace(f'{name.name}: "{value}"', "", 1)
    return text


def unpacked(data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        tables = [pq.read_table(io.BytesIO(archive.read(name))) for name in archive.namelist() if "parquet" in name]
    return "\n".join(str(table.to_pylist()) for table in tables)


async def test_what_another_organisation_has_shows_in_no_list_report_or_export(served: Served, desk: Desk) -> None:
    requests = await lived(desk)
    reads = {name for name, roles in RIGHTS.items() if "viewer" in roles and not name.startswith("Create")}
    assert set(requests) == reads
    for method, request in requests.items():
        whole = await answered(served, "", method, request)
        theirs = await answered(served, "G2", method, request)
        ours = await answered(served, "G1", method, request)
        assert not whole.startswith("StatusCode"), (method, whole)
        if method in COMPANY_WIDE:
            assert not ours.startswith("StatusCode")
            continue
        assert not [word for word in SECRET if word in ours], (method, ours)
        assert ours != whole, method
        assert ours != theirs, method
