"""The front door's limits: who asks too often, or what no client asks, is refused at once; nobody else is."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from deploy.local import processes
from deploy.local.services import serving
from deploy.mesh import envoy
from deploy.mesh.limits import Limits
from tests.deploy.echo import SERVICE, Contract, Replica, compile_contract

# So few that they do not come back as fast as a slow machine asks.
FEW = Limits(caller=2, streams=2, tokens=2, whole=1000)


@dataclass
class Door:
    """A front door with these limits, and a channel to it."""

    port: int
    channel: grpc.Channel
    contract: Contract

    def say(self, who: str) -> None:
        asked = self.contract.message("SayRequest")(text="hello")
        self.contract.call(self.channel, "Say")(asked, timeout=30, metadata=[("authorization", f"Bearer {who}")])

    def watch(self, who: str) -> None:
        asked = self.contract.message("WatchSilenceRequest")(seconds=0)
        call = self.contract.call(self.channel, "WatchSilence")
        assert len(list(call(asked, timeout=30, metadata=[("authorization", f"Bearer {who}")]))) == 2

    def post(self, who: str) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{SERVICE}/Say",
            data=b"{}",
            headers={"content-type": "application/json", "authorization": f"Bearer {who}"},
        )
        urllib.request.urlopen(request, timeout=30).close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("limits")
    contract = Contract(compile_contract(folder))
    port, admin_port, replica_port = processes.free_ports(3)
    replica = Replica(contract, "a", replica_port)
    config = envoy.write(
        folder, port=port, admin_port=admin_port, replicas={"echo": [replica_port]}, files=contract.files, most=FEW
    )
    log = folder / "envoy.log"
    child = processes.spawn(envoy.command(config), log=log)
    try:
        deadline = time.monotonic() + 60
        while not serving(port, service="echo"):
            assert processes.alive(child), processes.tail(log)
            assert time.monotonic() < deadline, processes.tail(log)
            time.sleep(0.5)  # health has no token, and asks by the bucket of the strangers
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            yield Door(port, channel, contract)
    finally:
        processes.stop([child])
        replica.server.stop(0)


def refusal(ask: Callable[[], None]) -> Any:
    """How a call is refused; None when it is not."""
    try:
        ask()
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused
    except grpc.RpcError as refused:
        return refused
    return None


def refused_of_many(ask: Callable[[], None]) -> Any:
    """Asks many times at once; gives one of the refusals."""
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: refusal(ask), range(80)))
    assert None in found, "a bucket's worth passes"
    return next(each for each in found if each is not None)


def test_who_asks_too_often_is_refused_and_told_when_to_ask_again(door: Door) -> None:
    refused = refused_of_many(lambda: door.say("anna"))
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("retry-after", "1") in [*(refused.initial_metadata() or ()), *(refused.trailing_metadata() or ())]
    door.say("berta")  # each has buckets of his own


def test_a_refused_caller_is_let_in_again(door: Door) -> None:
    refused_of_many(lambda: door.say("clara"))
    deadline = time.monotonic() + 30
    while refusal(lambda: door.say("clara")) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_json_is_refused_with_429(door: Door) -> None:
    refused = refused_of_many(lambda: door.post("dora"))
    assert refused.code == 429
    assert refused.headers["retry-after"] == "1"


def test_streams_have_buckets_of_their_own(door: Door) -> None:
    refused = refused_of_many(lambda: door.watch("emma"))
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    door.say("emma")


def test_tokens_are_issued_at_a_pace_that_finds_no_password(tmp_path: Path) -> None:
    """All callers together share one bucket there, since whoever asks has no token yet; the mesh has no limits."""
    files = envoy.contract(["admin"])
    mutual = envoy.Mutual(3, tmp_path, str)
    made = envoy.config(1, 2, {"admin": [4]}, files, tmp_path / "x", mutual, FEW)
    front, mesh = (
        each["filter_chains"][0]["filters"][0]["typed_config"] for each in made["static_resources"]["listeners"]
    )
    first = front["route_config"]["virtual_hosts"][0]["routes"][1]  # behind the one that refuses odd methods
    assert first["match"] == {"path": "/lifecircle.admin.v1.AdminService/IssueToken"}
    (limit,) = first["typed_per_filter_config"].values()
    assert limit["token_bucket"] == {"max_tokens": 4, "tokens_per_fill": 2, "fill_interval": "1s"}
    assert "ratelimit" in json.dumps(front["http_filters"])
    assert "ratelimit" not in json.dumps(mesh)


def raw(door: Door, method: str, path: str, body: bytes = b"{}", **headers: str) -> int:
    """The status of a request as it is written, which no client would tidy up first."""
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
    try:
        connection.putrequest(method, path)
        told = {"content-type": "application/json", "authorization": f"Bearer {path}", "content-length": str(len(body))}
        for name, value in (told | headers).items():
            if value:
                connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_methods_that_the_contract_does_not_have_are_refused(door: Door, method: str) -> None:
    """R002-100: what is not GET or POST comes no further than the door, whatever its path."""
    assert raw(door, method, f"/{SERVICE}/Say", b"") == 405
    assert raw(door, method, "/anything", b"") == 405


def test_a_path_is_one_path_however_it_is_written(door: Door) -> None:
    """R002-100: normalised before any rule looks; refused with escaped slashes, unknown where it is not ours."""
    assert raw(door, "POST", f"//nowhere/..//{SERVICE}/./Say") == 200
    assert raw(door, "POST", f"/{SERVICE}%2FSay") == 400
    assert raw(door, "POST", f"/{SERVICE}%5cSay") == 400
    for path in ("/.git/config", "/../../etc/passwd", f"/{SERVICE}x/Say", "/"):
        assert raw(door, "GET", path, b"") == 404, path


def test_headers_that_no_client_sends_are_refused(door: Door) -> None:
    """R002-100: names that may be taken for others, and more than any call has."""
    say = f"/{SERVICE}/Say"
    assert raw(door, "POST", say, x_forwarded_user="root") == 400
    assert raw(door, "POST", say, **{"x-large": "a" * 40_000}) == 431
    assert raw(door, "POST", say, **{f"x-many-{number}": "1" for number in range(80)}) == 431


def test_a_body_larger_than_any_call_is_refused(door: Door) -> None:
    """R002-100: JSON that says it is of five mebibytes reaches nobody, and is not waited for."""
    assert raw(door, "POST", f"/{SERVICE}/Say", **{"content-length": str(5 << 20)}) == 403
