"""The fifteen invariants of contact: each is named by a test, here or beside what it is about."""

import asyncio
import contextlib
import dataclasses
import random
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.contact.domain.benefit import QUEUED, SENT, WITHHELD, Message, Receipt
from services.contact.domain.plan import SENT as HANDED_OVER
from services.contact.domain.plan import Contact, Plan
from services.contact.domain.policy import CustomerCap
from services.contact.domain.reservation import LIFE
from services.contact.domain.timing import WORKDAY, Hours, timed
from services.contact.store import Store
from services.contact.usecases import Sender
from services.kit.db import Database
from services.kit.errors import Refusal
from tests.contact.counter import NOW, SHANGHAI, ask, furnish, offers, replica, rules
from tests.fixtures.clock import FakeClock
from tests.fixtures.counts import seeds
from tests.fixtures.postgres import Databases

STORE = Store()
_LIVE = """
SELECT one.name, count(*) FROM decision, unnest(quotas) AS one (name) WHERE state IN ('RESERVED', 'CONFIRMED')
GROUP BY 1
"""


@pytest.fixture
async def db(databases: Databases) -> Any:
    """A database of this test alone."""
    opened = await Database.open(databases.fresh("contact").url, schema="contact", application="tests")
    yield opened
    await opened.close()


def test_each_of_the_fifteen_is_named_by_a_test() -> None:
    told = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert {int(number) for number in re.findall(r"Invariant (\d+)", told)} == set(range(1, 16))


@pytest.mark.parametrize("seed", seeds(2, 50))
async def test_what_is_used_of_a_quota_is_what_is_confirmed_and_what_is_still_reserved(db: Database, seed: int) -> None:
    """Invariant 2, after any sequence of decisions, confirmations, cancellations, expiries and withdrawals."""
    dice, clock = random.Random(seed), FakeClock(NOW)
    rule = rules(most=None)
    limits = [dataclasses.replace(one, capacity=1_000) for one in rule.channel_limits]
    await furnish(db, customers=30, rule=dataclasses.replace(rule, channel_limits=tuple(limits)))
    deciding = await replica(db, customers=30, clock=clock)
    grants: list[str] = []
    for _ in range(60):
        match dice.choice(["decide", "decide", "confirm", "cancel", "withdraw", "time", "tidy"]):
            case "decide":
                answers = await deciding.decide(ask(dice.randint(1, 30), *dice.sample(["=sms", "top", "side"], 2)))
                grants += [one.decided.grant_id for one in answers if one.decided.offer_id]
            case "confirm" | "cancel" as verb if grants:
                with contextlib.suppress(Refusal):  # a grant that has ended stays as it is
                    await getattr(deciding, verb)(dice.choice(grants))
            case "withdraw":
                await deciding.withdraw(dice.randint(1, 30), ("sms", "marketing"))
            case "time":
                clock.now += LIFE / 3
            case "tidy":
                await deciding.tidy()
    await deciding.tidy()
    await deciding.decide(ask(31))  # who was not heard of for long notices that his units are gone
    async with db.read() as read:
        live = {row.name: row.count for row in await read.rows(text(_LIVE))}
        leased = {row.name: row.leased for row in await read.rows(text("SELECT name, leased FROM quota"))}
    free = {name: deciding._supply.blocks.free(name) for name in leased}
    assert {name: leased[name] - free[name] for name in leased} == {name: live.get(name, 0) for name in leased}


async def test_what_held_when_it_was_granted_has_to_hold_when_it_is_sent(db: Database) -> None:
    """Invariant 7: a grant of the last open minute is not confirmed in quiet hours."""
    rule = rules(most=9)
    limits = [dataclasses.replace(one, quiet_from_hour=21, quiet_to_hour=9) for one in rule.channel_limits]
    await furnish(db, rule=dataclasses.replace(rule, channel_limits=tuple(limits)))
    clock = FakeClock(datetime(2026, 10, 1, 12, 58, tzinfo=UTC))  # 20:58
    deciding = await replica(db, clock=clock)
    [first] = await deciding.decide(ask(1))
    [second] = await deciding.decide(ask(2))
    assert (await deciding.confirm(first.decided.grant_id)).offer_id
    clock.now += timedelta(minutes=3)
    with pytest.raises(Refusal, match="QUIET_HOURS"):
        await deciding.confirm(second.decided.grant_id)
    [third] = await deciding.decide(ask(3))
    assert third.decided.reason == "quiet hours"


