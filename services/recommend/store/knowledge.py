"""Products, ownership, associations, and what is known of one customer."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Row, Select, delete, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.recommend import tables as t
from services.recommend.domain.association import FALSE_DISCOVERY, PRODUCTS, Association
from services.recommend.domain.ownership import Orders
from services.recommend.domain.product import Held, Product, Terms
from services.recommend.store.outcomes import hold

BATCH_SECONDS = 300.0
"""Statement timeout of the folding of a large delivery."""


class Knowledge:
    """Products, ownership and associations."""

    async def put_products(
        self, tx: Write, products: Sequence[Product], period: date, sequence: int, now: datetime
    ) -> None:
        """Write products down; an older delivery that comes late changes nothing."""
        if not products:
            return
        rows = [
            {
                "product_id": each.product_id,
                "name": each.name,
                "category": each.category,
                "fee_fen": each.fee_fen,
                "worth_fen": each.worth_fen,
                "requires_product_id": each.requires_product_id,
                "exclusive_group": each.exclusive_group,
                "period": period,
                "sequence": sequence,
                "update_time": now,
            }
            for each in products
        ]
        stmt = insert(t.product)
        new = stmt.excluded
        await tx.execute(
            stmt.on_conflict_do_update(
                index_elements=["product_id"],
                set_={name: getattr(new, name) for name in rows[0]},
                where=tuple_(new.period, new.sequence) >= tuple_(t.product.c.period, t.product.c.sequence),
            ),
            rows,
        )

    async def fold_orders(self, tx: Write, orders: Orders) -> None:
        """Let the latest order of each customer and product count; `orders` hold one each (ownership.latest).

        The same rule in SQL, so that folding is idempotent and the order of deliveries is indifferent. What is told
        of a merged key is the other's; of who was erased nothing is kept.
        """
        await tx.execute(text(f"SET LOCAL statement_timeout = '{BATCH_SECONDS:.0f}s'"))
        await hold(tx)
        await tx.execute(text("CREATE TEMPORARY TABLE fold (LIKE ownership INCLUDING DEFAULTS) ON COMMIT DROP"))
        records = (
            (customer, product, "", opens, datetime.fromtimestamp(time / 1000, UTC), order)
            for customer, product, opens, time, order in zip(
                orders.customer_key.tolist(),
                orders.product_id.tolist(),
                orders.opens.tolist(),
                orders.time.tolist(),
                orders.order_id.tolist(),
                strict=True,
            )
        )
        columns = ["customer_key", "product_id", "org_id", "owned", "time", "order_id"]
        await tx.driver.copy_records_to_table("fold", columns=columns, records=records)
        await tx.execute(
            text(
                """INSERT INTO ownership AS old (customer_key, product_id, org_id, owned, time, order_id)
                SELECT DISTINCT ON (who, product_id) who, product_id, org_id, owned, time, order_id
                FROM (SELECT coalesce(gone.into_key, fold.customer_key) AS who, fold.* FROM fold
                    LEFT JOIN gone ON gone.customer_key = fold.customer_key) AS told (who, customer_key, product_id,
                    org_id, owned, time, order_id)
                WHERE who <> 0
                ORDER BY who, product_id, time DESC, order_id DESC, owned
                ON CONFLICT (customer_key, product_id) DO UPDATE
                SET owned = excluded.owned, time = excluded.time, order_id = excluded.order_id
                WHERE (excluded.time, excluded.order_id, NOT excluded.owned)
                    > (old.time, old.order_id, NOT old.owned)"""
            )
        )
        await tx.execute(text("DROP TABLE fold"))

    async def forget_ownership(self, tx: Write) -> None:
        """Empty ownership, to fold it anew."""
        await tx.execute(delete(t.ownership))

    async def count_owners(self, tx: Write) -> None:
        """Bring product.owners up to date."""
        owners = (
            select(func.count())
            .where(t.ownership.c.product_id == t.product.c.product_id, t.ownership.c.owned)
            .scalar_subquery()
        )
        await tx.execute(update(t.product).where(t.product.c.owners != owners).values(owners=owners))

    async def products(self, read: Read) -> list[Held]:
        """All products by id."""
        return [_held(row) for row in await read.rows(_products())]

    async def page(self, read: Read, after: str, size: int) -> list[Held]:
        """`size` products by id, those after the id `after`."""
        return [_held(row) for row in await read.rows(_products().where(t.product.c.product_id > after).limit(size))]

    async def product(self, read: Read, product_id: str) -> Held | None:
        """One product."""
        row = await read.row(_products().where(t.product.c.product_id == product_id))
        return None if row is None else _held(row)

    async def opened_between(self, read: Read, first: datetime, last: datetime) -> set[tuple[int, str]]:
        """The customers and products whose latest order is an opening in this time."""
        o = t.ownership.c
        stmt = select(o.customer_key, o.product_id).where(o.owned, o.time >= first, o.time < last)
        return {(row.customer_key, row.product_id) for row in await read.rows(stmt)}

    async def owned_by(self, read: Read, keys: Sequence[int]) -> list[tuple[int, str]]:
        """What these customers own: customer and product."""
        o = t.ownership.c
        stmt = select(o.customer_key, o.product_id).where(o.owned, o.customer_key.in_(keys))
        return [(row.customer_key, row.product_id) for row in await read.rows(stmt)]

    async def openings(self, read: Read, product_id: str, most: int) -> list[tuple[date, int]]:
        """Openings that still stand by day (UTC), every day of the last `most` up to the latest, the oldest first."""
        stmt = text(
            """WITH told AS (SELECT (time AT TIME ZONE 'UTC')::date AS day, count(*) AS many FROM ownership
                WHERE product_id = :product_id AND owned GROUP BY 1),
            ends AS (SELECT greatest(min(day), max(day) - CAST(:most AS integer) + 1) AS first, max(day) AS last
                FROM told)
            SELECT each::date AS day, coalesce(many, 0) AS many
            FROM ends, generate_series(first, last, interval '1 day') AS each LEFT JOIN told ON told.day = each::date
            ORDER BY 1"""
        )
        return [(row.day, row.many) for row in await read.rows(stmt, {"product_id": product_id, "most": most})]

    async def customers(self, read: Read) -> int:
        """How many customers the run that answers knows."""
        return int(await read.value(select(t.run.c.customers).where(t.run.c.serves)) or 0)

    async def put_associations(self, tx: Write, found: Sequence[Association]) -> None:
        """Put these in the place of those that are there."""
        await tx.execute(delete(t.pattern))
        records = [
            (e.kind, e.left, e.right, e.left_name, e.right_name, e.both, e.support, e.confidence, e.lift, e.p_value,
             e.q_value) for e in found
        ]  # fmt: skip
        await tx.copy("pattern", [column.name for column in t.pattern.columns], records)

    async def associations(
        self,
        read: Read,
        *,
        kind: str = PRODUCTS,
        left: str = "",
        significant: bool = False,
        after: tuple[float, str, str] | None = None,
        size: int | None = None,
    ) -> list[Association]:
        """One table by falling lift, then ids; of one left side if given; those after a place if given."""
        a = t.pattern.c
        stmt = select(t.pattern).where(a.kind == kind).order_by(a.lift.desc(), a.left_id, a.right_id)
        if left:
            stmt = stmt.where(a.left_id == left)
        if significant:
            stmt = stmt.where(a.q_value <= FALSE_DISCOVERY)
        if after is not None:
            stmt = stmt.where(tuple_(-a.lift, a.left_id, a.right_id) > (-after[0], *after[1:]))
        return [
            Association(
                row.left_id,
                row.right_id,
                row.both_count,
                row.support,
                row.confidence,
                row.lift,
                row.p_value,
                row.q_value,
                row.kind,
                row.left_name,
                row.right_name,
            )
            for row in await read.rows(stmt if size is None else stmt.limit(size))
        ]


def _products() -> Select[Any]:
    told = t.product.outerjoin(t.product_terms, t.product_terms.c.product_id == t.product.c.product_id)
    return select(t.product, t.product_terms.c.terms).select_from(told).order_by(t.product.c.product_id)


def _held(row: Row[Any]) -> Held:
    product = Product(
        row.product_id,
        row.name,
        row.category,
        row.fee_fen,
        row.worth_fen,
        row.requires_product_id,
        row.exclusive_group,
        Terms.of(row.terms) if row.terms is not None else None,
    )
    return Held(product, row.owners)
