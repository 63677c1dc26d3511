"""Where a caller's token comes from: a file that is renewed, or the platform's own issuer for a secret.

platform = Lifecircle(target, token=tokens.file(path))
platform = Lifecircle(target, token=tokens.issued(target, "ocrm", secret))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio

from lifecircle.admin.v1 import AdminServiceStub, IssueTokenRequest
from lifecircle.errors import refused

_RENEW_SECONDS = 60.0  # before its end
_LOOK_SECONDS = 1.0


def file(path: Path) -> Callable[[], str]:
    """The token in a file, read again within a second of a change."""
    looked, stamp, token = 0.0, 0, ""

    def give() -> str:
        nonlocal looked, stamp, token
        if time.monotonic() - looked > _LOOK_SECONDS:
            looked = time.monotonic()
            now = path.stat().st_mtime_ns
            if now != stamp:
                token, stamp = path.read_text().strip(), now
        return token

    return give


def issued(
    target: str, principal_id: str, secret: str, credentials: grpc.ChannelCredentials | None = None
) -> Callable[[], Awaitable[str]]:
    """Tokens of the platform's own issuer for a principal's secret, each renewed a minute before it runs out."""
    token, ends, turn = "", 0.0, asyncio.Lock()

    async def give() -> str:
        nonlocal token, ends
        async with turn:
            if time.time() > ends - _RENEW_SECONDS:
                token, ends = await _issue(target, principal_id, secret, credentials)
            return token

    return give


async def _issue(
    target: str, principal_id: str, secret: str, credentials: grpc.ChannelCredentials | None
) -> tuple[str, float]:
    channel = grpc.aio.insecure_channel(target) if credentials is None else grpc.aio.secure_channel(target, credentials)
    async with channel:
        try:
            answer = await AdminServiceStub(channel).IssueToken(
                IssueTokenRequest(principal_id=principal_id, secret=secret), timeout=10
            )
        except grpc.aio.AioRpcError as error:
            raise refused(error) from None
    return answer.token, answer.expire_time.seconds
