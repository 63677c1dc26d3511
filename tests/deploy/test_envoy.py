"""The front door in front of two tiny replicas: deals calls out, retries, transcodes, and never cuts a quiet stream."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_health.v1 import health_pb2

from deploy.local import processes
from deploy.local.services import serving
from deploy.mesh import envoy
from tests.deploy.echo import SERVICE, UNLIMITED, Contract, Replica, compile_contract

SILENCE = 17.0  # seconds: longer than the 15 after which Envoy cuts a call when it is not told otherwise


@dataclass
class Mesh:
    """Envoy's port, a channel to it, and its two replicas."""

    port: int
    channel: grpc.Channel
    contract: Contract
    replicas: list[Replica]

    def say(self, text: str = "", *, timeout: float | None = 60, **fields: Any) -> Any:
        return self.contract.call(self.channel, "Say")(
            self.contract.message("SayRequest")(text=text, **fields), timeout=timeout
        )

    def raw(self, path: str) -> bytes:
        """Calls a method by its path with an empty message."""
        call: Callable[..., bytes] = self.channel.unary_unary(path)
        return call(b"", timeout=60)

    def post(self, method: str, body: object) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{SERVICE}/{method}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def reached(mesh: Mesh) -> set[str]:
    """The replicas that six calls reach; none while neither has said in time that it is well, on a loaded machine."""
    try:
        return {mesh.say().replica for _ in range(6)}
    except grpc.RpcError as error:
        if error.details() != "no healthy upstream":
            raise
        return set()


def eventually_shared(mesh: Mesh) -> None:
    """Waits until calls reach both replicas: each is found healthy, or let in again, in its own time."""
    names = {replica.name for replica in mesh.replicas}
    deadline = time.monotonic() + 30
    while reached(mesh) != names:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def eventually_serving(port: int, child: processes.Child, log: Path) -> None:
    deadline = time.monotonic() + 30
    while not serving(port, service="echo"):
        assert processes.alive(child), processes.tail(log)
        assert time.monotonic() < deadline, processes.tail(log)
        time.sleep(0.05)


@contextmanager
def raised(folder: Path) -> Iterator[Mesh]:
    """Two replicas, `a` and `b`, behind an Envoy of their own."""
    contract = Contract(with_errors(compile_contract(folder)))
    ports = processes.free_ports(4)
    replicas = [Replica(contract, name, port) for name, port in zip("ab", ports[:2], strict=True)]
    door = ports[2]
    config = envoy.write(folder, port=door, admin_port=ports[3], replicas={"echo": ports[:2]}, files=contract.files)
    log = folder / "envoy.log"
    child = processes.spawn(envoy.command(config), log=log)
    try:
        eventually_serving(door, child, log)
        with grpc.insecure_channel(f"127.0.0.1:{door}", options=UNLIMITED) as channel:
            mesh = Mesh(door, channel, contract, replicas)
            eventually_shared(mesh)
            yield mesh
    finally:
        processes.stop([child])
        for replica in replicas:
            replica.server.stop(None).wait()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One mesh for the tests that change nothing for good."""
    with raised(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture(autouse=True)
def both_well(request: pytest.FixtureRequest) -> None:
    """Each test begins with two replicas that Envoy knows to be well, however late a loaded machine says so."""
    if "mesh" in request.fixturenames:
        eventually_shared(request.getfixturevalue("mesh"))


@pytest.fixture(scope="module")
def quiet(mesh: Mesh) -> Iterator[Future[tuple[list[str], float]]]:
    """A stream that says something and then is quiet, while the other tests run."""
    request = mesh.contract.message("WatchSilenceRequest")(seconds=SILENCE)
    stream = mesh.contract.call(mesh.channel, "WatchSilence")(request)
    first = next(stream).text
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(listen, first, stream)


@pytest.fixture(autouse=True)
def _started_early(quiet: object) -> None:
    """The quiet stream opens before the first test, whichever that is, so that nobody waits for it twice."""


def with_errors(files: FileDescriptorSet) -> FileDescriptorSet:
    """Adds what errors carry, as the platform's own contract does."""
    return FileDescriptorSet(file=[*files.file, *envoy.contract([]).file])


