"""The store on a real Postgres: folding is idempotent and indifferent to order, and one champion serves."""

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy.exc
from sqlalchemy import text

from services.kit.db import Database
from services.recommend import store
from services.recommend.domain import ownership
from services.recommend.domain.association import Association
from services.recommend.domain.customer import Known
from services.recommend.domain.ownership import Orders
from services.recommend.domain.registry import Matrix, Model
from services.recommend.domain.snapshot import ORDERS, PRODUCTS, Delivery, File, Run
from services.recommend.lake import Lake
from services.recommend.usecases import Asking, Taking
from tests.recommend.town import CATALOGUE, DAY, Row, order_delivery, order_rows, product_delivery, published, town

NOW = datetime(2026, 10, 1, tzinfo=UTC)
PLACE = town(60)


@pytest.fixture(autouse=True)
async def empty(db: Database) -> None:
    async with db.begin() as tx:
        for table in ("matrix_file", "matrix", "model", "pattern", "ownership", "product", "profile", "run"):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.execute(text("DELETE FROM delivery"))
        await tx.execute(text("DELETE FROM job"))
        await tx.commit()


@pytest.fixture
def taking(db: Database, tmp_path: Path) -> Taking:
    inputs, models, lake = store.Inputs(), store.Models(), Lake(tmp_path.as_uri())
    ids = iter(f"id-{number}" for number in range(1000))
    asking = Asking(db, inputs, models, lambda: NOW, lambda: next(ids))
    return Taking(inputs, store.Knowledge(), asking, lake.orders, lake.products, lambda: NOW, seed=1)


async def take(db: Database, taking: Taking, *deliveries: Delivery) -> None:
    for delivery in deliveries:
        async with db.begin() as tx:
            await taking.take_delivery(tx, delivery)
            await tx.commit()


async def owned(db: Database) -> list[tuple[int, str]]:
    async with db.read() as read:
        rows = await read.rows(text("SELECT customer_key, product_id FROM ownership WHERE owned ORDER BY 1, 2"))
    return [(row.customer_key, row.product_id) for row in rows]


def expected(rows: Sequence[Row]) -> list[tuple[int, str]]:
    key, product_id, order_id, action, time = zip(*rows, strict=True)
    state = ownership.latest(
        Orders(
            np.array(key),
            np.array(product_id, dtype=object),
            np.array(order_id, dtype=object),
            np.array(time),
            np.array(action) == "open",
        )
    )
    pairs = zip(state.customer_key.tolist(), state.product_id.tolist(), state.opens.tolist(), strict=True)
    return sorted((customer, product) for customer, product, opens in pairs if opens)


async def test_orders_fold_alike_in_any_order_and_however_often_they_come(
    db: Database, taking: Taking, tmp_path: Path
) -> None:
    rows = order_rows(PLACE.keys, PLACE.owned)
    parts = [order_delivery(tmp_path, rows[number::3], number + 1) for number in range(3)]
    await take(db, taking, product_delivery(tmp_path), parts[2], parts[0], parts[1], parts[0], parts[2])
    assert await owned(db) == expected(rows)
    async with db.read() as read:
        held = await store.Knowledge().products(read)
    assert {each.product.product_id: each.owners for each in held} == dict(
        zip(CATALOGUE.ids, PLACE.owned.sum(axis=0).tolist(), strict=True)
    )


async def test_what_was_read_ahead_is_not_read_in_the_transaction(db: Database, tmp_path: Path) -> None:
    lake, reads = Lake(tmp_path.as_uri()), [0]

    def read_orders(files: Sequence[File]) -> Orders:
        reads[0] += 1
        return lake.orders(files)

    inputs = store.Inputs()
    asking = Asking(db, inputs, store.Models(), lambda: NOW, lambda: "id")
    taking = Taking(inputs, store.Knowledge(), asking, read_orders, lake.products, lambda: NOW, seed=1)
    rows = order_rows(PLACE.keys, PLACE.owned)
    first, other = order_delivery(tmp_path, rows[::2], 1), order_delivery(tmp_path, rows[1::2], 2)
    await taking.read_ahead(first)
    assert reads == [1]
    await take(db, taking, first)
    assert reads == [1]
    await taking.read_ahead(first)
    await take(db, taking, other)  # never another's content
    assert await owned(db) == expected(rows)


