"""What ingest's streams bring: customers, consents, openings, outcomes, and who was merged or erased."""

import asyncio
from collections.abc import Sequence

import structlog

from services.contact.domain.auction import Customer
from services.contact.domain.fact import Closing, Complained, ConsentChange, Erased, Merged, Opening
from services.contact.domain.outcome import Outcome
from services.contact.lake import Folder
from services.contact.store import Store
from services.contact.usecases.facts import attribute, tell_outcomes
from services.kit.clock import Clock
from services.kit.db import Write

Customers = Sequence[tuple[int, Customer]]
"""Customer keys, each once, and who they are."""

Fact = ConsentChange | Opening | Closing | Complained | Merged | Erased | Outcome

_log = structlog.get_logger(__name__)


class Inflow:
    """Takes facts in, in the transaction that moves the cursor."""

    def __init__(self, store: Store, clock: Clock, folder: Folder) -> None:
        self._store = store
        self._clock = clock
        self._folder = folder

    async def delivered(self, tx: Write, customers: Customers) -> None:
        """A delivery of customers was loaded; these are all of them."""
        await self._store.customers.put(tx, customers)

    async def told(self, tx: Write, facts: Sequence[Fact]) -> None:
        """Facts were told, in any order and perhaps again; what is told of the erased is not kept."""
        about = {fact.customer_key for fact in facts if not isinstance(fact, Outcome)}
        gone = await self._store.persons.erased(tx, about)
        facts = [fact for fact in facts if isinstance(fact, Outcome) or fact.customer_key not in gone]
        await self._store.customers.put_consents(tx, [fact for fact in facts if isinstance(fact, ConsentChange)])
        openings = [fact for fact in facts if isinstance(fact, Opening)]
        await self._store.customers.put_openings(tx, openings)
        await attribute(tx, self._store, openings, self._clock())
        await self._store.reports.put_closings(tx, [fact for fact in facts if isinstance(fact, Closing)])
        await self._store.reports.put_complaints(tx, [fact for fact in facts if isinstance(fact, Complained)])
        outcomes = [fact for fact in facts if isinstance(fact, Outcome)]
        if outcomes:
            _, changed = await self._store.outcomes.put(tx, outcomes, self._clock())
            await tell_outcomes(tx, self._store, changed)
        for fact in facts:
            if isinstance(fact, Merged):
                await self._store.persons.merge(tx, fact.customer_key, fact.into_key)
        await self._erase(tx, sorted({fact.customer_key for fact in facts if isinstance(fact, Erased)}))

    async def _erase(self, tx: Write, customer_keys: Sequence[int]) -> None:
        """Forget persons: their lines leave the hand-over files first, which may be done again."""
        if not customer_keys:
            return
        for name, contact_ids in (await self._store.persons.files(tx, customer_keys)).items():
            written = await asyncio.to_thread(self._folder.strike, name, frozenset(contact_ids))
            if written is not None:
                await self._store.persons.rewritten(tx, name, written.rows, written.md5)
        for customer_key in customer_keys:
            await self._store.persons.erase(tx, customer_key, self._clock())
        _log.info("customers_erased", customers=len(customer_keys))
