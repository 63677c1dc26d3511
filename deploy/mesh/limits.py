"""Rate limits at the front door: token buckets in Envoy itself, per caller and route, without a service beside it.

A caller is whose token he shows; who shows none shares one bucket with all the others who do not. Each kind of route
has buckets of its own, so that many reads take nothing from the streams. Who asks too often is answered at once with
RESOURCE_EXHAUSTED (429 in JSON) and told in `retry-after` when to ask again: no service hears of his call, and the
gRPC clients do not ask again by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]

_API = "type.googleapis.com/envoy.extensions"
_NAME = "envoy.filters.http.local_ratelimit"
_WHO = "authorization"
_TOKENS = "/lifecircle.admin.v1.AdminService/IssueToken"
_CALLERS = 10_000  # callers whose buckets are kept; who has asked nothing for longest is forgotten first


@dataclass(frozen=True)
class Limits:
    """Calls a second. A bucket holds two seconds' worth, so that a burst passes."""

    caller: int = 1_000  # of one caller, but for streams
    streams: int = 50  # streams that one caller opens
    tokens: int = 20  # IssueToken, by all callers together: nobody tries passwords here
    whole: int = 5_000  # of all callers together, on each kind of route


def keep(host: Node, filters: list[Node], limits: Limits) -> None:
    """Adds the limits to the routes of a virtual host, and the filter to an HTTP chain that ends in the router.

    The filter stands behind the transcoder, which has made a gRPC call of JSON: there every call has its route.
    """
    for route in host["routes"]:
        if "path" in route["match"]:  # only a stream has a route of its own
            route["typed_per_filter_config"] = {_NAME: _config("streams", limits.streams, limits.whole)}
    issuing = [route for route in host["routes"] if _TOKENS.startswith(route["match"].get("prefix", "no"))]
    for route in issuing[:1]:
        own = {_NAME: _config("tokens", limits.tokens, limits.tokens)}
        host["routes"].insert(0, {**route, "match": {"path": _TOKENS}, "typed_per_filter_config": own})
    filters.insert(-1, {"name": _NAME, "typed_config": _config("calls", limits.caller, limits.whole)})


def _config(name: str, caller: int, whole: int) -> Node:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "@type": f"{_API}.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": name,
        "token_bucket": _bucket(whole),
        "rate_limits": [{"actions": [{"request_headers": {"header_name": _WHO, "descriptor_key": "caller"}}]}],
        "descriptors": [{"entries": [{"key": "caller"}], "token_bucket": _bucket(caller)}],
        "max_dynamic_descriptors": _CALLERS,
        "filter_enabled": {"runtime_key": "limits_enabled", **always},
        "filter_enforced": {"runtime_key": "limits_enforced", **always},
        "rate_limited_as_resource_exhausted": True,
        "response_headers_to_add": [{"header": {"key": "retry-after", "value": "1"}}],
    }


def _bucket(calls: int) -> Node:
    return {"max_tokens": 2 * calls, "tokens_per_fill": calls, "fill_interval": "1s"}
