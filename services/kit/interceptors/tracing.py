"""Tracing: a span and the RED metrics (rate, errors, duration) of every RPC, by the semantic conventions for gRPC."""

import time

from services.kit import telemetry
from services.kit.interceptors.call import Call

_duration = telemetry.histogram("rpc.server.call.duration", "s", "Duration of an incoming RPC.")

# The codes that are a fault of the server; the others are an answer.
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


def span(call: Call) -> telemetry.Span:
    """The span of the RPC: child of the traceparent that came with it."""
    attributes = {"rpc.system.name": "grpc", "rpc.method": call.method.path[1:]}
    parent = call.headers.get("traceparent", "")
    return telemetry.span(call.method.path[1:], parent=parent, attributes=attributes, kind="server")


def ended(call: Call, span: telemetry.Span) -> None:
    """Say how the RPC ended."""
    span.set("rpc.response.status_code", call.code)
    attributes = {"rpc.system.name": "grpc", "rpc.method": call.method.path[1:], "rpc.response.status_code": call.code}
    if call.code in _FAULTS:
        span.fail(call.code)
        attributes["error.type"] = call.code
    _duration(time.perf_counter() - call.started, **attributes)
