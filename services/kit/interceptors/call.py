"""The RPC in hand: what the links of the chain know about it, and what code inside it may ask for."""

import threading
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from services.kit import telemetry
from services.kit.telemetry import Trace

Context = grpc.aio.ServicerContext[Any, Any]
Metadata = Iterable[tuple[str, str | bytes]]

_ORIGINAL_PATH = "x-envoy-original-path"
_asking = threading.Lock()


@dataclass(frozen=True)
class Caller:
    """Who calls, as his token says. `org` is the organisation he belongs to, "" the whole; `domain` what lies in it.

    A domain of None is everything.
    """

    subject: str
    roles: frozenset[str]
    org: str
    domain: frozenset[str] | None = None

    def sees(self, org_id: str) -> bool:
        """Whether rows of the organisation are in his domain."""
        return self.domain is None or org_id in self.domain


@dataclass(frozen=True)
class Method:
    """An RPC of this server. `path` is /package.Service/Method, `attributes` what its spans and metrics carry."""

    path: str
    name: str
    attributes: Mapping[str, str] = field(compare=False)

    @classmethod
    def at(cls, path: str) -> "Method":
        """The method of a path."""
        return cls(path, path.rpartition("/")[2], {"rpc.system.name": "grpc", "rpc.method": path[1:]})


@dataclass(slots=True)
class Call:
    """One RPC under way. `code` and `reason` are set when it has ended."""

    method: Method
    headers: Mapping[str, Any]  # bytes where the name ends in -bin
    started: float
    context: Context = field(init=False)  # as soon as the handler runs
    code: str = "OK"
    reason: str = ""
    who: Caller | None = None
    expires: float | None = None
    _trace: Trace | None = None

    @property
    def trace(self) -> Trace:
        """Where in a trace it is, for what is not recorded: made when somebody asks, most often nobody."""
        with _asking:  # two threads of one call must not draw two
            if self._trace is None:
                self._trace = telemetry.continued(self.headers.get("traceparent", ""))
            return self._trace

    @property
    def transcoded(self) -> bool:
        """Whether the proxy in front makes JSON of the answer; it says so by where the call came in."""
        return _ORIGINAL_PATH in self.headers

    @property
    def caller(self) -> Caller:
        """Who calls; known after the caller link."""
        assert self.who is not None, f"{self.method.path} is open to strangers: it has no caller"
        return self.who


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def begin(method: Method, metadata: Metadata) -> Call:
    """The call that begins now; from here on it is the one in hand for this task and those it starts."""
    call = Call(method, dict(metadata), time.perf_counter())
    _current.set(call)
    telemetry.enter(call)
    return call


def current() -> Call:
    """The RPC in hand. Raises LookupError outside of one."""
    call = _current.get()
    if call is None:
        raise LookupError("no RPC is in hand")
    return call


def in_hand() -> Caller | None:
    """Who calls the RPC in hand; None in work that nobody called for."""
    call = _current.get()
    return None if call is None else call.who


def expiry() -> float | None:
    """When the caller's deadline passes, in time.monotonic() seconds; None without a deadline or outside of an RPC."""
    call = _current.get()
    return None if call is None else call.expires
