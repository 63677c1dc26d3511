"""Prices online: yesterday's with feedback are nearly as good as hindsight, and drifted ones are made anew."""

import numpy as np
from google.type.date_pb2 import Date
from sqlalchemy import text

from lifecircle.contact import v1 as proto
from services.contact.domain import pacing, pricing
from services.contact.domain.arbitration import dual
from services.contact.domain.auction import auction, bids
from services.contact.store import Store
from services.contact.store.prices import PriceSet
from services.kit.db import Database
from tests.contact import day
from tests.contact.conftest import Running
from tests.contact.counter import NOW, ask, furnish, offers, replica, rules
from tests.contact.desk import ENDED, until
from tests.contact.made import DAY, audience, campaign, limit, matrix, offer, policy
from tests.fixtures.clock import FakeClock
from tests.fixtures.counts import FULL
from tests.fixtures.postgres import Fresh

CUSTOMERS, STEPS = (100_000, 300) if FULL else (6_000, 100)
PACED, AGAIN = (0.995, 0.995) if FULL else (0.97, 0.96)
"""Part of hindsight that is kept: the floors at the full size, and what a small town's noise leaves of them."""


def test_yesterdays_prices_with_feedback_are_worth_nearly_hindsight_and_exceed_no_limit() -> None:
    """R001-057: random arrivals, prices of another day's customers of the same town."""
    yesterday, today = day.made(1, 1, CUSTOMERS), day.made(1, 0, CUSTOMERS)
    prices, bound = dual.solve(yesterday).prices, dual.look(today, dual.solve(today).prices).bound
    order = np.random.default_rng(0).permutation(CUSTOMERS)
    frozen = day.played(today, prices, order, STEPS, paced=False)
    paced = day.played(today, prices, order, STEPS)
    limits = np.concatenate([today.capacity, today.most])
    assert (paced.used <= np.where(limits < 0, CUSTOMERS, limits)).all()
    assert paced.won > frozen.won
    assert paced.won >= PACED * bound


def test_when_scores_drop_by_a_fifth_prices_made_anew_win_back_what_frozen_ones_lose() -> None:
    """R001-057: 77 % with frozen prices."""
    yesterday, today = day.made(1, 1, CUSTOMERS), day.made(1, 0, CUSTOMERS, factor=0.8)
    prices, bound = dual.solve(yesterday).prices, dual.look(today, dual.solve(today).prices).bound
    order = np.random.default_rng(0).permutation(CUSTOMERS)
    frozen = day.played(today, prices, order, STEPS, paced=False)
    again = day.played(today, prices, order, STEPS, again_after=0.05)
    assert frozen.won < 0.9 * bound
    assert again.won >= AGAIN * bound
    assert pacing.drifted(float(yesterday.value.mean()), float(today.value.mean()), today.candidates)


def test_a_price_rises_ahead_of_the_pace_falls_behind_it_and_a_subsidy_stays() -> None:
    assert pacing.paced(10.0, 60, 50, 100) == 20.0
    assert pacing.paced(10.0, 45, 50, 100) == 5.0
    assert pacing.paced(10.0, 0, 50, 100) == 0.0
    assert pacing.paced(10.0, 100, 0, 100) == 10.0 * pacing.MOST
    assert (pacing.paced(-3.0, 60, 50, 100), pacing.paced(0.0, 60, 50, 100), pacing.paced(5.0, 1, 0, 0)) == (-3, 0, 5)
    assert pacing.due(100, 40, 0.5, 0.75) == 70.0


def test_the_rest_of_a_day_is_priced_by_what_is_left_of_its_limits() -> None:
    scores = matrix({(key, "P01"): key / 100 for key in range(1, 101)})
    rule = policy(limit("sms", capacity=50, cost_fen=0))
    one = campaign("a", offer("P01"), contacts_max=50)

    def price(used: int, passed: float) -> float:
        people = audience(range(1, 101))
        bid = bids(scores, [one], rule, type(people)(**{**people.__dict__, "used": {"sms": used}}), DAY)
        told = pricing.rest_of_day(bid, {"a": used}, passed)
        assert told is not None
        return sum(told.values())

    even = sum(row.price for row in auction(bids(scores, [one], rule, audience(range(1, 101)), DAY)).rows)
    assert abs(price(25, 0.5) - even) < 0.05 * even
    assert price(40, 0.5) > 1.3 * even
    assert price(10, 0.5) < 0.6 * even
    assert pricing.rest_of_day(bids(scores, [one], rule, audience(range(1, 101)), DAY), {}, 0.99) is None


async def test_decide_bids_by_prices_that_follow_the_pace_of_the_day(fresh: Fresh) -> None:
    """R003-046: the price of a limit that is used up too fast keeps the lesser bids out, and lets them in again."""
    db = await Database.open(fresh.url, schema="contact", application="tests")
    store, clock = Store(), FakeClock(NOW)  # noon: half of the open day
    rule = rules(most=9)
    sms = [one.__class__(**{**one.__dict__, "capacity": 1_000}) for one in rule.channel_limits]
    await furnish(db, rule=rule.__class__(**{**rule.__dict__, "channel_limits": tuple(sms)}), campaigns=[offers()])
    on = NOW.date()
    async with db.begin() as tx:
        await store.prices.add(tx, PriceSet("p", on, "m1", 1.0, 0.0, {"capacity sms": 1_500.0}, NOW))
        await tx.execute(text("INSERT INTO quota VALUES (:name, 1000, 500)"), {"name": f"channel sms {on}"})
        await tx.commit()

    async def bid(key: int) -> float:
        [answer] = await (await replica(db, clock=clock)).decide(ask(key))
        return answer.decided.bid_fen

    async def use(units: int) -> None:
        async with db.begin() as tx:
            await tx.execute(text("UPDATE quota SET leased = :units"), {"units": units})
            await tx.commit()

    even = await bid(1)
    await use(560)
    assert await bid(2) < even - 500
    await use(440)
    assert await bid(3) > even + 500
    await db.close()


async def test_a_matrix_that_drifted_within_the_day_makes_prices_anew_and_one_that_did_not_makes_none(
    running: Running,
) -> None:
    desk, town, keys = running.desk, running.town, range(1, 1_101)
    await town.publish_customers(dict.fromkeys(keys, ("G01", "B", "active")))
    await town.consent(list(keys))
    await desk.set_policy(capacity=100)
    await desk.run_campaign()

    async def publish(name: str, factor: float) -> None:
        scores = {(key, "P01"): factor * (0.1 + key / 3_000) for key in keys}
        await town.publish_matrix(name, scores, Date(year=2026, month=9, day=29))

    async def ended(*kinds: str) -> dict[str, proto.Job]:
        jobs = (await desk.stub.ListJobs(proto.ListJobsRequest())).jobs
        done = [one for one in jobs if one.state in ENDED and one.WhichOneof("spec") in kinds]
        return {one.reprice.matrix_id or one.arbitrate.matrix_id: one for one in done}

    await publish("m1", 1.0)
    first = await until(lambda: ended("arbitrate"))
    await desk.end_of((await desk.hand_over(first["m1"].result_id)).job_id)  # what went out makes no second plan
    await publish("m2", 1.01)
    await publish("m3", 0.5)

    async def compared() -> dict[str, proto.Job] | None:
        found = await ended("reprice")
        return found if found.keys() >= {"m2", "m3"} else None

    found = await until(compared)
    assert {name: one.message for name, one in found.items()} == {"m2": "no drift", "m3": "prices made anew"}
