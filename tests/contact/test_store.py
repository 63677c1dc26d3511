"""What the database holds to when two do the same thing at once."""

import asyncio
import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from services.contact.domain.auction import Customer
from services.contact.domain.fact import ConsentChange, Opening
from services.contact.domain.outcome import Outcome
from services.contact.store import Store
from services.contact.usecases import Campaigns, Desk, Effects
from services.kit.db import Database
from services.kit.errors import Refusal
from services.kit.idempotency import RequestKey
from tests.contact.made import campaign, outcome, policy
from tests.fixtures.clock import FakeClock
from tests.fixtures.ids import counting_ids

NOW = datetime(2026, 10, 1, tzinfo=UTC)
STORE = Store()
numbers = itertools.count()


def key(request_id: str = "") -> RequestKey:
    return RequestKey("test", "/contact/Test", request_id or f"r{next(numbers)}", b"same")


@pytest.fixture
async def desk(db: Database) -> Desk:
    async with db.begin() as tx:
        await tx.execute(text("DELETE FROM offer"))
        for table in ("campaign_move", "campaign", "policy", "consent", "customer", "outcome", "opening", "request"):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()
    return Desk(db, STORE, FakeClock())


@pytest.fixture
async def campaigns(desk: Desk, db: Database) -> Campaigns:
    """Over the tables that `desk` has emptied."""
    return Campaigns(db, STORE, FakeClock(), counting_ids())


async def test_of_two_campaigns_with_one_name_at_once_one_is_made(campaigns: Campaigns) -> None:
    ends = await asyncio.gather(
        *(campaigns.create(key(), campaign("一个名字")) for _ in range(6)), return_exceptions=True
    )
    refusals = [end for end in ends if isinstance(end, Refusal)]
    assert len(refusals) == 5
    assert {one.reason for one in refusals} == {"CAMPAIGN_INVALID"}
    assert len(await campaigns.campaigns("一个名字", "", None, 10)) == 1


async def test_one_request_at_once_from_many_is_one_campaign(campaigns: Campaigns) -> None:
    made = await asyncio.gather(*(campaigns.create(key("once"), campaign()) for _ in range(6)))
    assert len({one.campaign_id for one in made}) == 1


async def test_policies_set_at_once_get_versions_of_their_own(desk: Desk) -> None:
    made = await asyncio.gather(*(desk.update_policy(key(), policy(most=most)) for most in range(6)))
    assert sorted(one.version for one in made) == [1, 2, 3, 4, 5, 6]
    assert await desk.policy() == max(made, key=lambda one: one.version)


async def test_of_two_who_move_a_campaign_at_once_one_is_refused(campaigns: Campaigns) -> None:
    draft = await campaigns.create(key(), campaign())
    moves = (campaigns.activate(key(), draft.campaign_id, draft.etag) for _ in range(4))
    ends = await asyncio.gather(*moves, return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Campaign", "Refusal", "Refusal", "Refusal"]
    assert {end.reason for end in ends if isinstance(end, Refusal)} == {"CAMPAIGN_CHANGED"}


async def test_consents_taken_by_two_at_once_in_any_order_end_as_the_latest(desk: Desk, db: Database) -> None:
    changes = [
        ConsentChange(customer, "sms", "marketing", (customer + hour) % 2 == 0, NOW + timedelta(hours=hour))
        for customer in range(1, 40)
        for hour in range(6)
    ]

    async def take(seed: int) -> None:
        mine = changes.copy()
        random.Random(seed).shuffle(mine)
        for at in range(0, len(mine), 29):
            async with db.begin() as tx:
                await STORE.customers.put_consents(tx, mine[at : at + 29])
                await tx.commit()

    await asyncio.gather(*(take(seed) for seed in range(4)))
    async with db.read() as read:
        said = await STORE.customers.said(read, range(1, 40))
    found = {(customer, channel) for customer, (given, _) in said.items() for channel, _ in given}
    assert found == {(customer, "sms") for customer in range(1, 40) if (customer + 5) % 2 == 0}


async def test_customers_are_taken_over_and_their_later_facts_carry_their_organisation(
    desk: Desk, db: Database
) -> None:
    async with db.begin() as tx:
        await STORE.customers.put(tx, [(1, Customer("G01", "A", "active")), (2, Customer("G02", "B", "left"))])
        await STORE.customers.put(tx, [(1, Customer("G09", "C", "active"))])
        await STORE.customers.put_openings(tx, [Opening(1, "P01", NOW), Opening(1, "P01", NOW), Opening(7, "P01", NOW)])
        await STORE.customers.put_openings(tx, [Opening(1, "P01", NOW)])
        await tx.commit()
    async with db.read() as read:
        assert await STORE.customers.levels(read, [1, 2, 3]) == {1: "C"}
        rows = await read.rows(text("SELECT customer_key, org_id FROM opening ORDER BY customer_key"))
        assert [tuple(row) for row in rows] == [(1, "G09"), (7, "")]


async def test_outcomes_reported_by_many_at_once_are_counted_once_each(desk: Desk, db: Database) -> None:
    effects = Effects(db, STORE, FakeClock())
    told = [outcome(f"c{index}", opened=index % 3 == 0) for index in range(50)]

    async def tell(seed: int) -> tuple[int, int]:
        mine: list[Outcome] = told * 2
        random.Random(seed).shuffle(mine)
        recorded = await effects.record(key(), mine)
        return recorded.recorded, recorded.duplicates

    counts = await asyncio.gather(*(tell(seed) for seed in range(5)))
    assert sorted(counts) == [(0, 100)] * 4 + [(50, 50)]
    kept = await effects.outcomes("", False, "", 100)
    assert [one.outcome for one in kept] == sorted(told, key=lambda one: one.contact_id)
    assert not any(one.matched for one in kept)
