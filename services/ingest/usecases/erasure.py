"""A person is removed from everything that ingest keeps, and the scan afterwards is the proof.

    EraseSubject: one transaction: out of the vault, the event `subject.erased`, the job
    the job:      loads under way end → lake and landed files anew → events → sealed raw rows → kept operator files
                  → the replaced files go when no reader can hold them → scan; anything found begins it again

What the vault's tombstone and `erasure` keep is a key that leads to nobody.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from cryptography.exceptions import InvalidTag
from sqlalchemy import Row

from services.ingest import refusals, store
from services.ingest.domain import identity
from services.ingest.domain.event import Told
from services.ingest.domain.identity import VaultKeys
from services.ingest.lake import operator_files, rewriting
from services.ingest.lake.parquet import Lake
from services.ingest.lake.rewriting import Person
from services.ingest.store.erasures import Erasures, Raw, StoredFile
from services.ingest.store.recent import Arrival
from services.ingest.usecases.identities import SOURCE
from services.kit import idempotency, jobs, operations, telemetry
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.errors import invalid_field
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids

ERASE = "erase"
ERASED = "subject.erased"

_PART = 2000
_ROUNDS = 5
_STATEMENT_SECONDS = 300.0
_WAIT_SECONDS = 0.5

_log = structlog.get_logger(__name__)

Collect = Callable[[datetime], Awaitable[int]]
"""Removes replaced files that no reader can hold; gives how many of those replaced before an instant are left."""


class Asking:
    """Erasures as they are asked for and shown."""

    def __init__(
        self,
        db: Database,
        erasures: Erasures,
        identities: store.Identities,
        events: store.Events,
        keys: VaultKeys,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._db = db
        self._erasures = erasures
        self._identities = identities
        self._events = events
        self._keys = keys
        self._clock = clock
        self._ids = ids

    async def erase(self, customer_key: int, *, reason: str, caller: str, request: RequestKey) -> Row[Any]:
        """Take a person out of the vault, tell it, and make the job. Raises customer_not_found, invalid_field."""
        if identity.holds_number(reason):
            raise invalid_field([("reason", "must not hold a telephone number")])
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, request)
            known = await self._erasures.of_customer(tx, customer_key)
            if earlier is None and known is None:
                await self._begin(tx, customer_key, reason, caller)
                known = await self._erasures.of_customer(tx, customer_key)
            assert known is not None
            if earlier is None:
                await operations.record(tx, "ingest.EraseSubject", known.erasure_id)
                await idempotency.answer(tx, request, {"erasure_id": known.erasure_id})
                await tx.commit()
        return known

    async def get(self, erasure_id: str) -> Row[Any]:
        """One erasure. Raises erasure_not_found."""
        async with self._db.read() as read:
            found = await self._erasures.get(read, erasure_id)
        if found is None:
            raise refusals.erasure_not_found(erasure_id)
        return found

    async def page(self, *, before: tuple[datetime, str] | None, size: int) -> list[Row[Any]]:
        """Erasures, the latest first."""
        async with self._db.read() as read:
            return await self._erasures.page(read, before=before, size=size)

    async def _begin(self, tx: Write, customer_key: int, reason: str, caller: str) -> None:
        if await self._identities.missing(tx, [customer_key]):
            raise refusals.customer_not_found(customer_key)
        now, erasure_id = self._clock(), self._ids()
        keys = await self._identities.person(tx, customer_key)
        sealed = await self._identities.sealed(tx, keys)
        told = [Told(SOURCE, f"erase:{key}", ERASED, key, now, {"erasure_id": erasure_id}) for key in keys]
        await self._events.write(tx, told, Arrival(self._ids(), now, telemetry.traceparent()))
        job = await jobs.create(
            tx, job_id=self._ids(), kind=ERASE, key=erasure_id, spec={"erasure_id": erasure_id}, now=now
        )
        row = {
            "erasure_id": erasure_id,
            "customer_keys": keys,
            "sealed": await asyncio.to_thread(self._sealed_anew, list(sealed.values())),
            "key_version": self._keys.version,
            "reason": reason,
            "caller": caller,
            "job_id": job.job_id,
            "removed": {},
            "proof": [],
            "request_time": now,
        }
        await self._erasures.begin(tx, row, now)

    def _sealed_anew(self, sealed: Sequence[store.identities.Sealed]) -> list[bytes]:
        numbers = [self._keys.of(each.key_version).open_number(each.sealed) for each in sealed]
        return list(self._keys.seal_numbers(numbers, secrets.token_bytes).values())


class Erasing:
    """The job."""

    def __init__(
        self,
        db: Database,
        erasures: Erasures,
        lake: Lake,
        landing: Path,
        keys: VaultKeys,
        collect: Collect,
        clock: Clock,
    ) -> None:
        self._db = db
        self._erasures = erasures
        self._lake = lake
        self._landing = landing
        self._keys = keys
        self._collect = collect
        self._clock = clock

    async def erase(self, running: jobs.Running) -> None:
        """The handler of the job; every step may be done again."""
        async with self._db.read() as read:
            row = await self._erasures.get(read, running.job.spec["erasure_id"])
        assert row is not None, "an erasure is never removed"
        keys = self._keys.of(row.key_version)
        person = Person(tuple(row.customer_keys), tuple(keys.open_number(bytes(each)) for each in row.sealed))
        removed: dict[str, int] = dict(running.job.checkpoint.get("removed", {}))
        for _ in range(_ROUNDS):
            await self._remove(running, person, row.request_time, removed)
            proof = await self._scan(person, row.request_time)
            if not any(each["found"] for each in proof):
                async with self._db.begin() as tx:
                    await self._erasures.end(tx, row.erasure_id, removed, proof, self._clock())
                    await running.succeed(tx, message="", **removed)
                    await tx.commit()
                _log.info("subject_erased", erasure=row.erasure_id, removed=removed)
                return
        raise RuntimeError("the person is still found; something writes him anew")

    async def _remove(self, running: jobs.Running, person: Person, since: datetime, removed: dict[str, int]) -> None:
        await self._wait_for_loads(running, since)
        async with self._db.read() as read:
            stored = await self._erasures.stored(read, since)
            deliveries = await self._erasures.deliveries(read, since)
        for number, file in enumerate(stored):
            if self._may_name(file, person):
                place = "lake" if file.manifest == "lake_file" else "landed"
                removed[place] = removed.get(place, 0) + await self._rewrite(running, file, person)
            await running.progress(number + 1, len(stored))
        async with self._db.begin(statement_seconds=_STATEMENT_SECONDS) as tx:
            removed["event"] = removed.get("event", 0) + await self._erasures.drop_events(tx, person.customer_keys)
            await tx.commit()
        for place, (_, emptied) in (await self._raw(person, empty=True)).items():
            removed[place] = removed.get(place, 0) + emptied
        lines = await asyncio.to_thread(self._operator_lines, deliveries, person)
        removed["operator_files"] = removed.get("operator_files", 0) + lines
        await running.save({"removed": removed})
        while await self._collect(self._clock()):
            await running.progress(len(stored), len(stored), message="waiting for readers of replaced files")
            await asyncio.sleep(_WAIT_SECONDS)

    async def _wait_for_loads(self, running: jobs.Running, since: datetime) -> None:
        while True:
            async with self._db.read() as read:
                waiting = await self._erasures.loads_before(read, since)
            if not waiting:
                return
            await running.progress(0, 0, message=f"waiting for {waiting} loads that began before")
            await asyncio.sleep(_WAIT_SECONDS)

    def _may_name(self, file: StoredFile, person: Person) -> bool:
        return file.bucket < 0 or any(key % self._lake.buckets == file.bucket for key in person.customer_keys)

    async def _rewrite(self, running: jobs.Running, file: StoredFile, person: Person) -> int:
        _, found = await asyncio.to_thread(rewriting.count, self._lake.files, file.path, person)
        if not found:
            return 0
        mark = f"e{running.job.job_id[-12:]}"
        new = await asyncio.to_thread(rewriting.without, self._lake.files, file.path, person, mark)
        async with self._db.begin() as tx:
            values = {"path": new.path, "rows": new.rows, "sha256": new.sha256}
            done = await self._erasures.put_file(tx, file, values, self._clock())
            await tx.commit()
        return new.removed if done else 0

    async def _scan(self, person: Person, since: datetime) -> list[dict[str, Any]]:
        """Everything again, whatever was removed: (place, looked at, found)."""
        counts: dict[str, tuple[int, int]] = {"lake": (0, 0), "landed": (0, 0)}
        async with self._db.read() as read:
            counts |= await self._erasures.left(read, person.customer_keys)
            stored = await self._erasures.stored(read, since)
            deliveries = await self._erasures.deliveries(read, since)
        for file in stored:
            place = "lake" if file.manifest == "lake_file" else "landed"
            seen = await asyncio.to_thread(rewriting.count, self._lake.files, file.path, person)
            counts[place] = (counts[place][0] + seen[0], counts[place][1] + seen[1])
        counts |= await self._raw(person, empty=False)
        counts["operator_files"] = await asyncio.to_thread(self._operator_scan, deliveries, person)
        return [{"place": place, "looked_at": at, "found": found} for place, (at, found) in sorted(counts.items())]

    async def _raw(self, person: Person, *, empty: bool) -> dict[str, tuple[int, int]]:
        """place → (looked at, found) of sealed raw bytes; those found are emptied when asked."""
        counts = {}
        for place in ("reject", "event_reject"):
            looked_at = found = 0
            after: tuple[Any, ...] = ("", 0) if place == "reject" else (0,)
            while True:
                async with self._db.begin() as tx:
                    part = await self._raw_part(tx, place, after)
                    hits = [each.key for each in part if person.numbers and self._names(each, person)]
                    if hits and empty:
                        put = self._erasures.empty_rows if place == "reject" else self._erasures.empty_events
                        await put(tx, hits)
                        await tx.commit()
                looked_at, found = looked_at + len(part), found + len(hits)
                if len(part) < _PART:
                    break
                after = part[-1].key
            counts[place] = (looked_at, found)
        return counts

    async def _raw_part(self, tx: Write, place: str, after: tuple[Any, ...]) -> list[Raw]:
        if place == "reject":
            return await self._erasures.raw_rows(tx, (after[0], after[1]), _PART)
        return await self._erasures.raw_events(tx, after[0], _PART)

    def _names(self, raw: Raw, person: Person) -> bool:
        if not raw.sealed:
            return False
        try:
            plain = self._keys.of(raw.key_version).unseal(raw.sealed, raw.about)
        except InvalidTag:
            _log.error("raw_row_damaged", key=raw.key)
            return False
        return any(number.encode() in plain for number in person.numbers)

    def _operator_lines(self, deliveries: set[str], person: Person) -> int:
        kept = operator_files.files_of(self._landing, deliveries)
        held = [path for path in kept if operator_files.holds(path, person.numbers)]
        return sum(operator_files.remove_lines(path, person.numbers) for path in held)

    def _operator_scan(self, deliveries: set[str], person: Person) -> tuple[int, int]:
        kept = list(operator_files.files_of(self._landing, deliveries))
        return len(kept), sum(operator_files.holds(path, person.numbers) for path in kept)
