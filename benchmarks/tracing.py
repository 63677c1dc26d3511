"""What tracing costs: one method behind the kit's whole chain, with tracing off, at 1 % and at 100 % head sampling.

The servers run at once and are called in turns, the caller sends a traceparent as a service would; the figure is the
server's CPU per call against the same server with tracing off.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import uvloop
from grpc_health.v1.health_pb2 import HealthCheckRequest
from joserfc import jwt
from joserfc.jwk import ECKey
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from rich.console import Console

from services.kit import server, telemetry
from services.kit.config import ServerSettings

ROOT = Path(__file__).resolve().parent.parent
METHOD = "/benchmarks.Kit/Say"
SAMPLED = {"off": None, "1 %": "0.01", "100 %": "1"}
AT_ONCE, SECONDS, ROUNDS = 32, 3.0, 5


async def serve(jwks: Path) -> None:
    """Serves one method through the kit until it is killed; prints its port."""

    async def say(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return b"x" * 100

    say_bytes = server.bytes_method(say)

    def register(target: grpc.aio.Server) -> None:
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            say_bytes, HealthCheckRequest.FromString
        )
        target.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmarks.Kit", {"Say": handler}),))

    settings = ServerSettings("postgresql://unused", jwks, listen="127.0.0.1:0")
    async with server.running(
        service="benchmark", settings=settings, register=register, rights={"Say": frozenset({"viewer"})}
    ) as port:
        print(port, flush=True)
        await asyncio.Event().wait()


class _Sink(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request: object, context: object) -> object:
        return trace_service_pb2.ExportTraceServiceResponse()


def measure(console: Console) -> dict[str, Any]:
    """Gives CPU per call by sampling, as ratios to tracing off, medians over rounds."""
    folder = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    claims = {"iss": "lifecircle-local", "aud": "lifecircle", "sub": "bench", "org": "", "roles": ["viewer"]}
    token = jwt.encode({"alg": "ES256", "kid": key.kid}, claims | {"exp": int(time.time()) + 3600}, key)
    sink = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Sink(), sink)  # type: ignore[no-untyped-call]
    endpoint = f"http://127.0.0.1:{sink.add_insecure_port('127.0.0.1:0')}"
    sink.start()
    running = {name: _start(folder / "jwks.json", endpoint, ratio) for name, ratio in SAMPLED.items()}
    spent: dict[str, list[float]] = {name: [] for name in running}
    try:
        for number in range(ROUNDS):
            console.print(f"round {number + 1} of {ROUNDS}")
            for name, (process, port) in running.items():
                spent[name].append(_microseconds(process.pid, port, token))
    finally:
        for process, _ in running.values():
            process.kill()
        sink.stop(0)
    ratios = {
        name: statistics.median(each / off for each, off in zip(spent[name], spent["off"], strict=True))
        for name in SAMPLED
    }
    return {
        "data": "one method of 100 bytes behind the kit's chain, 32 calls at once",
        "server_cpu_us": {name: round(statistics.median(each), 1) for name, each in spent.items()},
        "ratio_to_off": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "rounds": {name: [round(each, 1) for each in values] for name, values in spent.items()},
        "floor": "1.12 at 1 %",
        "goal": "1.05 at 1 %",
    }


def _start(jwks: Path, endpoint: str, ratio: str | None) -> tuple[subprocess.Popen[str], str]:
    ours = {"LOG_LEVEL": "WARNING"}
    if ratio is not None:
        sampling = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio}
        ours |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRICS_EXPORTER": "none", **sampling}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | ours
    command = [sys.executable, "-m", "benchmarks.tracing", str(jwks)]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _microseconds(pid: int, port: str, token: str) -> float:
    """The server's CPU per call."""
    before = psutil.Process(pid).cpu_times()
    order = {"target": f"127.0.0.1:{port}", "method": METHOD, "token": token, "requests": [""]}
    caller = subprocess.run(
        [sys.executable, "-m", "benchmarks.caller"],
        input=json.dumps({**order, "at_once": AT_ONCE, "seconds": SECONDS}) + "\n",
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    after = psutil.Process(pid).cpu_times()
    used = after.user + after.system - before.user - before.system
    return 1e6 * used / int(json.loads(caller.stdout)["calls"])


if __name__ == "__main__":
    telemetry.setup("benchmark", os.environ)
    uvloop.run(serve(Path(sys.argv[1])))
