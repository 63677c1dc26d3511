"""What ingest's streams bring: customers, consents, openings, outcomes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.contact.domain.auction import Customer
from services.contact.domain.fact import ConsentChange, Opening
from services.contact.domain.outcome import Outcome
from services.contact.lake import LakeFile
from services.contact.store import Store
from services.kit.clock import Clock
from services.kit.db import Write

CUSTOMERS_FEED = "customers"

CustomerFiles = Callable[[], Awaitable[Sequence[LakeFile]]]
"""The files of ingest's feed of customers."""
ReadCustomers = Callable[[Sequence[LakeFile]], list[tuple[int, Customer]]]

Fact = ConsentChange | Opening | Outcome


class Inflow:
    """Takes facts in, in the transaction that moves the cursor."""

    def __init__(
        self, store: Store, clock: Clock, customer_files: CustomerFiles, read_customers: ReadCustomers
    ) -> None:
        self._store = store
        self._clock = clock
        self._customer_files = customer_files
        self._read_customers = read_customers

    async def delivered(self, tx: Write, feed_id: str) -> None:
        """A delivery was loaded; that of customers is taken over."""
        if feed_id == CUSTOMERS_FEED:
            files = await self._customer_files()
            customers = await asyncio.to_thread(self._read_customers, files)
            await self._store.customers.put(tx, customers)

    async def told(self, tx: Write, facts: Sequence[Fact]) -> None:
        """Facts were told, in any order and perhaps again."""
        await self._store.customers.put_consents(tx, [fact for fact in facts if isinstance(fact, ConsentChange)])
        await self._store.customers.put_openings(tx, [fact for fact in facts if isinstance(fact, Opening)])
        outcomes = [fact for fact in facts if isinstance(fact, Outcome)]
        if outcomes:
            await self._store.outcomes.put(tx, outcomes, self._clock())
