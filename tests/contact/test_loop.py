"""Touch points over the day, the closed loop of one grant under one id, and answers that are there in time."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import grpc.aio
import numpy as np
import pytest
from google.type.date_pb2 import Date
from sqlalchemy import text

from lifecircle.contact import v1 as proto
from services.contact.domain.benefit import Message, Receipt
from services.contact.domain.fact import Moment
from services.contact.store import Store
from services.contact.usecases import Moments, Registry, Sender, Slots
from services.kit.ids import system_ids
from tests.contact.conftest import Quiet
from tests.contact.counter import NOW, SHANGHAI, ask, furnish, offers, replica, rules
from tests.contact.made import limit, policy
from tests.contact.test_reach import brief
from tests.contact.test_slots import Event, Screen, rid
from tests.contact.town import stamp
from tests.fixtures.serving import refused

STORE = Store()
DAY = Date(year=2026, month=10, day=1)
Stage = proto.TraceStep.Stage


async def points(stub: proto.ContactServiceStub, last: Date = DAY) -> dict[str, proto.TouchPoint]:
    found: dict[str, proto.TouchPoint] = {}
    asked = proto.ListTouchPointsRequest(first_date=DAY, last_date=last, page_size=2)
    while True:
        page = await stub.ListTouchPoints(asked)
        found |= {one.name: one for one in page.touch_points}
        if not page.next_page_token:
            return found
        asked.page_token = page.next_page_token


async def test_touch_points_tell_how_full_they_are_and_what_conflicts_at_them(quiet: Quiet) -> None:
    """R003-058: fill rates of channels and slots, and who went without since another touch point had him."""
    quiet.clock.now = NOW
    screen = Screen(quiet)
    for slot_id in ("top", "side"):
        await screen.slot(slot_id, channel=proto.CHANNEL_APP)
    for name, hours in (("甲", (0, 24)), ("乙", (12, 36)), ("丙", (200, 224))):
        await screen.schedule((await screen.content(name)).content_id, hours)
    free = {"quiet_from_hour": 0, "quiet_to_hour": 0}
    await furnish(quiet.db, rule=policy(limit("sms", capacity=8, **free), limit("app", **free), most=2))
    deciding = await replica(quiet.db, clock=quiet.clock)
    for customer in range(1, 11):
        await deciding.decide(ask(customer, "=sms"))
    for customer in range(1, 4):
        await deciding.decide(ask(customer, "top", "side"))
    found = await points(quiet.stub("li"))
    assert list(found) == ["channel app", "channel sms", "slot side", "slot top"]
    sms, top, side = found["channel sms"], found["slot top"], found["slot side"]
    assert (sms.asked, sms.filled, sms.fill_rate, sms.crowded) == (8, 8, 1.0, 2)
    assert (top.asked, top.filled, top.fill_rate, top.capped) == (3, 3, 1.0, 0)
    assert (side.asked, side.filled, side.fill_rate) == (3, 0, 0.0)
    assert (side.cooling, side.capped) == (3, 0), "the best bid lost to the message that had offered the same"
    assert (found["channel app"].asked, found["channel app"].filled, found["channel app"].fill_rate) == (-1, 3, 0.0)
    assert (top.overlaps, side.overlaps) == (1, 0)
    week = await points(quiet.stub("li"), Date(year=2026, month=10, day=7))
    assert (week["channel sms"].asked, week["channel sms"].fill_rate) == (56, pytest.approx(1 / 7))


async def test_one_id_leads_from_the_event_by_the_exposure_and_the_click_to_the_report_and_a_changed_rule(
    quiet: Quiet,
) -> None:
    """R003-006: the whole loop by the grant's id, each step by the call that a channel or the platform makes anyway."""
    quiet.clock.now = NOW
    screen, stub = Screen(quiet), quiet.stub("li")
    await screen.slot(channel=proto.CHANNEL_APP)
    good, bad = await screen.content("甲"), await screen.content("乙")
    waits = offers(brief=brief(moments=("airport",)))
    await furnish(quiet.db, rule=rules(most=9), campaigns=[waits])
    async with quiet.db.begin() as tx:
        await STORE.moments.put(tx, [Moment("m1", 1, "airport", NOW - timedelta(minutes=5))])
        await tx.commit()
    deciding = await replica(quiet.db, clock=quiet.clock)
    [answer] = await deciding.decide(ask(1, "top"))
    grant = answer.decided.grant_id
    await stub.ConfirmGrant(proto.ConfirmGrantRequest(grant_id=grant, request_id=rid()))
    numbers = itertools.count()

    def seen(kind: Any, content: str, **more: Any) -> proto.SlotEvent:
        told = {"event_id": f"e{next(numbers)}", "slot_id": "top", "event_time": stamp(NOW), "content_id": content}
        return Event(kind=kind, **(told | more))

    own = {"customer_key": 1, "grant_id": grant}
    events = [seen(Event.KIND_EXPOSURE, good.content_id, **own), seen(Event.KIND_CLICK, good.content_id, **own)]
    for content, clicks in ((good, 60), (bad, 6)):
        events += [seen(Event.KIND_EXPOSURE, content.content_id) for _ in range(600)]
        events += [seen(Event.KIND_CLICK, content.content_id) for _ in range(clicks)]
    await stub.RecordSlotEvents(proto.RecordSlotEventsRequest(events=events, request_id=rid()))
    outcome = proto.Outcome(contact_id=grant, result=proto.Outcome.RESULT_RESPONDED)
    await stub.RecordOutcomes(proto.RecordOutcomesRequest(outcomes=[outcome], request_id=rid()))
    quiet.clock.advance(minutes=1)
    registry = Registry(quiet.db, STORE, quiet.clock)
    assert await Slots(quiet.db, STORE, quiet.clock, system_ids, registry).suggest() == 1
    steps = (await stub.GetTrace(proto.GetTraceRequest(grant_id=grant))).steps
    (change,) = (await stub.ListSuggestions(proto.ListSuggestionsRequest())).suggestions
    (line,) = (await stub.ListEffectReports(proto.ListEffectReportsRequest())).lines
    assert [(one.stage, one.ref) for one in steps] == [
        (Stage.STAGE_EVENT, "m1"),
        (Stage.STAGE_DECISION, answer.decided.offer_id),
        (Stage.STAGE_SLOT, "e0"),
        (Stage.STAGE_SLOT, "e1"),
        (Stage.STAGE_OUTCOME, "RESPONDED"),
        (Stage.STAGE_REPORT, line.campaign_id),
        (Stage.STAGE_CHANGE, change.suggestion_id),
    ]
    assert [one.text.split()[0] for one in steps[2:4]] == ["EXPOSURE", "CLICK"]
    assert line.online.response.successes == 1
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await stub.GetTrace(proto.GetTraceRequest(grant_id="nobody's"))
    assert refused(unknown.value)[1] == "GRANT_NOT_FOUND"


