"""One channel to the platform's front door and the typed calls of each service."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar, cast

import grpc

from lifecircle import retry
from lifecircle.admin.v1 import AdminServiceStub
from lifecircle.calls import Calls, Token
from lifecircle.contact.v1 import ContactServiceStub, Tmf681ServiceStub
from lifecircle.ingest.v1 import IngestServiceStub
from lifecircle.points.v1 import PointsServiceStub, Tmf658ServiceStub
from lifecircle.portrait.v1 import PortraitServiceStub
from lifecircle.recommend.v1 import RecommendServiceStub, Tmf680ServiceStub

# Large enough for a page of 1,000 portraits; the platform sends nothing larger in one message.
MESSAGE_BYTES_MAX = 64 * 1024 * 1024

Stub = TypeVar("Stub")


class Lifecircle:
    """The platform, as a caller sees it.

    Arguments: `target` is host:port of the front door; `token` is a JWT, or a function, async or not, that gives one
    (asked before every call, so that a refreshed token is used at once; see `lifecircle.tokens`); `deadline` is the
    seconds that a unary call may take; streams have none. `credentials` opens a TLS channel.
    A refused call raises the class of its reason; see `lifecircle.errors`.

        async with Lifecircle("127.0.0.1:8088", token=token) as platform:
            await platform.portrait.GetPortrait(GetPortraitRequest(customer_key=17))
    """

    def __init__(
        self,
        target: str,
        *,
        token: Token,
        deadline: float = 30.0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        options = [
            ("grpc.service_config", retry.service_config()),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.keepalive_time_ms", 30_000),
        ]
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(target, options=options)
        else:
            self.channel = grpc.aio.secure_channel(target, credentials, options=options)
        self._token, self._deadline = token, deadline
        self.ingest = self._calls("ingest", IngestServiceStub)
        self.points = self._calls("points", PointsServiceStub)
        self.portrait = self._calls("portrait", PortraitServiceStub)
        self.recommend = self._calls("recommend", RecommendServiceStub)
        self.contact = self._calls("contact", ContactServiceStub)
        self.admin = self._calls("admin", AdminServiceStub)
        self.tmf658 = self._calls("tmf658", Tmf658ServiceStub)
        self.tmf680 = self._calls("tmf680", Tmf680ServiceStub)
        self.tmf681 = self._calls("tmf681", Tmf681ServiceStub)

    def _calls(self, service: str, stub: type[Stub]) -> Stub:
        made = stub(self.channel)  # type: ignore[call-arg]
        return cast(Stub, Calls(made, retry.SERVICES[service], self._token, self._deadline))

    async def __aenter__(self) -> Self:
        """Opens nothing: the channel connects with the first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the channel; calls under way are cancelled."""
        await self.channel.close()
