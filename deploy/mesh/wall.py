"""What the front door refuses before any service hears of it: requests that no client of the contract makes.

Methods other than GET and POST (405), JSON bodies that say they are larger than 4 MiB (403), paths with escaped
slashes (400), header names with underscores, which some servers take for others (400), and more or larger
headers than any call has (431). Paths are normalised first, so that `//a/../b` finds the rules and limits of `/b`.
Services that the contract does not have find no route (404, UNIMPLEMENTED). Any message is held by the service: 64 MiB.
"""

from __future__ import annotations

from typing import Any

Node = dict[str, Any]

HEADERS_MOST = 64
HEADERS_KIB = 32
JSON_BYTES = 4 << 20


_API = "type.googleapis.com/envoy.extensions"


def build(manager: Node, host: Node) -> None:
    """Adds the rules to an HTTP connection manager, before its filters, and to its virtual host, before its routes."""
    manager |= {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": HEADERS_KIB,
        "common_http_protocol_options": {
            "max_headers_count": HEADERS_MOST,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
    }
    odd = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|POST"}}, "invert_match": True}
    host["routes"].insert(0, {"match": {"prefix": "/", "headers": [odd]}, "direct_response": {"status": 405}})
    # No route: the transcoder makes a gRPC call of JSON before the route is chosen.
    manager["http_filters"].insert(0, _no_large_json())


def _no_large_json() -> Node:
    json = {"name": "content-type", "string_match": {"prefix": "application/json", "ignore_case": True}}
    large = {"name": "content-length", "range_match": {"start": JSON_BYTES + 1, "end": 1 << 62}}
    both = {"and_rules": {"rules": [{"header": json}, {"header": large}]}}
    refused = {"permissions": [both], "principals": [{"any": True}]}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{_API}.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"large_json": refused}},
        },
    }
