"""The echo service: its proto compiled into a temporary folder, and its servicer, told in each test what to do."""

import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc.aio
import pytest
from grpc_tools import protoc

from services.kit.server import bytes_method
from tests.fixtures.serving import Serve, Served
from tools.genproto import validate_set

RIGHTS = {name: frozenset({"talker"}) for name in ("Say", "SayBytes", "Watch", "Gather", "Talk")}

Behaviour = Callable[[str], Awaitable[str]]


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The stubs and the messages of kit.echo.v1, as one module."""
    folder = tmp_path_factory.mktemp("echo")
    arguments = [
        "protoc",
        f"--descriptor_set_in={validate_set(folder)}",
        f"-I{Path(__file__).parent}",
        f"--python_out={folder}",
        f"--grpc_python_out={folder}",
        "echo.proto",
    ]
    assert protoc.main(arguments) == 0
    sys.path.insert(0, str(folder))
    messages, stubs = importlib.import_module("echo_pb2"), importlib.import_module("echo_pb2_grpc")
    sys.path.remove(str(folder))
    for name in ("SayRequest", "SayResponse"):
        setattr(stubs, name, getattr(messages, name))
    return stubs


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


@pytest.fixture
def servicer(echo: ModuleType) -> Echo:
    """The servicer behind `served`."""
    return Echo(echo)


@pytest.fixture
async def served(serving: Serve, echo: ModuleType, servicer: Echo) -> AsyncIterator[Served]:
    """A server with the echo service."""

    def register(server: grpc.aio.Server) -> None:
        echo.add_EchoServiceServicer_to_server(servicer, server)

    async with serving("kit", register=register, rights=RIGHTS) as served:
        yield served
