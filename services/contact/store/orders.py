"""Marketing orders with their history."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, text, tuple_, update

from services.contact import tables
from services.contact.domain.order import CLOSED, CREATED, LIMITS, Ageing, Feedback, Move, Order
from services.kit.db import Read, Write

_order, _move = tables.marketing_order, tables.order_move
_FIELDS = [field.name for field in dataclasses.fields(Order)]
_COLUMNS = [_order.c[name] for name in _FIELDS]

# The order of a plan's contact has the contact's own id: whoever asks twice finds it there.
_FROM_PLAN = text(
    """
    WITH made AS (
        INSERT INTO marketing_order (order_id, contact_id, org_id, campaign_id, customer_key, product_id, content,
            staff_id, state, due_time, create_time, update_time, revision, returns, timeouts, closing, auto_dispatch)
        SELECT contact.contact_id, contact.contact_id, contact.org_id, contact.campaign_id, contact.customer_key,
            contact.product_id, offer.content, '', 'CREATED', :due, :now, :now, 1, 0, 0, '', :dispatch
        FROM contact JOIN offer USING (offer_id)
        WHERE contact.plan_id = :plan_id AND contact.state = 'HANDED_OVER'
            AND (:channel = '' OR contact.channel = :channel)
        ORDER BY contact.contact_id
        ON CONFLICT DO NOTHING
        RETURNING order_id, org_id
    )
    INSERT INTO order_move (order_id, number, org_id, verb, state, staff_id, actor, note, time)
    SELECT order_id, 1, org_id, 'create', 'CREATED', '', :actor, '', :now FROM made
    """
)

_AGEING = text(
    """
    SELECT staff_id, state, count(*) AS orders, count(*) FILTER (WHERE due_time < :now) AS overdue,
        count(*) FILTER (WHERE update_time > :now - interval '1 day') AS under_day,
        count(*) FILTER (WHERE update_time <= :now - interval '1 day' AND update_time > :now - interval '3 days')
            AS under_three_days,
        count(*) FILTER (WHERE update_time <= :now - interval '3 days') AS older, min(update_time) AS oldest_time
    FROM marketing_order
    WHERE state <> 'CLOSED' AND (:staff_id = '' OR staff_id = :staff_id)
        AND (staff_id, state) > (:after_staff, :after_state)
    GROUP BY staff_id, state
    ORDER BY staff_id, state
    LIMIT :size
    """
)


class Orders:
    """The tables `marketing_order` and `order_move`."""

    async def add(self, tx: Write, order: Order, first: Move, *, dispatch: bool) -> None:
        """Keep a new order; `dispatch` sends it by itself."""
        await tx.execute(insert(_order).values(**_row(order), auto_dispatch=dispatch))
        await self._remember(tx, order, first)

    async def add_of_plan(
        self, tx: Write, plan_id: str, channel: str, *, dispatch: bool, actor: str, now: datetime
    ) -> int:
        """Make orders of a plan's handed-over contacts, of one channel or ("") of all; gives how many are new."""
        params = {"plan_id": plan_id, "channel": channel, "dispatch": dispatch, "actor": actor}
        return await tx.execute(_FROM_PLAN, {**params, "now": now, "due": now + LIMITS[CREATED]})

    async def handed_over(self, read: Read, plan_id: str, channel: str) -> int:
        """How many contacts of a plan were handed over on a channel, or ("") on all."""
        stmt = text(
            "SELECT count(*) FROM contact WHERE plan_id = :plan_id AND state = 'HANDED_OVER' "
            "AND (:channel = '' OR channel = :channel)"
        )
        return int(await read.value(stmt, {"plan_id": plan_id, "channel": channel}))

    async def get(self, read: Read, order_id: str) -> Order | None:
        """One order."""
        row = await read.row(select(*_COLUMNS).where(_order.c.order_id == order_id))
        return None if row is None else _to_order(row)

    async def for_update(self, tx: Write, order_id: str) -> Order | None:
        """One order, held until the transaction ends."""
        row = await tx.row(select(*_COLUMNS).where(_order.c.order_id == order_id).with_for_update())
        return None if row is None else _to_order(row)

    async def overdue(self, tx: Write, now: datetime, size: int) -> list[Order]:
        """Open orders whose time has run out, held; those that somebody else holds are left to him."""
        stmt = select(*_COLUMNS).where(_order.c.state != CLOSED, _order.c.due_time <= now)
        held = stmt.order_by(_order.c.due_time).limit(size).with_for_update(skip_locked=True)
        return [_to_order(row) for row in await tx.rows(held)]

    async def waiting(self, read: Read, now: datetime, size: int) -> list[Order]:
        """Orders that are to be dispatched and are not yet, the oldest first."""
        stmt = select(*_COLUMNS).where(_order.c.state == CREATED, _order.c.auto_dispatch, _order.c.due_time > now)
        return [_to_order(row) for row in await read.rows(stmt.order_by(_order.c.create_time).limit(size))]

    async def leave_undispatched(self, tx: Write, order_ids: Sequence[str]) -> None:
        """Nobody answers for these customers: somebody has to look, or their time runs out."""
        stmt = update(_order).where(_order.c.order_id.in_(order_ids), _order.c.state == CREATED)
        await tx.execute(stmt.values(auto_dispatch=False))

    async def keep(self, tx: Write, order: Order, move: Move) -> None:
        """Keep an order's new state with the step that made it."""
        row = _row(order)
        await tx.execute(update(_order).where(_order.c.order_id == row.pop("order_id")).values(row))
        await self._remember(tx, order, move)

    async def moves(self, read: Read, order_id: str) -> list[Move]:
        """The history of an order from the first step."""
        columns = (_move.c.verb, _move.c.state, _move.c.staff_id, _move.c.actor, _move.c.note, _move.c.time)
        rows = await read.rows(select(*columns).where(_move.c.order_id == order_id).order_by(_move.c.number))
        return [Move(**row._asdict()) for row in rows]

    async def page(
        self,
        read: Read,
        *,
        staff_id: str = "",
        state: str = "",
        campaign_id: str = "",
        customer_key: int = 0,
        overdue_at: datetime | None = None,
        after: tuple[datetime, str] | None = None,
        size: int,
    ) -> list[Order]:
        """Orders, the latest first, those after (create_time, order_id); "" and 0 keep all."""
        stmt = select(*_COLUMNS).order_by(_order.c.create_time.desc(), _order.c.order_id.desc()).limit(size)
        told = {"staff_id": staff_id, "state": state, "campaign_id": campaign_id, "customer_key": customer_key}
        for name, value in told.items():
            stmt = stmt.where(_order.c[name] == value) if value else stmt
        if overdue_at is not None:
            stmt = stmt.where(_order.c.state != CLOSED, _order.c.due_time <= overdue_at)
        if after is not None:
            stmt = stmt.where(tuple_(_order.c.create_time, _order.c.order_id) < tuple_(*after))
        return [_to_order(row) for row in await read.rows(stmt)]

    async def ageing(
        self, read: Read, now: datetime, *, staff_id: str = "", after: tuple[str, str] = ("", ""), size: int
    ) -> list[Ageing]:
        """Open orders by employee and state, those after (staff_id, state)."""
        params = {"now": now, "staff_id": staff_id, "size": size}
        rows = await read.rows(_AGEING, {**params, "after_staff": after[0], "after_state": after[1]})
        return [Ageing(**row._asdict()) for row in rows]

    async def _remember(self, tx: Write, order: Order, move: Move) -> None:
        of = {"order_id": order.order_id, "number": order.revision, "org_id": order.org_id}
        await tx.execute(insert(_move).values(**of, **dataclasses.asdict(move)))


def _row(order: Order) -> dict[str, Any]:
    row = {name: getattr(order, name) for name in _FIELDS}
    row["feedback"] = None if order.feedback is None else dataclasses.asdict(order.feedback)
    return row


def _to_order(row: Row[Any]) -> Order:
    values = row._asdict()
    feedback = values.pop("feedback")
    return Order(**values, feedback=None if feedback is None else Feedback(**feedback))
