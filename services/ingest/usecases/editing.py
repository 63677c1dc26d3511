"""Reference data edited by hand: the file in force is delivered anew with the change, and supersedes the earlier one.

So an edit is judged, reconciled, traced and told to readers as a correction by the supplier is, and both are kept.
"""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import polars as pl

from services.ingest import refusals, store
from services.ingest.domain import editing, reconciliation
from services.ingest.domain import feed as feeds
from services.ingest.domain.contract import Judge
from services.ingest.domain.delivery import Delivery, State
from services.ingest.domain.editing import Row
from services.ingest.domain.identity import masked
from services.ingest.lake.landing import Landing
from services.ingest.lake.parquet import Lake
from services.ingest.store.layers import Layers
from services.ingest.usecases import references
from services.ingest.usecases.intake import LOAD
from services.kit import idempotency, jobs, operations
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.errors import invalid_field
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids

_ORPHAN = timedelta(hours=1)


class Editing:
    """Rows of loaded deliveries of feeds that can be edited."""

    def __init__(
        self,
        db: Database,
        deliveries: store.Deliveries,
        revisions: store.Feeds,
        layers: Layers,
        landing: Landing,
        lake: Lake,
        zone: str,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._db = db
        self._deliveries = deliveries
        self._feeds = revisions
        self._layers = layers
        self._landing = landing
        self._lake = lake
        self._zone = zone
        self._clock = clock
        self._ids = ids

    async def rows(self, delivery_id: str, *, after: int, size: int) -> list[tuple[int, dict[str, str]]]:
        """(place from 1, values and `line`) of rows in force. Raises delivery_not_found, not_editable."""
        async with self._db.read() as read:
            of, revision = await self._base(read, delivery_id)
        texts = (await self._texts(of, revision.feed)).slice(after, size)
        return list(enumerate(texts.with_columns(pl.col("line").cast(pl.String)).to_dicts(), after + 1))

    async def edit(
        self, delivery_id: str, puts: Sequence[Row], removes: Sequence[Row], key: RequestKey, *, reason: str
    ) -> Delivery:
        """Deliver a file anew with rows put and removed. Raises delivery_not_found, not_editable, invalid_field."""
        async with self._db.begin() as tx:  # that the request is known is looked up first: then its base is superseded
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._known(tx, earlier["delivery_id"])
            of, revision = await self._base(tx, delivery_id)
        await self._check(of, revision.feed, puts, removes)
        rows = editing.edited(await self._texts(of, revision.feed), puts, removes, revision.feed)
        if not rows:
            raise invalid_field([("removes", "leave no row; a file must have one")])
        data = _encoded(rows, revision.feed)
        made = self._ids()
        try:
            async with self._db.begin() as tx:
                earlier = await idempotency.remember(tx, key)
                if earlier is not None:
                    return await self._known(tx, earlier["delivery_id"])
                new = await self._delivery(tx, made, of, revision.revision, data, len(rows))
                await asyncio.to_thread(self._landing.put_aside, new.file_name, data, made)
                await self._deliveries.add(tx, new)
                spec = {"delivery_id": made, "control": ""}
                await jobs.create(tx, job_id=self._ids(), kind=LOAD, key=made, spec=spec, now=new.receive_time)
                what = f"{len(puts)} put, {len(removes)} removed"
                await operations.record(tx, "ingest.EditRows", made, of=delivery_id, reason=masked(reason), rows=what)
                await idempotency.answer(tx, key, {"delivery_id": made})
                await tx.commit()
        except BaseException:
            await asyncio.to_thread(self._landing.forget_taken, made, self._clock() + _ORPHAN)
            raise
        return new

    async def _base(self, read: Read, delivery_id: str) -> tuple[Delivery, feeds.Revision]:
        """The delivery that is edited, and the contract that is for its period now."""
        of = await self._known(read, delivery_id)
        revision = None
        if of.state is State.LOADED and of.period is not None and not of.replay_of:
            revision = feeds.effective(await self._feeds.revisions(read, of.feed_id), of.period)
        if revision is None or not editing.is_editable(revision.feed):
            raise refusals.not_editable(delivery_id)
        return of, revision

    async def _texts(self, of: Delivery, feed: feeds.Feed) -> pl.DataFrame:
        """The rows in force, those of replays of its rejected rows too, as the file says them."""
        async with self._db.read() as read:
            mine = await self._deliveries.with_replays(read, of.delivery_id)
            files = await self._deliveries.files(read, of.feed_id, of.period, of.period)
            parts = await self._layers.parts(read, [file.path for file in files])
        frames = []
        for file in files:
            told = [(part.delivery_id, part.first_row, part.rows) for part in parts.get(file.path, ())]
            for delivery_id, first, count in told or [(file.delivery_id, 0, file.rows)]:
                if delivery_id in mine:
                    frames.append((await asyncio.to_thread(self._lake.rows, file.path)).slice(first, count))
        conformed = await asyncio.to_thread(pl.concat, frames)
        return editing.as_text(conformed, feed, self._zone)

    async def _check(self, of: Delivery, feed: feeds.Feed, puts: Sequence[Row], removes: Sequence[Row]) -> None:
        assert of.period is not None
        problems = editing.problems_of(puts, removes, feed)
        if not problems and puts:
            known = await references.known(self._db, self._deliveries, self._lake, feed)
            judged = Judge(feed, of.period, self._zone, known).judge(editing.as_rows(puts, feed))
            problems = [
                (f"puts[{line - 1}].values.{column}", reconciliation.explain(feed, column, reason))
                for line, column, reason in judged.bad.select("line", "column", "reason").rows()
            ]
        if problems or not (puts or removes):
            raise invalid_field(problems or [("puts", "nothing is put and nothing removed")])

    async def _delivery(self, tx: Write, made: str, of: Delivery, revision: int, data: bytes, rows: int) -> Delivery:
        """The edited file, when nothing else came to its place meanwhile."""
        await self._deliveries.lock_file(tx, f"{of.feed_id}/{of.period}/{of.sequence}")
        place = await self._deliveries.of_place(tx, of)
        if [each.delivery_id for each in place if each.state in _IN_HAND] != [of.delivery_id]:
            raise refusals.not_editable(of.delivery_id)
        name = re.sub(r"\.E[0-9]+\Z", "", feeds.plain_name(of.file_name))
        return replace(
            of,
            delivery_id=made,
            revision=revision,
            file_name=f"{name}.E{len(place)}",  # no edit has the name of another one
            sha256=hashlib.sha256(data).hexdigest(),
            state=State.RECEIVED,
            source_rows=rows,
            loaded_rows=0,
            rejected_rows=0,
            notes=(),
            receive_time=self._clock(),
            load_time=None,
        )

    async def _known(self, read: Read, delivery_id: str) -> Delivery:
        found = await self._deliveries.get(read, delivery_id)
        if found is None:
            raise refusals.delivery_not_found(delivery_id)
        return found


_IN_HAND = (State.RECEIVED, State.LOADING, State.LOADED)


def _encoded(rows: Sequence[Sequence[str]], feed: feeds.Feed) -> bytes:
    try:
        return editing.as_file(rows, feed)
    except UnicodeEncodeError as error:
        raise invalid_field([("puts", f"hold a character that is not {feed.encoding}")]) from error
