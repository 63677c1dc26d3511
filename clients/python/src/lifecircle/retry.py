"""Which calls are tried again, and how often.

Only UNAVAILABLE is retried: every write of the platform carries a request id or a natural key, so a second try can not
act twice. A budget (gRFC A6) stops retries from feeding an outage: each failure takes a token, each success gives a
tenth back, and below half of the tokens nothing is retried. The back-off outlasts the restart of a service.
"""

from __future__ import annotations

import json

SERVICES = (
    "lifecircle.ingest.v1.IngestService",
    "lifecircle.points.v1.PointsService",
    "lifecircle.portrait.v1.PortraitService",
    "lifecircle.recommend.v1.RecommendService",
    "lifecircle.contact.v1.ContactService",
)


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
        names = [{"service": service} for service in SERVICES]
        config["methodConfig"] = [{"name": names, "retryPolicy": policy}]
    return json.dumps(config)
