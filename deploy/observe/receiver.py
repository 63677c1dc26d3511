"""The receiver: OTLP over gRPC, as any collector speaks it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Told
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from deploy.observe.spans import Heard, Span


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, heard: Heard) -> None:
        self._heard = heard

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext) -> object:
        for resource in request.resource_spans:
            named = {one.key: _text(one.value) for one in resource.resource.attributes}
            service = named.get("service.name", "?")
            self._heard.add(_span(one, service) for scope in resource.scope_spans for one in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Takes metrics and drops them, so that a process that sends both is not told off."""

    def Export(self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: grpc.ServicerContext) -> object:
        return metrics_service_pb2.ExportMetricsServiceResponse()


def listen(heard: Heard, port: int) -> tuple[grpc.Server, int]:
    """Listens on the loopback; gives the server and its port. Raises RuntimeError when the port is taken."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(heard), server)  # type: ignore[no-untyped-call]
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(), server)  # type: ignore[no-untyped-call]
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, bound


def _span(told: Told, service: str) -> Span:
    return Span(
        told.trace_id.hex(),
        told.span_id.hex(),
        told.parent_span_id.hex(),
        service,
        told.name,
        told.start_time_unix_nano,
        told.end_time_unix_nano,
        told.status.code == Status.STATUS_CODE_ERROR,
        {one.key: _text(one.value) for one in told.attributes},
    )


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    return "" if kind is None else str(getattr(value, kind))
