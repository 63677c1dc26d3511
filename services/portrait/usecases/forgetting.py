"""Erasures and merges that ingest tells of: the customer leaves everything that portrait keeps."""

from collections.abc import Sequence

import structlog

from services.kit.clock import Clock
from services.kit.db import Write
from services.portrait.domain.moment import Event
from services.portrait.store.days import KeptDays
from services.portrait.store.forgetting import Forgotten

PREFIXES = ("subject.", "identity.")
_TYPES = ("subject.erased", "identity.merged")
_log = structlog.get_logger(__name__)


class Forgetting:
    """Who was erased is no customer any more; who was merged is another: the next run knows him by that key."""

    def __init__(self, forgotten: Forgotten, days: KeptDays, buckets: int, clock: Clock) -> None:
        self._forgotten = forgotten
        self._days = days
        self._buckets = buckets
        self._clock = clock

    async def take(self, tx: Write, told: Sequence[tuple[Event, int]]) -> bool:
        """Forget whom events speak of, and say whether they speak of anybody; the caller commits, with its cursor. The
        same events again change nothing."""
        events = [event for event, _ in told if event.type in _TYPES and event.customer_key > 0]
        if not events:
            return False
        for event in events:
            await self._forgotten.put(tx, event.customer_key, event.event_id, self._clock())
            await self._days.forget(tx, event.customer_key, self._buckets)
        removed = await self._forgotten.remove(tx, sorted({event.customer_key for event in events}))
        _log.info("customers_forgotten", customers=len(events), rows=removed)
        return True
