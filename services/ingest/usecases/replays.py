"""Rejected rows sent again: as they came, for a contract that was corrected, or corrected by hand."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta

from services.ingest import refusals, store
from services.ingest.domain import feed as feeds
from services.ingest.domain.delivery import Delivery, Kept, State
from services.ingest.domain.identity import VaultKeys
from services.ingest.lake.landing import Landing
from services.ingest.usecases.intake import LOAD
from services.kit import idempotency, jobs
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.errors import invalid_field
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids

APART = 1000
"""Sequences of replays begin here: a supplier's have three digits."""
_ALL_MOST = 100_000
_ORPHAN = timedelta(hours=1)


class Replays:
    """A replay is a delivery of its own: reconciled, and superseded together with the file that its rows are of."""

    def __init__(
        self,
        db: Database,
        deliveries: store.Deliveries,
        revisions: store.Feeds,
        landing: Landing,
        keys: VaultKeys,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._db = db
        self._deliveries = deliveries
        self._feeds = revisions
        self._landing = landing
        self._keys = keys
        self._clock = clock
        self._ids = ids

    async def replay(
        self, delivery_id: str, lines: Sequence[int], corrections: Mapping[int, bytes], key: RequestKey, *, all_: bool
    ) -> Delivery:
        """Make a delivery of rejected rows; it is loaded as any other.

        Raises delivery_not_found, nothing_to_replay, invalid_field.
        """
        if any(b"\n" in row for row in corrections.values()):
            raise invalid_field([("corrections", "a row must not hold a line end")])
        made = ""
        try:
            async with self._db.begin() as tx:
                earlier = await idempotency.remember(tx, key)
                if earlier is not None:
                    return await self._known(tx, earlier["delivery_id"])
                of = await self._known(tx, delivery_id)
                await self._deliveries.lock_file(tx, of.replay_of or of.delivery_id)
                kept = await self._chosen(tx, of, {*lines, *corrections}, all_=all_)
                rows = [corrections.get(each.line) or self._raw(of, each) for each in kept]
                new, data = await self._delivery(tx, of, rows)
                made = new.delivery_id
                await asyncio.to_thread(self._landing.put_aside, new.file_name, data, made)
                await self._deliveries.add(tx, new)
                await self._deliveries.set_replayed(tx, delivery_id, [each.line for each in kept], made)
                spec = {"delivery_id": made, "control": ""}
                await jobs.create(tx, job_id=self._ids(), kind=LOAD, key=made, spec=spec, now=new.receive_time)
                await idempotency.answer(tx, key, {"delivery_id": made})
                await tx.commit()
        except BaseException:
            if made:
                await asyncio.to_thread(self._landing.forget_taken, made, self._clock() + _ORPHAN)
            raise
        return new

    async def _chosen(self, tx: Write, of: Delivery, wanted: set[int], *, all_: bool) -> list[Kept]:
        """The rejected rows that are meant, by line."""
        kept = await self._deliveries.waiting_rejects(tx, of.delivery_id, None if all_ else sorted(wanted), _ALL_MOST)
        missing = wanted - {each.line for each in kept}
        if of.state is not State.LOADED or missing or not kept:
            raise refusals.nothing_to_replay(of.delivery_id, min(missing, default=0))
        return kept

    async def _delivery(self, tx: Write, of: Delivery, rows: list[bytes]) -> tuple[Delivery, bytes]:
        """The replay, and the bytes of its file; where the contract has a header there is an empty one."""
        root = of.replay_of or of.delivery_id
        number = 1 + await self._deliveries.replays(tx, root)
        assert of.period is not None
        revision = feeds.effective(await self._feeds.revisions(tx, of.feed_id), of.period)
        assert revision is not None, "there was one for this period before"
        data = b"\n".join([*([b""] if revision.feed.header else []), *rows, b""])
        new = Delivery(
            delivery_id=self._ids(),
            feed_id=of.feed_id,
            revision=revision.revision,
            period=of.period,
            sequence=APART * number + of.sequence % APART,
            file_name=f"{of.file_name.partition('.R')[0]}.R{number}",
            sha256=hashlib.sha256(data).hexdigest(),
            state=State.RECEIVED,
            source_rows=len(rows),
            loaded_rows=0,
            rejected_rows=0,
            problems=(),
            receive_time=self._clock(),
            load_time=None,
            replay_of=root,
        )
        return new, data

    async def _known(self, tx: Write, delivery_id: str) -> Delivery:
        found = await self._deliveries.get(tx, delivery_id)
        if found is None:
            raise refusals.delivery_not_found(delivery_id)
        return found

    def _raw(self, of: Delivery, kept: Kept) -> bytes:
        return self._keys.of(kept.key_version).unseal(kept.raw, f"reject {of.delivery_id} {kept.line}".encode())
