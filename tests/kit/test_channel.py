"""Outbound calls: deadlines that only shrink, retries that are safe, and the trace and token on every call."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import grpc.aio
import pytest

from services.kit import telemetry
from services.kit.channel import open_channel, token_file
from services.kit.interceptors import current
from tests.fixtures.serving import Keys, Serve, Served, refused
from tests.kit.echo import RIGHTS, Echo


@pytest.fixture
async def relay(serving: Serve, echo: ModuleType, served: Served, keys: Keys) -> AsyncIterator[tuple[Served, Echo]]:
    """A second service, each of whose answers is asked of the first one: caller → relay → served."""
    token = keys.token(roles={"talker"}, subject="relay")
    channel = open_channel(served.target, token=lambda: token)
    peer = echo.EchoServiceStub(channel)
    servicer = Echo(echo)

    async def ask(text: str) -> str:
        return str((await peer.Say(echo.SayRequest(text=text))).text)

    servicer.behaviour = ask

    def register(server: grpc.aio.Server) -> None:
        echo.add_EchoServiceServicer_to_server(servicer, server)

    async with serving("relay", register=register, rights=RIGHTS) as running:
        yield running, servicer
        await channel.close()


async def test_the_deadline_of_the_caller_reaches_the_peer_of_the_peer(
    relay: tuple[Served, Echo], servicer: Echo, echo: ModuleType
) -> None:
    async def left(_: str) -> str:
        return str(current().context.time_remaining())

    servicer.behaviour = left
    stub = echo.EchoServiceStub(relay[0].channel(roles={"talker"}))
    short = float((await stub.Say(echo.SayRequest(), timeout=2)).text)
    long = float((await stub.Say(echo.SayRequest(), timeout=60)).text)
    assert 1 < short < 2.1
    assert 4 < long < 5.1, "the default deadline of the channel"


async def test_nothing_is_asked_of_a_peer_once_the_callers_deadline_is_over(
    relay: tuple[Served, Echo], echo: ModuleType, servicer: Echo
) -> None:
    asked = asyncio.Event()

    async def note(text: str) -> str:
        asked.set()
        return text

    servicer.behaviour = note
    call = relay[1].behaviour

    async def late(text: str) -> str:
        now = current()
        assert now.expires is not None
        now.expires = time.monotonic() - 1  # as if the work before the call had used the time up
        return await call(text)

    relay[1].behaviour = late
    stub = echo.EchoServiceStub(relay[0].channel(roles={"talker"}))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Say(echo.SayRequest())
    assert refused(error.value)[:2] == ("DEADLINE_EXCEEDED", "DEADLINE_EXHAUSTED")
    assert not asked.is_set()


async def test_a_stream_has_no_deadline_of_its_own(served: Served, servicer: Echo, echo: ModuleType) -> None:
    async def left(_: str) -> str:
        return str(current().context.time_remaining())

    servicer.behaviour = left
    stub = echo.EchoServiceStub(served.channel(roles={"talker"}))
    assert [response.text async for response in stub.Watch(echo.SayRequest(times=1))] == ["None"]


async def test_a_peer_knows_which_service_calls_and_in_which_trace(
    relay: tuple[Served, Echo], servicer: Echo, echo: ModuleType
) -> None:
    async def look(_: str) -> str:
        return f"{current().caller.subject} {telemetry.traceparent()[3:35]}"

    servicer.behaviour = look
    stub = echo.EchoServiceStub(relay[0].channel(roles={"talker"}))
    with telemetry.span("asking", parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        answer = await stub.Say(echo.SayRequest())
    assert answer.text == "relay 0af7651916cd43dd8448eb211c80319c"


async def test_a_peer_that_is_not_there_yet_is_asked_again(
    serving: Serve, echo: ModuleType, servicer: Echo, keys: Keys, served: Served
) -> None:
    """As when a service is restarted: the channel has seen it go, and a call comes before it is back."""

    def register(server: grpc.aio.Server) -> None:
        echo.add_EchoServiceServicer_to_server(servicer, server)

    token = keys.token(roles={"talker"})
    async with serving("kit", register=register, rights=RIGHTS, grace_seconds=timedelta(0)) as first:
        target = first.target
    channel = open_channel(target, token=lambda: token)
    asking = asyncio.ensure_future(echo.EchoServiceStub(channel).Say(echo.SayRequest(text="again")))
    await asyncio.sleep(0.05)
    assert not asking.done()
    async with serving("kit", register=register, rights=RIGHTS, listen=target):
        assert (await asking).text == "again"
        await channel.close()


async def test_a_token_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    token = token_file(path)
    assert token() == "one"
    path.write_text("two\n")
    await asyncio.sleep(1.1)
    assert token() == "two"
    path.unlink()
    await asyncio.sleep(1.1)
    assert token() == "two", "what was good last stays in force"


async def test_a_refusal_is_not_tried_again(served: Served, echo: ModuleType, servicer: Echo) -> None:
    asked: list[Any] = []

    async def count(text: str) -> str:
        asked.append(text)
        raise KeyError

    servicer.behaviour = count
    with pytest.raises(grpc.aio.AioRpcError):
        await echo.EchoServiceStub(served.channel(roles={"talker"})).Say(echo.SayRequest())
    assert len(asked) == 1
