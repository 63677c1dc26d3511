"""What stands around every RPC: THE order is tracing › logging › refusals › deadline › caller › validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Rights = Mapping[str, frozenset[str]]
"""Method name → the roles that may call it. A method without an entry is open to nobody."""


@dataclass(frozen=True)
class Caller:
    """Who calls, as the token says."""

    subject: str
    roles: frozenset[str]
    org: str


def caller() -> Caller:
    """The caller of the RPC in hand."""
    raise NotImplementedError


def chain(service: str, rights: Rights, verifier: Any) -> list[Any]:
    """The interceptors of a server, in THE order."""
    raise NotImplementedError
