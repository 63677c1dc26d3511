"""Between numbers and customer keys, for those who may; always written down before anything is told."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row

from services.ingest import refusals, store
from services.ingest.domain.event import Told
from services.ingest.domain.identity import VaultKeys, masked, shown
from services.ingest.store.identities import Sealed
from services.ingest.store.recent import Arrival
from services.ingest.usecases import numbers
from services.kit import domains, idempotency, jobs, operations, telemetry
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids

ROTATE = "rotate_vault"
MERGED = "identity.merged"
SOURCE = "identity"
"""Source of the events that ingest itself tells of persons."""

_PART = 5000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Revealed:
    """A part of an answer: (customer key, clear number) pairs."""

    identities: list[tuple[int, str]]
    reveal_time: datetime


@dataclass(frozen=True)
class Shown:
    """A customer with his number, masked or clear, and the organisation he belongs to."""

    customer_key: int
    msisdn: str
    org_id: str
    masked: bool


class Identities:
    """The vault's doors."""

    def __init__(
        self,
        db: Database,
        identities: store.Identities,
        events: store.Events,
        keys: VaultKeys,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._db = db
        self._identities = identities
        self._events = events
        self._keys = keys
        self._clock = clock
        self._ids = ids

    async def resolve(self, msisdns: Sequence[str], *, purpose: str, caller: str) -> list[int]:
        """Customer keys in the order of the numbers; 0 for a number that is not known."""
        async with self._db.begin() as tx:
            known = await numbers.known(tx, self._identities, self._keys, msisdns)
            seen = await self._seen(tx, list(known.values()))
            found = [key if (key := known.get(number, 0)) in seen else 0 for number in msisdns]
            await self._identities.add_disclosure(
                tx,
                disclosure_id=self._ids(),
                caller=caller,
                method="ResolveIdentities",
                purpose=purpose,
                asked=len(msisdns),
                customer_keys=sorted(set(found) - {0}),
                now=self._clock(),
            )
            await tx.commit()
        return found

    async def reveal(self, customer_keys: Sequence[int], *, purpose: str, caller: str) -> AsyncIterator[Revealed]:
        """Clear numbers in the order asked, in parts; customers that are not known or have none are left out."""
        async with self._db.begin() as tx:
            sealed = await self._identities.sealed(tx, sorted(await self._seen(tx, customer_keys)))
            asked, told = len(customer_keys), sorted(sealed)
            now = await self._disclose(tx, "RevealIdentities", purpose, caller, asked=asked, told=told)
            await tx.commit()
        known = [key for key in customer_keys if key in sealed]
        for start in range(0, len(known), _PART):
            part = known[start : start + _PART]
            clear = await asyncio.to_thread(self._unsealed, [sealed[key] for key in part])
            yield Revealed(list(zip(part, clear, strict=True)), now)

    async def page(
        self, customer_keys: Sequence[int], *, org_id: str, purpose: str, caller: str, after: int, size: int
    ) -> list[Shown]:
        """Customers with their numbers, by key: masked; with a purpose clear, and written down before they are told."""
        async with self._db.begin() as tx:
            found = await self._identities.page(tx, customer_keys=customer_keys, org_id=org_id, after=after, size=size)
            if purpose:
                told = [each.customer_key for each, _ in found]
                await self._disclose(tx, "ListIdentities", purpose, caller, asked=len(told), told=told)
                await tx.commit()
        clear = await asyncio.to_thread(self._unsealed, [each for each, _ in found])
        return [
            Shown(each.customer_key, number if purpose else shown(number), org, masked=not purpose)
            for (each, org), number in zip(found, clear, strict=True)
        ]

    async def _seen(self, read: Read, customer_keys: Sequence[int]) -> set[int]:
        """Those of the customers whom the caller may know of: a limited one those of his organisations alone."""
        if domains.current() is None:
            return set(customer_keys)
        return await self._identities.placed(read, customer_keys)

    async def _disclose(
        self, tx: Write, method: str, purpose: str, caller: str, *, asked: int, told: Sequence[int]
    ) -> datetime:
        """Write down who learns which numbers and why; gives when."""
        now, disclosure_id = self._clock(), self._ids()
        await self._identities.add_disclosure(
            tx,
            disclosure_id=disclosure_id,
            caller=caller,
            method=method,
            purpose=purpose,
            asked=asked,
            customer_keys=told,
            now=now,
        )
        why, found = masked(purpose), len(told)
        await operations.record(tx, f"ingest.{method}", disclosure_id, purpose=why, asked=asked, told=found)
        return now

    async def disclosures(
        self, *, customer_key: int, caller: str, before: tuple[datetime, str] | None, size: int
    ) -> list[Row[Any]]:
        """Who learned what, the latest first."""
        async with self._db.read() as read:
            return await self._identities.disclosures(
                read, customer_key=customer_key, caller=caller, before=before, size=size
            )

    async def retire(self, customer_keys: Sequence[int], request: RequestKey) -> int:
        """Their numbers are free for new persons; gives how many had one. Raises customer_not_found."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, request)
            if earlier is not None:
                return int(earlier["retired"])
            missing = await self._identities.missing(tx, customer_keys)
            if missing:
                raise refusals.customer_not_found(missing[0])
            retired = await self._identities.retire(tx, customer_keys, self._clock())
            await idempotency.answer(tx, request, {"retired": retired})
            await tx.commit()
        return retired

    async def recycle(self, left_before: datetime) -> int:
        """Retire the numbers of customers who left before an instant; gives how many."""
        retired = 0
        while True:
            async with self._db.begin() as tx:
                keys = await self._identities.recyclable(tx, left_before, _PART)
                retired += await self._identities.retire(tx, keys, self._clock()) if keys else 0
                await tx.commit()
            if len(keys) < _PART:
                return retired

    async def merge(
        self, into: int, customer_keys: Sequence[int], *, reason: str, caller: str, request: RequestKey
    ) -> tuple[int, int]:
        """Declare keys to be one person; gives the key that stays and how many are new. Raises customer_not_found."""
        now = self._clock()
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, request)
            if earlier is not None:
                return int(earlier["into_key"]), int(earlier["merged"])
            missing = await self._identities.missing(tx, [into, *customer_keys])
            if missing:
                raise refusals.customer_not_found(missing[0])
            into = (await self._identities.person(tx, into))[0]
            others = [key for key in customer_keys if key != into]
            merged = await self._identities.add_merges(tx, into, others, reason=reason, caller=caller, now=now)
            told = [Told(SOURCE, f"merge:{key}:{into}", MERGED, key, now, {"into_key": str(into)}) for key in merged]
            if told:
                await self._events.write(tx, told, Arrival(self._ids(), now, telemetry.traceparent()))
            await operations.record(
                tx, "ingest.MergeIdentities", str(into), asked=len(customer_keys), merged=len(merged)
            )
            await idempotency.answer(tx, request, {"into_key": into, "merged": len(merged)})
            await tx.commit()
        return into, len(merged)

    async def merges(self, *, after: int, size: int) -> list[Row[Any]]:
        """The map by customer key."""
        async with self._db.read() as read:
            return await self._identities.merges(read, after=after, size=size)

    async def start_rotation(self, request: RequestKey) -> str:
        """Make the job that puts the vault under the keys in force; gives its id."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, request)
            if earlier is not None:
                return str(earlier["job_id"])
            key = f"version {self._keys.version}"
            made = await jobs.create(tx, job_id=self._ids(), kind=ROTATE, key=key, spec={}, now=self._clock())
            await operations.record(tx, "ingest.RotateVaultKeys", made.job_id, version=self._keys.version)
            await idempotency.answer(tx, request, {"job_id": made.job_id})
            await tx.commit()
        return made.job_id

    async def rotate(self, running: jobs.Running) -> None:
        """The handler of the job: some numbers at a time; what is under the new keys is done, whoever did it."""
        version = self._keys.version
        async with self._db.read() as read:
            total = await self._identities.count_under(read, version)
        done = 0
        while True:
            async with self._db.begin() as tx:
                part = await self._identities.under(tx, version, _PART)
                if not part:
                    await running.succeed(tx, rotated=done)
                    await tx.commit()
                    break
                await self._identities.put_under(tx, await asyncio.to_thread(self._anew, part), version)
                await tx.commit()
            done += len(part)
            await running.progress(done, max(total, done), rotated=done)
        _log.info("vault_rotated", version=version, numbers=done)

    def _anew(self, part: Sequence[Sealed]) -> list[tuple[int, bytes, bytes]]:
        clear = self._unsealed(part)
        sealed = self._keys.seal_numbers(clear, secrets.token_bytes)
        return [(each.customer_key, *pair) for each, pair in zip(part, sealed.items(), strict=True)]

    def _unsealed(self, part: Sequence[Sealed]) -> list[str]:
        return [self._keys.of(each.key_version).open_number(each.sealed) for each in part]
