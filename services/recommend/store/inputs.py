"""Copies of what ingest and portrait publish: deliveries, runs, profiles."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Row, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert

from services.kit.db import Read, Write
from services.recommend import tables as t
from services.recommend.domain import snapshot
from services.recommend.domain.customer import Served
from services.recommend.domain.snapshot import Delivery, File, Run
from services.recommend.store.outcomes import hold


class Inputs:
    """Deliveries, runs and profiles."""

    async def keep_delivery(self, tx: Write, delivery: Delivery) -> bool:
        """Write a delivery down, with what it supersedes; says whether its content is still to be folded in."""
        same = t.delivery.c.feed_id == delivery.feed_id
        slot = (t.delivery.c.period == delivery.period) & (t.delivery.c.sequence == delivery.sequence)
        if not delivery.files:  # another one has taken its place already, and will come or has come
            return False
        await tx.execute(
            update(t.delivery)
            .where(same, slot, t.delivery.c.delivery_id != delivery.delivery_id)
            .values(superseded=True)
        )
        files = [file.plain for file in delivery.files]
        await tx.execute(
            insert(t.delivery)
            .values(
                delivery_id=delivery.delivery_id,
                feed_id=delivery.feed_id,
                period=delivery.period,
                sequence=delivery.sequence,
                files=files,
            )
            # A run may have told of it before its own event came, and of the one it supersedes in between: the events
            # come in commit order, so the last one to come is the one that counts.
            .on_conflict_do_update(index_elements=["delivery_id"], set_={"superseded": False, "files": files})
        )
        row = await tx.row(select(t.delivery).where(t.delivery.c.delivery_id == delivery.delivery_id))
        return row is not None and not row.superseded and not row.folded

    async def mark_folded(self, tx: Write, delivery_id: str) -> None:
        """Note that product and ownership hold this delivery."""
        await tx.execute(update(t.delivery).where(t.delivery.c.delivery_id == delivery_id).values(folded=True))

    async def replaced(self, read: Read, delivery: Delivery) -> bool:
        """Whether it takes the place of one that was folded in already."""
        stmt = select(func.count()).where(
            t.delivery.c.feed_id == delivery.feed_id,
            t.delivery.c.period == delivery.period,
            t.delivery.c.sequence == delivery.sequence,
            t.delivery.c.superseded,
            t.delivery.c.folded,
        )
        return bool(await read.value(stmt))

    async def files(self, read: Read, delivery_ids: Sequence[str]) -> list[File]:
        """The files of deliveries, by period, sequence and id."""
        stmt = (
            select(t.delivery.c.files)
            .where(t.delivery.c.delivery_id.in_(delivery_ids))
            .order_by(t.delivery.c.period, t.delivery.c.sequence, t.delivery.c.delivery_id)
        )
        return [File(**file) for row in await read.rows(stmt) for file in row.files]

    async def dated_files(self, read: Read, delivery_ids: Sequence[str]) -> list[tuple[date, File]]:
        """The files of deliveries, each with its period, by period, sequence and id."""
        d = t.delivery.c
        stmt = select(d.period, d.files).where(d.delivery_id.in_(delivery_ids))
        rows = await read.rows(stmt.order_by(d.period, d.sequence, d.delivery_id))
        return [(row.period, File(**file)) for row in rows for file in row.files]

    async def folded(self, read: Read, feed_id: str) -> list[str]:
        """The deliveries of a feed whose content counts now."""
        stmt = select(t.delivery.c.delivery_id).where(
            t.delivery.c.feed_id == feed_id, t.delivery.c.folded, ~t.delivery.c.superseded
        )
        return [row.delivery_id for row in await read.rows(stmt)]

    async def keep_run(self, tx: Write, run: Run) -> None:
        """Write a run down; one that is known stays as it is."""
        await tx.execute(
            insert(t.run)
            .values(
                run_id=run.run_id,
                to_date=run.to_date,
                customers=run.customers,
                files=[file.plain for file in run.files],
                labels=dict(run.labels),
            )
            .on_conflict_do_nothing()
        )

    async def run(self, read: Read, run_id: str) -> Run | None:
        """A run; the latest for an empty id."""
        stmt = select(t.run).order_by(t.run.c.number.desc()).limit(1)
        row = await read.row(stmt.where(t.run.c.run_id == run_id) if run_id else stmt)
        return None if row is None else _run(row)

    async def runs(self, read: Read) -> list[Run]:
        """All runs by last day, of those with the same one the latest alone."""
        stmt = select(t.run).ext(distinct_on(t.run.c.to_date)).order_by(t.run.c.to_date, t.run.c.number.desc())
        return [_run(row) for row in await read.rows(stmt)]

    async def waiting_runs(self, read: Read) -> list[Run]:
        """Runs of which no training was started, the oldest first."""
        return [_run(row) for row in await read.rows(select(t.run).where(~t.run.c.begun).order_by(t.run.c.number))]

    async def begin_run(self, tx: Write, run_id: str) -> None:
        """Note that its training was started."""
        await tx.execute(update(t.run).where(t.run.c.run_id == run_id).values(begun=True))

    async def inputs(self, read: Read, run: Run) -> snapshot.Inputs:
        """What a job about this run reads, as it stands now."""
        stmt = (
            select(t.delivery.c.feed_id, t.delivery.c.delivery_id)
            .where(~t.delivery.c.superseded, t.delivery.c.period <= run.to_date)
            .order_by(t.delivery.c.period, t.delivery.c.sequence, t.delivery.c.delivery_id)
        )
        found: dict[str, list[str]] = {feed: [] for feed in (*snapshot.FEEDS, *snapshot.GRAPH_FEEDS)}
        for row in await read.rows(stmt):
            found[row.feed_id].append(row.delivery_id)
        graph = {feed: found.pop(feed) for feed in snapshot.GRAPH_FEEDS}
        return snapshot.Inputs(run.run_id, found, graph)

    async def load_profiles(
        self, tx: Write, run_id: str, records: Iterable[tuple[int, str, bytes]], keys: Sequence[int]
    ) -> int:
        """Put a slice of a run's profiles in the place of what is there between its keys; gives the number of rows."""
        await tx.execute(
            delete(t.profile).where(t.profile.c.run_id == run_id, t.profile.c.customer_key.between(keys[0], keys[-1]))
        )
        rows = ((run_id, *record) for record in records)
        return await tx.copy("profile", ["run_id", "customer_key", "org_id", "features"], rows)

    async def serve_run(self, tx: Write, run_id: str, columns: Sequence[str], pack: File | None = None) -> None:
        """Let a run's profiles answer, drop those of earlier runs, and tell ownership the organisations."""
        await hold(tx)
        mine = select(t.run.c.number).where(t.run.c.run_id == run_id).scalar_subquery()
        earlier = select(t.run.c.run_id).where(t.run.c.number < mine)
        await tx.execute(update(t.run).where(t.run.c.serves, t.run.c.run_id != run_id).values(serves=False))
        await tx.execute(
            update(t.run)
            .where(t.run.c.run_id == run_id)
            .values(serves=True, columns=list(columns), pack=pack and pack.plain)
        )
        await tx.execute(delete(t.profile).where(t.profile.c.run_id.in_(earlier)))
        keys = select(t.gone.c.customer_key)
        await tx.execute(delete(t.profile).where(t.profile.c.run_id == run_id, t.profile.c.customer_key.in_(keys)))
        await tx.execute(
            update(t.ownership)
            .where(
                t.profile.c.run_id == run_id,
                t.profile.c.customer_key == t.ownership.c.customer_key,
                t.profile.c.org_id != t.ownership.c.org_id,
            )
            .values(org_id=t.profile.c.org_id)
        )

    async def served(self, read: Read) -> Served | None:
        """The run whose profiles answer."""
        row = await read.row(select(t.run).where(t.run.c.serves))
        if row is None:
            return None
        return Served(row.run_id, tuple(row.columns), row.labels, File(**row.pack) if row.pack else None)

    async def is_newer(self, read: Read, run_id: str) -> bool:
        """Whether no later run answers already."""
        later = t.run.alias()
        mine = select(t.run.c.number).where(t.run.c.run_id == run_id).scalar_subquery()
        return not await read.value(select(exists().where(later.c.serves, later.c.number > mine)))


def _run(row: Row[Any]) -> Run:
    return Run(row.run_id, row.to_date, row.customers, tuple(File(**file) for file in row.files), row.labels)