async def test_a_corrected_delivery_takes_back_what_the_first_one_said(
    db: Database, taking: Taking, tmp_path: Path
) -> None:
    rows = order_rows(PLACE.keys, PLACE.owned)
    first, other = order_delivery(tmp_path, rows[::2], 1), order_delivery(tmp_path, rows[1::2], 2)
    corrected = order_delivery(tmp_path, rows[:10:2], 3, sequence=1)
    await take(db, taking, first, other, corrected)
    assert await owned(db) == expected([*rows[:10:2], *rows[1::2]])
    await take(db, taking, dataclasses.replace(first, files=()))  # its event again: ingest lists no file of it now
    assert await owned(db) == expected([*rows[:10:2], *rows[1::2]])


async def test_an_older_products_delivery_that_comes_late_changes_nothing(
    db: Database, taking: Taking, tmp_path: Path
) -> None:
    dearer = [dataclasses.replace(each, fee_fen=9999) for each in CATALOGUE.products]
    await take(db, taking, product_delivery(tmp_path, dearer, number=2), product_delivery(tmp_path, number=1))
    async with db.read() as read:
        held = await store.Knowledge().products(read)
    assert {each.product.fee_fen for each in held} == {9999}


async def test_a_run_begins_one_training_when_all_its_inputs_are_there(
    db: Database, taking: Taking, tmp_path: Path
) -> None:
    told = published(tmp_path, PLACE)

    async def jobs() -> int:
        async with db.read() as read:
            return int(await read.value(text("SELECT count(*) FROM job WHERE kind = 'train'")))

    async with db.begin() as tx:
        await taking.take_run(tx, dataclasses.replace(told, deliveries=()))
        await tx.commit()
    assert await jobs() == 0
    await take(db, taking, product_delivery(tmp_path))
    assert await jobs() == 0
    await take(db, taking, order_delivery(tmp_path, order_rows(PLACE.keys, PLACE.owned)))
    assert await jobs() == 1
    await take(db, taking, order_delivery(tmp_path, order_rows(PLACE.keys, PLACE.owned), 2))
    async with db.begin() as tx:
        await taking.take_run(tx, told)
        await tx.commit()
    assert await jobs() == 1


async def test_orders_after_the_last_day_of_a_run_are_no_input_of_it(db: Database, tmp_path: Path) -> None:
    inputs = store.Inputs()
    later = dataclasses.replace(
        order_delivery(tmp_path, order_rows(PLACE.keys, PLACE.owned), 2), period=date(2026, 10, 1)
    )
    async with db.begin() as tx:
        for delivery in (product_delivery(tmp_path), order_delivery(tmp_path, [(3, "A1", "O", "open", 1)]), later):
            await inputs.keep_delivery(tx, delivery)
        found = await inputs.inputs(tx, Run("r", DAY, 1, (), {}))
    assert found.deliveries == {PRODUCTS: ["products-1"], ORDERS: ["orders-1"]}
    assert found.missing() == []


def model(model_id: str) -> Model:
    return Model(
        model_id, "CANDIDATE", "rf_cf", "run-1", "a", "b", "c", 1, 10, 5, ("f",), ("A1",), {"ndcg@5": 0.5}, {}, NOW
    )


async def test_one_champion_serves_and_the_one_before_retires(db: Database) -> None:
    models = store.Models()
    async with db.begin() as tx:
        for name in ("m1", "m2", "m3"):
            await models.put(tx, model(name))
        await models.promote(tx, "m1", NOW)
        await models.promote(tx, "m2", NOW + timedelta(seconds=1))
        await tx.commit()
    async with db.read() as read:
        page = await models.page(read, "", 10)
        assert [(each.model_id, each.state) for each in page] == [
            ("m3", "CANDIDATE"),
            ("m2", "CHAMPION"),
            ("m1", "RETIRED"),
        ]
        assert await models.page(read, "m3", 1) == page[1:2]
        assert await models.champion_id(read) == "m2"


