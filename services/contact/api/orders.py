"""Marketing orders, and what is learned of contacts."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from lifecircle.contact import v1 as proto
from services.contact.api import incoming, outgoing
from services.contact.api.pages import READ, WRITE, Context, request_key, texts, timed, timed_token
from services.contact.domain import order as domain
from services.contact.domain.attribution import OutcomeFact
from services.contact.domain.order import Ageing, Draft, Feedback, Order, Step
from services.contact.domain.plan import attribution_token
from services.contact.usecases import Orders
from services.contact.usecases.orders import Seen
from services.kit import paging
from services.kit.errors import invalid_field
from services.kit.interceptors import Rights

RIGHTS: Rights = {
    "CreateOrders": WRITE,
    "MoveOrder": WRITE | {"service"},
    "GetOrder": READ,
    "ListOrders": READ,
    "ListOrderAgeing": READ,
    "WatchOutcomes": frozenset({"service", "operator"}),
}

_State, _Feedback = proto.MarketingOrder.State, proto.OrderFeedback


class OrdersApi:
    """Orders."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    async def CreateOrders(self, request: proto.CreateOrdersRequest, context: Context) -> proto.CreateOrdersResponse:
        """Makes orders of a plan, or as given."""
        key, drafts = request_key(request), [_draft(one) for one in request.orders]
        if drafts and request.plan_id:
            raise invalid_field([("orders", "must be empty when a plan is named")])
        if request.plan_id:
            channel = incoming.channel(request.channel) if request.channel else ""
            made = await self._orders.create_of_plan(key, request.plan_id, channel, dispatch=request.dispatch)
        else:
            made = await self._orders.create(key, drafts, dispatch=request.dispatch)
        given = [_order(Seen(order)) for order in made.orders]
        return proto.CreateOrdersResponse(created=made.created, existing=made.existing, orders=given)

    async def MoveOrder(self, request: proto.MoveOrderRequest, context: Context) -> proto.MoveOrderResponse:
        """Moves an order."""
        order = await self._orders.move(request_key(request), request.order_id, _step(request), request.etag)
        return proto.MoveOrderResponse(order=_order(Seen(order)))

    async def GetOrder(self, request: proto.GetOrderRequest, context: Context) -> proto.GetOrderResponse:
        """Gives one order."""
        return proto.GetOrderResponse(order=_order(await self._orders.order(request.order_id)))

    async def ListOrders(self, request: proto.ListOrdersRequest, context: Context) -> proto.ListOrdersResponse:
        """Lists orders."""
        size = paging.clamp(request.page_size)
        found = await self._orders.page(
            staff_id=request.staff_id,
            state=_State.Name(request.state).removeprefix("STATE_") if request.state else "",
            campaign_id=request.campaign_id,
            customer_key=request.customer_key,
            overdue=request.overdue,
            after=timed(request.page_token),
            size=size,
        )
        token = timed_token(*[(seen.order.create_time, seen.order.order_id) for seen in found], size=size)
        return proto.ListOrdersResponse(orders=[_order(seen) for seen in found], next_page_token=token)

    async def ListOrderAgeing(
        self, request: proto.ListOrderAgeingRequest, context: Context
    ) -> proto.ListOrderAgeingResponse:
        """Lists open orders by age."""
        size = paging.clamp(request.page_size)
        after = texts(request.page_token, "staff_id", "state") or ("", "")
        found = await self._orders.ageing(request.staff_id, (after[0], after[1]), size)
        last = {"staff_id": found[-1].staff_id, "state": found[-1].state} if len(found) == size else {}
        return proto.ListOrderAgeingResponse(
            lines=[_ageing(line) for line in found], next_page_token=paging.encode(last)
        )

    async def WatchOutcomes(
        self, request: proto.WatchOutcomesRequest, context: Context
    ) -> AsyncIterator[proto.WatchOutcomesResponse]:
        """Follows what is learned of contacts."""
        async for item in self._orders.follow(request.cursor):
            facts = [_fact(fact) for fact in item.event or ()]
            yield proto.WatchOutcomesResponse(cursor=item.cursor, facts=facts, traceparent=item.traceparent)


def _draft(message: proto.MarketingOrder) -> Draft:
    return Draft(
        customer_key=message.customer_key,
        campaign_id=message.campaign_id,
        product_id=message.product_id,
        content=message.content,
        staff_id=message.staff_id,
    )


