"""Marketing orders (派单): made, sent to who is responsible, moved by people and by time, told to those who learn."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.contact.domain import order as orders
from services.contact.domain.attribution import FEEDBACK, OutcomeFact
from services.contact.domain.benefit import Message, Receipt
from services.contact.domain.order import Ageing, Draft, Move, Order, Step, created, history, moved
from services.contact.refusals import nobody_responsible, order_invalid, order_not_found, plan_not_found
from services.contact.store import Store
from services.contact.usecases import facts
from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.cursors import Followed
from services.kit.db import Database, Read, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids

Responsible = Callable[[int], Awaitable[str]]
"""Customer → the employee who answers for him now; "" for none."""

_SWEEP = 200


@dataclass(frozen=True)
class Made:
    """What became of a request for orders."""

    created: int
    existing: int
    orders: tuple[Order, ...] = ()


@dataclass(frozen=True)
class Seen:
    """An order with its history and the opening that followed it."""

    order: Order
    moves: tuple[Move, ...] = ()
    open_time: datetime | None = None


class Orders:
    """Makes and moves orders."""

    def __init__(self, db: Database, store: Store, clock: Clock, ids: Ids, responsible: Responsible) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._ids = ids
        self._responsible = responsible

    async def create(self, key: RequestKey, drafts: Sequence[Draft], *, dispatch: bool) -> Made:
        """Make orders as given. Raises order_invalid."""
        if not drafts:
            raise order_invalid("orders", "is empty, and no plan is named")
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is None:
                orgs = await self._store.customers.orgs(tx, [draft.customer_key for draft in drafts])
                for at, draft in enumerate(drafts):
                    if draft.customer_key not in orgs:
                        raise order_invalid(f"orders[{at}].customer_key", "is no customer that is known")
                made = [created(one, orgs[one.customer_key], self._ids(), self._clock()) for one in drafts]
                for order in made:
                    first = history(order, Step(orders.CREATE), key.caller, order.create_time)
                    await self._store.orders.add(tx, order, first, dispatch=dispatch)
                await idempotency.answer(tx, key, {"orders": [order.order_id for order in made]})
                await tx.commit()
                return Made(len(made), 0, tuple(made))
            kept = [await self._get(tx, order_id) for order_id in earlier["orders"]]
        return Made(len(kept), 0, tuple(kept))

    async def create_of_plan(self, key: RequestKey, plan_id: str, channel: str, *, dispatch: bool) -> Made:
        """Make orders of a plan's handed-over contacts, each once. Raises plan_not_found."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return Made(**earlier)
            if await self._store.plans.get(tx, plan_id) is None:
                raise plan_not_found(plan_id)
            asked = await self._store.orders.handed_over(tx, plan_id, channel)
            new = await self._store.orders.add_of_plan(
                tx, plan_id, channel, dispatch=dispatch, actor=key.caller, now=self._clock()
            )
            await idempotency.answer(tx, key, {"created": new, "existing": asked - new})
            await tx.commit()
        return Made(new, asked - new)

    async def move(self, key: RequestKey, order_id: str, step: Step, etag: str) -> Order:
        """Move an order. Raises order_not_found, order_changed, order_state, nobody_responsible."""
        if step.verb in (orders.DISPATCH, orders.REASSIGN) and not step.staff_id:
            step = await self._named(order_id, step)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._get(tx, order_id)
            order = await self._store.orders.for_update(tx, order_id)
            if order is None:
                raise order_not_found(order_id)
            order = await self._step(tx, order, step, key.caller, etag)
            await idempotency.answer(tx, key, {"revision": order.revision})
            await tx.commit()
        return order

    async def order(self, order_id: str) -> Seen:
        """One order with its history. Raises order_not_found."""
        async with self._db.read() as read:
            order = await self._store.orders.get(read, order_id)
            if order is None:
                raise order_not_found(order_id)
            moves = await self._store.orders.moves(read, order_id)
            times = await self._store.attributions.open_times(read, [order.contact_id])
        return Seen(order, tuple(moves), times.get(order.contact_id))

    async def page(
        self,
        *,
        staff_id: str = "",
        state: str = "",
        campaign_id: str = "",
        customer_key: int = 0,
        overdue: bool = False,
        after: tuple[datetime, str] | None = None,
        size: int,
    ) -> list[Seen]:
        """Orders, the latest first, without their history."""
        async with self._db.read() as read:
            found = await self._store.orders.page(
                read,
                staff_id=staff_id,
                state=state,
                campaign_id=campaign_id,
                customer_key=customer_key,
                overdue_at=self._clock() if overdue else None,
                after=after,
                size=size,
            )
            times = await self._store.attributions.open_times(read, [order.contact_id for order in found])
        return [Seen(order, (), times.get(order.contact_id)) for order in found]

    async def ageing(self, staff_id: str, after: tuple[str, str], size: int) -> list[Ageing]:
        """Open orders by employee and state with their age."""
        async with self._db.read() as read:
            return await self._store.orders.ageing(read, self._clock(), staff_id=staff_id, after=after, size=size)

    def follow(self, cursor: str, stop: asyncio.Event | None = None) -> AsyncIterator[Followed[Sequence[OutcomeFact]]]:
        """What is learned of contacts, after the cursor."""
        return facts.follow(self._db, cursor, stop)

    async def take(self, messages: Sequence[Message]) -> list[Receipt]:
        """The gateway of work orders: each message becomes one order, which is dispatched by itself."""
        receipts = []
        for one in messages:
            key = RequestKey(orders.PLATFORM, "gateway", one.message_id, one.message_id.encode())
            draft = Draft(one.customer_key, one.campaign_id, "", one.content)
            made = await self.create(key, [draft], dispatch=True)
            receipts.append(Receipt(one.message_id, True, made.orders[0].order_id))
        return receipts

    async def sweep(self) -> int:
        """Move the orders whose time has run out; gives how many. Two who sweep at once share the work."""
        async with self._db.begin() as tx:
            found = await self._store.orders.overdue(tx, self._clock(), _SWEEP)
            for order in found:
                await self._step(tx, order, Step(orders.TIME_OUT), orders.PLATFORM, "")
            await tx.commit()
        return len(found)

    async def dispatch_waiting(self) -> int:
        """Send orders that are to be dispatched to who is responsible; gives how many were sent."""
        async with self._db.read() as read:
            found = await self._store.orders.waiting(read, self._clock(), _SWEEP)
        staff = {order.order_id: order.staff_id or await self._responsible(order.customer_key) for order in found}
        sent = 0
        async with self._db.begin() as tx:
            for waiting in found:
                order = await self._store.orders.for_update(tx, waiting.order_id)
                if order is not None and order.state == orders.CREATED and staff[order.order_id]:
                    await self._step(tx, order, Step(orders.DISPATCH, staff[order.order_id]), orders.PLATFORM, "")
                    sent += 1
            await self._store.orders.leave_undispatched(tx, [one for one, name in staff.items() if not name])
            await tx.commit()
        return sent

    async def _step(self, tx: Write, order: Order, step: Step, actor: str, etag: str) -> Order:
        now = self._clock()
        after = moved(order, step, now, etag)
        await self._store.orders.keep(tx, after, history(after, step, actor, now))
        if step.verb == orders.REPORT and after.feedback is not None:
            told = after.feedback
            known = (await self._store.attributions.known(tx, [after.contact_id]))[after.contact_id]
            fact = OutcomeFact(FEEDBACK, known, told.result, told.reason, told.intent, told.corrections)
            await facts.tell(tx, [fact])
        if step.verb == orders.CONTACT and after.contact_time is not None and after.product_id:
            # BOSS may have told of the opening before the employee told of the contact.
            since = after.contact_time
            openings = await self._store.attributions.openings_of(tx, after.customer_key, after.product_id, since)
            await facts.attribute(tx, self._store, openings, now)
        return after

    async def _named(self, order_id: str, step: Step) -> Step:
        """The step with an employee: the order's own at dispatch, or who is responsible. No transaction is open."""
        async with self._db.read() as read:
            order = await self._get(read, order_id)
        given = order.staff_id if step.verb == orders.DISPATCH else ""
        staff_id = given or await self._responsible(order.customer_key)
        if not staff_id:
            raise nobody_responsible(order.customer_key)
        return Step(step.verb, staff_id, step.contact_time, step.feedback, step.note)

    async def _get(self, read: Read, order_id: str) -> Order:
        order = await self._store.orders.get(read, order_id)
        if order is None:
            raise order_not_found(order_id)
        return order
