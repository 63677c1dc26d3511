"""Outcomes told by RPC, and what campaigns achieved."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from services.contact.domain.outcome import UNRESOLVED, Effect, Kept, Outcome, effect
from services.contact.refusals import campaign_not_found, outcome_unmatched
from services.contact.store import Store
from services.contact.usecases.facts import tell_outcomes
from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey


@dataclass(frozen=True)
class Recorded:
    """What became of outcomes: new ones, known ones, and those whose contact was never handed over."""

    recorded: int
    duplicates: int
    unmatched: tuple[str, ...]


class Effects:
    """Takes outcomes and adds them up."""

    def __init__(self, db: Database, store: Store, clock: Clock) -> None:
        self._db = db
        self._store = store
        self._clock = clock

    async def record(self, key: RequestKey, outcomes: Sequence[Outcome]) -> Recorded:
        """Keep outcomes; each contact counts once, whoever reports it and however often."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return Recorded(earlier["recorded"], earlier["duplicates"], tuple(earlier["unmatched"]))
            outcomes = await self._resolved(tx, outcomes)
            new, changed = await self._store.outcomes.put(tx, outcomes, self._clock())
            await tell_outcomes(tx, self._store, changed)
            unmatched = await self._store.outcomes.unmatched(tx, [outcome.contact_id for outcome in outcomes])
            recorded = Recorded(new, len(outcomes) - new, tuple(unmatched))
            answer = {"recorded": new, "duplicates": recorded.duplicates, "unmatched": unmatched}
            await idempotency.answer(tx, key, answer)
            await tx.commit()
        return recorded

    async def _resolved(self, read: Read, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Outcomes by contact, also those told by attribution token; a token that nobody knows stays as it is."""
        tokens = [one.contact_id.removeprefix(UNRESOLVED) for one in outcomes if one.contact_id.startswith(UNRESOLVED)]
        known = await self._store.attributions.contacts_of_tokens(read, tokens) if tokens else {}
        return [
            dataclasses.replace(one, contact_id=known.get(one.contact_id.removeprefix(UNRESOLVED), one.contact_id))
            if one.contact_id.startswith(UNRESOLVED)
            else one
            for one in outcomes
        ]

    async def outcomes(self, contact_id: str, unmatched: bool, after: str, size: int) -> list[Kept]:
        """Outcomes by contact, those after the contact `after`; of one contact, or only the unmatched.

        Raises outcome_unmatched when one contact is asked for of which nothing is known.
        """
        async with self._db.read() as read:
            kept = await self._store.outcomes.page(
                read, contact_id=contact_id, unmatched=unmatched, after=after, size=size
            )
            if contact_id and not kept and not await self._store.outcomes.known_contact(read, contact_id):
                raise outcome_unmatched(contact_id)
        return kept

    async def effects(self, campaign_id: str, after: tuple[str, str] | None, size: int) -> list[Effect]:
        """What campaigns achieved, by name, those after (name, campaign_id). Raises campaign_not_found."""
        async with self._db.read() as read:
            if campaign_id and await self._store.campaigns.get(read, campaign_id) is None:
                raise campaign_not_found(campaign_id)
            found = await self._store.outcomes.tallies(read, campaign_id=campaign_id, after=after, size=size)
        return [effect(one.campaign_id, one.name, one.tallies, one.unmatched) for one in found]
