"""What contact keeps of others' facts: matrices, customers, their consents and openings."""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta

import numpy as np
from sqlalchemy import Executable, select, text
from sqlalchemy.dialects.postgresql import insert

from services.contact import tables
from services.contact.domain.auction import LEFT, Audience, Customer
from services.contact.domain.experiment import Ints
from services.contact.domain.fact import ConsentChange, Matrix, Opening
from services.contact.domain.policy import MARKETING, Touch
from services.kit.db import Read, Write

_matrix = tables.matrix

Way = tuple[str, str]
"""A channel and a purpose."""


class Matrices:
    """The table `matrix`."""

    async def add(self, tx: Write, matrix: Matrix) -> None:
        """Know a matrix; once known it stays as it is."""
        values = {"as_of_date": matrix.as_of_date, "create_time": matrix.create_time}
        await tx.execute(insert(_matrix).values(matrix_id=matrix.matrix_id, **values).on_conflict_do_nothing())

    async def get(self, read: Read, matrix_id: str) -> Matrix | None:
        """One matrix; an empty id gives the latest."""
        stmt = select(_matrix).order_by(_matrix.c.create_time.desc(), _matrix.c.matrix_id.desc()).limit(1)
        row = await read.row(stmt.where(_matrix.c.matrix_id == matrix_id) if matrix_id else stmt)
        return None if row is None else Matrix(**row._asdict())


_UPSERT_CUSTOMERS = text(
    """
    INSERT INTO customer AS known (customer_key, org_id, level, status)
    SELECT * FROM unnest(CAST(:keys AS bigint[]), CAST(:orgs AS text[]), CAST(:levels AS text[]),
                         CAST(:statuses AS text[])) AS told (customer_key, org_id, level, status)
    WHERE NOT EXISTS (SELECT FROM erased_customer AS gone WHERE gone.customer_key = told.customer_key)
    ORDER BY customer_key
    ON CONFLICT (customer_key) DO UPDATE
        SET org_id = excluded.org_id, level = excluded.level, status = excluded.status
        WHERE (known.org_id, known.level, known.status)
            IS DISTINCT FROM (excluded.org_id, excluded.level, excluded.status)
    """
)

# The later change is in force; at the same time the withdrawal: in whatever order and however often they arrive.
_UPSERT_CONSENTS = text(
    """
    INSERT INTO consent AS known (customer_key, channel, purpose, org_id, granted, change_time)
    SELECT told.customer_key, told.channel, told.purpose, coalesce(customer.org_id, ''), told.granted, told.change_time
    FROM unnest(CAST(:keys AS bigint[]), CAST(:channels AS text[]), CAST(:purposes AS text[]),
                CAST(:granted AS boolean[]), CAST(:times AS timestamptz[]))
        AS told (customer_key, channel, purpose, granted, change_time)
    LEFT JOIN customer USING (customer_key)
    ORDER BY told.customer_key, told.channel, told.purpose
    ON CONFLICT (customer_key, channel, purpose) DO UPDATE
        SET org_id = excluded.org_id, granted = excluded.granted, change_time = excluded.change_time
        WHERE (excluded.change_time, NOT excluded.granted) > (known.change_time, NOT known.granted)
    """
)

_INSERT_OPENINGS = text(
    """
    INSERT INTO opening (customer_key, product_id, open_time, org_id)
    SELECT told.customer_key, told.product_id, told.open_time, coalesce(customer.org_id, '')
    FROM unnest(CAST(:keys AS bigint[]), CAST(:products AS text[]), CAST(:times AS timestamptz[]))
        AS told (customer_key, product_id, open_time)
    LEFT JOIN customer USING (customer_key)
    ORDER BY told.customer_key, told.product_id, told.open_time
    ON CONFLICT DO NOTHING
    """
)