def _step(request: proto.MoveOrderRequest) -> Step:
    verb = request.WhichOneof("move")
    if verb == "dispatch":
        return Step(domain.DISPATCH, request.dispatch.staff_id)
    if verb == "contact":
        told = request.contact
        moment = _moment(told) if told.HasField("contact_time") else None
        return Step(domain.CONTACT, contact_time=moment)
    if verb == "report":
        return Step(domain.REPORT, feedback=_feedback(request.report.feedback), note=request.report.feedback.reason)
    if verb == "send_back":
        return Step(domain.SEND_BACK, note=request.send_back.reason)
    if verb == "reassign":
        return Step(domain.REASSIGN, request.reassign.staff_id, note=request.reassign.reason)
    return Step(domain.CLOSE, note=request.close.reason) if verb == "close" else Step(domain.ACCEPT)


def _moment(told: proto.MoveOrderRequest.Contact) -> datetime:
    try:
        return told.contact_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid_field([("contact.contact_time", "is not a time")]) from error


def _feedback(message: proto.OrderFeedback) -> Feedback:
    return Feedback(
        result=proto.Outcome.Result.Name(message.result).removeprefix("RESULT_"),
        reason=message.reason,
        intent=_Feedback.Intent.Name(message.intent).removeprefix("INTENT_").lower() if message.intent else "",
        corrections=dict(message.corrections),
    )


def _order(seen: Seen) -> proto.MarketingOrder:
    order = seen.order
    message = proto.MarketingOrder(
        order_id=order.order_id,
        contact_id=order.contact_id,
        staff_id=order.staff_id,
        state=_State.Value(f"STATE_{order.state}"),
        due_time=outgoing.moment(order.due_time),
        customer_key=order.customer_key,
        campaign_id=order.campaign_id,
        product_id=order.product_id,
        content=order.content,
        etag=order.etag,
        create_time=outgoing.moment(order.create_time),
        update_time=outgoing.moment(order.update_time),
        returns=order.returns,
        timeouts=order.timeouts,
        contact_time=outgoing.moment(order.contact_time),
        open_time=outgoing.moment(seen.open_time),
        attribution_token=attribution_token(order.contact_id),
        moves=[
            proto.OrderMove(
                verb=move.verb,
                state=_State.Value(f"STATE_{move.state}"),
                staff_id=move.staff_id,
                actor=move.actor,
                note=move.note,
                move_time=outgoing.moment(move.time),
            )
            for move in seen.moves
        ],
    )
    if order.closing:
        message.closing = proto.MarketingOrder.Closing.Value(f"CLOSING_{order.closing}")
    if order.feedback is not None:
        message.feedback.CopyFrom(_told(order))
    return message


def _told(order: Order) -> proto.OrderFeedback:
    feedback = order.feedback
    assert feedback is not None
    intent = f"INTENT_{feedback.intent.upper() or 'UNSPECIFIED'}"
    return proto.OrderFeedback(
        result=proto.Outcome.Result.Value(f"RESULT_{feedback.result}"),
        reason=feedback.reason,
        intent=_Feedback.Intent.Value(intent),
        corrections=feedback.corrections,
    )


def _ageing(line: Ageing) -> proto.OrderAgeing:
    return proto.OrderAgeing(
        staff_id=line.staff_id,
        state=_State.Value(f"STATE_{line.state}"),
        orders=line.orders,
        overdue=line.overdue,
        under_day=line.under_day,
        under_three_days=line.under_three_days,
        older=line.older,
        oldest_time=outgoing.moment(line.oldest_time),
    )


def _fact(fact: OutcomeFact) -> proto.OutcomeFact:
    known = fact.known
    return proto.OutcomeFact(
        fact_id=fact.fact_id,
        kind=proto.OutcomeFact.Kind.Value(f"KIND_{fact.kind}"),
        contact_id=known.contact_id,
        order_id=known.order_id,
        customer_key=known.customer_key,
        campaign_id=known.campaign_id,
        offer_id=known.offer_id,
        product_id=known.product_id,
        channel=known.channel,
        staff_id=known.staff_id,
        result=proto.Outcome.Result.Value(f"RESULT_{fact.result or 'UNSPECIFIED'}"),
        reason=fact.reason,
        intent=fact.intent,
        corrections=fact.corrections,
        opened=fact.opened,
        open_time=outgoing.moment(fact.open_time),
        contact_time=outgoing.moment(known.contact_time),
        attribution_token=attribution_token(known.contact_id),
    )
