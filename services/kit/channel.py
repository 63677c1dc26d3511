"""Outbound gRPC: a channel with a default deadline, retries, and on every call the trace and the token of this service.

The channel is wrapped, not intercepted: grpc's client interceptors double the CPU of a call even when they do nothing.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from services.kit import telemetry
from services.kit.errors import deadline_exhausted
from services.kit.files import Watched
from services.kit.interceptors.call import expiry

MOST_BYTES = 64 * 1024 * 1024
"""Largest message either way: one Arrow record batch of 64 k rows fits."""

# gRPC A6, over about 3 s: a peer that restarts is waited for. Only UNAVAILABLE is tried again, and every write of ours
# carries a request_id, so that repeating one is safe. The throttle ends retries when more than one call in ten fails.
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
)
_OPTIONS = [
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),  # the mesh is the only way to a peer, whatever HTTP_PROXY says
    # A quiet Watch must notice a peer that is gone, and a balancer must not think that the Watch is.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.max_send_message_length", MOST_BYTES),
]


def token_file(path: Path) -> Callable[[], str]:
    """The token in a file, read again when the file changes."""
    return Watched(path, str.strip).value


def open_channel(target: str, *, token: Callable[[], str], default_deadline: float = 5.0) -> grpc.aio.Channel:
    """Channel to the peer at host:port; open it once and close() it at the end.

    A call waits `timeout` seconds if given, else `default_deadline` (unary responses) or for ever (streams), and never
    longer than what is left of the deadline of the RPC in hand. Nothing left raises deadline_exhausted. Work that
    outlives the RPC which started it must not inherit its deadline: start it from the worker.
    """
    return _Channel(grpc.aio.insecure_channel(target, options=_OPTIONS), token, default_deadline)


class _Channel(grpc.aio.Channel):
    def __init__(self, channel: grpc.aio.Channel, token: Callable[[], str], default_deadline: float) -> None:
        self._channel = channel
        self._token = token
        self._default_deadline = default_deadline

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap(self._channel.unary_unary(*args, **kwargs), self._default_deadline)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap(self._channel.stream_unary(*args, **kwargs), self._default_deadline)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap(self._channel.unary_stream(*args, **kwargs), None)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap(self._channel.stream_stream(*args, **kwargs), None)

    def _wrap(self, call: Callable[..., Any], default: float | None) -> Callable[..., Any]:
        def called(request: Any = None, *, timeout: float | None = None, metadata: Any = None, **rest: Any) -> Any:
            headers = [*(metadata or ()), ("authorization", f"Bearer {self._token()}")]
            trace = telemetry.traceparent()
            if trace:
                headers.append(("traceparent", trace))
            return call(request, timeout=_left(default if timeout is None else timeout), metadata=headers, **rest)

        return called

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    async def __aenter__(self) -> "_Channel":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


def _left(timeout: float | None) -> float | None:
    """The timeout of a call: what is asked for, but not more than the RPC in hand has left."""
    expires = expiry()
    if expires is None:
        return timeout
    left = expires - time.monotonic()
    if left <= 0:
        raise deadline_exhausted()
    return left if timeout is None else min(timeout, left)
