"""Traces, metrics and logs by the standard OTEL_* variables; logs are JSON lines with the trace id."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

Attributes = Mapping[str, str | int | float | bool]


def setup(service: str, environ: Mapping[str, str]) -> None:
    """Start logging, tracing and metrics of this process; no exporter without OTEL_EXPORTER_OTLP_ENDPOINT."""
    raise NotImplementedError


def shutdown() -> None:
    """Flush what is not exported yet, and stop."""
    raise NotImplementedError


def span(name: str, *, parent: str = "", attributes: Attributes | None = None) -> AbstractContextManager[Any]:
    """A span around a block: child of `parent` (a traceparent) or of the span in hand."""
    raise NotImplementedError


def traceparent() -> str:
    """W3C traceparent of the span in hand, or "" outside of any."""
    raise NotImplementedError


def counter(name: str, unit: str = "1", description: str = "") -> Callable[..., None]:
    """Counter: call it with (value, **attributes)."""
    raise NotImplementedError


def histogram(name: str, unit: str = "s", description: str = "") -> Callable[..., None]:
    """Histogram: call it with (value, **attributes)."""
    raise NotImplementedError


def gauge(name: str, unit: str = "1", description: str = "") -> Callable[..., None]:
    """Gauge: call it with (value, **attributes)."""
    raise NotImplementedError
