"""Traces, metrics and logs by the standard OTEL_* variables; logs are JSON lines with the trace id.

Whether a trace is sampled is decided before any span is made (a stock tracer makes one first: 1.5 times the CPU of an
echo call against 1.1 at 1 % sampling). What is not sampled still carries its ids on, so that logs of a request can be
found by its trace id in every service, with or without a collector.
"""

import contextlib
import logging
import os
import random
import re
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import NamedTuple, Protocol

from opentelemetry import metrics
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.kit import logs

Attributes = Mapping[str, str | int | float | bool]

_FLUSH_SECONDS = 3.0
_SECONDS_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0]
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class Trace(NamedTuple):
    """Where in a trace we are."""

    trace_id: int
    span_id: int
    sampled: bool

    def header(self) -> str:
        """The W3C traceparent."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


class Place(Protocol):
    """What stands in a trace: a span, or a request that is not recorded."""

    @property
    def trace(self) -> Trace:
        """Where it stands."""


Sampler = Callable[[Trace | None], bool]
"""Given the remote parent, if there is one: whether to record."""

_current: ContextVar[Place | None] = ContextVar("trace", default=None)
_tracer: otel.Tracer | None = None
_sampler: Sampler = lambda parent: False  # noqa: E731 - nothing is recorded before setup()
_stops: list[Callable[[], object]] = []
_meter = metrics.get_meter("lifecircle")  # a proxy: instruments made before setup() join the exporter then


def setup(service: str, environ: Mapping[str, str]) -> None:
    """Start logging, tracing and metrics of this process.

    Traces and metrics are sent to OTEL_EXPORTER_OTLP_ENDPOINT, and metrics can be fetched at http://METRICS_LISTEN in
    Prometheus' format; neither happens unless it is set. Read besides: LOG_LEVEL, OTEL_TRACES_SAMPLER(_ARG),
    OTEL_{TRACES,METRICS}_EXPORTER=none, OTEL_SDK_DISABLED, and by the SDK itself OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*,
    OTEL_METRIC_EXPORT_INTERVAL. What is wrong with them is told with all the other settings (kit.config), so here a
    value that is not known counts as missing. Call once per process.
    """
    global _tracer, _sampler
    level = environ.get("LOG_LEVEL", "").upper()
    logs.setup(service, level if level in logging.getLevelNamesMapping() else "INFO", here)
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    endpoint = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    insecure = not endpoint.startswith("https://")
    resource = Resource.create({"service.name": service, "service.instance.id": f"{os.uname().nodename}:{os.getpid()}"})
    if endpoint and environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none":
        tracers = TracerProvider(sampler=ALWAYS_ON, resource=resource)  # ours has decided already
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure)))
        _tracer = tracers.get_tracer("lifecircle")
        with contextlib.suppress(ValueError):  # settings name what is wrong with it, and the process ends
            _sampler = sampler(environ.get("OTEL_TRACES_SAMPLER", ""), environ.get("OTEL_TRACES_SAMPLER_ARG", ""))
        _stops.append(tracers.shutdown)
    readers: list[MetricReader] = []
    if endpoint and environ.get("OTEL_METRICS_EXPORTER", "otlp") != "none":
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint, insecure=insecure)))
    if environ.get("METRICS_LISTEN"):
        readers.append(_fetched(environ["METRICS_LISTEN"]))
    if readers:
        meters = MeterProvider(readers, resource=resource)
        metrics.set_meter_provider(meters)
        _stops.append(meters.shutdown)


def _fetched(listen: str) -> MetricReader:
    """Metrics to be fetched at host:port; loaded only where they are, since most processes here send them."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import start_http_server

    host, _, port = listen.rpartition(":")
    server, thread = start_http_server(int(port), host)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(1)

    _stops.append(stop)
    return PrometheusMetricReader(disable_target_info=True)


def shutdown() -> None:
    """Flush what is not exported yet, within a few seconds even when the collector is gone."""
    global _tracer
    _tracer = None
    threads = [threading.Thread(target=stop, daemon=True) for stop in _stops]
    _stops.clear()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_FLUSH_SECONDS)


def sampler(name: str, argument: str) -> Sampler:
    """The head sampler that OTEL_TRACES_SAMPLER names; the default is parentbased_always_on."""
    _, based, root = (name or "parentbased_always_on").lower().rpartition("parentbased_")
    if root not in ("always_on", "always_off", "traceidratio"):
        raise ValueError(f"OTEL_TRACES_SAMPLER: {name!r} is not known")
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(root, float(argument or 1.0))
    bound = round(ratio * 2**64)

    def sampled(parent: Trace | None) -> bool:
        if parent is None:
            return random.getrandbits(64) < bound
        return parent.sampled if based else parent.trace_id % 2**64 < bound

    return sampled


