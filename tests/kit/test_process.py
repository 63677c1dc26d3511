"""A service as a real process: it starts, tells its traces, survives kill -9 without losing or doubling, and stops."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import grpc.aio
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from sqlalchemy import text

from services.kit import command
from services.kit.channel import open_channel
from services.kit.db import Database
from tests.fixtures.postgres import Databases, Fresh
from tests.fixtures.serving import Keys
from tests.fixtures.traces import receiver

ROOT = Path(__file__).parents[2]
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Process:
    """The sample service under way."""

    def __init__(self, environ: dict[str, str], log: Path, *words: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "tests.kit.sample", *words], env=environ, cwd=ROOT, stderr=output
            )

    def end(self, number: int, seconds: float = 40) -> int:
        """Send a signal and wait for the end; gives the exit status."""
        self.child.send_signal(number)
        return self.child.wait(seconds)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one event."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]


@pytest.fixture
def database(databases: Databases) -> Fresh:
    """A database of its own for every test: what runs on after a kill must not meet the next test."""
    return databases.fresh("sample")


@pytest.fixture
def environ(database: Fresh, keys: Keys, echo: ModuleType) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(str(echo.__file__)).parent),
        "DATABASE_URL": database.url,
        "JWT_KEYS": str(keys.path),
        "LISTEN": f"127.0.0.1:{port}",
        "DRAIN_SECONDS": "0.1",
    }


@contextmanager
def process(environ: dict[str, str], tmp_path: Path, *words: str) -> Iterator[Process]:
    started = Process(environ, tmp_path / "log", *(words or ("serve", "--work")))
    try:
        yield started
    finally:
        if started.child.poll() is None:
            started.end(signal.SIGKILL)


async def say(environ: dict[str, str], echo: ModuleType, keys: Keys, *texts: str) -> None:
    """Call Say once for each text, inside of the trace TRACE."""
    token = keys.token(roles={"talker"})
    async with open_channel(environ["LISTEN"], token=lambda: token, default_deadline=60) as channel:
        stub = echo.EchoServiceStub(channel)
        metadata = [("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")]
        for each in texts:
            await stub.Say(echo.SayRequest(text=each), metadata=metadata, wait_for_ready=True, timeout=30)


async def effects(db: Database, prefix: str = "") -> list[str]:
    stmt = text("SELECT name FROM effect WHERE starts_with(name, :prefix) ORDER BY seq")
    async with db.read() as read:
        return [row.name for row in await read.rows(stmt, {"prefix": prefix})]


async def until(db: Database, effect: str, seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while effect not in await effects(db):
            await asyncio.sleep(0.02)


async def test_a_process_tells_one_trace_from_the_call_to_the_job_and_the_follower_and_stops_in_order(
    environ: dict[str, str], tmp_path: Path, echo: ModuleType, keys: Keys, db: Database
) -> None:
    with receiver() as heard:
        environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": heard.endpoint, "OTEL_METRICS_EXPORTER": "none"}
        with process(environ, tmp_path) as running:
            await say(environ, echo, keys, "hello")
            await until(db, "hello end")
            await until(db, "heard hello")
            assert running.end(signal.SIGTERM) == 0
    spans = {span.name: span for span in heard.spans.values()}
    assert set(spans) == {"kit.echo.v1.EchoService/Say", "job work", "follow said"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    call = spans["kit.echo.v1.EchoService/Say"]
    assert call.service == "sample"
    assert spans["job work"].parent_id == spans["follow said"].parent_id == call.span_id
    assert [len(running.lines(event)) for event in ("serving", "stopping", "stopped")] == [1, 1, 1]


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    """A receiver of metrics: keeps every point as (instrument, attributes, how many)."""

    def __init__(self) -> None:
        self.points: list[tuple[str, dict[str, str], int]] = []

    async def Export(self, request: Any, context: Any) -> Any:
        for metric in (m for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics):
            data = getattr(metric, metric.WhichOneof("data"))
            for point in data.data_points:
                about = {each.key: each.value.string_value for each in point.attributes}
                self.points.append((metric.name, about, getattr(point, "count", 0) or getattr(point, "as_int", 0)))
        return metrics_service_pb2.ExportMetricsServiceResponse()


async def test_a_process_counts_its_calls_by_method_and_code_and_its_jobs_by_outcome(
    environ: dict[str, str], tmp_path: Path, echo: ModuleType, keys: Keys, db: Database
) -> None:
    heard, collector = Metrics(), grpc.aio.server()
    cast(Any, metrics_service_pb2_grpc).add_MetricsServiceServicer_to_server(heard, collector)
    port = collector.add_insecure_port("127.0.0.1:0")
    await collector.start()
    environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_TRACES_EXPORTER": "none"}
    with process(environ, tmp_path) as running:
        await say(environ, echo, keys, "one", "two")
        await until(db, "two end")
        with pytest.raises(grpc.aio.AioRpcError):
            await say(environ, echo, keys, "x" * 31)
        assert await asyncio.to_thread(running.end, signal.SIGTERM) == 0
    await collector.stop(0)
    method = {"rpc.system.name": "grpc", "rpc.method": "kit.echo.v1.EchoService/Say"}
    assert ("rpc.server.call.duration", method | {"rpc.response.status_code": "OK"}, 2) in heard.points
    assert ("rpc.server.call.duration", method | {"rpc.response.status_code": "INVALID_ARGUMENT"}, 1) in heard.points
    assert ("lifecircle.jobs.attempts", {"kind": "work", "outcome": "succeeded"}, 2) in heard.points


async def test_a_collector_that_is_gone_does_not_keep_a_process_from_stopping(
    environ: dict[str, str], tmp_path: Path, echo: ModuleType, keys: Keys, db: Database
) -> None:
    environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
    with process(environ, tmp_path) as running:
        await say(environ, echo, keys, "hello")
        began = time.monotonic()
        assert running.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 20


async def test_a_killed_process_loses_nothing_and_doubles_nothing(
    environ: dict[str, str], tmp_path: Path, echo: ModuleType, keys: Keys, db: Database
) -> None:
    environ |= {"STEPS": "30", "STEP_SECONDS": "0.01"}
    texts = ["a", "b"]
    with process(environ, tmp_path) as running:
        await say(environ, echo, keys, *texts)
        await until(db, "a 5")
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
    assert "a end" not in await effects(db)
    with process(environ, tmp_path) as running:
        for each in texts:
            await until(db, f"{each} end")
            await until(db, f"heard {each}")
        assert running.end(signal.SIGINT) == 0
    for each in texts:
        assert await effects(db, f"{each} ") == [*(f"{each} {step}" for step in range(30)), f"{each} end"]
    assert await effects(db, "heard ") == ["heard a", "heard b"]


async def test_debug_lines_come_and_go_by_signal(
    environ: dict[str, str], tmp_path: Path, echo: ModuleType, keys: Keys
) -> None:
    with process(environ, tmp_path, "serve") as running:
        await say(environ, echo, keys, "quiet")
        assert running.lines("rpc") == []
        running.child.send_signal(signal.SIGUSR1)
        await say(environ, echo, keys, "loud")
        [line] = [line for line in running.lines("rpc") if "Say" in line["method"]]
        assert (line["code"], line["caller"], line["trace_id"], line["service"]) == ("OK", "test", TRACE, "sample")
        running.child.send_signal(signal.SIGUSR1)
        before = len(running.lines("rpc"))
        await say(environ, echo, keys, "quiet again")
        assert len(running.lines("rpc")) == before


def test_wrong_settings_are_all_said_and_the_process_ends_with_2() -> None:
    environ = {"PATH": os.environ["PATH"], "STEPS": "many", "LOG_LEVEL": "verbose"}
    words = [sys.executable, "-m", "tests.kit.sample", "serve"]
    done = subprocess.run(words, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("sample: ")]
    assert [line.split()[1] for line in said] == ["DATABASE_URL", "JWT_KEYS", "LOG_LEVEL:", "STEPS:"]
    assert "Traceback" not in done.stderr


async def never(environ: Mapping[str, str], serving: bool, working: bool) -> None:
    raise AssertionError


@pytest.mark.parametrize(("words", "status"), [(["--help"], 0), (["fly"], 2), ([], 2), (["serve", "--fly"], 2)])
def test_the_verbs_are_told_and_an_unknown_one_is_refused(
    words: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main("sample", never, offline={"double": lambda rest: 0}, argv=words)
    assert ended.value.code == status
    printed = capsys.readouterr()
    assert all(verb in printed.out + printed.err for verb in ("serve", "work", "migrate")) or "--fly" in printed.err


def test_an_offline_verb_gets_the_words_after_it() -> None:
    assert command.main("sample", never, offline={"double": lambda words: int(words[0]) * 2}, argv=["double", "4"]) == 8
