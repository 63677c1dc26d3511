"""Between numbers and customer keys, for those who may; always written down before anything is told."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.ingest import store
from services.ingest.domain.identity import VaultKeys
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.ids import Ids

_PART = 5000


@dataclass(frozen=True)
class Revealed:
    """A part of an answer: (customer key, clear number) pairs."""

    identities: list[tuple[int, str]]
    reveal_time: datetime


class Identities:
    """The vault's two doors."""

    def __init__(self, db: Database, identities: store.Identities, keys: VaultKeys, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._identities = identities
        self._keys = keys
        self._clock = clock
        self._ids = ids

    async def resolve(self, numbers: Sequence[str], *, purpose: str, caller: str) -> list[int]:
        """Customer keys in the order of the numbers; 0 for a number that is not known."""
        tokens = await asyncio.to_thread(self._keys.tokens, numbers)
        async with self._db.begin() as tx:
            known = await self._identities.keys(tx, tokens)
            found = [known.get(token, 0) for token in tokens]
            await self._identities.add_disclosure(
                tx,
                disclosure_id=self._ids(),
                caller=caller,
                method="ResolveIdentities",
                purpose=purpose,
                asked=len(numbers),
                customer_keys=sorted(set(found) - {0}),
                now=self._clock(),
            )
            await tx.commit()
        return found

    async def reveal(self, customer_keys: Sequence[int], *, purpose: str, caller: str) -> AsyncIterator[Revealed]:
        """Clear numbers in the order asked, in parts; customers that are not known are left out."""
        now = self._clock()
        async with self._db.begin() as tx:
            sealed = await self._identities.sealed(tx, customer_keys)
            await self._identities.add_disclosure(
                tx,
                disclosure_id=self._ids(),
                caller=caller,
                method="RevealIdentities",
                purpose=purpose,
                asked=len(customer_keys),
                customer_keys=sorted(sealed),
                now=now,
            )
            await tx.commit()
        known = [key for key in customer_keys if key in sealed]
        for start in range(0, len(known), _PART):
            part = known[start : start + _PART]
            numbers = await asyncio.to_thread(self._unsealed, [sealed[key] for key in part])
            yield Revealed(list(zip(part, numbers, strict=True)), now)

    def _unsealed(self, sealed: Sequence[bytes]) -> list[str]:
        return [self._keys.open_number(each) for each in sealed]
