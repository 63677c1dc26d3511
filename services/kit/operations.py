"""What goes into the operation log (操作日志): told in the transaction of the effect, handed to admin by a worker.

    await operations.record(tx, "points.PublishRuleSet", rule_set_id, sha256=…)        # usecases.py
    background += [operations.tell(db, owner, admin.record)]                          # app.py; lifecircle.directory

What a person writes under a request_id is told by idempotency.answer(), unless the use case has told it better before;
what a service account writes is the platform's own work, and told where a use case says so. Recording is an outbox
fact, so that it is lost exactly when its effect is. Details hold ids and counts, never a number or a name in clear.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.kit import cursors, outbox
from services.kit.cursors import Followed
from services.kit.db import Database, Write
from services.kit.ids import system_ids
from services.kit.interceptors import call

KIND = "operation"


@dataclass(frozen=True)
class Operation:
    """One line: who did what to what, and what came of it."""

    operation_id: str
    time: datetime
    caller: str
    org_id: str
    action: str
    target: str
    refused: bool
    detail: dict[str, str]


async def record(tx: Write, action: str, target: str, *, refused: bool = False, **detail: object) -> None:
    """Say what the caller in hand did to `target`: `action` is `service.Method`. Without one the service did it."""
    who = call.in_hand()
    body = {
        "caller": who.subject if who else action.partition(".")[0],
        "org_id": who.org if who else "",
        "action": action,
        "target": target,
        "refused": refused,
        "detail": {name: str(value) for name, value in detail.items()},
    }
    await outbox.put(tx, KIND, system_ids(), body)
    tx.acts.add(action)


async def tell_of_person(tx: Write, action: str, target: str, *, request_id: str, sha256: str) -> None:
    """Say what the caller in hand did, when he is a person and this transaction has not said it yet."""
    who = call.in_hand()
    if who is not None and "service" not in who.roles and action not in tx.acts:
        await record(tx, action, target, request_id=request_id, sha256=sha256)


def tell(
    db: Database, owner: str, to: Callable[[Sequence[Operation]], Awaitable[None]], lease_seconds: float = 15
) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Background work: hands this service's operations to admin, each once in effect, in their order."""

    async def tell_operations(stop: asyncio.Event) -> None:
        async def watch(cursor: str) -> AsyncIterator[Followed[Operation]]:
            async for item in outbox.follow(db, cursor=cursor, kinds={KIND}, stop=stop):
                if isinstance(item, outbox.Checkpoint):
                    yield Followed(item.cursor, None)
                else:
                    yield Followed(item.cursor, Operation(item.key, item.time, **item.payload), item.traceparent)

        async def handle(_: Write, operation: Operation) -> None:
            await to([operation])

        await cursors.follow(
            db, consumer="operations", owner=owner, watch=watch, handle=handle, stop=stop, lease_seconds=lease_seconds
        )

    return tell_operations
