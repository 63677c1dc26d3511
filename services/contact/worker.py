"""Inbound time: the streams that contact follows, and the jobs that it works on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from services.contact.domain.fact import Matrix, Moment
from services.contact.usecases import (
    Auctions,
    Audiences,
    Courier,
    Decisions,
    Handovers,
    Inflow,
    Moments,
    Orders,
    Repricing,
    Sender,
    Slots,
)
from services.contact.usecases.inflow import Customers, Fact
from services.contact.usecases.work import ARBITRATE, HANDOVER, REPRICE
from services.kit import cursors, jobs
from services.kit.clock import Clock
from services.kit.cursors import Followed
from services.kit.db import Database, Write
from services.kit.jobs import Handler
from services.kit.server import Background
from services.kit.waiting import pause

_PACE = 2.0
"""Seconds between two looks at what time has done."""

_MOMENTS = 0.5
"""Seconds between two looks at what happens to customers."""

_LESSONS = 600.0
"""Seconds between two looks at what clicks speak for."""


T = TypeVar("T")
_Handle = Callable[[Write, T], Awaitable[None]]


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
    audiences: Audiences,
    moments: Moments,
    repricing: Repricing,
    runs: Callable[[str], AsyncIterator[Followed[str]]] | None = None,
    matches: Callable[[str], AsyncIterator[Followed[Sequence[Moment]]]] | None = None,
) -> list[Background]:
    """Everything that runs beside the RPCs, each until it is told to stop."""
    handlers: Mapping[str, Handler] = {
        ARBITRATE: auctions.arbitrate,
        HANDOVER: handovers.hand_over,
        REPRICE: repricing.reprice,
    }

    async def matrix_published(tx: Write, matrix: Matrix) -> None:
        await auctions.matrix_published(tx, matrix)
        await repricing.matrix_published(tx, matrix)

    def follow(consumer: str, watch: Callable[[str], AsyncIterator[Followed[T]]], handle: _Handle[T]) -> Background:
        return _following(db, owner, consumer, watch, handle)

    async def work(stop: asyncio.Event) -> None:
        await jobs.work(db, handlers, owner=owner, clock=clock, stop=stop)

    async def keep_orders_moving() -> int:
        return await orders.sweep() + await orders.dispatch_waiting()

    async def learn_from_clicks() -> None:
        await slots.suggest()

    async def carry() -> None:
        await courier.carry()

    async def renew() -> None:
        await audiences.renew()

    async def send() -> int:
        return await sender.queue() + await sender.send()

    found = [
        follow("matrices", matrices, matrix_published),
        follow("deliveries", deliveries, inflow.delivered),
        follow("events", facts, inflow.told),
        work,
        _every(_PACE, keep_orders_moving),
        _every(_LESSONS, learn_from_clicks),
        _every(_PACE, send),
        _every(_PACE, decisions.tidy),
        _every(_PACE, carry),
    ]
    if runs is not None and matches is not None:
        found += [follow("runs", runs, audiences.run_published), follow("moments", matches, moments.told)]
        found += [_every(_PACE, renew), _every(_MOMENTS, moments.act)]
    return found


def _following(
    db: Database, owner: str, consumer: str, watch: Callable[[str], AsyncIterator[Followed[T]]], handle: _Handle[T]
) -> Background:
    async def follow(stop: asyncio.Event) -> None:
        await cursors.follow(db, consumer=consumer, owner=owner, watch=watch, handle=handle, stop=stop)

    follow.__name__ = f"follow_{consumer}"
    return follow


def _every(seconds: float, once: Callable[[], Awaitable[object]]) -> Background:
    """Does something again and again: at once when it says that something was done, else after a while."""

    async def again(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await pause(0 if await once() else seconds, stop)

    again.__name__ = once.__name__
    return again
