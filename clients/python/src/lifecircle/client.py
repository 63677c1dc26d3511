"""One channel to the platform's front door and a typed stub for each service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import grpc

from lifecircle import retry
from lifecircle.contact.v1 import ContactServiceStub
from lifecircle.ingest.v1 import IngestServiceStub
from lifecircle.points.v1 import PointsServiceStub
from lifecircle.portrait.v1 import PortraitServiceStub
from lifecircle.recommend.v1 import RecommendServiceStub

# Large enough for a page of 1,000 portraits; the platform sends nothing larger in one message.
MESSAGE_BYTES_MAX = 64 * 1024 * 1024


class Lifecircle:
    """The platform, as a caller sees it.

    Arguments: `target` is host:port of the front door; `token` is a JWT, or a function that gives one (called for every
    call, so that a refreshed token is used at once); `deadline` is the time in seconds that a unary call may take when
    it names none. Streams have no default deadline. Refused calls raise grpc.aio.AioRpcError; see `lifecircle.errors`.

        async with Lifecircle("127.0.0.1:8088", token=token) as platform:
            await platform.portrait.GetPortrait(GetPortraitRequest(customer_key=17))
    """

    def __init__(self, target: str, *, token: str | Callable[[], str], deadline: float = 30.0) -> None:
        give = token if callable(token) else lambda: token
        self.channel = grpc.aio.insecure_channel(
            target,
            options=[
                ("grpc.service_config", retry.service_config()),
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.keepalive_time_ms", 30_000),
            ],
            interceptors=[_Unary(give, deadline), _Stream(give)],
        )
        self.ingest = IngestServiceStub(self.channel)
        self.points = PointsServiceStub(self.channel)
        self.portrait = PortraitServiceStub(self.channel)
        self.recommend = RecommendServiceStub(self.channel)
        self.contact = ContactServiceStub(self.channel)

    async def __aenter__(self) -> Self:
        """Opens nothing: the channel connects with the first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the channel; calls under way are cancelled."""
        await self.channel.close()


def _signed(
    details: grpc.aio.ClientCallDetails, token: Callable[[], str], deadline: float | None
) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    metadata.add("authorization", f"Bearer {token()}")
    return grpc.aio.ClientCallDetails(
        method=details.method,
        timeout=details.timeout if details.timeout is not None else deadline,
        metadata=metadata,
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


class _Unary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: Callable[[], str], deadline: float) -> None:
        self._token, self._deadline = token, deadline

    async def intercept_unary_unary(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_signed(details, self._token, self._deadline), request)


class _Stream(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    async def intercept_unary_stream(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_signed(details, self._token, None), request)
