"""The journal as this process writes it: its end stays in memory, so that who matches need not read it back."""

from collections import deque
from collections.abc import Callable, Sequence

from services.kit.db import Write
from services.portrait.domain.moment import Event
from services.portrait.store import Moments
from services.portrait.store.moments import Journalled
from services.portrait.usecases.whereabouts import Whereabouts

_MOST_EVENTS = 30_000
"""Who lags further behind reads the table; some 30 MB."""


class Tail:
    """Pages of the journal that this process committed: (before, events), between which there is nothing else.

    The table alone is the truth. Another process may have journalled, a page may have been lost between its commit and
    here, or have been too old to keep: then there is a gap, and nothing is said beyond it.
    """

    def __init__(self, most_events: int = _MOST_EVENTS) -> None:
        self._pages: deque[tuple[int, list[Journalled]]] = deque()
        self._events = 0
        self._most_events = most_events

    def put(self, before: int, page: list[Journalled]) -> None:
        """Take a page of which it is known that in the journal it follows `before` directly."""
        self._pages.append((before, page))
        self._events += len(page)
        while self._events > self._most_events:
            self._drop()

    def clear(self) -> None:
        """Know of nothing."""
        self._pages.clear()
        self._events = 0

    def after(self, seq: int, most: int) -> tuple[list[Journalled], bool]:
        """What follows a place in the journal without a gap, about `most` events of it, and whether more is known to
        follow. The first page may begin before the place. Nothing: the table must be asked."""
        while self._pages and self._pages[0][1][-1].seq <= seq:
            self._drop()
        found: list[Journalled] = []
        for before, page in self._pages:
            if before > (found[-1].seq if found else seq):
                break
            if len(found) >= most:
                return found, True
            found += page
        return found, False

    def _drop(self) -> None:
        self._events -= len(self._pages.popleft()[1])


class Journal:
    """Takes events down, in the transaction of the cursor of whoever tells them."""

    def __init__(self, moments: Moments, where: Whereabouts) -> None:
        self._moments = moments
        self._where = where
        self.tail = Tail()

    async def take(self, tx: Write, events: Sequence[tuple[Event, int]]) -> Callable[[], None] | None:
        """Journal events with the time (milliseconds) at which each became known. What it gives is to be called once
        it is committed: before that nobody may match them, since they may never have been.

        That nothing lies between the page and what was seen before it holds since one process at a time journals: the
        cursor is fenced, so a former owner's page is either seen here or never committed.
        """
        if not self._where.looked:
            await self._where.refresh()
        about = [(self._where.told(event), received) for event, received in events if event.customer_key > 0]
        if not about:
            return None
        before, seqs = await self._moments.journal(tx, about)
        page = [Journalled(seq, received, event) for seq, (event, received) in zip(seqs, about, strict=True)]
        return lambda: self.tail.put(before, page)
