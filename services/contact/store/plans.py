"""Plans, their contacts and their hand-over files."""

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, text, tuple_, update

from services.contact import tables
from services.contact.domain.plan import HANDED_OVER, SENT, Contact, File, Plan, Price
from services.kit.db import Read, Write

_plan, _contact, _file = tables.plan, tables.contact, tables.handover_file
_CONTACT_FIELDS = [field.name for field in dataclasses.fields(Contact)]
_CONTACT_COLUMNS = [_contact.c[name] for name in _CONTACT_FIELDS]


class Plans:
    """The tables `plan`, `contact` and `handover_file`."""

    async def lock_day(self, tx: Write, on: date) -> int:
        """Until the transaction ends, nobody else makes a plan of this day; gives the number of the next one."""
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended('contact.plan.' || :day, 0))")
        await tx.execute(lock, {"day": str(on)})
        return await self.next_number(tx, on)

    async def next_number(self, read: Read, on: date) -> int:
        """The number of the day's next plan, as it looks now."""
        last = await read.value(select(func.max(_plan.c.sequence)).where(_plan.c.plan_date == on))
        return int(last or 0) + 1

    async def is_handed_over(self, read: Read, on: date) -> bool:
        """Whether a plan of the day has gone out."""
        stmt = select(_plan.c.plan_id).where(_plan.c.plan_date == on, _plan.c.state == HANDED_OVER).limit(1)
        return await read.row(stmt) is not None

    async def lock_handovers(self, tx: Write) -> None:
        """Until the transaction ends, nobody else decides which contacts are sent: caps are counted over plans."""
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('contact.handover', 0))"))

    async def add(self, tx: Write, plan: Plan, contacts: Sequence[Contact]) -> None:
        """Keep a plan with its contacts."""
        row = dataclasses.asdict(plan)
        row.pop("files")
        row["prices"] = list(row["prices"])
        await tx.execute(insert(_plan).values(row))
        records = ([getattr(contact, name) for name in _CONTACT_FIELDS] for contact in contacts)
        await tx.copy("contact", _CONTACT_FIELDS, records)

    async def get(self, read: Read, plan_id: str) -> Plan | None:
        """One plan; an empty id gives the latest."""
        stmt = select(_plan).order_by(_plan.c.create_time.desc(), _plan.c.plan_id.desc()).limit(1)
        row = await read.row(stmt.where(_plan.c.plan_id == plan_id) if plan_id else stmt)
        return None if row is None else (await self._with_files(read, [row]))[0]

    async def page(self, read: Read, after: tuple[datetime, str] | None, size: int) -> list[Plan]:
        """Plans, the latest first, those after (create_time, plan_id)."""
        stmt = select(_plan).order_by(_plan.c.create_time.desc(), _plan.c.plan_id.desc()).limit(size)
        if after is not None:
            stmt = stmt.where(tuple_(_plan.c.create_time, _plan.c.plan_id) < tuple_(*after))
        return await self._with_files(read, await read.rows(stmt))

    async def contacts(
        self, read: Read, plan_id: str, after: tuple[int, str] | None, size: int, *, states: Sequence[str] = ()
    ) -> list[Contact]:
        """Contacts by customer and offer, those after (customer_key, offer_id); of some states, or of all."""
        stmt = select(*_CONTACT_COLUMNS).where(_contact.c.plan_id == plan_id)
        if states:
            stmt = stmt.where(_contact.c.state.in_(states))
        if after is not None:
            stmt = stmt.where(tuple_(_contact.c.customer_key, _contact.c.offer_id) > tuple_(*after))
        rows = await read.rows(stmt.order_by(_contact.c.customer_key, _contact.c.offer_id).limit(size))
        return [Contact(**row._asdict()) for row in rows]

    async def of_customer(self, read: Read, plan_id: str, customer_key: int) -> list[Contact]:
        """A customer's contacts in a plan."""
        mine = select(*_CONTACT_COLUMNS).where(_contact.c.plan_id == plan_id, _contact.c.customer_key == customer_key)
        return [Contact(**row._asdict()) for row in await read.rows(mine)]

    async def all_contacts(self, read: Read, plan_id: str) -> AsyncIterator[list[Contact]]:
        """The contacts of a plan by customer and offer, in parts; a customer is never split."""
        after: tuple[int, str] | None = None
        waiting: list[Contact] = []
        while part := await self.contacts(read, plan_id, after, 5_000):
            after = (part[-1].customer_key, part[-1].offer_id)
            known = [*waiting, *part]
            waiting = [contact for contact in known if contact.customer_key == after[0]]
            yield known[: len(known) - len(waiting)]
        if waiting:
            yield waiting

    async def move(self, tx: Write, states: Mapping[str, str]) -> None:
        """Contact id → its new state; a contact of the control stays one, and no other becomes one."""
        stmt = text(
            "UPDATE contact SET state = moved.state "
            "FROM unnest(CAST(:ids AS text[]), CAST(:states AS text[])) AS moved (contact_id, state) "
            "WHERE contact.contact_id = moved.contact_id AND contact.state <> moved.state "
            "AND starts_with(contact.state, 'CONTROL') = starts_with(moved.state, 'CONTROL')"
        )
        if states:
            await tx.execute(stmt, {"ids": list(states), "states": list(states.values())})

    async def hand_over(self, tx: Write, plan_id: str, file: File, now: datetime) -> int:
        """The plan is handed over by this file; gives how many contacts were withheld."""
        sent = select(func.count()).where(_contact.c.plan_id == plan_id, _contact.c.state == SENT)
        handed = update(_plan).where(_plan.c.plan_id == plan_id)
        handed = handed.values(state=HANDED_OVER, withheld_contacts=_plan.c.contacts - sent.scalar_subquery())
        withheld = await tx.value(handed.returning(_plan.c.withheld_contacts))
        await tx.execute(insert(_file).values(**dataclasses.asdict(file), plan_id=plan_id, write_time=now))
        return int(withheld)

    async def waiting_files(self, read: Read) -> list[str]:
        """Files of handed over plans that were not carried to OCRM's server, the oldest first."""
        rows = await read.rows(text("SELECT file_name FROM handover_file WHERE push_time IS NULL ORDER BY file_name"))
        return [row.file_name for row in rows]

    async def carried(self, tx: Write, file_name: str, now: datetime) -> None:
        """A file was carried."""
        stmt = text("UPDATE handover_file SET push_time = :now WHERE file_name = :name AND push_time IS NULL")
        await tx.execute(stmt, {"name": file_name, "now": now})

    async def _with_files(self, read: Read, rows: list[Row[Any]]) -> list[Plan]:
        wanted = [row.plan_id for row in rows]
        files: dict[str, list[File]] = {plan_id: [] for plan_id in wanted}
        stmt = select(_file).where(_file.c.plan_id.in_(wanted)).order_by(_file.c.file_name)
        for row in await read.rows(stmt) if wanted else []:
            files[row.plan_id].append(File(row.file_name, row.rows, row.md5, row.tagged))
        plans = []
        for row in rows:
            values = row._asdict()
            values["prices"] = tuple(Price(**price) for price in values["prices"])
            plans.append(Plan(**values, files=tuple(files[row.plan_id])))
        return plans
