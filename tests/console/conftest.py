"""The site over a fake platform whose every answer is full, so that every column and every word of a page shows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from aiohttp.test_utils import TestClient, TestServer
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from console.app import Site
from lifecircle.admin.v1 import IssueTokenResponse
from lifecircle.portrait.v1 import Report
from lifecircle.retry import SERVICES
from lifecircle.testing import FakePlatform

TEXT = "示例<b>&"
START, LIFE = 1_780_000_000, 3600
Client = TestClient[Any, Any]
SignIn = Callable[[], Awaitable[Client]]
LEARNED = {
    "deciles": [{"number": 1, "customers": 80, "rate": 0.5, "lift": 2.5, "mean_score": 0.4}],
    "drivers": [{"name": "data_mb", "weight": 0.7, "raises": True, "iv": 0.3}],
    "tree": {
        "fidelity": 0.8,
        "root": {
            "customers": 800, "rate": 0.2, "feature": "data_mb", "threshold": 512.5, "missing_low": True,
            "low": {"customers": 600, "rate": 0.1}, "high": {"customers": 200, "rate": 0.5},
        },
    },
}  # fmt: skip


def filled(message: Any, number: int = 3, depth: int = 0) -> Any:
    """The message with every field set; enums take their `number`-th value, numbers are `number`."""
    for field in message.DESCRIPTOR.fields:
        if field.name == "next_page_token" or (field.message_type is not None and depth > 4):
            continue
        value = _value(field, number, depth)
        if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
            below = field.message_type.fields_by_name["value"]
            if below.message_type is None:
                getattr(message, field.name)["data_mb"] = _value(below, number, depth)
        elif field.is_repeated:
            getattr(message, field.name).append(value)
        elif isinstance(value, Message):
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


def _value(field: FieldDescriptor, number: int, depth: int) -> Any:
    if field.message_type is not None:
        return filled(message_factory.GetMessageClass(field.message_type)(), number, depth + 1)
    if field.enum_type is not None:
        return field.enum_type.values[number % len(field.enum_type.values)].number
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return TEXT.encode() if field.type == FieldDescriptor.TYPE_BYTES else TEXT
    return {FieldDescriptor.CPPTYPE_BOOL: True, FieldDescriptor.CPPTYPE_DOUBLE: 0.25}.get(field.cpp_type, number)


class Fake(FakePlatform):
    """A full platform that counts how often it is closed."""

    closed = 0

    async def __aexit__(self, *_: object) -> None:
        """Counts."""
        self.closed += 1

    def fill(self, number: int = 3) -> None:
        """Answers every reading call with a full response."""
        for service, described in SERVICES.items():
            for method in described.methods:
                made = filled(message_factory.GetMessageClass(method.output_type)(), number)
                if method.server_streaming:
                    self.answer(f"{service}.{method.name}", [made, type(made)()])
                elif method.name.startswith(("Get", "List", "Recommend", "Explain")):
                    self.answer(f"{service}.{method.name}", made)
        told = filled(SERVICES["recommend"].methods_by_name["GetAcceptanceModel"] and _acceptance(), number)
        told.model.report = json.dumps(LEARNED)
        self.answer("recommend.GetAcceptanceModel", told)
        issued = IssueTokenResponse(token="the.users.token")
        issued.expire_time.seconds = START + LIFE
        self.answer("admin.IssueToken", issued)

    def away(self, service: str) -> None:
        """From now on a service answers nothing."""
        for method in SERVICES[service].methods:
            self.refuse(f"{service}.{method.name}", "", grpc.StatusCode.UNAVAILABLE)


def _acceptance() -> Any:
    return message_factory.GetMessageClass(SERVICES["recommend"].methods_by_name["GetAcceptanceModel"].output_type)()


class Tick:
    """A clock that is moved by hand."""

    now = float(START)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fake() -> Fake:
    made = Fake()
    made.fill()
    made.answer("portrait.ListReports", _reports())
    return made


def _reports() -> Any:
    made = message_factory.GetMessageClass(SERVICES["portrait"].methods_by_name["ListReports"].output_type)()
    made.reports.append(Report(report_id="circle_distribution", title="生活圈分布报表"))
    return made


@pytest.fixture
def tick() -> Tick:
    return Tick()


@pytest.fixture
def tokens() -> list[str]:
    """The token of every connection that the site opened."""
    return []


@pytest.fixture
async def client(fake: Fake, tick: Tick, tokens: list[str]) -> AsyncIterator[Client]:
    """A browser that is not signed in; it follows no redirect by itself."""

    def connect(token: str, _: float) -> Fake:
        tokens.append(token)
        return fake

    async with TestClient(TestServer(Site(connect, now=tick).application())) as made:
        yield made


async def post(client: Client, path: str, **form: str) -> Any:
    """A form sent from a page of the site."""
    origin = str(client.make_url("/")).rstrip("/")
    return await client.post(path, data=form, headers={"Origin": origin}, allow_redirects=False)


@pytest.fixture
async def signed_in(client: Client) -> Client:
    """A browser that is signed in."""
    answer = await post(client, "/login", user="wang", secret="right", to="/")
    assert answer.status == 303
    return client