async def test_two_trainings_that_end_together_leave_one_champion(db: Database) -> None:
    models = store.Models()

    async def end(name: str) -> bool:
        try:
            async with db.begin() as tx:
                await models.put(tx, model(name))
                await models.promote(tx, name, NOW)
                await asyncio.sleep(0.1)
                await tx.commit()
        except sqlalchemy.exc.IntegrityError:
            return False  # the job is tried again
        return True

    assert any(await asyncio.gather(end("x"), end("y")))
    async with db.read() as read:
        rows = await read.rows(text("SELECT model_id FROM model WHERE state = 'CHAMPION'"))
    assert len(rows) == 1


async def test_the_run_that_answers_is_swapped_whole_and_tells_ownership_the_organisation(
    db: Database, taking: Taking, tmp_path: Path
) -> None:
    await take(db, taking, order_delivery(tmp_path, [(3, "A1", "O1", "open", 1), (6, "A1", "O2", "cancel", 1)]))
    inputs = store.Inputs()
    async with db.begin() as tx:
        for name in ("old", "new"):
            await inputs.keep_run(tx, Run(name, DAY, 2, (), {}))
            await inputs.load_profiles(tx, name, [(3, "G1", b"\0\0\0\0"), (6, "G2", b"\0\0\0\0")], (3, 6))
            await inputs.load_profiles(tx, name, [(3, "G1", name.encode()), (6, "G2", b"")], (3, 6))
        await inputs.serve_run(tx, "old", ["f"])
        assert await inputs.is_newer(tx, "new")
        await inputs.serve_run(tx, "new", ["f"])
        assert not await inputs.is_newer(tx, "old")
        await tx.commit()
    hot, wanted = store.Hot(db), {3: Known("new", "G1", b"new", ("A1",)), 6: Known("new", "G2", b"", (), {"A1": 0.001})}
    assert await hot.known([3, 4, 6], profiles=True) == wanted
    assert await hot.known([3, 4], profiles=False) == {3: Known("", "", b"", ("A1",)), 4: Known("", "", b"", ())}
    await hot._idle[0][0].close()  # as after a restart of Postgres: through the pool, and anew
    assert await hot.known([3, 4, 6], profiles=True) == wanted
    assert await hot.known([3, 4, 6], profiles=True) == wanted
    await hot.close()
    async with db.read() as read:
        served = await inputs.served(read)
        assert served is not None
        assert served.run_id == "new"
        assert await read.value(text("SELECT count(*) FROM profile")) == 2
        orgs = await read.rows(text("SELECT org_id FROM ownership ORDER BY customer_key"))
        assert [row.org_id for row in orgs] == ["G1", "G2"]


async def test_associations_page_by_lift_then_ids(db: Database) -> None:
    knowledge = store.Knowledge()
    found = [
        Association(left, "Z", 1, 0.1, 0.2, lift) for left, lift in (("A", 2.5), ("B", 2.5), ("C", 1.1), ("D", 1 / 3))
    ]
    async with db.begin() as tx:
        await knowledge.put_associations(tx, [Association("X", "Z", 1, 0.1, 0.2, 9.0)])
        await knowledge.put_associations(tx, found[::-1])  # in the place of the first
        await tx.commit()
    async with db.read() as read:
        first = await knowledge.associations(read, size=2)
        rest = await knowledge.associations(read, after=(first[1].lift, first[1].left, first[1].right))
        mine = await knowledge.associations(read, left="D")
    assert [*first, *rest] == found
    assert [each.left for each in mine] == ["D"]


async def test_a_matrix_is_published_with_its_manifest(db: Database) -> None:
    matrices, models, inputs = store.Matrices(), store.Models(), store.Inputs()
    made = Matrix("x1", "m1", "run-1", DAY, 2, 9, NOW)
    files = [File("file:///b1", 4, "bb", 1), File("file:///b0", 5, "aa", 0)]
    async with db.begin() as tx:
        await inputs.keep_run(tx, Run("run-1", DAY, 2, (), {}))
        await models.put(tx, model("m1"))
        await matrices.publish(tx, made, files)
        await tx.commit()
    async with db.read() as read:
        assert await matrices.matrix(read, "") == made
        assert await matrices.matrix(read, "other") is None
        assert await matrices.files(read, "x1") == files[::-1]
