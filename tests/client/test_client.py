"""The client: complete, typed by the contract, telling in its refusals, and careful in its retries."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from lifecircle import Lifecircle, Refused, items, refusal, tokens
from lifecircle.__main__ import main
from lifecircle.points.v1 import (
    Entry,
    GetPeriodRequest,
    GetPeriodResponse,
    ListEntriesRequest,
    ListEntriesResponse,
    Period,
)
from lifecircle.retry import SERVICES, repeatable, service_config
from tools.tidy import SERVICES as HOUSE


@pytest.fixture
async def points() -> AsyncIterator[SimpleNamespace]:
    """A server that knows one period, remembers who asked, and refuses the rest with a reason."""
    seen = SimpleNamespace(tokens=[], target="")

    async def get_period(request: GetPeriodRequest, context: Any) -> GetPeriodResponse:
        seen.tokens.append(dict(context.invocation_metadata())["authorization"])
        if request.period_id == "2026-03":
            return GetPeriodResponse(period=Period(period_id="2026-03"))
        detail = Packed()
        detail.Pack(ErrorInfo(reason="PERIOD_NOT_FOUND", domain="points.lifecircle", metadata={"period_id": "x"}))
        status = Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no such period", details=[detail])
        await context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort raises")

    async def list_entries(request: ListEntriesRequest, _: Any) -> ListEntriesResponse:
        first = int(request.page_token or 0)
        entries = [Entry(entry_id=str(number)) for number in range(first, min(first + request.page_size, 5))]
        more = str(first + len(entries)) if first + len(entries) < 5 else ""
        return ListEntriesResponse(entries=entries, next_page_token=more)

    server = grpc.aio.server()
    handlers = {
        "GetPeriod": grpc.unary_unary_rpc_method_handler(
            get_period, GetPeriodRequest.FromString, GetPeriodResponse.SerializeToString
        ),
        "ListEntries": grpc.unary_unary_rpc_method_handler(
            list_entries, ListEntriesRequest.FromString, ListEntriesResponse.SerializeToString
        ),
    }
    handler = grpc.method_handlers_generic_handler("lifecircle.points.v1.PointsService", handlers)
    server.add_generic_rpc_handlers((handler,))
    seen.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield seen
    await server.stop(0)


async def test_the_client_has_every_rpc_of_every_service() -> None:
    assert {each.full_name.split(".")[1] for each in SERVICES.values()} == set(HOUSE)
    platform = Lifecircle("127.0.0.1:1", token="x")
    for name, service in SERVICES.items():
        assert all(callable(getattr(getattr(platform, name), method.name)) for method in service.methods)
    await platform.channel.close()


def test_only_calls_that_may_be_sent_twice_are_sent_twice() -> None:
    config = json.loads(service_config())
    retried = {each["method"] for each in config["methodConfig"][0]["name"]}
    assert {"GetPeriod", "CreateRuleSet", "ScoreEvent", "WatchEvents"} <= retried
    assert "IssueToken" not in retried
    assert "PublishEvents" not in retried
    assert config["retryThrottling"]["maxTokens"] == 20
    assert config["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    for service in SERVICES.values():
        for method in service.methods:
            if repeatable(method) and "request_id" in method.input_type.fields_by_name:
                assert method.name in retried


async def test_a_refused_call_raises_the_class_of_its_reason(points: SimpleNamespace) -> None:
    async with Lifecircle(points.target, token="x") as platform:
        with pytest.raises(refusal("PERIOD_NOT_FOUND")) as refused:
            await platform.points.GetPeriod(GetPeriodRequest(period_id="nothing"))
        assert refused.value.fault.metadata == {"period_id": "x"}
        assert isinstance(refused.value, Refused)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert refusal("PERIOD_NOT_FOUND") is refusal("PERIOD_NOT_FOUND")


async def test_every_item_comes_once_over_all_pages(points: SimpleNamespace) -> None:
    async with Lifecircle(points.target, token="x") as platform:
        asked = ListEntriesRequest(page_size=2)
        found = [entry.entry_id async for entry in items(platform.points.ListEntries, asked)]
        assert found == ["0", "1", "2", "3", "4"]
        assert asked.page_token == ""
        with pytest.raises(TypeError, match="not paged"):
            await anext(items(platform.points.GetPeriod, GetPeriodRequest()))


async def test_a_renewed_token_is_shown_by_the_next_call(points: SimpleNamespace, tmp_path: Path) -> None:
    kept = tmp_path / "token.jwt"
    kept.write_text("first\n")

    async def given() -> str:
        return "waited for"

    for token in (tokens.file(kept), given, "plain"):
        async with Lifecircle(points.target, token=token) as platform:
            await platform.points.GetPeriod(GetPeriodRequest(period_id="2026-03"))
    give = tokens.file(kept)
    assert give() == "first"
    kept.write_text("second\n")
    await asyncio.sleep(1.1)
    assert give() == "second"
    assert points.tokens == ["Bearer first", "Bearer waited for", "Bearer plain"]


def test_a_shell_names_every_rpc_and_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIFECIRCLE_TOKEN_FILE", raising=False)
    assert main(["list", "points"]) == 0
    assert "points.GetPeriod" in capsys.readouterr().out
    assert main(["call", "points.Nothing"]) == 2
    assert "no RPC points.Nothing" in capsys.readouterr().err
    assert main(["call", "points.GetPeriod"]) == 2
    assert "whose token" in capsys.readouterr().err
    token = tmp_path / "t"
    token.write_text("x")
    assert main(["call", "points.GetPeriod", '{"nothing": 1}', "--token-file", str(token)]) == 2
    assert "not a GetPeriodRequest" in capsys.readouterr().err
