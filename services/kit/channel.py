"""Outbound gRPC: a channel with a default deadline, retries, the trace and the token of this service."""

from collections.abc import Callable
from pathlib import Path

import grpc.aio


def token_file(path: Path) -> Callable[[], str]:
    """Token of this service, read again when the file changes."""
    raise NotImplementedError


def open_channel(target: str, *, token: Callable[[], str], default_deadline: float = 5.0) -> grpc.aio.Channel:
    """Channel to a peer. Unary calls wait min(default_deadline, what is left of the caller's deadline) seconds."""
    raise NotImplementedError
