"""What this process told the event log last, kept so that who follows close behind is told it without it being read.

Postgres alone says what is in the log, and in which order: an arrival that was rolled back, or an event that was erased
since, is never asked for. What is kept is only what a row says, which never changes.
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from services.ingest.domain.event import Event, Told

_MOST = 20_000
"""Events kept: some seconds of a busy lane."""
_SECONDS = 60.0
"""How long they are kept at most; who is erased does not stay in memory."""
_NOT_ASKED = 20
"""For so many pages nothing is looked for here after it was not found: files or another process write the log too."""


@dataclass(frozen=True)
class Arrival:
    """What events that are written together have in common; their ids are `<batch_id>-<index>`.

    `delivery_id` is that of a file, and then their ids are `<batch_id>-<line>`; else "".
    """

    batch_id: str
    receive_time: datetime
    traceparent: str
    delivery_id: str = ""


class Logged(NamedTuple):
    """An event of the log; `traceparent` is the span that wrote it."""

    event: Event
    traceparent: str


class Recent:
    """The latest arrivals by number, at most so many events of them."""

    def __init__(self, most: int = _MOST, seconds: float = _SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._kept = 0
        self._not_asked = 0
        self._order: deque[tuple[int, int, float]] = deque()
        self._arrivals: dict[int, tuple[Sequence[Told], Arrival]] = {}

    def add(self, arrival_no: int, xid: int, told: Sequence[Told], arrival: Arrival) -> None:
        """Keep events, each at the place that is its line, whether or not they will be committed."""
        self._arrivals[arrival_no] = (told, arrival)
        self._order.append((xid, arrival_no, time.monotonic() + self._seconds))
        self._kept += len(told)
        self._let_go()

    def may_hold(self, xid: int) -> bool:
        """Whether it is worth while to look here for what was written from a transaction on."""
        self._let_go()
        if not self._order or xid < self._order[0][0]:
            return False
        self._not_asked = max(0, self._not_asked - 1)
        return not self._not_asked

    def missed(self) -> None:
        """Something was looked for and is not here."""
        self._not_asked = _NOT_ASKED

    def of(self, arrival_no: int, lines: Iterable[int]) -> list[Logged] | None:
        """Events of an arrival as the log has them; None when it is not here."""
        kept = self._arrivals.get(arrival_no)
        if kept is None:
            return None
        told, arrival = kept
        head, when, traceparent = f"{arrival.batch_id}-", arrival.receive_time, arrival.traceparent
        return [
            Logged(
                Event(
                    f"{head}{line}",
                    (one := told[line]).source,
                    one.source_event_id,
                    one.type,
                    one.customer_key,
                    one.occur_time,
                    when,
                    one.attributes,
                ),
                traceparent,
            )
            for line in lines
        ]

    def _let_go(self) -> None:
        now = time.monotonic()
        while self._order and (self._kept > self._most or self._order[0][2] < now):
            _, oldest, _ = self._order.popleft()
            self._kept -= len(self._arrivals.pop(oldest)[0])
