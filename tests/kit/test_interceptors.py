"""The chain around every RPC: who is let in, what is checked, and how a "no" looks from outside."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import grpc
import grpc.aio
import pytest
import structlog
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from sqlalchemy import text

from services.kit import domains, interceptors, outbox, telemetry
from services.kit.db import Database
from services.kit.domains import Directory, Known, Principal
from services.kit.errors import Kind, Refusal
from services.kit.interceptors import ANYBODY
from tests.fixtures.serving import Keys, Serve, Served, details, refused, refused_fields
from tests.kit.echo import RIGHTS, Echo

TALKER: dict[str, Any] = {"roles": {"talker"}}


@pytest.fixture
def stub(served: Served, echo: ModuleType) -> Any:
    """The echo service as a caller with the right sees it."""
    return echo.EchoServiceStub(served.channel(**TALKER))


async def shapes(stub: Any, request: Any) -> AsyncIterator[tuple[str, Callable[[], Any]]]:
    """One call of each shape with the same request."""

    async def requests() -> AsyncIterator[Any]:
        yield request

    async def drain(call: Any) -> str:
        return "".join([response.text async for response in call])

    yield "Say", lambda: stub.Say(request)
    yield "SayBytes", lambda: stub.SayBytes(request)
    yield "Watch", lambda: drain(stub.Watch(request))
    yield "Gather", lambda: stub.Gather(requests())
    yield "Talk", lambda: drain(stub.Talk(requests()))


async def refusals(stub: Any, request: Any) -> dict[str, grpc.aio.AioRpcError]:
    """How each shape refuses the request."""
    found = {}
    async for name, call in shapes(stub, request):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call()
        found[name] = error.value
    return found


async def test_a_stranger_is_refused_by_every_shape(served: Served, echo: ModuleType) -> None:
    stub = echo.EchoServiceStub(served.channel())
    for error in (await refusals(stub, echo.SayRequest(text="hello", times=1))).values():
        assert refused(error) == ("UNAUTHENTICATED", "STRANGER", {"why": "no bearer token"})


async def test_a_caller_with_the_role_is_served_by_every_shape(stub: Any, echo: ModuleType) -> None:
    request = echo.SayRequest(text="hello", times=1)
    said = {}
    async for name, call in shapes(stub, request):
        answer = await call()
        said[name] = answer if isinstance(answer, str) else answer.text
    assert said == {"Say": "hello", "SayBytes": "hello", "Watch": "hello0", "Gather": "hello", "Talk": "hello"}


async def test_a_caller_without_the_role_is_refused_by_every_shape(served: Served, echo: ModuleType) -> None:
    stub = echo.EchoServiceStub(served.channel(roles={"viewer", "guest"}))
    for name, error in (await refusals(stub, echo.SayRequest(text="x" * 99))).items():
        assert refused(error) == ("PERMISSION_DENIED", "NOT_ALLOWED", {"method": name, "roles": "guest,viewer"})


async def test_a_method_that_no_right_speaks_of_is_open_to_nobody(stub: Any, echo: ModuleType) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Forgotten(echo.SayRequest())
    assert refused(error.value)[:2] == ("PERMISSION_DENIED", "NOT_ALLOWED")


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "somebody-else"},
        {"aud": "another-platform"},
        {"seconds": -1},
        {"exp": None},
        {"sub": None},
        {"sub": ""},
        {"iss": None},
        {"aud": None},
        {"roles": ["talker"], "nbf": 4_000_000_000},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_or_missing_claim_is_a_strangers(
    served: Served, echo: ModuleType, claims: dict[str, Any]
) -> None:
    stub = echo.EchoServiceStub(served.channel(**claims))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Say(echo.SayRequest())
    assert refused(error.value)[:2] == ("UNAUTHENTICATED", "STRANGER")


async def test_a_token_signed_by_another_key_or_by_none_is_a_strangers(
    served: Served, echo: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    others = Keys(tmp_path_factory.mktemp("others") / "jwks.json").token(**TALKER)
    ours = served.keys.token(**TALKER)
    head, body, signature = ours.split(".")
    unsigned = f"eyJhbGciOiJub25lIn0.{body}."
    for token in (others, f"{head}.{body}.", f"{head}.{body}.{signature[:-4]}AAAA", unsigned, "x", "x" * 4_000):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await echo.EchoServiceStub(served.channel(token=token)).Say(echo.SayRequest())
        assert refused(error.value)[:2] == ("UNAUTHENTICATED", "STRANGER"), token


async def test_a_token_that_was_good_is_refused_once_it_has_run_out(served: Served, echo: ModuleType) -> None:
    stub = echo.EchoServiceStub(served.channel(roles={"talker"}, exp=int(time.time()) + 1))
    await stub.Say(echo.SayRequest())
    await asyncio.sleep(1.1)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Say(echo.SayRequest())
    assert refused(error.value) == ("UNAUTHENTICATED", "STRANGER", {"why": "the token has run out"})


async def test_a_directory_that_changes_is_in_force_at_the_next_call(echo: ModuleType, serving: Serve) -> None:
    def register(server: grpc.aio.Server) -> None:
        echo.add_EchoServiceServicer_to_server(Echo(echo), server)

    known = Known()
    async with serving("kit", register=register, rights=RIGHTS, known=known) as served:
        stub = echo.EchoServiceStub(served.channel(roles={"guest"}, subject="anna"))
        seen = []
        for principal in (None, Principal("", frozenset({"talker"})), Principal("", frozenset({"talker"}), True), None):
            known.directory = Directory(principals={"anna": principal} if principal is not None else {})
            try:
                await stub.Say(echo.SayRequest())
                seen.append("OK")
            except grpc.aio.AioRpcError as error:
                seen.append(error.code().name)
    assert seen == ["PERMISSION_DENIED", "OK", "UNAUTHENTICATED", "PERMISSION_DENIED"]


async def test_a_method_that_is_open_to_strangers_works_for_the_service_itself(
    echo: ModuleType, serving: Serve, servicer: Echo
) -> None:
    def register(server: grpc.aio.Server) -> None:
        echo.add_EchoServiceServicer_to_server(servicer, server)

    async def whose(_: str) -> str:
        return f"{domains.current()} {sorted(interceptors.caller().domain or ())}"

    servicer.behaviour = whose
    async with serving("kit", register=register, rights={"Say": ANYBODY}) as served:
        stub = echo.EchoServiceStub(served.channel())
        assert [(await stub.Say(echo.SayRequest())).text for _ in range(2)] == ["None []"] * 2


async def test_a_token_is_good_for_one_method_and_not_for_another(served: Served, echo: ModuleType) -> None:
    stub = echo.EchoServiceStub(served.channel(**TALKER))
    for _ in range(2):
        await stub.Say(echo.SayRequest())
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Forgotten(echo.SayRequest())
        assert refused(error.value)[1] == "NOT_ALLOWED"


async def test_keys_are_read_again_when_their_file_changes(echo: ModuleType, serving: Serve, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "jwks.json")

    def register(server: grpc.aio.Server) -> None:
        echo.add_EchoServiceServicer_to_server(Echo(echo), server)

    async with serving("kit", register=register, rights=RIGHTS, keys=keys) as served:
        before = echo.EchoServiceStub(served.channel(**TALKER))
        await before.Say(echo.SayRequest())
        keys.rotate()
        await asyncio.sleep(1.1)  # the file is looked at once a second
        after = echo.EchoServiceStub(served.channel(**TALKER))
        await after.Say(echo.SayRequest())
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await before.Say(echo.SayRequest())
        assert refused(error.value)[1] == "STRANGER"
        keys.path.write_text("{ broken")  # the last good keys stay in force
        await asyncio.sleep(1.1)
        await after.Say(echo.SayRequest())


async def test_the_handler_knows_who_calls(stub: Any, served: Served, echo: ModuleType, servicer: Echo) -> None:
    async def who(_: str) -> str:
        caller = interceptors.caller()
        return f"{caller.subject} {sorted(caller.roles)} {caller.org}"

    servicer.behaviour = who
    stub = echo.EchoServiceStub(served.channel(roles={"talker", "staff"}, org="D-7", subject="li.lei"))
    assert (await stub.Say(echo.SayRequest())).text == "li.lei ['staff', 'talker'] D-7"


async def test_a_call_stands_in_one_trace_whoever_asks_and_another_call_in_another(
    stub: Any, echo: ModuleType, servicer: Echo
) -> None:
    async def where(_: str) -> str:
        asked = await asyncio.gather(*(asyncio.to_thread(telemetry.traceparent) for _ in range(3)))
        with telemetry.span("inside"):
            return " ".join({*asked, telemetry.traceparent()})

    servicer.behaviour = where
    first, second = [(await stub.Say(echo.SayRequest())).text for _ in range(2)]
    assert telemetry.parse(first)
    assert telemetry.parse(second)
    assert first != second


async def test_a_request_that_breaks_a_rule_is_refused_by_every_shape_and_the_fields_are_named(
    stub: Any, echo: ModuleType
) -> None:
    request = echo.SayRequest(text="x" * 31, times=-1)
    request.parts.add(name="good")
    request.parts.add(name="")
    request.named["left"].name = ""
    for error in (await refusals(stub, request)).values():
        code, reason, metadata = refused(error)
        assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert sorted(refused_fields(error)) == ['named["left"].name', "parts[1].name", "text", "times"]
        assert sorted(metadata["fields"].split(",")) == sorted(refused_fields(error))


async def test_a_stream_is_refused_at_the_request_that_breaks_a_rule(stub: Any, echo: ModuleType) -> None:
    talk = stub.Talk()
    await talk.write(echo.SayRequest(text="good"))
    assert (await talk.read()).text == "good"
    await talk.write(echo.SayRequest(text="x" * 31))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await talk.read()
    assert refused_fields(error.value) == ["text"]


async def test_a_refusal_of_the_service_becomes_its_status_from_every_shape(
    stub: Any, echo: ModuleType, servicer: Echo
) -> None:
    async def refuse(_: str) -> str:
        fields = [("text", "is loud")]
        raise Refusal(Kind.FAILED_PRECONDITION, "LOUD", "级 12 is too loud", metadata={"level": "12"}, fields=fields)

    servicer.behaviour = refuse
    for error in (await refusals(stub, echo.SayRequest(times=1))).values():
        assert refused(error) == ("FAILED_PRECONDITION", "LOUD", {"level": "12"})
        assert error.details() == "级 12 is too loud"
        assert refused_fields(error) == ["text"]


async def test_the_error_info_names_the_service_as_its_domain(stub: Any, echo: ModuleType, served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Forgotten(echo.SayRequest())
    infos = details(error.value, ErrorInfo)
    assert [info.domain for info in infos] == ["kit.lifecircle"]


async def test_a_fault_is_an_incident_whose_stack_is_in_the_log_only(
    stub: Any, echo: ModuleType, servicer: Echo
) -> None:
    async def fail(_: str) -> str:
        raise KeyError("the secret of 13812345678")

    servicer.behaviour = fail
    with structlog.testing.capture_logs() as logged:
        found = await refusals(stub, echo.SayRequest(times=1))
    incidents = {line["incident"]: line["exc_info"] for line in logged if line["event"] == "incident"}
    assert len(incidents) == 5
    for error in found.values():
        [about] = details(error, RequestInfo)
        assert error.code() is grpc.StatusCode.INTERNAL
        assert error.details() == f"internal error, incident {about.request_id}"
        assert "secret" not in str(error.trailing_metadata())
        assert isinstance(incidents[about.request_id], KeyError)


async def test_a_text_that_postgres_cannot_hold_is_the_callers_fault_and_no_incident(
    stub: Any, echo: ModuleType, servicer: Echo, db: Database
) -> None:
    async def store(_: str) -> str:
        async with db.begin() as tx:
            await outbox.put(tx, "kind", "key\0", {})
        return ""

    async def store_json(_: str) -> str:
        async with db.begin() as tx:
            await outbox.put(tx, "kind", "key", {"text": "a\0b"})
        return ""

    for behaviour in (store, store_json):
        servicer.behaviour = behaviour
        error = (await refusals(stub, echo.SayRequest(times=1)))["Say"]
        assert refused(error)[:2] == ("INVALID_ARGUMENT", "INVALID_FIELD")


async def test_a_database_that_went_away_in_mid_call_is_unavailable_and_no_incident(
    stub: Any, echo: ModuleType, servicer: Echo, db: Database
) -> None:
    async def die(_: str) -> str:
        async with db.begin() as tx:
            await tx.value(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return ""

    async def read_a_file(_: str) -> str:
        return Path("/nowhere").read_text()

    servicer.behaviour = die
    found = await refusals(stub, echo.SayRequest(times=1))
    assert {refused(error)[:2] for error in found.values()} == {("UNAVAILABLE", "STORE_UNAVAILABLE")}
    servicer.behaviour = read_a_file
    error = (await refusals(stub, echo.SayRequest(times=1)))["Say"]
    assert error.code() is grpc.StatusCode.INTERNAL  # a missing file is no lost connection


async def test_what_looks_like_a_mobile_number_does_not_leave_in_a_refusal(
    stub: Any, echo: ModuleType, servicer: Echo
) -> None:
    async def refuse(_: str) -> str:
        raise Refusal(Kind.NOT_FOUND, "NOBODY", "nobody has 13812345678", metadata={"number": "13812345678"})

    servicer.behaviour = refuse
    error = (await refusals(stub, echo.SayRequest(times=1)))["Say"]
    assert refused(error) == ("NOT_FOUND", "NOBODY", {"number": "1**********"})
    assert error.details() == "nobody has 1**********"


async def test_a_refusal_with_very_many_fields_still_fits_into_a_header(
    stub: Any, echo: ModuleType, servicer: Echo
) -> None:
    async def refuse(_: str) -> str:
        fields = [(f"rows[{n}].value", "must be positive " * 30) for n in range(1000)]
        raise Refusal(Kind.INVALID_ARGUMENT, "BAD_ROWS", "x" * 100_000, metadata={"all": "y" * 100_000}, fields=fields)

    servicer.behaviour = refuse
    error = (await refusals(stub, echo.SayRequest(times=1)))["Say"]
    assert refused(error)[:2] == ("INVALID_ARGUMENT", "BAD_ROWS")
    assert len(refused_fields(error)) == 16


async def test_a_stream_ends_in_its_handler_when_its_caller_goes_away(
    stub: Any, echo: ModuleType, servicer: Echo
) -> None:
    call = stub.Watch(echo.SayRequest(text="x", times=100_000))
    await call.read()
    assert servicer.open_streams == 1
    call.cancel()
    async with asyncio.timeout(60):
        while servicer.open_streams:
            await asyncio.sleep(0.01)


async def test_a_deadline_that_passes_ends_the_handler(stub: Any, echo: ModuleType, servicer: Echo) -> None:
    ended = asyncio.Event()

    async def wait(_: str) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return ""

    servicer.behaviour = wait
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Say(echo.SayRequest(), timeout=0.1)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(ended.wait(), 5)


async def test_health_is_open_to_probes_and_reflection_to_whoever_has_a_token(served: Served) -> None:
    stranger = served.channel()
    health = await cast(Any, HealthStub(stranger)).Check(HealthCheckRequest())
    assert health.status == HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _services(stranger)
    assert refused(error.value)[1] == "STRANGER"
    assert "kit.echo.v1.EchoService" in await _services(served.channel(roles=set()))


async def _services(channel: grpc.aio.Channel) -> list[str]:
    stub = cast(Any, ServerReflectionStub)(channel)
    call = stub.ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")]))
    return [service.name async for answer in call for service in answer.list_services_response.service]
