"""The operation log (操作日志): a chain in which each line holds the hash of all before it.

hash(n) = SHA-256(hash(n − 1) ‖ canonical JSON of line n), as in any tamper-evident log (Schneier & Kelsey 1999): who
changes, drops or inserts a line must change every hash after it, and the head that somebody else has noted.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.admin import refusals

START = "0" * 64
"""The hash before the first line."""


@dataclass(frozen=True)
class Operation:
    """Who did what to what, and what came of it; (service, operation_id) is unique."""

    service: str
    operation_id: str
    time: datetime
    caller: str
    org_id: str
    action: str
    target: str
    refused: bool
    detail: dict[str, str]


@dataclass(frozen=True)
class Line:
    """An operation in the log."""

    sequence: int
    operation: Operation
    hash: str


def chained(previous: str, sequence: int, operation: Operation) -> Line:
    """The line that follows the one with the hash `previous`."""
    body = {
        "sequence": sequence,
        "service": operation.service,
        "operation_id": operation.operation_id,
        "time": operation.time.astimezone(UTC).isoformat(timespec="microseconds"),
        "caller": operation.caller,
        "org_id": operation.org_id,
        "action": operation.action,
        "target": operation.target,
        "refused": operation.refused,
        "detail": operation.detail,
    }
    plain = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return Line(sequence, operation, hashlib.sha256(previous.encode() + plain.encode()).hexdigest())


def verify(lines: Iterable[Line], head: tuple[int, str], after: Line | None = None) -> Line | None:
    """Check lines in order, going on after `after`; gives the last one. Raises chain_broken at the first misfit.

    `head` is the sequence and hash that the last line of the whole log must have; it is checked when it is reached.
    """
    last = after
    for line in lines:
        sequence, previous = (1, START) if last is None else (last.sequence + 1, last.hash)
        if line != chained(previous, sequence, line.operation):
            raise refusals.chain_broken(sequence)
        if line.sequence == head[0] and line.hash != head[1]:
            raise refusals.chain_broken(line.sequence)
        last = line
    return last
