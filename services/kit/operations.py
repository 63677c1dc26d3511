"""What goes into the operation log (操作日志): told in the transaction of the effect, handed to admin by a worker.

    await operations.record(tx, "points.PublishRuleSet", rule_set_id, sha256=…)        # usecases.py
    await cursors.follow(db, consumer="operations", watch=operations.watch(db, stop), handle=…, …)   # worker.py

Recording is an outbox fact, so that it is lost exactly when its effect is. Details hold ids and counts, never a number
or a name in clear.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from services.kit import outbox
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
    """Say what the caller in hand did to `target`: `action` is `service.Method`."""
    who = call.current().caller
    body = {
        "caller": who.subject,
        "org_id": who.org,
        "action": action,
        "target": target,
        "refused": refused,
        "detail": {name: str(value) for name, value in detail.items()},
    }
    await outbox.put(tx, KIND, system_ids(), body)


def watch(db: Database, stop: asyncio.Event) -> Callable[[str], AsyncIterator[Followed[Operation]]]:
    """This service's own operations after a cursor."""

    async def follow(cursor: str) -> AsyncIterator[Followed[Operation]]:
        async for item in outbox.follow(db, cursor=cursor, kinds={KIND}, stop=stop):
            if isinstance(item, outbox.Checkpoint):
                yield Followed(item.cursor, None)
            else:
                yield Followed(item.cursor, Operation(item.key, item.time, **item.payload), item.traceparent)

    return follow
