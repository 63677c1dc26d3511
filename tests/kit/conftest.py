"""The echo service: its proto compiled into a temporary folder, and a server with it."""

import importlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import grpc.aio
import pytest
from grpc_tools import protoc

from tests.fixtures.serving import Serve, Served
from tests.kit.echo import RIGHTS, Echo
from tools.genproto import validate_set


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
