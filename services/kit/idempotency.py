"""The promise of `request_id`: the same id and body give the same answer, and the effect happens once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from services.kit.db import Write


@dataclass(frozen=True)
class RequestKey:
    """Who asked for what: the id is the caller's own, so caller and method are part of the key."""

    caller: str
    method: str
    request_id: str
    fingerprint: bytes


def key_of(message: Message, context: "grpc.aio.ServicerContext[Any, Any]") -> RequestKey:
    """Key of a request with a `request_id`; for api.py. Caller and method are those of the call in hand."""
    raise NotImplementedError


async def remember(tx: Write, key: RequestKey) -> Mapping[str, Any] | None:
    """None the first time: go on. A mapping: the answer of the earlier success. Raises request_id_reused."""
    raise NotImplementedError


async def answer(tx: Write, key: RequestKey, value: Mapping[str, Any]) -> None:
    """Keep the answer (JSON values), in the same transaction as the effect."""
    raise NotImplementedError
