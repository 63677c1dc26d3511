"""Tracing: a span and the RED metrics (rate, errors, duration) of every RPC, by the semantic conventions for gRPC."""

import functools
import time

from services.kit import telemetry
from services.kit.interceptors.call import Call, Method

_duration = telemetry.histogram("rpc.server.call.duration", "s", "Duration of an incoming RPC.")

# The codes that are a fault of the server; the others are an answer.
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


def begin(call: Call) -> telemetry.Span | None:
    """The span of the RPC, child of the traceparent that came with it; None when it is not sampled, as most are not."""
    method = call.method
    return telemetry.request_span(method.path[1:], call.headers.get("traceparent", ""), method.attributes)


def ended(call: Call, span: telemetry.Span | None) -> None:
    """Say how the RPC ended."""
    if span is not None:
        span.set("rpc.response.status_code", call.code)
        if call.code in _FAULTS:
            span.fail(call.code)
        span.end()
    _duration.record(time.perf_counter() - call.started, _attributes(call.method.path, call.code))


@functools.lru_cache(maxsize=4096)
def _attributes(path: str, code: str) -> dict[str, str]:
    told = {**Method.at(path).attributes, "rpc.response.status_code": code}
    return {**told, "error.type": code} if code in _FAULTS else told
