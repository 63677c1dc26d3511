"""Which calls are tried again, and how often.

Only UNAVAILABLE is retried, and only calls that may be sent twice: reads, and writes that carry a request id or a
natural key. A budget (gRFC A6) stops retries from feeding an outage: each failure takes a token, each success gives a
tenth back, and below half of the tokens nothing is retried. The back-off outlasts the restart of a service.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from lifecircle.admin.v1 import admin_service_pb2
from lifecircle.contact.v1 import contact_service_pb2, tmf681_service_pb2
from lifecircle.ingest.v1 import ingest_service_pb2
from lifecircle.points.v1 import points_service_pb2, tmf658_service_pb2
from lifecircle.portrait.v1 import portrait_service_pb2
from lifecircle.recommend.v1 import recommend_service_pb2, tmf680_service_pb2

SERVICES: dict[str, ServiceDescriptor] = {
    name: module.DESCRIPTOR.services_by_name[f"{name.capitalize()}Service"]
    for name, module in {
        "ingest": ingest_service_pb2,
        "points": points_service_pb2,
        "portrait": portrait_service_pb2,
        "recommend": recommend_service_pb2,
        "contact": contact_service_pb2,
        "admin": admin_service_pb2,
        "tmf658": tmf658_service_pb2,
        "tmf680": tmf680_service_pb2,
        "tmf681": tmf681_service_pb2,
    }.items()
}
"""The platform's services, by the word for them; tmf… are the facades of points, recommend and contact."""

_READS = ("Get", "List", "BatchGet", "Watch", "Export", "Count", "Explain", "Resolve", "Reveal", "Verify", "Recommend")
# Writes whose natural key stands in for a request id.
_KEYED = frozenset({"PublishEvent", "ScoreEvent", "ScoreEvents", "RecordOutcomes", "RecordOperations", "GetKeys"})


def repeatable(method: MethodDescriptor) -> bool:
    """Whether the call may be sent twice: it reads, or it carries what makes a second one the same one."""
    if method.client_streaming:
        return False
    written = "request_id" in method.input_type.fields_by_name or method.name in _KEYED
    return written or method.name.startswith(_READS)


def service_config(attempts: int = 5) -> str:
    """Gives the gRPC service config as JSON: `attempts` tries in all, 1 to 5, with back-off from 0.3 s to 5 s."""
    policy = {
        "maxAttempts": attempts,
        "initialBackoff": "0.3s",
        "maxBackoff": "5s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config: dict[str, object] = {"retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1}}
    if attempts > 1:
        names = [{"service": each.containing_service.full_name, "method": each.name} for each in _retried()]
        config["methodConfig"] = [{"name": names, "retryPolicy": policy}]
    return json.dumps(config)


def _retried() -> Iterable[MethodDescriptor]:
    return (method for service in SERVICES.values() for method in service.methods if repeatable(method))
