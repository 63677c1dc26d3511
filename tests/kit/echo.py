"""The servicer of kit.echo.v1, told in each test what to do."""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Any

from services.kit.server import bytes_method

RIGHTS = {name: frozenset({"talker"}) for name in ("Say", "SayBytes", "Watch", "Gather", "Talk")}

Behaviour = Callable[[str], Awaitable[str]]


async def same(text: str) -> str:
    return text


class Echo:
    """The servicer. `behaviour` makes the answer's text of the request's; `open_streams` counts the calls in Watch."""

    def __init__(self, echo: ModuleType) -> None:
        self.echo = echo
        self.open_streams = 0
        self.behaviour: Behaviour = same

    async def Say(self, request: Any, context: Any) -> Any:
        return self.echo.SayResponse(text=await self.behaviour(request.text))

    @bytes_method
    async def SayBytes(self, request: Any, context: Any) -> Any:
        return self.echo.SayResponse(text=await self.behaviour(request.text)).SerializeToString()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.open_streams += 1
        try:
            for n in range(request.times):
                yield self.echo.SayResponse(text=await self.behaviour(f"{request.text}{n}"))
        finally:
            self.open_streams -= 1

    async def Gather(self, requests: AsyncIterator[Any], context: Any) -> Any:
        return self.echo.SayResponse(text="".join([await self.behaviour(request.text) async for request in requests]))

    async def Talk(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield self.echo.SayResponse(text=await self.behaviour(request.text))

    async def Forgotten(self, request: Any, context: Any) -> Any:
        return self.echo.SayResponse()
