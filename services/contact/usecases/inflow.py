"""What ingest's streams bring: customers, consents, openings, outcomes."""

from collections.abc import Sequence

from services.contact.domain.auction import Customer
from services.contact.domain.fact import Closing, Complained, ConsentChange, Opening
from services.contact.domain.outcome import Outcome
from services.contact.store import Store
from services.contact.usecases.facts import attribute, tell_outcomes
from services.kit.clock import Clock
from services.kit.db import Write

Customers = Sequence[tuple[int, Customer]]
"""Customer keys, each once, and who they are."""

Fact = ConsentChange | Opening | Closing | Complained | Outcome


class Inflow:
    """Takes facts in, in the transaction that moves the cursor."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def delivered(self, tx: Write, customers: Customers) -> None:
        """A delivery of customers was loaded; these are all of them."""
        await self._store.customers.put(tx, customers)

    async def told(self, tx: Write, facts: Sequence[Fact]) -> None:
        """Facts were told, in any order and perhaps again."""
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
