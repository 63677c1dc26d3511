"""Envoy's own spans by OTLP, under the standard OTEL_* variables: the hop through the mesh is seen in every trace.

A call that comes with a trace continues it; for one without, Envoy decides at the ratio that the services have, and
they keep to what it decided (parentbased).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Node = dict[str, Any]

_CLUSTER = "traces"


@dataclass(frozen=True)
class Traces:
    """Where spans go, and how many calls of a hundred begin a trace."""

    host: str
    port: int
    percent: float


def of(environ: Mapping[str, str]) -> Traces | None:
    """What the variables say; None when no traces are to be sent."""
    endpoint = urlsplit(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""))
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if off or not endpoint.hostname:
        return None
    root = (environ.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on").lower().removeprefix("parentbased_")
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(root, float(environ.get("OTEL_TRACES_SAMPLER_ARG") or 1.0))
    return Traces(endpoint.hostname, endpoint.port or 4317, 100 * ratio)


def tracing(to: Traces) -> Node:
    """What a connection manager says."""
    share = {"numerator": round(to.percent * 10_000), "denominator": "MILLION"}
    ratio = _sampler("trace_id_ratio_based", "TraceIdRatioBased", {"sampling_percentage": share})
    config = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "grpc_service": {"envoy_grpc": {"cluster_name": _CLUSTER}, "timeout": "2s"},
        "service_name": "envoy",
        "sampler": _sampler("parent_based", "ParentBased", {"wrapped_sampler": ratio}),
    }
    return {
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": config},
        "random_sampling": {"value": 100},  # the sampler above decides, and it hears of the caller's trace
    }


def _sampler(name: str, kind: str, config: Node) -> Node:
    api = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3"
    return {
        "name": f"envoy.tracers.opentelemetry.samplers.{name}",
        "typed_config": {"@type": f"{api}.{kind}SamplerConfig", **config},
    }


def cluster(to: Traces, http2: Node) -> Node:
    """The collector as a cluster."""
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": http2},
    }
    address = {"socket_address": {"address": to.host, "port_value": to.port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": _CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": _CLUSTER, "endpoints": endpoints},
    }