def listen(first: str, stream: Iterator[Any]) -> tuple[list[str], float]:
    """Waits for the rest of a stream that said something, then says nothing for a long time."""
    start = time.monotonic()
    return [first, *(response.text for response in stream)], time.monotonic() - start


def test_calls_go_to_the_replicas_in_turn(mesh: Mesh) -> None:
    eventually_shared(mesh)
    answered = [mesh.say().replica for _ in range(10)]
    assert answered.count("a") == answered.count("b") == 5


def test_a_call_that_one_replica_cannot_take_is_answered_by_the_other(mesh: Mesh) -> None:
    eventually_shared(mesh)
    refused = mesh.replicas[0].calls
    assert [mesh.say(unavailable_at="a").replica for _ in range(6)] == ["b"] * 6
    assert mesh.replicas[0].calls > refused, "the first replica was never asked, so nothing was retried"


def test_a_replica_that_stops_serving_gets_no_call_until_it_serves_again(mesh: Mesh) -> None:
    sick = mesh.replicas[1]
    sick.serving(False)
    try:
        deadline = time.monotonic() + 30
        while reached(mesh) != {"a"}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        sick.serving(True)
    eventually_shared(mesh)


def test_no_call_fails_while_a_replica_is_replaced(tmp_path: Path) -> None:
    """R002-105: replicas are replaced one after another under calls."""
    done = threading.Event()

    def call_on(mesh: Mesh) -> list[str]:
        answered = []
        while not done.is_set():
            answered.append(mesh.say().replica)
        return answered

    with raised(tmp_path) as mesh, ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(call_on, mesh) for _ in range(4)]
        try:
            for name in ("c", "d", "e"):
                time.sleep(0.3)
                leaving = mesh.replicas[0]
                leaving.serving(False)
                leaving.server.stop(5).wait()
                mesh.replicas[0] = Replica(mesh.contract, name, leaving.port)
                deadline = time.monotonic() + 30
                while mesh.replicas[0].calls < 10 and time.monotonic() < deadline:
                    time.sleep(0.05)
        finally:
            done.set()
        assert {name for caller in callers for name in caller.result()} == {"a", "b", "c", "d", "e"}


def test_a_large_message_passes_both_ways(mesh: Mesh) -> None:
    text = "x" * (20 * 1024 * 1024)
    assert mesh.say(text).text == text


def test_json_by_post_is_the_same_call(mesh: Mesh) -> None:
    answer = mesh.post("Say", {"text": "生活圈"})
    assert answer["text"] == "生活圈"
    assert answer["replica"] in ("a", "b")


def test_a_refusal_reaches_a_json_caller_with_its_reason(mesh: Mesh) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        mesh.post("Say", {"refuse": "ENTRY_UNKNOWN"})
    with caught.value as refused:
        body = json.load(refused)
        assert refused.code == 404
    assert (body["code"], body["message"]) == (5, "no such entry")
    assert [detail["reason"] for detail in body["details"]] == ["ENTRY_UNKNOWN"]


def test_the_callers_deadline_reaches_the_service(mesh: Mesh) -> None:
    assert 20_000 < mesh.say(timeout=30).deadline_ms < 30_100
    assert 80_000 < mesh.say(timeout=90).deadline_ms < 90_100


def test_a_call_without_a_deadline_gets_one_of_a_minute(mesh: Mesh) -> None:
    assert 50_000 < mesh.say(timeout=None).deadline_ms <= 60_100


def test_a_call_ends_at_its_deadline(mesh: Mesh) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        mesh.say(seconds=2.0, timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_what_the_contract_does_not_have_is_unimplemented(mesh: Mesh) -> None:
    for path in ("/lifecircle.nobody.v1.NobodyService/Get", f"/{SERVICE}/Nothing"):
        with pytest.raises(grpc.RpcError) as caught:
            mesh.raw(path)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_health_is_asked_at_the_front_door_by_the_services_name(mesh: Mesh) -> None:
    assert serving(mesh.port, service="echo")
    assert not serving(mesh.port, service="nobody")
    answer = health_pb2.HealthCheckResponse.FromString(mesh.raw("/grpc.health.v1.Health/Check"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.slow
def test_a_stream_that_stays_quiet_is_not_cut(quiet: Future[tuple[list[str], float]]) -> None:
    heard, seconds = quiet.result(timeout=60)
    assert heard == ["before", "after"]
    assert seconds > SILENCE - 1
