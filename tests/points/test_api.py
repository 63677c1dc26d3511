"""Over gRPC: who may, what is refused and how it is named, and what a caller gets."""

from collections.abc import AsyncIterator, Callable
from datetime import date
from typing import Any

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.points import v1
from services.kit.db import Database
from services.points.api import RIGHTS, PointsApi
from tests.fixtures.postgres import Fresh
from tests.fixtures.serving import Serve, Served, refused, refused_fields
from tests.points.desk import Desk, forget
from tests.points.made import NOON, RULES, event

EFFECTIVE = Date(year=2026, month=1, day=1)


@pytest.fixture
async def desk(db: Database, database: Fresh) -> Desk:
    forget(database)
    desk = Desk(db)
    await desk.learn()
    return desk


@pytest.fixture
async def served(serving: Serve, desk: Desk) -> AsyncIterator[Served]:
    api = PointsApi(desk.corrections, desk.analysis, desk.rules, desk.scoring, desk.reading, desk.periods, desk.clock)
    register: Callable[[grpc.aio.Server], None] = lambda server: v1.add_PointsServiceServicer_to_server(api, server)  # noqa: E731
    async with serving("points", register=register, rights=RIGHTS) as served:
        yield served


def stub(served: Served, subject: str = "li.lei", *roles: str) -> v1.PointsServiceStub:
    return v1.PointsServiceStub(served.channel(subject=subject, roles=set(roles or ("operator",))))


def business(number: int = 1, **values: Any) -> v1.BusinessEvent:
    ours: dict[str, Any] = {
        "source": "shop",
        "source_event_id": f"E{number}",
        "type": "NEW",
        "customer_key": 7,
        "product_id": "P1",
        "staff_id": "S1",
        "channel": "store",
        "amount_fen": 3900,
        "occur_time": Timestamp(seconds=int(NOON.timestamp())),
    }
    return v1.BusinessEvent(**(ours | values))


async def publish(served: Served, definition: str = RULES) -> v1.RuleSet:
    rules = v1.RuleSet(name="main", definition=definition)
    draft = (
        await stub(served, "author").CreateRuleSet(v1.CreateRuleSetRequest(rule_set=rules, request_id="1"))
    ).rule_set
    await approve(stub(served, "approver"), draft)
    request = v1.PublishRuleSetRequest(
        rule_set_id=draft.rule_set_id, sha256=draft.sha256, effective_date=EFFECTIVE, request_id="2"
    )
    return (await stub(served, "publisher").PublishRuleSet(request)).rule_set


async def approve(who: v1.PointsServiceStub, draft: v1.RuleSet) -> None:
    """The steps between a draft and its publishing."""
    of = {"rule_set_id": draft.rule_set_id, "request_id": draft.rule_set_id}
    await who.ValidateRuleSet(v1.ValidateRuleSetRequest(**of))
    await who.SimulateRuleSet(v1.SimulateRuleSetRequest(**of))
    await who.ApproveRuleSet(v1.ApproveRuleSetRequest(sha256=draft.sha256, **of))


