"""Tracing: a span and the RED metrics (rate, errors, duration) of every RPC, by the semantic conventions for gRPC."""

import functools
import time

from opentelemetry.trace import SpanKind

from services.kit import telemetry
from services.kit.interceptors.call import Call, Method

_duration = telemetry.histogram("rpc.server.call.duration", "s", "Duration of an incoming RPC.")

# The codes that are a fault of the server; the others are an answer.
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


def span(call: Call) -> telemetry.Span:
    """The span of the RPC: child of the traceparent that came with it."""
    method = call.method
    return telemetry.Span(method.path[1:], call.headers.get("traceparent", ""), method.attributes, SpanKind.SERVER)


def ended(call: Call, span: telemetry.Span) -> None:
    """Say how the RPC ended."""
    span.set("rpc.response.status_code", call.code)
    if call.code in _FAULTS:
        span.fail(call.code)
    _duration(time.perf_counter() - call.started, **_attributes(call.method.path, call.code))


@functools.lru_cache(maxsize=4096)
def _attributes(path: str, code: str) -> dict[str, str]:
    told = {**Method.at(path).attributes, "rpc.response.status_code": code}
    return {**told, "error.type": code} if code in _FAULTS else told
