"""Deliveries with their manifest and their rejected rows."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import date
from typing import Any

from sqlalchemy import Row, func, insert, select, text, update

from services.ingest.domain.delivery import Delivery, Kept, LakeFile, Problem, Reject, State
from services.ingest.tables import customer, delivery, lake_file, reject
from services.kit.db import Read, Write

DELIVERY = [delivery.c[each.name] for each in fields(Delivery)]
"""Columns of a delivery; its signature is read only where it is needed."""


class Deliveries:
    """The tables `delivery`, `lake_file`, `reject` and `customer`."""

    async def lock_file(self, tx: Write, file_name: str) -> None:
        """Let nobody else decide about files of this name until the end of the transaction."""
        stmt = text("SELECT pg_advisory_xact_lock(hashtext('ingest.file'), hashtext(:name))")
        await tx.execute(stmt, {"name": file_name})

    async def latest_of_file(self, read: Read, file_name: str, sha256: str) -> Delivery | None:
        """The latest delivery of this very file."""
        stmt = select(*DELIVERY).where(delivery.c.file_name == file_name, delivery.c.sha256 == sha256)
        row = await read.row(stmt.order_by(delivery.c.delivery_no.desc()).limit(1))
        return None if row is None else delivery_of(row)

    async def get(self, read: Read, delivery_id: str) -> Delivery | None:
        """One delivery."""
        row = await read.row(select(*DELIVERY).where(delivery.c.delivery_id == delivery_id))
        return None if row is None else delivery_of(row)

    async def page(
        self, read: Read, *, feed_id: str, state: State | None, file_name: str, before: int | None, size: int
    ) -> list[Delivery]:
        """The latest deliveries first, those that arrived before the number `before`."""
        stmt = select(*DELIVERY).order_by(delivery.c.delivery_no.desc()).limit(size)
        if feed_id:
            stmt = stmt.where(delivery.c.feed_id == feed_id)
        if state is not None:
            stmt = stmt.where(delivery.c.state == state.value)
        if file_name:
            stmt = stmt.where(delivery.c.file_name == file_name)
        if before is not None:
            stmt = stmt.where(delivery.c.delivery_no < before)
        return [delivery_of(row) for row in await read.rows(stmt)]

    async def add(self, tx: Write, new: Delivery) -> None:
        """A delivery that has arrived; its number is given by the table."""
        told = {name: [asdict(each) for each in getattr(new, name)] for name in ("problems", "notes")}
        row = asdict(new) | told | {"state": new.state.value}
        del row["delivery_no"]
        await tx.execute(insert(delivery).values(row))

    async def set_loading(self, tx: Write, delivery_id: str) -> None:
        """A worker holds it."""
        stmt = update(delivery).where(delivery.c.delivery_id == delivery_id, delivery.c.state == State.RECEIVED.value)
        await tx.execute(stmt.values(state=State.LOADING.value))

    async def set_quarantined(self, tx: Write, delivery_id: str, problems: Sequence[Problem]) -> None:
        """Nothing of it is loaded."""
        stmt = update(delivery).where(delivery.c.delivery_id == delivery_id)
        held = State.QUARANTINED.value
        await tx.execute(stmt.values(state=held, problems=[asdict(problem) for problem in problems]))

    async def in_force_for_update(self, tx: Write, new: Delivery) -> Delivery | None:
        """The loaded delivery of the same feed, period and sequence; nobody else replaces it until the end."""
        place = f"{new.feed_id}/{new.period}/{new.sequence}"
        await tx.execute(
            text("SELECT pg_advisory_xact_lock(hashtext('ingest.place'), hashtext(:place))"), {"place": place}
        )
        row = await tx.row(
            select(*DELIVERY).where(
                delivery.c.feed_id == new.feed_id,
                delivery.c.period == new.period,
                delivery.c.sequence == new.sequence,
                delivery.c.state == State.LOADED.value,
            )
        )
        return None if row is None else delivery_of(row)

    async def set_superseded(self, tx: Write, delivery_id: str) -> None:
        """Another delivery took its place, and that of the loaded replays of its rows."""
        replays = (delivery.c.replay_of == delivery_id) & (delivery.c.state == State.LOADED.value)
        stmt = update(delivery).where((delivery.c.delivery_id == delivery_id) | replays)
        await tx.execute(stmt.values(state=State.SUPERSEDED.value))

    async def set_loaded(self, tx: Write, loaded: Delivery, signature: bytes) -> None:
        """Its rows are in: state, counts, notes and load time as `loaded` says."""
        stmt = update(delivery).where(delivery.c.delivery_id == loaded.delivery_id)
        await tx.execute(
            stmt.values(
                state=loaded.state.value,
                loaded_rows=loaded.loaded_rows,
                rejected_rows=loaded.rejected_rows,
                load_time=loaded.load_time,
                notes=[asdict(each) for each in loaded.notes],
                signature=signature,
            )
        )

    async def signatures(self, read: Read, of: Delivery) -> list[tuple[str, bytes]]:
        """File name and signature of the other loaded deliveries of the feed and period, but those of its own place."""
        stmt = select(delivery.c.file_name, delivery.c.signature).where(
            delivery.c.feed_id == of.feed_id,
            delivery.c.period == of.period,
            delivery.c.sequence != of.sequence,
            delivery.c.replay_of == "",
            delivery.c.state == State.LOADED.value,
        )
        return [tuple(row) for row in await read.rows(stmt.order_by(delivery.c.delivery_no))]

    async def add_files(self, tx: Write, files: Sequence[LakeFile]) -> None:
        """Rows of the manifest."""
        if files:
            await tx.execute(insert(lake_file), [asdict(file) for file in files])

    async def add_rejects(self, tx: Write, delivery_id: str, rejects: Sequence[Reject], key_version: int) -> None:
        """Rejected rows."""
        records = [
            (delivery_id, each.line, each.column, each.reason, each.message, each.raw, key_version) for each in rejects
        ]
        await tx.copy("reject", [column.name for column in reject.columns][:-1], records)

    async def rejects(self, read: Read, delivery_id: str, *, after: int, size: int) -> list[Reject]:
        """Rejected rows of one delivery after a line, by line, without their raw bytes."""
        stmt = (
            select(
                reject.c.line,
                reject.c.column_name.label("column"),
                reject.c.reason,
                reject.c.message,
                reject.c.replay_delivery_id,
            )
            .where(reject.c.delivery_id == delivery_id, reject.c.line > after)
            .order_by(reject.c.line)
            .limit(size)
        )
        return [
            Reject(row.line, row.column, row.reason, row.message, replay_delivery_id=row.replay_delivery_id)
            for row in await read.rows(stmt)
        ]

    async def waiting_rejects(self, tx: Write, delivery_id: str, lines: Sequence[int] | None, most: int) -> list[Kept]:
        """Rejected rows that were not replayed, by line: those of `lines`, or (None) all, but not more than `most`."""
        stmt = select(reject.c.line, reject.c.raw, reject.c.key_version).order_by(reject.c.line).limit(most)
        stmt = stmt.where(reject.c.delivery_id == delivery_id, reject.c.replay_delivery_id == "")
        if lines is not None:
            stmt = stmt.where(reject.c.line.in_(lines))
        return [Kept(*tuple(row)) for row in await tx.rows(stmt)]

    async def set_replayed(self, tx: Write, delivery_id: str, lines: Sequence[int], by: str) -> None:
        """Rejected rows are carried by another delivery now."""
        stmt = update(reject).where(reject.c.delivery_id == delivery_id, reject.c.line.in_(lines))
        await tx.execute(stmt.values(replay_delivery_id=by))

    async def replays(self, read: Read, delivery_id: str) -> int:
        """How many deliveries carry rejected rows of one."""
        stmt = select(func.count()).select_from(delivery).where(delivery.c.replay_of == delivery_id)
        return int(await read.value(stmt))

    async def with_replays(self, read: Read, delivery_id: str) -> set[str]:
        """A delivery and the loaded replays of its rejected rows."""
        mine = (delivery.c.delivery_id == delivery_id) | (delivery.c.replay_of == delivery_id)
        stmt = select(delivery.c.delivery_id).where(mine, delivery.c.state == State.LOADED.value)
        return {row.delivery_id for row in await read.rows(stmt)}

    async def of_place(self, read: Read, of: Delivery) -> list[Delivery]:
        """Every delivery of the same feed, period and sequence, whatever became of it."""
        same = (delivery.c[name] == getattr(of, name) for name in ("feed_id", "period", "sequence"))
        return [delivery_of(row) for row in await read.rows(select(*DELIVERY).where(*same))]

    async def files(self, read: Read, feed_id: str, since: date | None, until: date | None) -> list[LakeFile]:
        """The manifest of a feed's loaded deliveries, by period, bucket and arrival."""
        stmt = (
            select(*(lake_file.c[each.name] for each in fields(LakeFile)))
            .join(delivery, delivery.c.delivery_id == lake_file.c.delivery_id)
            .where(delivery.c.feed_id == feed_id, delivery.c.state == State.LOADED.value)
            .order_by(lake_file.c.period, lake_file.c.bucket, delivery.c.delivery_no)
        )
        stmt = stmt if since is None else stmt.where(lake_file.c.period >= since)
        stmt = stmt if until is None else stmt.where(lake_file.c.period <= until)
        return [LakeFile(*tuple(row)) for row in await read.rows(stmt)]

    async def put_customers(self, tx: Write, loaded: Delivery, rows: Iterable[tuple[int, str, str]]) -> None:
        """Where customers belong: (customer_key, org_id, status). A later period or sequence is never overwritten.

        A replay counts as the file that its rows are of.
        """
        await tx.execute(
            text("CREATE TEMP TABLE placed (customer_key bigint, org_id text, status text) ON COMMIT DROP")
        )
        await tx.driver.copy_records_to_table("placed", records=rows, schema_name="pg_temp")
        place = {"period": loaded.period, "sequence": loaded.sequence % 1000, "delivery_id": loaded.delivery_id}
        await tx.execute(_PUT_CUSTOMERS, place)

    async def drop_customers(self, tx: Write, delivery_id: str) -> None:
        """Forget what a superseded delivery and the replays of its rows alone said."""
        replays = select(delivery.c.delivery_id).where(delivery.c.replay_of == delivery_id)
        mine = (customer.c.delivery_id == delivery_id) | customer.c.delivery_id.in_(replays)
        await tx.execute(customer.delete().where(mine))

    async def unsettled(self, read: Read, feed_ids: Sequence[str]) -> tuple[bool, bool]:
        """Whether one of these feeds is being loaded, and whether one was never loaded."""
        stmt = select(delivery.c.feed_id, delivery.c.state).distinct().where(delivery.c.feed_id.in_(feed_ids))
        found = {(row.feed_id, row.state) for row in await read.rows(stmt)}
        loaded = {feed_id for feed_id, state in found if state == State.LOADED.value}
        under_way = {State.RECEIVED.value, State.LOADING.value} & {state for _, state in found}
        return bool(under_way), bool(set(feed_ids) - loaded)

    async def abandoned(self, read: Read) -> list[Delivery]:
        """Deliveries whose job ended without them: it failed at every attempt, or was cancelled."""
        return [delivery_of(row) for row in await read.rows(_ABANDONED)]


