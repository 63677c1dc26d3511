"""Logs: one JSON line an event on stderr, with the trace id; SIGUSR1 toggles DEBUG without a restart.

Code says `structlog.get_logger(__name__).info("delivery_loaded", rows=17)`: an event name and values, never a sentence
with values inside. The libraries' own logging goes the same way. As a last net, whatever looks like a mobile number is
masked in every line; it is no licence to log one.
"""

import logging
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from structlog.typing import EventDict, Processor

_MOBILE = re.compile(r"(?<!\d)(?:(?:\+|00)?86[ -]?)?1[3-9]\d{9}(?!\d)")
_MASKED = "1**********"


class Traced(Protocol):
    """The ids that a line carries."""

    @property
    def trace_id(self) -> int:
        """128 bits."""

    @property
    def span_id(self) -> int:
        """64 bits."""


def mask(value: Any) -> Any:
    """The value with everything in it that looks like an 11-digit mobile number made unreadable."""
    if isinstance(value, str):
        return _MOBILE.sub(_MASKED, value)
    if isinstance(value, dict):
        return {mask(key): mask(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(inner) for inner in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _MASKED if 13_000_000_000 <= value < 20_000_000_000 else value
    return value if value is None or isinstance(value, bool) else _MOBILE.sub(_MASKED, str(value))


def setup(service: str, level: str, current: Callable[[], Traced | None]) -> None:
    """Send all logging of this process to stderr as JSON lines, from `level` up; SIGUSR1 toggles DEBUG."""

    def last(_: Any, __: str, event: EventDict) -> EventDict:
        line: dict[str, Any] = {"time": event.pop("timestamp"), "level": event.pop("level"), "service": service}
        trace = current()
        if trace is not None:
            line |= {"trace_id": f"{trace.trace_id:032x}", "span_id": f"{trace.span_id:016x}"}
        line |= mask(dict(event))
        return line

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                last,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())

    def toggle(*_: object) -> None:
        root.setLevel(level.upper() if root.level == logging.DEBUG else logging.DEBUG)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, toggle)
