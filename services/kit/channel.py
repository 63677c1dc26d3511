"""Outbound gRPC: a channel with a default deadline, retries, and on every call the trace and the token of this service.

The channel is wrapped, not intercepted: grpc's client interceptors double the CPU of a call even when they do nothing.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from services.kit import telemetry
from services.kit.errors import deadline_exhausted
from services.kit.files import Watched
from services.kit.interceptors.call import expiry
from services.kit.tls import Tls

_OLD_CHANNEL_SECONDS = 300.0

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


def open_channel(
    target: str, *, token: Callable[[], str], tls: Tls | None = None, default_deadline: float = 5.0
) -> grpc.aio.Channel:
    """Channel to the peer at host:port; open it once and close() it at the end. With `tls` it is mutual TLS.

    A call waits `timeout` seconds if given, else `default_deadline` (unary responses) or for ever (streams), and never
    longer than what is left of the deadline of the RPC in hand. Nothing left raises deadline_exhausted. Work that
    outlives the RPC which started it must not inherit its deadline: start it from the worker.
    """
    return _Channel(_Line(target, tls), token, default_deadline)


class _Line:
    """The channel underneath. It keeps the certificate it began with, so a renewed certificate is another channel.

    Calls in flight end on the old one, which is closed after a while.
    """

    def __init__(self, target: str, tls: Tls | None) -> None:
        self._target = target
        self._tls = tls
        self._material = tls.material() if tls is not None else None
        self._channel = self._open()
        self._old: set[asyncio.Task[None]] = set()

    def now(self) -> grpc.aio.Channel:
        """The channel for the next call."""
        if self._tls is not None and self._tls.material() is not self._material:
            leaving = asyncio.create_task(_close_later(self._channel))
            self._old.add(leaving)
            leaving.add_done_callback(self._old.discard)
            self._material = self._tls.material()
            self._channel = self._open()
        return self._channel

    async def close(self, grace: float | None) -> None:
        """Close it, and those that were on their way out."""
        for leaving in list(self._old):
            leaving.cancel()
        await asyncio.gather(*self._old, return_exceptions=True)
        await self._channel.close(grace)

    def _open(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        return grpc.aio.secure_channel(self._target, self._tls.channel(), options=_OPTIONS)


async def _close_later(channel: grpc.aio.Channel) -> None:
    """Streams reconnect by themselves when it closes; unary calls are long done by then."""
    try:
        await asyncio.sleep(_OLD_CHANNEL_SECONDS)
    finally:
        await channel.close()


class _Channel(grpc.aio.Channel):
    def __init__(self, line: _Line, token: Callable[[], str], default_deadline: float) -> None:
        self._line = line
        self._token = token
        self._default_deadline = default_deadline

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap("unary_unary", args, kwargs, self._default_deadline)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap("stream_unary", args, kwargs, self._default_deadline)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap("unary_stream", args, kwargs, None)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap("stream_stream", args, kwargs, None)

    def _wrap(
        self, shape: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], default: float | None
    ) -> Callable[..., Any]:
        channel: grpc.aio.Channel | None = None
        call: Callable[..., Any] | None = None

        def called(request: Any = None, *, timeout: float | None = None, metadata: Any = None, **rest: Any) -> Any:
            nonlocal channel, call
            now = self._line.now()
            if call is None or now is not channel:
                channel, call = now, getattr(now, shape)(*args, **kwargs)
            headers = [*(metadata or ()), ("authorization", f"Bearer {self._token()}")]
            trace = telemetry.traceparent()
            if trace:
                headers.append(("traceparent", trace))
            return call(request, timeout=_left(default if timeout is None else timeout), metadata=headers, **rest)

        return called

    async def close(self, grace: float | None = None) -> None:
        await self._line.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._line.now().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._line.now().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._line.now().channel_ready()

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
