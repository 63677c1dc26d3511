"""Inbound time: the streams that contact follows, and the jobs that it works on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from services.contact.domain.fact import Matrix
from services.contact.usecases import Auctions, Courier, Decisions, Handovers, Inflow, Orders, Sender, Slots
from services.contact.usecases.inflow import Customers, Fact
from services.contact.usecases.work import ARBITRATE, HANDOVER
from services.kit import cursors, jobs
from services.kit.clock import Clock
from services.kit.cursors import Followed
from services.kit.db import Database
from services.kit.jobs import Handler
from services.kit.server import Background
from services.kit.waiting import pause

_PACE = 2.0
"""Seconds between two looks at what time has done."""

_LESSONS = 600.0
"""Seconds between two looks at what clicks speak for."""


def backgrounds(
    *,
    db: Database,
    owner: str,
    clock: Clock,
    auctions: Auctions,
    handovers: Handovers,
    inflow: Inflow,
    matrices: Callable[[str], AsyncIterator[Followed[Matrix]]],
    deliveries: Callable[[str], AsyncIterator[Followed[Customers]]],
    facts: Callable[[str], AsyncIterator[Followed[Sequence[Fact]]]],
    orders: Orders,
    slots: Slots,
    sender: Sender,
    decisions: Decisions,
    courier: Courier,
) -> list[Background]:
    """Everything that runs beside the RPCs, each until it is told to stop."""
    handlers: Mapping[str, Handler] = {ARBITRATE: auctions.arbitrate, HANDOVER: handovers.hand_over}

    async def follow_matrices(stop: asyncio.Event) -> None:
        await cursors.follow(
            db, consumer="matrices", owner=owner, watch=matrices, handle=auctions.matrix_published, stop=stop
        )

    async def follow_deliveries(stop: asyncio.Event) -> None:
        await cursors.follow(
            db, consumer="deliveries", owner=owner, watch=deliveries, handle=inflow.delivered, stop=stop
        )

    async def follow_facts(stop: asyncio.Event) -> None:
        await cursors.follow(db, consumer="events", owner=owner, watch=facts, handle=inflow.told, stop=stop)

    async def work(stop: asyncio.Event) -> None:
        await jobs.work(db, handlers, owner=owner, clock=clock, stop=stop)

    async def keep_orders_moving(stop: asyncio.Event) -> None:
        while not stop.is_set():
            moved = await orders.sweep() + await orders.dispatch_waiting()
            await pause(0 if moved else _PACE, stop)

    async def send(stop: asyncio.Event) -> None:
        while not stop.is_set():
            done = await sender.queue() + await sender.send()
            await pause(0 if done else _PACE, stop)

    async def learn_from_clicks(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await slots.suggest()
            await pause(_LESSONS, stop)

    async def end_grants(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await decisions.tidy()
            await pause(_PACE, stop)

    async def carry(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await courier.carry()
            await pause(_PACE, stop)

    follows = [follow_matrices, follow_deliveries, follow_facts]
    return [*follows, work, keep_orders_moving, learn_from_clicks, send, end_grants, carry]
