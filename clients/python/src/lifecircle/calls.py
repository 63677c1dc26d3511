"""The calls of one service: signed, with a deadline, and refused by classes.

`Calls` stands where a generated stub stands and has the same methods; only what is raised is more telling.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from lifecircle.errors import refused

Token = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A JWT, or what gives one, at once or after waiting; asked before every call, so that a refreshed one is used."""


class Calls:
    """Every method of a service, over its generated stub."""

    def __init__(self, stub: Any, described: ServiceDescriptor, token: Token, deadline: float) -> None:
        self._token = token
        for method in described.methods:
            call = getattr(stub, method.name)
            streams = method.client_streaming, method.server_streaming
            shape = {(False, False): _unary, (True, False): _unary, (False, True): _stream, (True, True): _stream}
            setattr(self, method.name, shape[streams](call, self._metadata, None if any(streams) else deadline))

    async def _metadata(self, given: Any) -> list[tuple[str, str | bytes]]:
        token = self._token if isinstance(self._token, str) else self._token()
        shown = await token if inspect.isawaitable(token) else token
        return [*(given or ()), ("authorization", f"Bearer {shown}")]


Metadata = Callable[[Any], Awaitable[list[tuple[str, str | bytes]]]]


def _unary(call: Callable[..., Any], metadata: Metadata, deadline: float | None) -> Callable[..., Awaitable[Any]]:
    async def unary(request: Any, *, timeout: float | None = None, **rest: Any) -> Any:  # noqa: ASYNC109 - gRPC's name
        given = rest.pop("metadata", None)
        try:
            return await call(
                request, timeout=deadline if timeout is None else timeout, metadata=await metadata(given), **rest
            )
        except grpc.aio.AioRpcError as error:
            raise refused(error) from None

    return unary


def _stream(call: Callable[..., Any], metadata: Metadata, deadline: float | None) -> Callable[..., AsyncIterator[Any]]:
    async def stream(request: Any, **rest: Any) -> AsyncIterator[Any]:
        given, timeout = rest.pop("metadata", None), rest.pop("timeout", None)
        answers = call(request, timeout=timeout or deadline, metadata=await metadata(given), **rest)
        try:
            async for answer in answers:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise refused(error) from None
        finally:
            answers.cancel()

    return stream
