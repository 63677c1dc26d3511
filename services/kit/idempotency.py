"""The promise of `request_id`: the same id and body give the same answer, and the effect happens once.

    # api.py                                            # usecases.py
    key = idempotency.key_of(request, context)          async with self.db.begin() as tx:
                                                            earlier = await idempotency.remember(tx, key)
                                                            if earlier is not None:
                                                                return Posted(**earlier)
                                                            …
                                                            await idempotency.answer(tx, key, {"entry_id": entry_id})
                                                            await tx.commit()

Two calls with one id at the same time: the second waits in remember() until the first has committed (then it gets that
answer) or rolled back (then it goes on itself). A refusal rolls back, so it is not remembered and may be tried again.
What a person did under a request_id is in the operation log (kit/operations.py) with it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import grpc.aio
from google.protobuf.message import Message
from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from services.kit import operations
from services.kit.db import Write
from services.kit.errors import invalid_field, request_id_reused
from services.kit.interceptors import call
from services.kit.tables import request as table

_NO_TARGETS = {"request_id", "org_id", "parent_org_id"}


@dataclass(frozen=True)
class RequestKey:
    """Who asked for what: the id is the caller's own, so caller and method are part of the key."""

    caller: str
    method: str
    request_id: str
    fingerprint: bytes
    target: str = field(default="", compare=False)

    @property
    def action(self) -> str:
        """What is done, as permissions and the operation log name it: `service.Method`."""
        service, _, name = self.method.rpartition("/")
        return f"{service.lstrip('/').removeprefix('lifecircle.').partition('.')[0]}.{name}"


def key_of(message: Message, context: "grpc.aio.ServicerContext[Any, Any] | None" = None) -> RequestKey:
    """Key of a request with a `request_id`; for api.py. Caller and method are those of the call in hand.

    `context` is not looked at: the call in hand is the kit's own. Raises invalid_field when the id is empty.
    """
    request_id = getattr(message, "request_id", "")
    if not request_id:
        raise invalid_field([("request_id", "must not be empty")])
    now = call.current()
    fingerprint = hashlib.sha256(message.SerializeToString(deterministic=True)).digest()
    return RequestKey(now.caller.subject, now.method.path, request_id, fingerprint, _target(message))


async def remember(tx: Write, key: RequestKey) -> Mapping[str, Any] | None:
    """None the first time: go on. A mapping: the answer of the earlier success. Raises request_id_reused."""
    row = {name: getattr(key, name) for name in ("caller", "method", "request_id", "fingerprint")}
    if await tx.execute(insert(table).values(row).on_conflict_do_nothing()):
        return None
    earlier = await tx.row(select(table.c.fingerprint, table.c.answer).where(_is(key)))
    if earlier is None or earlier.fingerprint != key.fingerprint:
        raise request_id_reused(key.request_id)
    assert earlier.answer is not None, f"{key.method} committed its effect without answer()"
    return dict(earlier.answer)


async def answer(tx: Write, key: RequestKey, value: Mapping[str, Any]) -> None:
    """Keep the answer (JSON values), in the same transaction as the effect, and tell the operation log."""
    stored = await tx.execute(update(table).where(_is(key)).values(answer=dict(value)))
    assert stored == 1, "answer() belongs into the transaction that called remember()"
    made = (str(each) for name, each in value.items() if name.endswith("_id"))
    await operations.tell_of_person(
        tx, key.action, key.target or next(made, ""), request_id=key.request_id, sha256=key.fingerprint.hex()
    )


async def forget(tx: Write, before: datetime) -> int:
    """Drop the answers older than `before`; gives how many. A request repeated after that is a new one."""
    return await tx.execute(delete(table).where(table.c.create_time < before))


def _target(message: Message) -> str:
    """The first id that the request names, in its own fields or in those of what it holds; "" when it names none."""
    held = []
    for described, value in message.ListFields():
        if described.name.endswith("_id") and described.name not in _NO_TARGETS and isinstance(value, str):
            return value
        if isinstance(value, Message):
            held.append(value)
    return next((found for each in held if (found := _target(each))), "")


def _is(key: RequestKey) -> ColumnElement[bool]:
    return and_(table.c.caller == key.caller, table.c.method == key.method, table.c.request_id == key.request_id)
