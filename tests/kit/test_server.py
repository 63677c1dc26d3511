"""A service as a process: what its health says, how it stops, and what happens to work that dies."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from types import ModuleType
from typing import Any, cast

import grpc
import grpc.aio
import pytest
import structlog
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.fixtures.serving import Serve, Served
from tests.kit.echo import RIGHTS, Echo

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
TALKER: dict[str, Any] = {"roles": {"talker"}}


async def health(served: Served, name: str = "") -> Any:
    async with grpc.aio.insecure_channel(served.target) as channel:
        return (await cast(Any, HealthStub(channel)).Check(HealthCheckRequest(service=name))).status


async def becomes(served: Served, name: str, status: Any, seconds: float = 8) -> None:
    async with asyncio.timeout(seconds):
        while await health(served, name) != status:
            await asyncio.sleep(0.02)


@pytest.fixture
def register(echo: ModuleType, servicer: Echo) -> Callable[[grpc.aio.Server], None]:
    return lambda server: echo.add_EchoServiceServicer_to_server(servicer, server)


async def test_a_server_says_that_it_serves_and_for_which_services(served: Served) -> None:
    assert [await health(served, name) for name in ("", "kit.echo.v1.EchoService", "live")] == [SERVING] * 3
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await health(served, "kit.echo.v1.Unknown")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_service_that_is_not_ready_says_so_until_it_is(
    serving: Serve, register: Callable[[grpc.aio.Server], None]
) -> None:
    database_is_there = False

    async def ready() -> None:
        if not database_is_there:
            raise ConnectionError

    async with serving("kit", register=register, rights=RIGHTS, ready=ready) as served:
        assert await health(served) == NOT_SERVING
        assert await health(served, "live") == SERVING
        database_is_there = True
        await becomes(served, "", SERVING)
        await becomes(served, "kit.echo.v1.EchoService", SERVING)
        database_is_there = False
        await becomes(served, "", NOT_SERVING)


async def test_background_work_that_dies_is_restarted_and_health_says_that_it_died(serving: Serve) -> None:
    began: list[float] = []

    async def frail(stop: asyncio.Event) -> None:
        began.append(time.monotonic())
        if len(began) < 3:
            raise KeyError("gone")
        await stop.wait()

    with structlog.testing.capture_logs() as logged:
        async with serving("kit", register=None, rights={}, background=[frail]) as served:
            await becomes(served, "worker", NOT_SERVING)
            assert await health(served) == SERVING
            async with asyncio.timeout(60):
                while len(began) < 3:
                    await asyncio.sleep(0.02)
    died = [line for line in logged if line["event"] == "background_died"]
    assert [line["failures"] for line in died] == [1, 2]
    assert isinstance(died[0]["exc_info"], KeyError)
    assert "frail" in died[0]["work"]


async def test_background_work_that_ends_too_early_counts_as_dead(serving: Serve) -> None:
    async def lazy(stop: asyncio.Event) -> None:
        return

    async with serving("kit", register=None, rights={}, background=[lazy]) as served:
        await becomes(served, "worker", NOT_SERVING)


async def test_background_work_is_told_to_stop_and_waited_for(serving: Serve) -> None:
    ended = []

    async def work(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.sleep(0.1)
        ended.append(True)

    async with serving("kit", register=None, rights={}, background=[work]) as served:
        assert await health(served, "worker") == SERVING
    assert ended == [True]


async def test_background_work_that_does_not_stop_is_cut_off_after_the_grace(serving: Serve) -> None:
    async def deaf(stop: asyncio.Event) -> None:
        await asyncio.sleep(60)

    began = time.monotonic()
    async with serving("kit", register=None, rights={}, background=[deaf], grace_seconds=timedelta(seconds=0.2)):
        pass
    assert time.monotonic() - began < 30


async def test_a_stopping_server_says_so_first_serves_on_and_lets_calls_in_flight_finish(
    serving: Serve, register: Callable[[grpc.aio.Server], None], echo: ModuleType, servicer: Echo
) -> None:
    in_hand = asyncio.Event()

    async def slow(text: str) -> str:
        in_hand.set()
        await asyncio.sleep(0.6 if text == "slow" else 0)
        return text

    servicer.behaviour = slow
    running = serving("kit", register=register, rights=RIGHTS, drain_seconds=timedelta(seconds=0.3))
    served = await running.__aenter__()
    async with grpc.aio.insecure_channel(served.target) as channel:
        stub = echo.EchoServiceStub(channel)
        metadata = (("authorization", f"Bearer {served.keys.token(**TALKER)}"),)
        flight = asyncio.ensure_future(stub.Say(echo.SayRequest(text="slow"), metadata=metadata))
        await in_hand.wait()
        stopping = asyncio.create_task(running.__aexit__(None, None, None))
        await becomes(served, "", NOT_SERVING, seconds=0.3)
        assert (await stub.Say(echo.SayRequest(text="late"), metadata=metadata)).text == "late"
        assert (await flight).text == "slow"
        await stopping


async def test_more_calls_at_once_than_allowed_are_refused(
    serving: Serve, register: Callable[[grpc.aio.Server], None], echo: ModuleType, servicer: Echo
) -> None:
    async def slow(text: str) -> str:
        await asyncio.sleep(0.3)
        return text

    servicer.behaviour = slow
    async with serving("kit", register=register, rights=RIGHTS, concurrent_calls=3) as served:
        stub = echo.EchoServiceStub(served.channel(**TALKER))
        said = await asyncio.gather(*(stub.Say(echo.SayRequest(text="x")) for _ in range(8)), return_exceptions=True)
    codes = [each.code().name for each in said if isinstance(each, grpc.aio.AioRpcError)]
    assert codes == ["RESOURCE_EXHAUSTED"] * 5


async def test_two_processes_may_share_a_port_only_when_told_to(
    serving: Serve, register: Callable[[grpc.aio.Server], None]
) -> None:
    async with serving("kit", register=register, rights=RIGHTS, reuse_port=True) as one:
        async with serving("kit", register=register, rights=RIGHTS, reuse_port=True, listen=one.target) as two:
            assert one.target == two.target
        with pytest.raises(RuntimeError, match="bind"):
            async with serving("kit", register=register, rights=RIGHTS, listen=one.target):
                pass


async def test_a_servicer_may_also_write_its_stream_by_hand(serving: Serve, echo: ModuleType, served: Served) -> None:
    class ByHand(Echo):
        async def Watch(self, request: Any, context: Any) -> Any:  # type: ignore[override]
            for n in range(request.times):
                await context.write(self.echo.SayResponse(text=str(n)))

    def register(server: grpc.aio.Server) -> None:
        echo.add_EchoServiceServicer_to_server(ByHand(echo), server)

    async with serving("kit", register=register, rights=RIGHTS) as other:
        call: AsyncIterator[Any] = echo.EchoServiceStub(other.channel(**TALKER)).Watch(echo.SayRequest(times=3))
        assert [response.text async for response in call] == ["0", "1", "2"]
