"""A service as a process: aio server, health, reflection, and a stop that loses nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import grpc.aio

from services.kit.config import ServerSettings

Behaviour = TypeVar("Behaviour", bound=Callable[..., Any])
Background = Callable[[asyncio.Event], Awaitable[None]]


def bytes_method(behaviour: Behaviour) -> Behaviour:
    """Mark a servicer method that returns its response already serialised: it goes out as it is."""
    raise NotImplementedError


async def serve(
    *,
    service: str,
    settings: ServerSettings,
    register: Callable[[grpc.aio.Server], None],
    rights: Mapping[str, frozenset[str]],
    background: Sequence[Background] = (),
    ready: Callable[[], Awaitable[object]] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT: NOT_SERVING → drain → `stop` is set → the calls in flight get their grace."""
    raise NotImplementedError
