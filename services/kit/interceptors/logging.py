"""Logging: one line an RPC. What went well is DEBUG, what was refused INFO; an incident has its own line (refusals)."""

import time

import structlog

from services.kit.interceptors.call import Call

_log = structlog.get_logger(__name__)


def ended(call: Call) -> None:
    """Say how the RPC ended."""
    say = _log.debug if call.code in ("OK", "CANCELLED") else _log.info
    say(
        "rpc",
        method=call.method.path,
        code=call.code,
        reason=call.reason,
        caller=call.who.subject if call.who else "",
        milliseconds=round((time.perf_counter() - call.started) * 1000, 3),
    )