# What counts: contacts that were sent, and grants that are confirmed or still reserved.
_EARLIER = text(
    """
    SELECT contact.customer_key, contact.plan_date AS day, contact.channel, contact.purpose, contact.product_id,
        offer.exclusive_group, count(*) AS contacts, count(*) FILTER (WHERE outcome.result = 'REFUSED') AS refused
    FROM contact JOIN offer USING (offer_id) LEFT JOIN outcome USING (contact_id)
    WHERE contact.plan_date BETWEEN :first AND :last AND contact.state = 'HANDED_OVER'
        AND contact.plan_id <> :but_plan
        AND (CAST(:keys AS bigint[]) IS NULL OR contact.customer_key = ANY(CAST(:keys AS bigint[])))
    GROUP BY 1, 2, 3, 4, 5, 6
    UNION ALL
    SELECT customer_key, business_day, channel, purpose, product_id, exclusive_group, count(*), 0
    FROM decision
    WHERE business_day BETWEEN :first AND :last AND (state = 'CONFIRMED' OR state = 'RESERVED' AND expire_time > now())
        AND (CAST(:keys AS bigint[]) IS NULL OR customer_key = ANY(CAST(:keys AS bigint[])))
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 1, 2, 3, 5
    """
)

_USED = text(
    """
    SELECT channel, count(*) AS used FROM (
        SELECT channel FROM contact
        WHERE plan_date = :on AND state = 'HANDED_OVER' AND plan_id <> :but_plan
        UNION ALL
        SELECT channel FROM decision WHERE business_day = :on
            AND (state = 'CONFIRMED' OR state = 'RESERVED' AND expire_time > now())
    ) AS sent GROUP BY channel
    """
)


