"""Whom a campaign reaches: its audience and its moments, within its budget, one person under one key, nobody erased."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from sqlalchemy import Text, bindparam, text

from services.contact.domain import auction, precedence
from services.contact.domain.benefit import Message, Receipt
from services.contact.domain.campaign import Brief, Campaign
from services.contact.domain.experiment import Ints
from services.contact.domain.fact import ConsentChange, Erased, Merged, Moment, Opening
from services.contact.domain.membership import Members, members, unpacked
from services.contact.domain.policy import CARE, SERVICE, CustomerCap, Touch
from services.contact.lake import Folder
from services.contact.store import Store
from services.contact.usecases import Audiences, Inflow, Moments, Sender
from services.contact.usecases.decisions import MOMENT_LIFE
from services.kit.db import Database
from services.kit.errors import Refusal
from tests.contact.counter import NOW, SHANGHAI, ask, furnish, offers, replica, rules
from tests.contact.made import DAY, audience, campaign, limit, matrix, offer, policy
from tests.fixtures.clock import FakeClock
from tests.fixtures.postgres import Databases

STORE = Store()
KEYS = range(1, 41)
SCORES = matrix({(key, product): 0.1 + key / 500 for key in KEYS for product in ("P01", "P02")})


def brief(**changes: Any) -> Brief:
    told: dict[str, Any] = {"goal": "", "audience": "", "creative": "", "budget_fen": 0, "places": (), "plan": ""}
    return Brief(**(told | changes))


@pytest.fixture
async def db(databases: Databases) -> Any:
    """A database of this test alone."""
    opened = await Database.open(databases.fresh("contact").url, schema="contact", application="tests")
    yield opened
    await opened.close()


async def told(db: Database, tmp_path: Path, *facts: Any) -> None:
    async with db.begin() as tx:
        await Inflow(STORE, lambda: NOW, Folder(tmp_path)).told(tx, facts)
        await tx.commit()


async def loads(db: Database, one: Campaign, keys: Sequence[int]) -> None:
    async with db.begin() as tx:
        await STORE.audiences.put(tx, one.campaign_id, "G01", one.audience, members(np.array(keys, np.int64)))
        await tx.commit()


def test_an_audience_is_kept_as_a_bitmap_and_leaves_nobody_out() -> None:
    keys = np.array([3, 900, 17, 64, 65, 8], np.int64)
    kept = unpacked(members(keys).packed())
    asked = np.array([0, 3, 4, 8, 17, 64, 65, 66, 900, 901, 5_000_000], np.int64)
    assert kept.has(asked).tolist() == np.isin(asked, keys).tolist()
    assert len(kept) == 6
    changed = kept.changed(gone=[3, 4], come=[5])
    assert changed.has(np.array([3, 5, 17])).tolist() == [False, True, True]
    assert len(changed) == 6


def test_a_plan_reaches_the_audience_alone_and_nobody_of_one_that_is_not_known() -> None:
    """R002-080: the audience of the brief is whom the campaign contacts."""
    some, unknown = (
        campaign("a", offer("P01"), brief=brief(audience="HU04")),
        campaign("b", offer("P02"), brief=brief(audience="HU05")),
    )
    people = dataclasses.replace(audience(KEYS), members={some.campaign_id: members(np.arange(5, 12))})
    bid = auction.bids(SCORES, [some, unknown], policy(), people, DAY)
    picked = auction.auction(bid).picked
    assert sorted({int(key) for key in np.repeat(bid.customers, np.diff(bid.problem.starts))[picked]}) == [
        *range(5, 12)
    ]


async def test_a_citys_campaign_reaches_its_own_customers_alone_and_a_provinces_all_below(db: Database) -> None:
    """R002-010: province and city work together, each on its own customers (省市联动), within the audience as well."""
    tree = {"P": "", "C1": "P", "C2": "P", "G11": "C1", "G21": "C2"}
    put = text(
        "INSERT INTO directory (kind, key, body) VALUES ('organisation', :org, jsonb_build_object('parent', :up))"
    )
    grow = text("INSERT INTO customer (customer_key, org_id, level, status) VALUES (:key, :org, 'A', 'active')")
    async with db.begin() as tx:
        await tx.execute(put.bindparams(bindparam("up", type_=Text)), [{"org": o, "up": up} for o, up in tree.items()])
        await tx.execute(grow, [{"key": key, "org": "G11" if key <= 20 else "G21"} for key in KEYS])
        await tx.commit()

    async def hu04(_: str) -> Ints:
        return np.arange(15, 26)

    city = dataclasses.replace(campaign("city", offer("P01")), org_id="C1")
    narrow = dataclasses.replace(campaign("narrow", offer("P03"), brief=brief(audience="HU04")), org_id="C2")
    province = dataclasses.replace(campaign("province", offer("P02")), org_id="P")
    company = campaign("company", offer("P04"))
    running = [city, narrow, province, company]
    async with db.begin() as tx:
        for one in running:
            await STORE.campaigns.add(tx, dataclasses.replace(one, create_time=NOW))
        await tx.commit()
    await Audiences(db, STORE, hu04).ready(running)
    async with db.read() as read:
        known = await STORE.audiences.members(read, [one.campaign_id for one in running])
    keys = np.array(KEYS, np.int64)
    reached = {one.name: keys[one.reaches(keys, known)].tolist() for one in running}
    whole = list(KEYS)
    assert reached == {"city": whole[:20], "narrow": [*range(21, 26)], "province": whole, "company": whole}
    bid = auction.bids(SCORES, [city], policy(), dataclasses.replace(audience(KEYS), members=known), DAY)
    assert set(np.repeat(bid.customers, np.diff(bid.problem.starts)).tolist()) == set(whole[:20])


def test_a_campaign_that_waits_for_moments_is_in_no_plan() -> None:
    waits = campaign("a", offer("P01"), brief=brief(moments=("airport",)))
    assert auction.bids(SCORES, [waits], policy(), audience(KEYS), DAY).problem.candidates == 0


@pytest.mark.parametrize("seed", range(12))
def test_a_plan_within_budgets_is_never_beaten_by_more_than_its_gap_and_never_costs_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = matrix({(key, f"P{p:02d}"): float(rng.uniform(0.02, 0.4)) for key in range(1, 31) for p in (1, 2, 3)})
    rules_ = policy(limit("sms", cost_fen=7), limit("call", cost_fen=90, lift_bps=15_000, capacity=12), most=2)
    campaigns = [
        campaign(f"c{p}", offer(f"P{p:02d}", channels=("sms", "call"), worth_fen=1_000 * p),
                 brief=brief(budget_fen=int(rng.integers(40, 700))))
        for p in (1, 2, 3)
    ]  # fmt: skip
    bid = auction.bids(scores, campaigns, rules_, audience(range(1, 31)), DAY)
    solution = auction.auction(bid)
    spent = np.bincount(bid.problem.campaign[solution.picked], bid.cost[bid.problem.kind][solution.picked], 3)
    assert (spent <= bid.budget).all()
    best = _exact(bid)
    assert best <= solution.bound + 1e-6
    assert solution.objective <= best + 1e-6
    assert solution.objective >= 0.8 * best
    assert {row.name for row in solution.rows} >= {"budget c1", "budget c2", "budget c3"}


def _exact(bid: auction.Bids) -> float:
    """The optimum by HiGHS, from the plain rows of the problem."""
    problem, count = bid.problem, bid.problem.candidates
    groups = problem.customer * 1000 + problem.group
    rows = []
    for labels, bound in ((problem.customer, 2.0), (groups, 1.0)):
        for label in np.unique(labels):
            rows.append(((labels == label).astype(float), bound))
    for at, capacity in enumerate(problem.capacity):
        if capacity >= 0:
            rows.append(((problem.channel == at).astype(float), float(capacity)))
    for at, budget in enumerate(bid.budget):
        rows.append(((problem.campaign == at) * bid.cost[problem.kind].astype(float), float(budget)))
    matrix_, bounds = np.array([row for row, _ in rows]), np.array([bound for _, bound in rows])
    found = optimize.milp(-problem.value, integrality=np.ones(count), bounds=optimize.Bounds(0, 1),
                          constraints=optimize.LinearConstraint(matrix_, ub=bounds))  # fmt: skip
    return float(-found.fun)


def test_a_minimum_that_costs_more_than_the_budget_is_refused_by_name() -> None:
    dear = campaign("a", offer("P01"), contacts_min=10, brief=brief(budget_fen=20))
    with pytest.raises(Refusal) as refusal:
        auction.auction(auction.bids(SCORES, [dear], policy(), audience(KEYS), DAY))
    assert "budget a" in refusal.value.metadata["rows"]


def test_service_goes_before_care_before_marketing_and_uses_up_no_cap_of_theirs() -> None:
    """R001-019, R001-054: a birthday outranks sales; an outage outranks both."""
    rules_ = policy(
        limit("sms", capacity=50), customer_caps=(CustomerCap("", 1, 30), CustomerCap("", 1, 1, purpose=CARE))
    )
    campaigns = [
        campaign("sell", offer("P01")),
        campaign("birthday", offer("P02", worth_fen=0), purpose=CARE, brief=brief(audience="birthday")),
        campaign("outage", offer("P01", offer_id="o3", worth_fen=0), purpose=SERVICE, brief=brief(audience="outage")),
    ]
    told_ = {campaigns[1].campaign_id: members(np.arange(1, 21)), campaigns[2].campaign_id: members(np.arange(11, 31))}
    people = dataclasses.replace(audience(KEYS), members=told_, refusals={("sms", SERVICE): np.array([11])})
    stages = precedence.held(SCORES, campaigns, rules_, people, DAY)
    assert [int(stage.solution.picked.sum()) for stage in stages] == [19, 20, 11]  # who refused service gets none


async def test_decide_keeps_to_the_audience_and_knows_a_newer_one_within_a_second(db: Database) -> None:
    some = offers(brief=brief(audience="HU04"))
    await furnish(db, rule=rules(most=9), campaigns=[some])
    deciding = await replica(db)
    assert (await deciding.decide(ask(1)))[0].decided.reason == "nothing to offer"
    await loads(db, some, [1, 2])
    await asyncio.sleep(1.05)
    assert [(await deciding.decide(ask(key)))[0].decided.offer_id for key in (1, 3)] == ["秋季-P01", ""]
    await loads(db, some, [3])
    await asyncio.sleep(1.05)
    assert [(await deciding.decide(ask(key)))[0].decided.offer_id for key in (2, 3)] == ["", "秋季-P01"]


async def test_two_customers_at_one_slot_at_once_see_what_fits_each(db: Database) -> None:
    """R003-002: two who open the same slot at once get different content, by the circles of their portraits."""
    students, drivers = (
        offers(name, brief=brief(audience=text_)) for name, text_ in (("校园", "HU01"), ("车主", "BE02"))
    )
    drivers = dataclasses.replace(
        drivers, offers=tuple(dataclasses.replace(one, content="导航流量包") for one in drivers.offers)
    )
    await furnish(db, rule=rules(most=9), campaigns=[students, drivers])
    await loads(db, students, [1])
    await loads(db, drivers, [2])
    deciding = await replica(db)
    shown = await asyncio.gather(*(deciding.decide(ask(key, "top")) for key in (1, 2)))
    assert [(one.decided.offer_id, one.decided.content) for (one,) in shown] == [
        ("校园-P01", "P01 半价"),
        ("车主-P01", "导航流量包"),
    ]


async def test_a_campaign_of_a_moment_bids_while_it_lasts_and_for_its_audience(db: Database) -> None:
    """R002-086, R003-076: static audience and moment, at once; who is in one of them alone gets nothing."""
    clock = FakeClock(NOW)
    waits = offers(brief=brief(audience="HU04", moments=("airport",)))
    await furnish(db, rule=rules(most=9), campaigns=[waits])
    await loads(db, waits, [1, 2])
    async with db.begin() as tx:
        await STORE.moments.put(tx, [Moment(f"m{key}", key, "airport", NOW) for key in (1, 3)])
        await tx.commit()
    deciding = await replica(db, clock=clock)
    won = [(await deciding.decide(ask(key)))[0].decided.offer_id for key in (1, 2, 3)]
    assert won == ["秋季-P01", "", ""]
    assert (await deciding.decide(ask(2, moment="airport")))[0].decided.offer_id == "秋季-P01"
    assert (await deciding.decide(ask(2, moment="shop")))[0].decided.offer_id == ""
    clock.now += MOMENT_LIFE
    assert (await deciding.decide(ask(1)))[0].decided.offer_id == ""


async def test_a_moment_sends_one_message_once_through_the_gateway_and_uses_up_its_grant(db: Database) -> None:
    """R002-083, R001-092: a match of portrait leads to a message within the rules, whoever acts on it how often."""
    clock = FakeClock(NOW)
    delivered: list[tuple[int, str]] = []

    async def gateway(messages: Sequence[Message]) -> Sequence[Receipt]:
        delivered.extend((one.customer_key, one.content) for one in messages)
        return [Receipt(one.message_id, True, "ok") for one in messages]

    await furnish(db, rule=rules(most=1), campaigns=[offers(brief=brief(moments=("airport",)))])
    deciding = await replica(db, clock=clock)
    moments = Moments(db, STORE, clock, deciding)
    sender = Sender(db, STORE, clock, SHANGHAI, {"sms": gateway, "app": gateway})
    async with db.begin() as tx:
        late = Moment("old", 2, "airport", NOW - 2 * MOMENT_LIFE)
        await moments.told(tx, [Moment("m1", 1, "airport", NOW), Moment("m1", 1, "airport", NOW), late])
        await tx.commit()
    await asyncio.gather(moments.act(), moments.act())
    assert await moments.act() == 0
    await asyncio.gather(sender.send(), sender.send())
    assert delivered == [(1, "P01 半价")]
    async with db.read() as read:
        states = Counter(row.state for row in await read.rows(text("SELECT state FROM decision")))
    assert (states["CONFIRMED"], states["RESERVED"]) == (1, 0)
    async with db.begin() as tx:  # the cap is used up: the next moment sends nothing
        await moments.told(tx, [Moment("m2", 1, "airport", NOW + timedelta(minutes=1))])
        await tx.commit()
    await moments.act()
    assert await sender.send() == 0


async def test_merged_identities_share_one_cap(db: Database, tmp_path: Path) -> None:
    """Invariant 10: what two keys got counts for the one person, whichever is asked for, also at the same time."""
    await furnish(db, rule=rules(most=2))
    deciding, other = await replica(db), await replica(db)
    first, second = [(await deciding.decide(ask(key)))[0].decided for key in (1, 2)]
    no = ConsentChange(1, "app", "marketing", False, NOW)
    await told(db, tmp_path, no, Merged(1, 2), Opening(2, "P03", NOW))
    both = [(one, key) for one in (deciding, other) for key in (1, 2)]
    assert [(await one.decide(ask(key)))[0].decided.offer_id for one, key in both] == [""] * 4
    await deciding.cancel(first.grant_id)
    answers = await asyncio.gather(*(one.decide(ask(key)) for one, key in both for _ in range(5)))
    assert sum(bool(each[0].decided.offer_id) for each in answers) == 1
    assert (await deciding.confirm(second.grant_id)).customer_key == 2
    assert (await deciding.decide(ask(1, "=app")))[0].decided.reason == "no consent"  # the later word holds
    async with db.read() as read:
        people = await STORE.customers.audience(read, date(2026, 10, 1), 30)
    assert 1 not in people.customers
    assert [Touch(*one).product_id for one in people.earlier[2]] == [second.kind.product_id]  # the confirmed one


async def test_merged_twice_leads_to_the_key_that_stays_and_a_request_asked_again_finds_its_answer(
    db: Database, tmp_path: Path
) -> None:
    await furnish(db, rule=rules(most=2))
    deciding = await replica(db)
    before = await deciding.decide(ask(1, request_id="once"))
    await told(db, tmp_path, Merged(2, 3), Merged(1, 2), Merged(1, 2))  # in any order, and again
    again = await (await replica(db)).decide(ask(1, request_id="once"))
    assert [one.decided.grant_id for one in again] == [one.decided.grant_id for one in before]
    assert again[0].decided.customer_key == 3
    assert [bool((await deciding.decide(ask(key)))[0].decided.offer_id) for key in (1, 2, 3)] == [True, False, False]


async def test_who_was_erased_is_no_customer_in_no_audience_and_nothing_told_late_makes_him_one(
    db: Database, tmp_path: Path
) -> None:
    some = offers(brief=brief(audience="HU04"))
    await furnish(db, rule=rules(most=9), campaigns=[some])
    await loads(db, some, [1, 2])
    deciding = await replica(db)
    [granted] = await deciding.decide(ask(1))
    await told(db, tmp_path, Erased(1), Opening(1, "P01", NOW))
    await told(db, tmp_path, ConsentChange(1, "sms", "marketing", True, datetime(2026, 11, 1, tzinfo=UTC)), Erased(1))
    async with db.begin() as tx:
        await STORE.customers.put(tx, [(1, auction.Customer("G01", "B", "active"))])
        await tx.commit()
    assert (await deciding.decide(ask(1)))[0].decided.reason == "not a customer"
    with pytest.raises(Refusal):
        await deciding.confirm(granted.decided.grant_id)
    async with db.read() as read:
        tables = [row.table_name for row in await read.rows(text(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = 'contact' "
            "AND column_name = 'customer_key' AND table_name NOT IN ('erased_customer', 'decision')"))]  # fmt: skip
        left = {one: await read.value(text(f"SELECT count(*) FROM {one} WHERE customer_key = 1")) for one in tables}
        held = await STORE.audiences.members(read, [some.campaign_id])
    assert set(left.values()) == {0}
    assert not held[some.campaign_id].holds(1)


async def test_audiences_are_loaded_when_asked_for_and_again_after_a_run(db: Database) -> None:
    asked: list[str] = []
    people: list[int] = [1, 2]

    async def tells(expression: str) -> Ints:
        asked.append(expression)
        if expression == "broken":
            raise OSError("portrait says UNAVAILABLE")
        return np.array(people, np.int64)

    some = offers(brief=brief(audience="HU04"))
    await furnish(db, campaigns=[some, offers("b", brief=brief(audience="broken"))])
    audiences = Audiences(db, STORE, tells)

    async def known() -> Members:
        async with db.read() as read:
            return (await STORE.audiences.members(read, [some.campaign_id]))[some.campaign_id]

    await audiences.ready([some])
    await audiences.ready([some])
    assert (asked, len(await known())) == (["HU04"], 2)
    people.append(9)
    async with db.begin() as tx:
        await audiences.run_published(tx, "run-2")
        await tx.commit()
    await audiences.ready([some])
    assert len(await known()) == 3
    with pytest.raises(Refusal, match="audience"):
        await audiences.ready([offers("b", brief=brief(audience="broken"))])
    assert await audiences.renew() == 0  # what is not told now is asked again


async def test_a_budget_is_never_overspent_by_replicas_together(db: Database) -> None:
    """R000-047, R001-082: each message costs 5 fen; of 103 fen twenty are paid, whoever decides."""
    await furnish(db, customers=60, rule=rules(most=9), campaigns=[offers(brief=brief(budget_fen=103))])
    replicas = [await replica(db, customers=60) for _ in range(3)]
    answers = await asyncio.gather(*(replicas[key % 3].decide(ask(key)) for key in range(1, 61)))
    granted = [one.decided for [one] in answers if one.decided.offer_id]
    assert len(granted) <= 20
    assert {one.decided.reason for [one] in answers} == {"", "capacity"}
    async with db.read() as read:
        leased = await read.value(text("SELECT leased FROM quota WHERE name = 'budget campaign-秋季'"))
    assert 5 * len(granted) <= leased <= 103