_ABANDONED = text("""
SELECT delivery.* FROM delivery JOIN job ON job.kind = 'load' AND job.spec ->> 'delivery_id' = delivery.delivery_id
WHERE delivery.state IN ('RECEIVED', 'LOADING') AND job.state IN ('FAILED', 'CANCELLED')
ORDER BY delivery.delivery_no
""")

_PUT_CUSTOMERS = text("""
INSERT INTO customer (customer_key, org_id, status, period, sequence, delivery_id)
SELECT customer_key, org_id, status, :period, :sequence, :delivery_id FROM placed
ON CONFLICT (customer_key) DO UPDATE
SET org_id = EXCLUDED.org_id, status = EXCLUDED.status, period = EXCLUDED.period, sequence = EXCLUDED.sequence,
    delivery_id = EXCLUDED.delivery_id
WHERE (customer.period, customer.sequence) <= (EXCLUDED.period, EXCLUDED.sequence)
""")


def delivery_of(row: Row[Any]) -> Delivery:
    """A row of the table `delivery`."""
    values = {each.name: getattr(row, each.name) for each in fields(Delivery)}
    told = {name: tuple(Problem(**each) for each in getattr(row, name)) for name in ("problems", "notes")}
    return Delivery(**{**values, **told, "state": State(row.state)})