class Customers:
    """The tables `customer`, `consent` and `opening`."""

    async def put(self, tx: Write, customers: Sequence[tuple[int, Customer]]) -> None:
        """Know customers as the latest delivery tells them, each at most once."""
        params = {
            "keys": [key for key, _ in customers],
            "orgs": [customer.org_id for _, customer in customers],
            "levels": [customer.level for _, customer in customers],
            "statuses": [customer.status for _, customer in customers],
        }
        await tx.execute(_UPSERT_CUSTOMERS, params)

    async def put_consents(self, tx: Write, changes: Iterable[ConsentChange]) -> None:
        """Take changes of consent, in any order."""
        latest: dict[tuple[int, str, str], ConsentChange] = {}
        for change in changes:
            at = (change.customer_key, change.channel, change.purpose)
            if at not in latest or change.prevails(latest[at]):
                latest[at] = change
        params = {
            "keys": [change.customer_key for change in latest.values()],
            "channels": [change.channel for change in latest.values()],
            "purposes": [change.purpose for change in latest.values()],
            "granted": [change.granted for change in latest.values()],
            "times": [change.change_time for change in latest.values()],
        }
        if latest:
            await tx.execute(_UPSERT_CONSENTS, params)

    async def put_openings(self, tx: Write, openings: Sequence[Opening]) -> None:
        """Take openings; one that is known stays."""
        params = {
            "keys": [opening.customer_key for opening in openings],
            "products": [opening.product_id for opening in openings],
            "times": [opening.open_time for opening in openings],
        }
        if openings:
            await tx.execute(_INSERT_OPENINGS, params)

    async def missing(self, read: Read) -> list[str]:
        """Which of the projections that an auction needs are empty."""
        checks: tuple[tuple[str, Executable], ...] = (
            ("customers", select(select(tables.customer).exists())),
            ("consent", select(select(tables.consent).exists())),
        )
        return [name for name, stmt in checks if not await read.value(stmt)]

    async def audience(
        self, read: Read, on: date, window_days: int, *, keys: Sequence[int] | None = None, but_plan: str = ""
    ) -> Audience:
        """All customers as they stand (or only some), with what was sent within a window around the day `on`.

        Without one plan, for what it looked like before that.
        """
        kinds: dict[tuple[str, str, str], Customer] = {}
        customers = {}
        mine = [tables.customer.c.merged_into.is_(None)]
        mine += [] if keys is None else [tables.customer.c.customer_key.in_(keys)]
        for row in await read.rows(select(tables.customer).where(*mine)):
            kind = (row.org_id, row.level, row.status)
            customers[row.customer_key] = kinds.setdefault(kind, Customer(*kind))
        consents: dict[str, list[int]] = {}
        given = select(tables.consent.c.channel, tables.consent.c.customer_key).where(
            tables.consent.c.purpose == MARKETING, tables.consent.c.granted
        )
        if keys is not None:
            given = given.where(tables.consent.c.customer_key.in_(keys))
        for row in await read.rows(given.order_by(tables.consent.c.customer_key)):
            consents.setdefault(row.channel, []).append(row.customer_key)
        used = await read.rows(_USED, {"on": on, "but_plan": but_plan})
        return Audience(
            customers=customers,
            consents={channel: np.array(told, np.int64) for channel, told in consents.items()},
            earlier=await self.earlier(read, on, window_days, but_plan=but_plan, keys=keys),
            used={row.channel: row.used for row in used},
            unwanted=await self.unwanted(read),
        )

    async def earlier(
        self, read: Read, on: date, window_days: int, *, but_plan: str = "", keys: Sequence[int] | None = None
    ) -> dict[int, list[Touch]]:
        """Customer → what was sent or granted in windows that hold the day `on`; without the contacts of one plan."""
        reach = timedelta(days=window_days - 1)
        told = {"first": on - reach, "last": on + reach, "but_plan": but_plan, "keys": keys and list(keys)}
        earlier: dict[int, list[Touch]] = {}
        for row in await read.rows(_EARLIER, told):
            values = row._asdict()
            earlier.setdefault(values.pop("customer_key"), []).append(Touch(**values))
        return earlier

    async def refusals(self, read: Read, purposes: Sequence[str]) -> dict[tuple[str, str], Ints]:
        """(channel, purpose) → who refused to be contacted so, for these purposes."""
        stmt = select(tables.consent.c.channel, tables.consent.c.purpose, tables.consent.c.customer_key).where(
            tables.consent.c.purpose.in_(purposes), ~tables.consent.c.granted
        )
        found: dict[tuple[str, str], list[int]] = {}
        for row in await read.rows(stmt.order_by(tables.consent.c.customer_key)):
            found.setdefault((row.channel, row.purpose), []).append(row.customer_key)
        return {way: np.array(keys, np.int64) for way, keys in found.items()}

    async def unwanted(self, read: Read) -> frozenset[int]:
        """Customers who are not to be contacted at all."""
        return frozenset(row.customer_key for row in await read.rows(text("SELECT customer_key FROM do_not_contact")))

    async def levels(self, read: Read, customer_keys: Collection[int]) -> dict[int, str]:
        """Customer → level, of these customers as far as they are known and have not left."""
        stmt = text(
            "SELECT customer_key, level FROM customer "
            "WHERE status <> :left AND merged_into IS NULL AND customer_key = ANY(CAST(:keys AS bigint[]))"
        )
        rows = await read.rows(stmt, {"left": LEFT, "keys": list(customer_keys)})
        return {row.customer_key: row.level for row in rows}

    async def orgs(self, read: Read, customer_keys: Collection[int]) -> dict[int, str]:
        """Customer → organisation, of these customers as far as they are known."""
        stmt = text("SELECT customer_key, org_id FROM customer WHERE customer_key = ANY(CAST(:keys AS bigint[]))")
        rows = await read.rows(stmt, {"keys": list(customer_keys)})
        return {row.customer_key: row.org_id for row in rows}

    async def of_organisation(self, read: Read, org_id: str) -> Ints:
        """The customers of an organisation and of all below it, as admin's directory tells, by key."""
        stmt = text(
            "WITH RECURSIVE below AS (SELECT CAST(:org_id AS text) AS org_id UNION SELECT directory.key "
            "FROM directory JOIN below ON directory.body ->> 'parent' = below.org_id "
            "WHERE directory.kind = 'organisation') "
            "SELECT customer_key FROM customer JOIN below USING (org_id) WHERE merged_into IS NULL "
            "ORDER BY customer_key"
        )
        return np.array([row.customer_key for row in await read.rows(stmt, {"org_id": org_id})], np.int64)

    async def said(self, read: Read, customer_keys: Collection[int]) -> dict[int, tuple[set[Way], set[Way]]]:
        """Customer → the (channel, purpose) pairs that he consented to, and those that he refused, as in force."""
        stmt = text(
            "SELECT customer_key, channel, purpose, granted FROM consent "
            "WHERE customer_key = ANY(CAST(:keys AS bigint[]))"
        )
        found: dict[int, tuple[set[Way], set[Way]]] = {key: (set(), set()) for key in customer_keys}
        for row in await read.rows(stmt, {"keys": list(customer_keys)}):
            found[row.customer_key][0 if row.granted else 1].add((row.channel, row.purpose))
        return found