class Span:
    """A span around a block, by `with`. It costs next to nothing when its trace is not sampled."""

    __slots__ = ("_attributes", "_kind", "_name", "_otel", "_parent", "_token", "trace")

    def __init__(self, name: str, parent: str, attributes: Attributes | None, kind: SpanKind) -> None:
        self._name = name
        self._parent = parent
        self._attributes = attributes
        self._kind = kind
        self._otel: otel.Span | None = None
        self._token: Token[Place | None] | None = None

    def __enter__(self) -> "Span":
        came, outer = parse(self._parent), here()
        if came is None and outer is not None:
            return self.begin(outer, sampled=outer.sampled, remote=False)
        return self.begin(came, sampled=_sampler(came), remote=True)

    def begin(self, parent: Trace | None, *, sampled: bool, remote: bool) -> "Span":
        """Begin it as a child of `parent`: here, or of another process."""
        if sampled and _tracer is not None:
            context = None
            if parent is not None:
                above = SpanContext(parent.trace_id, parent.span_id, remote, TraceFlags(TraceFlags.SAMPLED))
                context = otel.set_span_in_context(NonRecordingSpan(above))
            self._otel = _tracer.start_span(self._name, context or Context(), self._kind, self._attributes)
            made = self._otel.get_span_context()
            self.trace = Trace(made.trace_id, made.span_id, True)
        else:
            self.trace = _unrecorded(parent)
        self._token = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, Exception):
            self.fail(type(error).__name__)
        self.end()

    def end(self) -> None:
        """End what begin() has begun."""
        if self._token is not None:
            with contextlib.suppress(ValueError):  # a generator that is closed by another task has another context
                _current.reset(self._token)
        if self._otel is not None:
            self._otel.end()

    def set(self, key: str, value: str | int | float | bool) -> None:
        """Set an attribute."""
        if self._otel is not None:
            self._otel.set_attribute(key, value)

    def fail(self, what: str) -> None:
        """Mark the span as failed; `what` is a type or a code, never a message (it may hold personal data)."""
        if self._otel is not None:
            self._otel.set_attribute("error.type", what)
            self._otel.set_status(Status(StatusCode.ERROR))


def span(name: str, *, parent: str = "", attributes: Attributes | None = None, kind: str = "internal") -> Span:
    """A span around a block: child of `parent` (a traceparent) if given, else of the span in hand.

    `kind` is internal, server, client, producer or consumer.
    """
    return Span(name, parent, attributes, SpanKind[kind.upper()])


def request_span(name: str, traceparent: str, attributes: Attributes) -> Span | None:
    """The span of a request that has come with a traceparent (or ""), begun; None when its trace is not sampled."""
    if _tracer is None:
        return None
    came = parse(traceparent)
    if not _sampler(came):
        return None
    return Span(name, "", attributes, SpanKind.SERVER).begin(came, sampled=True, remote=True)


def continued(traceparent: str) -> Trace:
    """Where a request stands that is not recorded: in the trace that came with it, or in one of its own."""
    return _unrecorded(parse(traceparent))


def _unrecorded(parent: Trace | None) -> Trace:
    if parent is None:
        return Trace(random.getrandbits(128) | 1, random.getrandbits(64) | 1, False)
    return parent if _tracer is None else parent._replace(sampled=False)


def enter(place: Place) -> None:
    """From here on this task, and those it starts, work at this place of a trace."""
    _current.set(place)


def here() -> Trace | None:
    """Where in a trace the work in hand is; None outside of any."""
    place = _current.get()
    return None if place is None else place.trace


def traceparent() -> str:
    """W3C traceparent of the span in hand, or "" outside of any."""
    trace = here()
    return "" if trace is None else trace.header()


def parse(header: str) -> Trace | None:
    """The trace that a traceparent speaks of, or None when it is empty or not a valid one."""
    match = _TRACEPARENT.fullmatch(header) if header else None
    if match is None:
        return None
    return Trace(int(match[1], 16), int(match[2], 16), bool(int(match[3], 16) & 1))


def counter(name: str, unit: str = "1", description: str = "") -> Callable[..., None]:
    """Counter: call it with (value, **attributes). Made at import, it joins the exporter at setup()."""
    instrument = _meter.create_counter(name, unit, description)
    return lambda value=1, **attributes: instrument.add(value, attributes)


def histogram(name: str, unit: str = "s", description: str = "") -> metrics.Histogram:
    """Histogram: record(value, attributes), with one mapping, for what is recorded of every call. The buckets fit
    seconds when the unit is s."""
    bounds = _SECONDS_BUCKETS if unit == "s" else None
    return _meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)


def gauge(name: str, unit: str = "1", description: str = "") -> Callable[..., None]:
    """Gauge: call it with (value, **attributes)."""
    instrument = _meter.create_gauge(name, unit, description)
    return lambda value, **attributes: instrument.set(value, attributes)
