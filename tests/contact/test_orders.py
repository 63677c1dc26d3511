"""Marketing orders through the service: who gets them, what time does to them, what they tell the others, once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc.aio
import pytest

from lifecircle.contact import v1 as proto
from lifecircle.points import v1 as points
from services.contact import app
from services.contact.api import RIGHTS
from services.contact.domain.auction import Customer
from services.contact.domain.fact import Opening
from services.contact.lake import Folder
from services.contact.peers import Points
from services.contact.store import Store
from services.contact.usecases import Inflow, Orders
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.ids import system_ids
from tests.contact.town import stamp
from tests.fixtures.clock import FakeClock
from tests.fixtures.postgres import Fresh
from tests.fixtures.serving import Serve, refused

NOW = datetime(2026, 10, 1, 2, tzinfo=UTC)
Order, Move = proto.MarketingOrder, proto.MoveOrderRequest


class Fields(points.PointsServiceServicer):
    """points, which knows who answers for whom."""

    async def ListAssignments(self, request: points.ListAssignmentsRequest, context: Any) -> Any:
        long_ago = stamp(NOW - timedelta(days=90))
        if request.customer_key == 3:
            return points.ListAssignmentsResponse()
        return points.ListAssignmentsResponse(
            assignments=[
                points.Assignment(
                    staff_id="gone", role="owner", valid_from=long_ago, valid_to=stamp(NOW), share_bps=6000
                ),
                points.Assignment(staff_id="helper", role="support", valid_from=long_ago, share_bps=7000),
                points.Assignment(staff_id=f"owner{request.customer_key}", role="owner", valid_from=stamp(NOW)),
            ]
        )


class Office:
    """The service without its clockwork: the test says when time is looked at."""

    def __init__(self, stub: proto.ContactServiceStub, orders: Orders, inflow: Inflow, db: Database) -> None:
        self.stub, self.orders, self.inflow, self.db = stub, orders, inflow, db
        self.asked = 0

    async def make(self, *customers: int, dispatch: bool = False, **changes: Any) -> list[proto.MarketingOrder]:
        told = {"product_id": "P01", "content": "半价"} | changes
        drafts = [Order(customer_key=key, **told) for key in customers]
        request = proto.CreateOrdersRequest(orders=drafts, dispatch=dispatch, request_id=self._id())
        return list((await self.stub.CreateOrders(request)).orders)

    async def move(self, order_id: str, **move: Any) -> proto.MarketingOrder:
        request = proto.MoveOrderRequest(order_id=order_id, request_id=self._id(), **move)
        return (await self.stub.MoveOrder(request)).order

    async def get(self, order_id: str) -> proto.MarketingOrder:
        return (await self.stub.GetOrder(proto.GetOrderRequest(order_id=order_id))).order

    async def opens(self, *openings: Opening) -> None:
        async with self.db.begin() as tx:
            await self.inflow.told(tx, openings)
            await tx.commit()

    async def learned(self, most: int, cursor: str = "") -> list[proto.OutcomeFact]:
        """Facts after a cursor: `most` of them, or those that come within half a second."""
        found: list[proto.OutcomeFact] = []
        stream = self.stub.WatchOutcomes(proto.WatchOutcomesRequest(cursor=cursor))
        try:
            async with asyncio.timeout(0.7):
                async for message in stream:
                    found += message.facts
                    if len(found) >= most:
                        break
        except TimeoutError:
            pass
        stream.cancel()
        return found

    def _id(self) -> str:
        self.asked += 1
        return f"office-{self.asked}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def office(serving: Serve, fresh: Fresh, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Office]:
    fields = grpc.aio.server()
    points.add_PointsServiceServicer_to_server(Fields(), fields)  # type: ignore[abstract]
    port = fields.add_insecure_port("127.0.0.1:0")
    await fields.start()
    db = await Database.open(fresh.url, schema="contact", application="tests")
    nowhere, told = grpc.aio.insecure_channel("127.0.0.1:1"), grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    store = Store()
    async with db.begin() as tx:
        await store.customers.put(tx, [(key, Customer("G01", "A", "active")) for key in range(1, 6)])
        await tx.commit()
    built = app.build(db, nowhere, nowhere, told, folder=tmp_path, zone=ZoneInfo("Asia/Shanghai"), clock=clock)
    ticking: Clock = clock
    async with serving("contact", register=built.register, rights=RIGHTS) as served:
        stub = proto.ContactServiceStub(served.channel(roles={"operator"}))
        orders = Orders(db, store, ticking, system_ids, Points(told, ticking).responsible)
        yield Office(stub, orders, Inflow(store, ticking, Folder(tmp_path)), db)
    for channel in (nowhere, told):
        await channel.close()
    await fields.stop(0)
    await db.close()


async def test_an_order_goes_to_the_owner_of_the_field_and_from_there_to_its_end(office: Office) -> None:
    """R000-043: the whole life, and each illegal move refused with the state it is in."""
    (order,) = await office.make(1)
    assert (order.state, order.staff_id) == (Order.STATE_CREATED, "")
    with pytest.raises(grpc.aio.AioRpcError) as early:
        await office.move(order.order_id, accept=Move.Accept())
    assert refused(early.value)[:2] == ("FAILED_PRECONDITION", "ORDER_STATE")
    sent = await office.move(order.order_id, dispatch=Move.Dispatch())
    assert (sent.staff_id, sent.state) == ("owner1", Order.STATE_DISPATCHED)
    await office.move(order.order_id, accept=Move.Accept())
    await office.move(order.order_id, contact=Move.Contact())
    told = proto.OrderFeedback(
        result=proto.Outcome.RESULT_RESPONDED,
        reason="嫌贵",
        intent=proto.OrderFeedback.INTENT_CONSIDERS,
        corrections={"home": "东区"},
    )
    await office.move(order.order_id, report=Move.Report(feedback=told))
    await office.move(order.order_id, close=Move.Close())
    ended = await office.get(order.order_id)
    assert (ended.state, ended.closing) == (Order.STATE_CLOSED, Order.CLOSING_DONE)
    assert [move.verb for move in ended.moves] == ["create", "dispatch", "accept", "contact", "report", "close"]
    assert ended.feedback == told
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await office.move(order.order_id, reassign=Move.Reassign(staff_id="E9"))
    assert refused(late.value)[1] == "ORDER_STATE"


async def test_what_an_employee_reports_is_told_once_with_all_he_said(office: Office) -> None:
    """R000-044: result, reason, intent and corrected attributes are there for portrait and training, exactly once."""
    (order,) = await office.make(2)
    for move in ({"dispatch": Move.Dispatch()}, {"accept": Move.Accept()}, {"contact": Move.Contact()}):
        await office.move(order.order_id, **move)
    told = proto.OrderFeedback(
        result=proto.Outcome.RESULT_REFUSED,
        reason="已有",
        intent=proto.OrderFeedback.INTENT_NEVER,
        corrections={"age": "41"},
    )
    report = proto.MoveOrderRequest(order_id=order.order_id, report=Move.Report(feedback=told), request_id="same")
    first, again = await office.stub.MoveOrder(report), await office.stub.MoveOrder(report)
    assert first == again
    (fact,) = await office.learned(2)
    assert (fact.kind, fact.order_id, fact.customer_key) == (proto.OutcomeFact.KIND_FEEDBACK, order.order_id, 2)
    assert (fact.channel, fact.staff_id, fact.product_id) == ("order", "owner2", "P01")
    assert (fact.result, fact.reason, fact.intent, dict(fact.corrections)) == (2, "已有", "never", {"age": "41"})
    assert fact.attribution_token == order.attribution_token


@pytest.mark.parametrize("first", ["the order in BOSS", "the employee's word"])
async def test_an_opening_in_boss_is_attributed_to_the_order_once_whichever_comes_first(
    office: Office, clock: FakeClock, first: str
) -> None:
    """R000-047: an order placed in BOSS after the contact is attributed to it as soon as both are known."""
    (order,) = await office.make(1)
    await office.move(order.order_id, dispatch=Move.Dispatch())
    await office.move(order.order_id, accept=Move.Accept())
    called, opened = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    clock.advance(hours=3)
    says = {"contact": Move.Contact(contact_time=stamp(called))}
    early = Opening(1, "P01", NOW - timedelta(days=1))
    if first == "the order in BOSS":
        await office.opens(early, Opening(1, "P01", opened))
        await office.move(order.order_id, **says)
    else:
        await office.move(order.order_id, **says)
        await office.opens(early, Opening(1, "P01", opened))
    await office.opens(
        Opening(1, "P01", opened), Opening(1, "P02", opened), Opening(1, "P01", opened + timedelta(days=1))
    )
    (fact,) = await office.learned(2)
    assert (fact.kind, fact.contact_id, fact.opened) == (proto.OutcomeFact.KIND_OPENING, order.contact_id, True)
    assert fact.open_time.ToDatetime(tzinfo=UTC) == opened
    assert (await office.get(order.order_id)).open_time.ToDatetime(tzinfo=UTC) == opened


async def test_time_moves_what_people_leave_lying_and_the_report_shows_it(office: Office, clock: FakeClock) -> None:
    """R000-043: timeout, reassignment after it, and an ageing report that lists what is overdue."""
    lying, taken = await office.make(1, 2, staff_id="E1")
    for order in (lying, taken):
        assert (await office.move(order.order_id, dispatch=Move.Dispatch())).staff_id == "E1"
    await office.move(taken.order_id, accept=Move.Accept())
    clock.advance(hours=25)
    (line, other) = (await office.stub.ListOrderAgeing(proto.ListOrderAgeingRequest())).lines
    assert (line.state, line.orders, line.overdue, line.under_three_days) == (Order.STATE_ACCEPTED, 1, 0, 1)
    assert (other.staff_id, other.state, other.overdue) == ("E1", Order.STATE_DISPATCHED, 1)
    listed = await office.stub.ListOrders(proto.ListOrdersRequest(overdue=True))
    assert [order.order_id for order in listed.orders] == [lying.order_id]
    assert await office.orders.sweep() == 1
    assert await office.orders.sweep() == 0
    late = await office.get(lying.order_id)
    assert (late.state, late.timeouts, late.moves[-1].actor) == (Order.STATE_TIMED_OUT, 1, "platform")
    given = await office.move(lying.order_id, reassign=Move.Reassign(staff_id="E2", reason="E1 不在"))
    assert (given.state, given.staff_id) == (Order.STATE_DISPATCHED, "E2")
    clock.advance(days=60)
    while await office.orders.sweep():
        clock.advance(days=10)
    assert not (await office.stub.ListOrderAgeing(proto.ListOrderAgeingRequest())).lines


async def test_orders_made_to_be_dispatched_go_out_by_themselves_and_those_of_nobody_wait(office: Office) -> None:
    made = await office.make(1, 3, dispatch=True)
    assert await office.orders.dispatch_waiting() == 1
    assert await office.orders.dispatch_waiting() == 0
    states = [(await office.get(order.order_id)).state for order in made]
    assert states == [Order.STATE_DISPATCHED, Order.STATE_CREATED]
    with pytest.raises(grpc.aio.AioRpcError) as nobody:
        await office.move(made[1].order_id, dispatch=Move.Dispatch())
    assert refused(nobody.value)[:2] == ("FAILED_PRECONDITION", "NOBODY_RESPONSIBLE")


async def test_two_who_act_on_one_order_at_once_get_one_success(office: Office) -> None:
    (order,) = await office.make(1, staff_id="E1")
    sent = await office.move(order.order_id, dispatch=Move.Dispatch())
    tries = [office.move(order.order_id, etag=sent.etag, accept=Move.Accept()) for _ in range(5)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, proto.MarketingOrder) for one in done) == 1
    assert (await office.get(order.order_id)).moves[-1].verb == "accept"


async def test_orders_are_listed_page_by_page_and_a_stranger_s_customer_is_refused(
    office: Office, clock: FakeClock
) -> None:
    for key in (1, 2, 4):
        await office.make(key)
        clock.advance(seconds=1)
    seen, token = [], ""
    while True:
        page = await office.stub.ListOrders(proto.ListOrdersRequest(page_size=2, page_token=token))
        seen += [order.customer_key for order in page.orders]
        token = page.next_page_token
        if not token:
            break
    assert seen == [4, 2, 1]
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await office.make(99)
    assert refused(unknown.value)[:2] == ("INVALID_ARGUMENT", "ORDER_INVALID")
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await office.get("nothing")
    assert refused(missing.value)[:2] == ("NOT_FOUND", "ORDER_NOT_FOUND")