async def no(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_stranger_is_refused(served: Served) -> None:
    error = await no(v1.PointsServiceStub(served.channel()).GetPeriod(v1.GetPeriodRequest(period_id="2026-09")))
    assert refused(error)[:2] == ("UNAUTHENTICATED", "STRANGER")


async def test_every_method_has_its_rights() -> None:
    methods = v1.points_service_pb2.DESCRIPTOR.services_by_name["PointsService"].methods
    assert {method.name for method in methods} == set(RIGHTS)


async def test_a_viewer_reads_and_does_not_write(served: Served) -> None:
    viewer = stub(served, "han.mei", "viewer")
    assert not (await viewer.ListSuspense(v1.ListSuspenseRequest())).suspended
    for call in (
        viewer.ScoreEvent(v1.ScoreEventRequest(event=business())),
        viewer.CreateRuleSet(
            v1.CreateRuleSetRequest(rule_set=v1.RuleSet(name="main", definition=RULES), request_id="1")
        ),
    ):
        assert refused(await no(call))[:2] == ("PERMISSION_DENIED", "NOT_ALLOWED")


async def test_a_missing_or_oversized_field_is_named(served: Served) -> None:
    cases: list[tuple[Any, str]] = [
        (v1.ScoreEventRequest(), "event"),
        (v1.ScoreEventRequest(event=business(source="")), "event.source"),
        (v1.ScoreEventRequest(event=business(source_event_id="x" * 129)), "event.source_event_id"),
        (v1.ScoreEventRequest(event=business(source_event_id="x\0")), "event.source_event_id"),
        (v1.ScoreEventRequest(event=business(customer_key=-1)), "event.customer_key"),
        (v1.ScoreEventRequest(event=business(occur_time=None)), "event.occur_time"),
        (v1.ScoreEventRequest(event=business(occur_time=Timestamp(seconds=2**62))), "event.occur_time"),
        (v1.ScoreEventRequest(event=business(occur_time=Timestamp(nanos=-1))), "event.occur_time"),
        (v1.CreateRuleSetRequest(rule_set=v1.RuleSet(name="Main!", definition="x"), request_id="1"), "rule_set.name"),
        (v1.CreateRuleSetRequest(rule_set=v1.RuleSet(name="main"), request_id="1"), "rule_set.definition"),
        (
            v1.CreateRuleSetRequest(rule_set=v1.RuleSet(name="main", definition="x" * 1_048_577), request_id="1"),
            "rule_set.definition",
        ),
        (v1.CreateRuleSetRequest(rule_set=v1.RuleSet(name="main", definition=RULES)), "request_id"),
        (v1.PublishRuleSetRequest(rule_set_id="1", sha256="x", effective_date=EFFECTIVE, request_id="1"), "sha256"),
        (
            v1.PublishRuleSetRequest(
                rule_set_id="1", sha256="0" * 64, effective_date=Date(year=2026, month=13), request_id="1"
            ),
            "effective_date",
        ),
        (v1.ListLeaderboardRequest(period_id="2026"), "period_id"),
        (v1.ListEntriesRequest(page_size=-1), "page_size"),
        (v1.ListEntriesRequest(staff_id="\0"), "staff_id"),
        (v1.ListAssignmentsRequest(), "customer_key"),
        (v1.ExplainEntryRequest(), "entry_id"),
    ]
    for request, field in cases:
        error = await no(getattr(stub(served), type(request).__name__.removesuffix("Request"))(request))
        assert (refused(error)[:2], refused_fields(error)) == (("INVALID_ARGUMENT", "INVALID_FIELD"), [field]), request


async def test_a_page_token_of_somebody_else_is_refused(served: Served) -> None:
    needed: dict[str, dict[str, Any]] = {
        "ListRuleSets": {},
        "ListEntries": {},
        "ListSuspense": {},
        "ListAssignments": {"customer_key": 1},
        "ListLeaderboard": {"period_id": "2026-09"},
    }
    for method, fields in needed.items():
        for token in ("x", "eyJhZnRlciI6MX0", "eyJhZnRlciI6WyJ4Il19", "eyJiIjoxfQ"):
            request = getattr(v1, f"{method}Request")(page_token=token, **fields)
            error = await no(getattr(stub(served), method)(request))
            assert refused(error)[:2] == ("INVALID_ARGUMENT", "BAD_PAGE_TOKEN"), request


async def test_a_bad_cell_is_refused_with_its_place(served: Served) -> None:
    rules = v1.RuleSet(name="main", definition=RULES.replace("fixed: 700", "fixed: seven"))
    error = await no(stub(served).CreateRuleSet(v1.CreateRuleSetRequest(rule_set=rules, request_id="1")))
    assert refused(error) == ("INVALID_ARGUMENT", "RULE_SET_INVALID", {"place": "tables.sales[3].fixed"})
    assert refused_fields(error) == ["rule_set.definition"]


async def test_the_author_cannot_publish(served: Served) -> None:
    rules = v1.RuleSet(name="main", definition=RULES)
    draft = (await stub(served).CreateRuleSet(v1.CreateRuleSetRequest(rule_set=rules, request_id="1"))).rule_set
    request = v1.PublishRuleSetRequest(
        rule_set_id=draft.rule_set_id, sha256=draft.sha256, effective_date=EFFECTIVE, request_id="2"
    )
    assert refused(await no(stub(served).PublishRuleSet(request))) == (
        "PERMISSION_DENIED", "AUTHOR_CANNOT_PUBLISH", {"author": "li.lei"}
    )  # fmt: skip
    assert (await stub(served).GetRuleSet(v1.GetRuleSetRequest(rule_set_id=draft.rule_set_id))).rule_set == draft


async def test_only_the_draft_that_was_reviewed_is_published_and_once(served: Served) -> None:
    published = await publish(served)
    assert (published.state, published.publisher, published.effective_date) == (
        v1.RuleSet.STATE_PUBLISHED, "publisher", EFFECTIVE
    )  # fmt: skip
    again = v1.PublishRuleSetRequest(
        rule_set_id=published.rule_set_id, sha256=published.sha256, effective_date=EFFECTIVE, request_id="2"
    )
    assert (await stub(served, "publisher").PublishRuleSet(again)).rule_set == published
    again.request_id = "3"
    assert refused(await no(stub(served, "publisher").PublishRuleSet(again)))[1] == "RULE_SET_NOT_DRAFT"
    again.effective_date.day = 2
    again.request_id = "2"
    assert refused(await no(stub(served, "publisher").PublishRuleSet(again)))[1] == "REQUEST_ID_REUSED"
    other = v1.RuleSet(name="main", definition=RULES.replace("700", "701"))
    draft = (await stub(served).CreateRuleSet(v1.CreateRuleSetRequest(rule_set=other, request_id="4"))).rule_set
    wrong = v1.PublishRuleSetRequest(
        rule_set_id=draft.rule_set_id, sha256=published.sha256, effective_date=EFFECTIVE, request_id="5"
    )
    assert refused(await no(stub(served, "publisher").PublishRuleSet(wrong)))[:2] == (
        "ABORTED",
        "RULE_SET_HASH_CHANGED",
    )


async def test_what_is_not_there_is_not_found(served: Served) -> None:
    caller = stub(served)
    for call, reason in (
        (caller.GetRuleSet(v1.GetRuleSetRequest(rule_set_id="x")), "RULE_SET_NOT_FOUND"),
        (caller.ExplainEntry(v1.ExplainEntryRequest(entry_id="x")), "ENTRY_NOT_FOUND"),
        (caller.GetPeriod(v1.GetPeriodRequest(period_id="2031-01")), "PERIOD_NOT_FOUND"),
    ):
        assert refused(await no(call))[:2] == ("NOT_FOUND", reason)


async def test_an_event_is_scored_once_and_answered_alike(served: Served) -> None:
    await publish(served)
    first = await stub(served).ScoreEvent(v1.ScoreEventRequest(event=business()))
    assert first == await stub(served, "other", "service").ScoreEvent(v1.ScoreEventRequest(event=business()))
    assert [(e.account, e.milli_points) for e in first.entries] == [
        ("staff:S1", 26500), ("budget:development", -26500), ("staff:S1", 333), ("budget:development", -333)
    ]  # fmt: skip
    error = await no(stub(served).ScoreEvent(v1.ScoreEventRequest(event=business(amount_fen=1))))
    assert refused(error)[:2] == ("ABORTED", "EVENT_ID_REUSED")


async def test_an_event_that_cannot_be_scored_is_answered_and_listed_with_its_reason(served: Served) -> None:
    await publish(served)
    answer = await stub(served).ScoreEvent(v1.ScoreEventRequest(event=business(product_id="P9")))
    assert (answer.suspense.reason, list(answer.entries)) == ("UNKNOWN_PRODUCT", [])
    await stub(served).ScoreEvent(v1.ScoreEventRequest(event=business(2, amount_fen=-2)))
    listed = await stub(served).ListSuspense(v1.ListSuspenseRequest(page_size=1))
    assert list(listed.suspended) == [answer.suspense]
    rest = await stub(served).ListSuspense(v1.ListSuspenseRequest(page_token=listed.next_page_token))
    assert [each.reason for each in rest.suspended] == ["NEGATIVE_AMOUNT"]


async def test_an_entry_is_explained_to_event_rule_version_and_assignment(served: Served, desk: Desk) -> None:
    rules = await publish(served)
    await desk.take(event(5, type="RENEW", amount_fen=100))
    entries = (await stub(served).ListEntries(v1.ListEntriesRequest(event_id="ev-5"))).entries
    mine = next(entry for entry in entries if entry.staff_id == "S1")
    why = (await stub(served).ExplainEntry(v1.ExplainEntryRequest(entry_id=mine.entry_id))).explanation
    assert why.entry == mine
    assert (why.rule_set_name, why.rule_set_version, mine.rule_set_id) == ("main", 1, rules.rule_set_id)
    assert why.rule_text.startswith("RENEW: type in {RENEW, RETAIN} gives 1,001 + amount_fen × 2 / 3")
    assert [(step.text, step.milli_points) for step in why.steps] == [
        ("rule RENEW: 1,001 fixed + 100 fen × 2 / 3 milli-points", 1067),
        ("1,067 × 6,000 / 10,000 = 640 + 1 of the remainder", 641),
    ]
    assert why.assignment_text.startswith("S1 is owner of customer 7 with 60.00 % from 2026-09-01")
    assert why.source == "boss E5, delivery D1 line 5"


async def test_every_entry_is_explained_and_its_last_step_is_its_amount(served: Served, desk: Desk) -> None:
    await publish(served)
    await desk.take(event(1), event(2, type="RENEW"), event(3, type="RENEW", customer_key=9), event(4, staff_id=""))
    refund = business(9, source="boss", type="REFUND", origin_event_id="E2")
    await stub(served).ScoreEvent(v1.ScoreEventRequest(event=refund))
    for entry in (await stub(served).ListEntries(v1.ListEntriesRequest())).entries:
        why = (await stub(served).ExplainEntry(v1.ExplainEntryRequest(entry_id=entry.entry_id))).explanation
        assert why.steps[-1].milli_points == entry.milli_points
        assert why.assignment_text
        assert ("takes back" in why.steps[-1].text) == bool(entry.reverses_entry_id)


async def test_lists_page_through_everything_once(served: Served, desk: Desk) -> None:
    await publish(served)
    await desk.take(*(event(n, staff_id=f"S{n % 3 + 1}") for n in range(1, 8)))
    caller = stub(served)
    seen, token = [], ""
    while True:
        page = await caller.ListEntries(v1.ListEntriesRequest(page_size=5, page_token=token, period_id="2026-09"))
        seen += [entry.entry_id for entry in page.entries]
        if not (token := page.next_page_token):
            break
    assert len(seen) == len(set(seen)) == len(await desk.ledger())
    lines, token = [], ""
    while True:
        board = await caller.ListLeaderboard(
            v1.ListLeaderboardRequest(period_id="2026-09", page_size=1, page_token=token)
        )
        lines += list(board.lines)
        if not (token := board.next_page_token):
            break
    assert [line.staff_id for line in lines] == [
        line.staff_id for line in await desk.reading.leaders("2026-09", None, 9)
    ]
    assert lines[0].first_event_date == Date(year=2026, month=9, day=10)
    shares = await caller.ListAssignments(v1.ListAssignmentsRequest(customer_key=7, page_size=1))
    rest = await caller.ListAssignments(
        v1.ListAssignmentsRequest(customer_key=7, page_size=1, page_token=shares.next_page_token)
    )
    assert [each.staff_id for each in [*shares.assignments, *rest.assignments]] == ["S1", "S2"]
    assert not rest.next_page_token


async def test_versions_are_listed_the_latest_first(served: Served, desk: Desk) -> None:
    await publish(served)
    desk.clock.advance(minutes=1)
    await desk.publish(RULES, date(2027, 1, 1))
    first = await stub(served).ListRuleSets(v1.ListRuleSetsRequest(name="main", page_size=1))
    second = await stub(served).ListRuleSets(v1.ListRuleSetsRequest(page_token=first.next_page_token))
    assert [each.version for each in (*first.rule_sets, *second.rule_sets)] == [2, 1]


async def test_a_period_holds_its_sums_and_checksum(served: Served, desk: Desk) -> None:
    await publish(served)
    await desk.take(event(1), event(2))
    period = (await stub(served).GetPeriod(v1.GetPeriodRequest(period_id="2026-09"))).period
    assert (period.state, period.entries, period.milli_points) == (v1.Period.STATE_OPEN, 8, 2 * 26833)
    assert (period.first_date.day, period.last_date.day, len(period.sha256)) == (1, 30, 64)
