"""Over gRPC: many events at once, workbooks, statements, analysis within the caller's reach."""

from collections.abc import AsyncIterator, Callable

import grpc.aio
import pytest

from lifecircle.points import v1
from services.kit.db import Database
from services.points.api import RIGHTS, PointsApi
from tests.fixtures.postgres import Fresh
from tests.fixtures.serving import Serve, Served, refused, refused_fields
from tests.points.desk import Desk, forget
from tests.points.test_api import business, no, stub

MONTH = {"from_period_id": "2026-09", "to_period_id": "2026-09"}


@pytest.fixture
async def served(serving: Serve, db: Database, database: Fresh) -> AsyncIterator[Served]:
    forget(database)
    desk = Desk(db)
    await desk.learn()
    await desk.publish()
    api = PointsApi(desk.corrections, desk.analysis, desk.rules, desk.scoring, desk.reading, desk.periods, desk.clock)
    register: Callable[[grpc.aio.Server], None] = lambda server: v1.add_PointsServiceServicer_to_server(api, server)  # noqa: E731
    async with serving("points", register=register, rights=RIGHTS) as served:
        yield served


async def test_a_thousand_events_are_scored_alone_and_posted_with_the_same_points(served: Served) -> None:
    caller = stub(served)
    events = [business(number, amount_fen=number) for number in range(1, 1000)]
    events.append(business(1000, product_id="P9"))
    alone = await caller.ScoreEvents(v1.ScoreEventsRequest(events=events, score_only=True))
    assert not (await caller.ListEntries(v1.ListEntriesRequest())).entries
    posted = await caller.ScoreEvents(v1.ScoreEventsRequest(events=events))
    assert [one.milli_points for one in alone.results] == [one.milli_points for one in posted.results]
    assert alone.results[999].reason == posted.results[999].reason == "UNKNOWN_PRODUCT"
    assert await caller.ScoreEvents(v1.ScoreEventsRequest(events=events)) == posted
    wrong = v1.ScoreEventsRequest(events=[business(), business(2, source="Boss!")])
    assert refused_fields(await no(caller.ScoreEvents(wrong))) == ["events[1].source"]
    assert refused_fields(await no(caller.ScoreEvents(v1.ScoreEventsRequest()))) == ["events"]


async def test_a_workbook_goes_out_and_comes_back_as_the_same_rules(served: Served) -> None:
    """R000-016: an analyst edits Excel."""
    caller = stub(served)
    version = (await caller.ListRuleSets(v1.ListRuleSetsRequest())).rule_sets[0]
    book = await caller.GetRuleSetWorkbook(v1.GetRuleSetWorkbookRequest(rule_set_id=version.rule_set_id))
    request = v1.CreateRuleSetRequest(rule_set=v1.RuleSet(name="main"), workbook=book.workbook, request_id="again")
    assert (await caller.CreateRuleSet(request)).rule_set.sha256 == version.sha256
    request.workbook, request.request_id = b"PK no", "bad"
    assert refused(await no(caller.CreateRuleSet(request)))[1] == "RULE_SET_INVALID"


async def test_statement_sheet_and_analysis_reconcile(served: Served) -> None:
    """R000-025, R000-026, R000-029."""
    caller = stub(served)
    events = [business(n, amount_fen=n * 100, staff_id=f"S{n % 3 + 1}") for n in range(1, 31)]
    await caller.ScoreEvents(v1.ScoreEventsRequest(events=events))
    of = {"staff_id": "S1", "period_id": "2026-09"}
    statement = (await caller.GetStatement(v1.GetStatementRequest(**of))).statement
    sheet = (await caller.GetAppraisal(v1.GetAppraisalRequest(**of))).appraisal
    assert sheet.reconciled
    assert sum(part.milli_points for part in sheet.parts) == statement.milli_points == -statement.budget_milli_points
    assert sum(line.milli_points for line in statement.lines) == statement.milli_points > 0
    rows = (await caller.GetAnalysis(v1.GetAnalysisRequest(**MONTH, dimensions=["staff"]))).rows
    assert rows[0].milli_points == sum(row.milli_points for row in rows[1:])
    assert rows[0].revenue_fen == sum(n * 100 for n in range(1, 31))
    mine = (await caller.GetAnalysis(v1.GetAnalysisRequest(**MONTH, filters={"staff": "S1"}))).rows
    assert [row.milli_points for row in mine] == [statement.milli_points]
    unit = (await caller.GetUnitStatement(v1.GetUnitStatementRequest(org_id="G1", **MONTH))).statement
    assert (unit.employees, unit.milli_points) == (
        2,
        sum(r.milli_points for r in rows[1:] if r.values["staff"] != "S3"),
    )
    periods = (await caller.ListPeriods(v1.ListPeriodsRequest())).periods
    assert periods[-1].milli_points == rows[0].milli_points or len(periods) > 1
