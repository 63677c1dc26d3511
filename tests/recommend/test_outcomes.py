"""What came of contacts, and who is gone: the same facts again, late or in any order, leave the same rows."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc.aio
import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text

from lifecircle.contact import v1 as contact
from lifecircle.ingest import v1 as ingest
from services.kit import cursors
from services.kit.db import Database
from services.recommend import peers, store
from services.recommend.domain.outcome import Gone, Live, Outcome, figures
from services.recommend.domain.ownership import Orders, latest, mapped
from services.recommend.domain.registry import Matrix
from services.recommend.domain.snapshot import Delivery, Run
from services.recommend.usecases import Noting
from tests.recommend.neighbours import Contact, neighbours, pair
from tests.recommend.test_store import model
from tests.recommend.town import order_rows, town

NOW = datetime(2026, 10, 1, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def empty(db: Database) -> None:
    async with db.begin() as tx:
        for table in (
            "contact_outcome",
            "gone",
            "consumer_cursor",
            "matrix_file",
            "matrix",
            "model",
            "ownership",
            "profile",
            "run",
        ):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()


def fact(contact_id: str, customer_key: int = 3, result: str = "RESPONDED", opened: bool = False) -> Outcome:
    return Outcome(contact_id, customer_key, "A1", "camp", "sms", result, opened, NOW)


def orders(rows: list[tuple[int, str, str, str, int]]) -> Orders:
    key, product_id, order_id, action, time = zip(*rows, strict=True)
    return Orders(
        np.array(key), np.array(product_id, object), np.array(order_id, object), np.array(time),
        np.array(action) == "open",
    )  # fmt: skip


async def rows(db: Database, stmt: str) -> list[tuple[object, ...]]:
    async with db.read() as read:
        return [tuple(row) for row in await read.rows(text(stmt))]


async def note(db: Database, *told: Outcome | Gone) -> None:
    noting = Noting()
    for each in told:
        async with db.begin() as tx:
            if isinstance(each, Outcome):
                await noting.take_outcomes(tx, [each])
            else:
                await noting.take_gone(tx, [each])
            await tx.commit()


async def test_facts_of_a_contact_are_merged_whatever_their_order(db: Database) -> None:
    """R000-044, R000-047: an opening that arrives alone, before or after the answer, counts with it."""
    opening, answer = fact("c1", result="", opened=True), fact("c1", result="REFUSED")
    for told in ((opening, answer), (answer, opening), (answer, opening, answer, opening)):
        await note(db, *told)
        assert await rows(db, "SELECT contact_id, result, opened FROM contact_outcome") == [("c1", "REFUSED", True)]
    async with db.read() as read:
        found = await store.Outcomes().answered(read, 10)
    assert [(each.contact_id, each.accepted) for each in found] == [("c1", True)]


async def test_a_contact_is_laid_at_the_door_of_the_model_whose_matrix_was_the_latest(db: Database) -> None:
    async with db.begin() as tx:
        await store.Inputs().keep_run(tx, Run("run-1", NOW.date(), 1, (), {}))
        for number in range(3):
            await store.Models().put(tx, model(f"m{number}"))
        for number, days in enumerate((3, 1, -1)):
            day = date(2026, 10, 1) - timedelta(days=days)
            await store.Matrices().publish(tx, Matrix(f"x{number}", f"m{number}", "run-1", day, 1, 1, NOW), [])
        await tx.commit()
    await note(db, fact("c1"), fact("c2", result="REFUSED"), fact("c3", result="UNREACHED"))
    async with db.read() as read:
        assert await store.Outcomes().by_model(read) == {"m1": Live(2, 1, 0)}


async def test_a_matrix_is_compared_with_that_of_the_month_before(db: Database) -> None:
    """R001-109: the latest of an earlier month; without one the latest of an earlier day, then the one made before."""
    days = [date(2026, 8, 30), date(2026, 8, 31), date(2026, 9, 1), date(2026, 9, 2), date(2026, 9, 2)]
    made = [Matrix(f"x{n}", "m0", "run-1", day, 1, 1, NOW + timedelta(n)) for n, day in enumerate(days)]
    async with db.begin() as tx:
        await store.Inputs().keep_run(tx, Run("run-1", NOW.date(), 1, (), {}))
        await store.Models().put(tx, model("m0"))
        for each in made:
            await store.Matrices().publish(tx, each, [])
        told = [await store.Matrices().before(tx, each) for each in made]
        assert told == ["", "x0", "x1", "x1", "x1"]


def test_live_figures_by_hand() -> None:
    told = figures({"a": Live(10, 4, 1), "b": Live(10, 1, 0)})
    assert told["a"] == {
        "live_contacted": 10, "live_accepted": 4, "live_opened": 1, "live_rate": 0.4, "live_lift": pytest.approx(1.6),
    }  # fmt: skip
    assert figures({}) == {}
    assert "live_lift" not in figures({"a": Live(3, 0, 0)})["a"]


async def test_who_is_erased_leaves_every_table_and_never_comes_back(db: Database) -> None:
    place = town(20)
    history = latest(orders(order_rows(place.keys, place.owned)))
    knowledge = store.Knowledge()
    key = int(history.customer_key[history.opens][0])
    async with db.begin() as tx:
        await knowledge.fold_orders(tx, history)
        await tx.commit()
    await note(db, fact("c1", customer_key=key), Gone(key, 0), fact("c2", customer_key=key))
    async with db.begin() as tx:  # a file brings his orders again
        await knowledge.fold_orders(tx, history)
        await tx.commit()
    assert await rows(db, f"SELECT * FROM ownership WHERE customer_key = {key}") == []
    assert await rows(db, "SELECT * FROM contact_outcome") == []
    assert key not in mapped(history, {key: 0}).customer_key


@pytest.mark.parametrize("first", ["orders", "merge"])
async def test_a_merged_key_is_the_other_whichever_comes_first(db: Database, first: str) -> None:
    told = latest(
        orders([(3, "A1", "o1", "open", 1000), (9, "A1", "o2", "cancel", 2000), (3, "B1", "o3", "open", 1000)])
    )
    knowledge = store.Knowledge()
    await note(db, fact("c1", customer_key=3))
    for step in ("orders", "merge") if first == "orders" else ("merge", "orders"):
        if step == "merge":
            await note(db, Gone(3, 9), Gone(3, 9))
            continue
        async with db.begin() as tx:
            await knowledge.fold_orders(tx, told)
            await tx.commit()
    wanted = [(9, "A1", False), (9, "B1", True)]
    assert await rows(db, "SELECT customer_key, product_id, owned FROM ownership ORDER BY 1, 2") == wanted
    assert await rows(db, "SELECT customer_key FROM contact_outcome") == [(9,)]
    again = latest(mapped(told, {3: 9}))
    assert sorted(zip(again.customer_key.tolist(), again.product_id, again.opens.tolist(), strict=True)) == wanted
    await note(db, Gone(9, 11), Gone(2, 9))  # who stays goes on, and somebody is merged into who went
    assert await rows(db, "SELECT customer_key, into_key FROM gone ORDER BY 1") == [(2, 11), (3, 11), (9, 11)]


async def test_what_the_neighbours_tell_is_noted_with_the_cursor_and_follows_on(db: Database) -> None:
    """R000-044, R000-047: answers, feedback and openings; who was erased and merged. Twice told is once noted."""
    at = Timestamp()
    key: dict[str, Any] = {"customer_key": 3, "product_id": "A1", "campaign_id": "c", "channel": "order"}
    at.FromDatetime(NOW)
    ingest_, portrait_ = pair()
    contact_ = Contact()  # type: ignore[abstract]
    kinds = contact.OutcomeFact
    contact_.facts += [
        contact.OutcomeFact(fact_id="1", kind=kinds.KIND_FEEDBACK, contact_id="c1", contact_time=at,
                            result=contact.Outcome.RESULT_REFUSED, **key),
        contact.OutcomeFact(fact_id="2", kind=kinds.KIND_OPENING, contact_id="c1", contact_time=at, opened=True, **key),
        contact.OutcomeFact(fact_id="3", kind=kinds.KIND_OUTCOME, contact_id="unmatched"),
    ]  # fmt: skip
    into = Struct()
    into.update({"into_key": "9"})
    ingest_.events += [
        ingest.Event(type="identity.merged", customer_key=3, attributes=into),
        ingest.Event(type="product.ordered", customer_key=3),
    ]
    noting, stop = Noting(), asyncio.Event()
    async with neighbours(ingest_, portrait_, contact_) as door, grpc.aio.insecure_channel(door) as channel:

        async def ahead(_: Delivery) -> None:
            """Nothing is read."""

        told = peers.Contact(contact.ContactServiceStub(channel)).outcomes
        gone = peers.Ingest(ingest.IngestServiceStub(channel), ahead).gone
        watches: list[tuple[str, Any, Any]] = [
            ("outcomes", told, noting.take_outcomes),
            ("gone", gone, noting.take_gone),
        ]
        following = [
            asyncio.create_task(cursors.follow(db, consumer=name, owner="me", watch=watch, handle=handle, stop=stop))
            for name, watch, handle in watches
        ]
        try:
            async with asyncio.timeout(30):
                wanted: list[tuple[object, ...]] = [("c1", 9, "REFUSED", True)]
                stmt = "SELECT contact_id, customer_key, result, opened FROM contact_outcome"
                while await rows(db, stmt) != wanted:
                    await asyncio.sleep(0.05)
                ingest_.events.append(ingest.Event(type="subject.erased", customer_key=9))
                while await rows(db, stmt):
                    await asyncio.sleep(0.05)
        finally:
            stop.set()
            await asyncio.gather(*following)
    assert await rows(db, "SELECT customer_key, into_key FROM gone ORDER BY 1") == [(3, 0), (9, 0)]