async def test_a_call_that_is_not_decided_in_time_shows_the_default_and_asked_again_gives_the_grant(
    quiet: Quiet,
) -> None:
    """R003-065: real-time call: the default on time-out, and the 99th percentile of the calls is told."""
    quiet.clock.now = NOW
    await furnish(quiet.db, rule=rules(most=9))
    await Screen(quiet).slot("top", channel=proto.CHANNEL_APP)
    stub, deciding = quiet.stub("palm-hall", roles={"service"}), await replica(quiet.db, clock=quiet.clock)

    async def called(customer: int, within: timedelta) -> proto.Decision:
        request = proto.DecideRequest(customer_key=customer, places=[proto.Place(slot_id="top")], request_id=rid())
        request.answer_within.FromTimedelta(within)
        return (await stub.Decide(request)).decisions[0]

    took = []
    for customer in range(1, 21):
        began = time.perf_counter()
        assert (await called(customer, timedelta(seconds=10))).reason != "late"
        took.append(time.perf_counter() - began)
    print(f"Decide by RPC: p99 {1_000 * float(np.percentile(took, 99)):.1f} ms")
    mine = ask(5, "top", request_id="once")
    async with quiet.db.begin() as tx:  # somebody holds the customer for as long as we please
        await tx.execute(text("SELECT FROM customer WHERE customer_key = 5 FOR UPDATE"))
        late = await called(5, timedelta(milliseconds=50))
        assert (late.reason, late.content, late.grant_id, late.place.slot_id) == ("late", "欢迎", "", "top")
        [answer] = await deciding.decide_within(mine, 0.05)
        assert (answer.decided.kind.reason, answer.decided.offer_id, answer.attribution_token) == ("late", "", "")
    [again] = await deciding.decide_within(mine, 30)
    assert again.decided.offer_id
    assert [again] == await deciding.decide(mine)


async def test_moments_wait_for_a_process_that_has_no_scores_yet(quiet: Quiet) -> None:
    """A moment that comes while the first scores are read is decided with them, and not for nothing."""
    quiet.clock.now = NOW
    await furnish(quiet.db, rule=rules(most=9), campaigns=[offers(brief=brief(moments=("airport",)))])
    scored = await replica(quiet.db, clock=quiet.clock)
    read, held = scored._rulebook._read_matrix, asyncio.Event()

    async def slowly(matrix_id: str) -> list[Any]:
        await held.wait()
        return []

    fresh = type(scored)(quiet.db, STORE, quiet.clock, SHANGHAI, scored._showings, slowly, read)
    moments = Moments(quiet.db, STORE, quiet.clock, fresh)
    async with quiet.db.begin() as tx:
        await moments.told(tx, [Moment("m1", 1, "airport", NOW)])
        await tx.commit()
    acting = asyncio.create_task(moments.act())
    await asyncio.wait([acting], timeout=0.2)
    held.set()
    assert await acting == 1
    delivered: list[int] = []

    async def gateway(messages: Sequence[Message]) -> Sequence[Receipt]:
        delivered.extend(one.customer_key for one in messages)
        return [Receipt(one.message_id, True, "ok") for one in messages]

    await Sender(quiet.db, STORE, quiet.clock, SHANGHAI, {"sms": gateway, "app": gateway}).send()
    assert delivered == [1]