async def test_a_plans_contact_counts_online_and_a_grant_counts_in_the_next_plan(db: Database) -> None:
    """Invariant 9: batch and online share counters and the one evaluator."""
    await furnish(db, rule=rules(most=1))
    on, one = date(2026, 10, 1), offers()
    async with db.begin() as tx:
        plan = Plan("p1", "m1", 1, on, 1, 1, 1, 0, 1.0, 1.0, 0.0, (), "", NOW)
        mine = Contact("c1", "p1", on, 1, "G01", one.campaign_id, one.offers[0].offer_id, "P01", "sms", 1.0, 5, 9, NOW,
                       HANDED_OVER)  # fmt: skip
        await STORE.plans.add(tx, plan, [mine])
        await tx.commit()
    deciding = await replica(db)
    assert (await deciding.decide(ask(1)))[0].decided.offer_id == ""
    [granted] = await deciding.decide(ask(2))
    await deciding.confirm(granted.decided.grant_id)
    async with db.read() as read:
        people = await STORE.customers.audience(read, on, 30)
    rule = rules(most=1)
    assert {key: rule.room("B", people.earlier.get(key, ()), on) for key in (1, 2, 3)} == {1: 0, 2: 0, 3: 1}


async def test_a_contact_goes_out_in_its_best_hour_and_not_before(db: Database) -> None:
    """R001-063: what was won is put into the customer's best window, and the sender waits for it."""
    clock, delivered = FakeClock(NOW), list[datetime]()  # noon

    async def gateway(messages: Sequence[Message]) -> Sequence[Receipt]:
        delivered.extend(clock.now for _ in messages)
        return [Receipt(one.message_id, True, "ok") for one in messages]

    rule, on = rules(most=1), NOW.astimezone(SHANGHAI).date()
    await furnish(db, rule=rule)
    won = Contact("c1", "p1", on, 1, "G01", "campaign-秋季", "o", "P01", "sms", 1.0, 5, 9, NOW, HANDED_OVER)
    [one] = timed([won], {1: [Hours(WORKDAY, 18, 19, 0.9)]}, rule, on, SHANGHAI)
    best = one.contact_time
    assert best.astimezone(SHANGHAI).hour == 18
    sender = Sender(db, STORE, clock, SHANGHAI, {"sms": gateway})
    async with db.begin() as tx:
        await STORE.sends.queue(tx, [Message("m1", one.campaign_id, 1, "sms", "P01 半价", best)], NOW)
        await tx.commit()
    for clock.now in (NOW, best - timedelta(seconds=1), best, best + timedelta(minutes=1)):
        await sender.send()
    assert delivered == [best]


async def test_a_capped_message_is_sent_later_or_refused_with_its_reason_and_never_lost(db: Database) -> None:
    """Invariant 13: each of many messages ends sent or withheld with why, within the caps, whoever sends at once."""
    clock = FakeClock(NOW)  # noon
    delivered: list[tuple[int, str, datetime]] = []

    async def gateway(messages: Sequence[Message]) -> Sequence[Receipt]:
        delivered.extend((one.customer_key, one.message_id, clock.now) for one in messages)
        return [Receipt(one.message_id, True, "ok") for one in messages]

    rule = rules(customer_caps=(CustomerCap("", 1, 1, calendar="day"),))
    limits = [dataclasses.replace(one, quiet_from_hour=21, quiet_to_hour=9) for one in rule.channel_limits]
    await furnish(db, customers=4, rule=dataclasses.replace(rule, channel_limits=tuple(limits)))
    sender = Sender(db, STORE, clock, SHANGHAI, {"sms": gateway})
    until = NOW + timedelta(days=1, hours=22)
    queued = [
        Message(
            f"m{key}-{number}", "campaign-秋季", key, "sms", "P01 半价", NOW, end_time=until if number > 1 else None
        )
        for key in range(1, 5)
        for number in range(5)
    ]
    async with db.begin() as tx:
        await STORE.sends.queue(tx, queued, NOW)
        await tx.commit()
    for _ in range(8 * 24):
        await asyncio.gather(sender.send(), sender.send())
        clock.now += timedelta(hours=1)
    async with db.read() as read:
        ended = await STORE.sends.page(read, "campaign-秋季", 0, 100)
    assert len(ended) == len(queued)
    assert {one.state for one in ended} == {SENT, WITHHELD}
    assert QUEUED not in {one.state for one in ended}
    assert {one.receipt for one in ended if one.state == WITHHELD} == {"cap"}
    assert len({name for _, name, _ in delivered}) == len(delivered) == sum(one.state == SENT for one in ended)
    days = [(key, when.astimezone(SHANGHAI).date()) for key, _, when in delivered]
    assert len(set(days)) == len(days)
    assert all(9 <= when.astimezone(SHANGHAI).hour < 21 for _, _, when in delivered)
