"""Which deliveries are known and which windows were planned."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import and_, or_, select
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.kit.jobs import State
from services.kit.tables import job
from services.portrait.domain.readiness import Delivery
from services.portrait.tables import delivery, planned


@dataclass(frozen=True)
class Planned:
    """A window and the job of its newest inputs."""

    from_date: date
    to_date: date
    job_key: str
    job_id: str


class Planning:
    """Deliveries by natural key, windows by span."""

    async def put_delivery(self, tx: Write, known: Delivery) -> None:
        """Keep a delivery in the place of what came before under the same feed, period and sequence."""
        stmt = insert(delivery).values(
            feed_id=known.feed_id,
            period=known.period,
            sequence=known.sequence,
            delivery_id=known.delivery_id,
            loaded_rows=known.loaded_rows,
        )
        newer = {"delivery_id": stmt.excluded.delivery_id, "loaded_rows": stmt.excluded.loaded_rows}
        await tx.execute(stmt.on_conflict_do_update(index_elements=["feed_id", "period", "sequence"], set_=newer))

    async def deliveries(self, read: Read) -> list[Delivery]:
        """Every delivery in force."""
        columns = (delivery.c.feed_id, delivery.c.period, delivery.c.sequence, delivery.c.delivery_id)
        rows = await read.rows(select(*columns, delivery.c.loaded_rows))
        return [Delivery(row.feed_id, row.period, row.sequence, row.delivery_id, row.loaded_rows) for row in rows]

    async def open(self, read: Read) -> list[Planned]:
        """The windows that newer inputs are planned for, the latest last: the latest, those whose job has not ended,
        and those whose job found that an input had gone."""
        columns = (planned.c.from_date, planned.c.to_date, planned.c.job_key, planned.c.job_id)
        latest = select(planned.c.to_date).order_by(planned.c.to_date.desc()).limit(1).scalar_subquery()
        left = or_(
            job.c.state.in_([State.QUEUED.value, State.RUNNING.value]),
            and_(job.c.state == State.FAILED.value, job.c.error == "FEEDS_INCOMPLETE"),
        )
        there = planned.outerjoin(job, job.c.job_id == planned.c.job_id)
        query = select(*columns).select_from(there).where(or_(planned.c.to_date == latest, left))
        rows = await read.rows(query.order_by(planned.c.to_date))
        return [Planned(row.from_date, row.to_date, row.job_key, row.job_id) for row in rows]

    async def put_planned(self, tx: Write, window: Planned) -> None:
        """Keep a window, or the newer job of one that is there."""
        stmt = insert(planned).values(
            from_date=window.from_date, to_date=window.to_date, job_key=window.job_key, job_id=window.job_id
        )
        newer = {"job_key": stmt.excluded.job_key, "job_id": stmt.excluded.job_id}
        await tx.execute(stmt.on_conflict_do_update(index_elements=["from_date", "to_date"], set_=newer))
