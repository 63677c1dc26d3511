"""Decisions online: caps exact under concurrency and over replicas, grants used once, withdrawal and the kill seen."""

import asyncio
import dataclasses
import os
import signal
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.contact.domain import reservation
from services.contact.domain.auction import Customer
from services.contact.domain.campaign import DRAFT
from services.contact.domain.fact import Opening
from services.contact.domain.policy import CARE, CustomerCap
from services.contact.domain.reservation import CANCELLED, CONFIRMED, LIFE, RESERVED
from services.contact.store import Store
from services.contact.usecases.deciding import Answer
from services.contact.usecases.supply import SHARD_SECONDS
from services.kit import domains
from services.kit.db import Database
from services.kit.errors import Refusal
from tests.contact.counter import NOW, ask, furnish, offers, replica, rules
from tests.fixtures.clock import FakeClock
from tests.fixtures.counts import FULL, seeds
from tests.fixtures.postgres import Databases

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def db(databases: Databases) -> Any:
    """A database of this test alone."""
    opened = await Database.open(databases.fresh("contact").url, schema="contact", application="tests")
    yield opened
    await opened.close()


async def counted(db: Database, statement: str, **told: Any) -> int:
    async with db.read() as read:
        return int(await read.value(text(statement), told))


def won(answers: list[Answer]) -> list[str]:
    return [answer.decided.offer_id for answer in answers]


async def test_places_get_the_best_offers_each_once_and_the_last_its_default_with_the_reason(db: Database) -> None:
    """R002-087: the decision of slots: a customer's best offers, each once, and what else is shown."""
    await furnish(db, rule=rules(most=3))
    deciding = await replica(db)
    answers = await deciding.decide(ask(1, "top", "=sms", "side", "foot"))
    offered = [offer for offer in won(answers) if offer]
    assert sorted(offered) == ["秋季-P01", "秋季-P02", "秋季-P03"]
    [left] = [answer.decided for answer in answers if not answer.decided.offer_id]
    assert left.reason in ("cap", "nothing to offer")
    assert left.content in ("欢迎", "")
    assert all(answer.attribution_token for answer in answers if answer.decided.offer_id)


async def test_a_portals_columns_come_ranked_by_bid_and_the_first_column_is_the_best(db: Database) -> None:
    """R002-054: for each customer his own ranking, whatever the columns are called."""
    await furnish(db, rule=rules(most=9))
    for customer, scores in ((1, {"P01": 0.1, "P02": 0.3, "P03": 0.2}), (2, {"P01": 0.3, "P02": 0.1, "P03": 0.2})):
        deciding = await replica(db, scores=scores)
        answers = await deciding.decide(ask(customer, "z", "=sms", "m", "a"))
        columns = [answer.decided for answer in answers if answer.decided.kind.channel == "app"]
        assert [one.kind.slot_id for one in columns] == ["z", "m", "a"]
        bids = [one.bid_fen for one in columns]
        assert bids == sorted(bids, reverse=True)
        best = sorted(scores, key=lambda product: -scores[product])
        assert answers[0].decided.kind.product_id == best[0]


async def test_asking_again_gives_the_same_answer_and_takes_nothing_also_in_another_process(db: Database) -> None:
    """Invariant 3."""
    await furnish(db, rule=rules(most=5))
    first, second = await replica(db), await replica(db)
    mine = ask(1, "top", "=sms", request_id="once")
    told = await first.decide(mine)
    assert [await first.decide(mine), await second.decide(mine)] == [told, told]
    assert await counted(db, "SELECT count(*) FROM decision") == 2
    with pytest.raises(Refusal, match="once"):
        await second.decide(ask(2, "top", "=sms", request_id="once"))


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", seeds(1, 10))
async def test_bidders_at_once_over_three_replicas_never_win_more_than_the_cap(db: Database, seed: int) -> None:
    """R003-078: the cap is exact under concurrency, in slots as in messages."""
    customers, bidders, places = (10_000, 200, ("=sms",)) if FULL and seed == 0 else (40, 25, ("=sms", "top"))
    await furnish(db, customers=customers, rule=rules(most=3))
    replicas = [await replica(db, customers=customers) for _ in range(3)]
    granted: Counter[int] = Counter()
    losers = 0
    for first in range(0, bidders, 25 if customers < 1_000 else 5):  # at once: as many as memory holds
        numbers = range(first, min(first + (25 if customers < 1_000 else 5), bidders))
        asks = (
            replicas[number % 3].decide(ask(customer, *places))
            for number in numbers
            for customer in range(1, customers + 1)
        )
        for each in await asyncio.gather(*asks):
            granted.update(one.decided.customer_key for one in each if one.decided.offer_id)
            losers += sum(not one.decided.offer_id for one in each)
    assert set(granted.values()) == {3}
    assert len(granted) == customers
    assert await counted(db, "SELECT count(*) FROM decision WHERE state = 'SHOWN' AND reason <> ''") == losers
    assert losers + 3 * customers == len(places) * bidders * customers


async def test_a_grant_is_used_once_expires_by_itself_and_is_then_refused(db: Database) -> None:
    """Invariant 4. R001-056: whoever does not bid gets no token; a token is of one use, and ends by itself."""
    clock = FakeClock(NOW)
    silent = offers("草稿", state=DRAFT)
    dear = tuple(dataclasses.replace(one, worth_fen=90_000) for one in silent.offers)
    await furnish(db, rule=rules(most=1), campaigns=[offers(), dataclasses.replace(silent, offers=dear)])
    deciding = await replica(db, clock=clock)
    [one] = await deciding.decide(ask(1))
    assert one.decided.offer_id == "秋季-P01"  # the draft is worth more, and does not bid
    with pytest.raises(Refusal, match="GRANT_NOT_FOUND"):
        await deciding.confirm("made up")
    assert won(await deciding.decide(ask(1))) == [""]  # reserved is taken
    clock.now = NOW + LIFE
    [again] = await deciding.decide(ask(1))
    assert again.decided.offer_id  # what expired counts no more
    with pytest.raises(Refusal, match="EXPIRED"):
        await deciding.confirm(one.decided.grant_id)
    assert (await deciding.confirm(again.decided.grant_id)).state == CONFIRMED
    assert (await deciding.confirm(again.decided.grant_id)).state == CONFIRMED
    with pytest.raises(Refusal, match="CONFIRMED"):
        await deciding.cancel(again.decided.grant_id)
    clock.now += timedelta(days=1)
    assert won(await deciding.decide(ask(1))) == [""]  # confirmed stays


async def test_a_level_has_its_own_threshold_and_a_new_level_counts_at_the_next_decision(db: Database) -> None:
    """R001-058: ordinary customers get one contact, important ones three; who becomes important gets two more."""
    await furnish(db, rule=rules(customer_caps=(CustomerCap("B", 1, 30), CustomerCap("A", 3, 30))))
    deciding = await replica(db)
    assert [bool(won(await deciding.decide(ask(1)))[0]) for _ in range(3)] == [True, False, False]
    async with db.begin() as tx:
        await Store().customers.put(tx, [(1, Customer("G01", "A", "active"))])
        await tx.commit()
    assert [bool(won(await deciding.decide(ask(1)))[0]) for _ in range(3)] == [True, True, False]


async def test_of_equal_bids_the_same_one_wins_whoever_is_asked(db: Database) -> None:
    """R001-053: the policy's order of purposes first, then the worth of a bid; a tie is always broken alike."""
    care = offers("关怀", purpose=CARE)
    cheap = tuple(dataclasses.replace(one, worth_fen=100) for one in care.offers)
    rule = rules(customer_caps=(CustomerCap("", 9, 30), CustomerCap("", 1, 30, purpose=CARE)))
    twins = [offers("乙"), offers("甲")]
    await furnish(db, rule=rule, campaigns=[*twins, dataclasses.replace(care, offers=cheap)])
    replicas = [await replica(db) for _ in range(2)]
    first = [won(await replicas[key % 2].decide(ask(key))) for key in range(1, 9)]
    assert first == [["关怀-P01"]] * 8  # worth the least, and before all that sells
    second = [won(await replicas[key % 2].decide(ask(key))) for key in range(1, 9)]
    assert second == [["乙-P02"]] * 8  # both sell P02 for as much; P01 was just offered


async def test_what_comes_of_a_grant_is_found_by_its_token_and_an_opening_counts_for_it(db: Database) -> None:
    """R002-083: outcomes carry the attribution token of a decision back."""
    await furnish(db, rule=rules(most=5))
    deciding = await replica(db)
    [one], [other] = await deciding.decide(ask(1)), await deciding.decide(ask(2))
    await deciding.confirm(one.decided.grant_id)
    store, opened = Store(), Opening(1, "P01", NOW + timedelta(days=2))
    async with db.begin() as tx:
        tokens = [one.attribution_token, other.attribution_token]
        assert await store.attributions.contacts_of_tokens(tx, tokens) == {tokens[0]: one.decided.grant_id}
        known = (await store.attributions.known(tx, [one.decided.grant_id]))[one.decided.grant_id]
        assert (known.customer_key, known.campaign_id, known.channel) == (1, "campaign-秋季", "sms")
        times = await store.attributions.attribute(tx, [opened, Opening(2, "P01", opened.open_time)], NOW)
        assert times == [(one.decided.grant_id, opened.open_time)]
        assert await store.outcomes.unmatched(tx, [one.decided.grant_id, other.decided.grant_id]) == [
            other.decided.grant_id
        ]


async def test_what_is_cancelled_may_be_granted_again_at_once(db: Database) -> None:
    await furnish(db, rule=rules(most=1))
    deciding = await replica(db)
    [one] = await deciding.decide(ask(1))
    assert (await deciding.cancel(one.decided.grant_id)).state == CANCELLED
    assert won(await deciding.decide(ask(1)))[0]


async def test_a_withdrawal_is_seen_by_the_very_next_decision_and_beats_a_grant_in_flight(db: Database) -> None:
    """Invariant 8. R000-047: nothing is sent after the withdrawal was acknowledged."""
    trials = 1_000 if FULL else 15
    await furnish(db, customers=trials, rule=rules(most=9))
    replicas = [await replica(db, customers=trials) for _ in range(2)]
    for customer in range(1, trials + 1):
        asked = [asyncio.create_task(replicas[n % 2].decide(ask(customer))) for n in range(6)]
        await asyncio.sleep(0.001 * (customer % 4))
        await replicas[0].withdraw(customer, ("sms", "marketing") if customer % 2 else None)
        assert won(await replicas[1].decide(ask(customer))) == [""]
        for [answer] in await asyncio.gather(*asked):
            if answer.decided.offer_id:
                with pytest.raises(Refusal):
                    await replicas[1].confirm(answer.decided.grant_id)
    live = "SELECT count(*) FROM decision WHERE state IN ('RESERVED', 'CONFIRMED')"
    assert await counted(db, live) == 0


async def test_holdout_and_control_are_granted_nothing(db: Database) -> None:
    await furnish(db, customers=200, rule=rules(most=9, holdout_bps=5_000), campaigns=[offers(control_bps=5_000)])
    deciding = await replica(db, customers=200)
    answers = await asyncio.gather(*(deciding.decide(ask(customer)) for customer in range(1, 201)))
    got = sum(bool(one.decided.offer_id) for [one] in answers)
    assert 25 < got < 80  # a quarter: neither in the one nor in the other
    assert sum(one.decided.reason == "holdout" for [one] in answers) > 25


async def test_replicas_together_never_use_more_than_a_capacity_and_what_the_dead_had_leased_comes_back(
    db: Database,
) -> None:
    """Invariant 6."""
    clock = FakeClock(NOW)
    rule = rules(most=None)
    limits = [one.__class__(**{**one.__dict__, "capacity": 100}) for one in rule.channel_limits]
    await furnish(db, customers=400, rule=rule.__class__(**{**rule.__dict__, "channel_limits": tuple(limits)}))
    first, dead = await replica(db, customers=400, clock=clock), await replica(db, customers=400, clock=clock)
    [one] = await dead.decide(ask(1))  # it leases all there is, and is never heard of again
    assert one.decided.offer_id
    assert won(await first.decide(ask(2))) == [""]
    clock.now += timedelta(seconds=2 * SHARD_SECONDS)
    await first.tidy()
    clock.now += timedelta(seconds=2)
    await asyncio.sleep(1.1)  # a quota that was dry is asked again after a second
    answers = await asyncio.gather(*(first.decide(ask(customer)) for customer in range(2, 300)))
    assert sum(bool(each[0].decided.offer_id) for each in answers) == 99
    assert {each[0].decided.reason for each in answers} == {"", "capacity"}
    late = await dead.decide(ask(301))  # the fenced one takes another number, and finds nothing left
    assert won(late) == [""]
    assert await counted(db, "SELECT leased FROM quota WHERE name LIKE 'channel sms %'") == 100


async def test_everybody_sees_the_same_without_a_profile(db: Database) -> None:
    await furnish(db, customers=1_000, rule=rules(most=9))
    deciding = await replica(db, customers=1_000)
    asks = (deciding.decide(ask(customer, "top", no_profile=True)) for customer in range(1, 1_001))
    assert len({(one.decided.offer_id, one.decided.content) for [one] in await asyncio.gather(*asks)}) == 1


async def test_over_midnight_with_clocks_that_differ_no_day_gets_more_than_its_cap(db: Database) -> None:
    """Invariant 1. R001-052, R003-078: a cap of business days, around midnight by three clocks up to 90 s apart."""
    midnight = datetime(2026, 10, 1, 16, tzinfo=NOW.tzinfo)
    await furnish(db, rule=rules(customer_caps=(CustomerCap("", 2, 1, calendar="day"), CustomerCap("", 3, 2))))
    clocks = [FakeClock(midnight) for _ in range(3)]
    replicas = [await replica(db, clock=clock) for clock in clocks]
    for second in range(-60, 60, 6):
        for clock, skew in zip(clocks, (-45, 0, 45), strict=True):
            clock.now = midnight + timedelta(seconds=second + skew)
        await asyncio.gather(*(one.decide(ask(customer)) for one in replicas for customer in (1, 2, 3)))
    async with db.read() as read:
        rows = await read.rows(
            text("SELECT customer_key, business_day, count(*) FROM decision WHERE state = 'RESERVED' GROUP BY 1, 2")
        )
    days = Counter({(key, day): count for key, day, count in map(tuple, rows)})
    assert max(days.values()) == 2
    for customer in (1, 2, 3):
        assert sum(count for (who, _), count in days.items() if who == customer) == 3


async def test_a_closed_campaign_is_decided_for_no_more_within_a_second(db: Database) -> None:
    await furnish(db, rule=rules(most=9))
    deciding = await replica(db)
    [one] = await deciding.decide(ask(1))
    async with db.begin() as tx:
        await tx.execute(text("UPDATE campaign SET state = 'CLOSED'"))
        await tx.commit()
    with pytest.raises(Refusal, match="CAMPAIGN_STOPPED"):
        await deciding.confirm(one.decided.grant_id)
    await asyncio.sleep(1.05)
    assert won(await deciding.decide(ask(2))) == [""]


async def test_a_callers_domain_is_his_own_also_when_his_request_begins_the_batch(db: Database) -> None:
    """Whoever may see one organisation finds no customers of others; those who ask beside him lose nothing by it."""
    await furnish(db, rule=rules(most=9))
    deciding = await replica(db)

    async def limited() -> list[Answer]:
        domains.enter(frozenset({"G99"}))
        return await deciding.decide(ask(1, domain=frozenset({"G99"})))

    mine, others = await asyncio.gather(asyncio.create_task(limited()), deciding.decide(ask(2)))
    assert [one.decided.reason for one in mine] == ["not a customer"]
    assert won(others) == ["秋季-P01"]
    assert won(await deciding.decide(ask(1, domain=frozenset({"G01", "G99"})))) == ["秋季-P01"]


@pytest.mark.parametrize("seed", seeds(2, 100))
async def test_no_acknowledged_grant_is_lost_when_the_process_is_killed(databases: Databases, seed: int) -> None:
    """Invariant 5."""
    fresh = databases.fresh("contact")
    db = await Database.open(fresh.url, schema="contact", application="tests")
    await furnish(db, rule=rules(most=None, cooldown_days=0))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contact.counter", fresh.url, str(seed), cwd=ROOT, env=os.environ,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    told = [(await child.stdout.readline()).decode().strip() for _ in range(3 + seed % 20)]
    child.send_signal(signal.SIGKILL)
    told += (await child.stdout.read()).decode().split("\n")[:-1]
    await child.wait()
    async with db.begin() as tx:
        kept = await Store().decisions.of_ids(tx, told)
    await db.close()
    assert set(told) <= kept.keys()
    assert {one.state for one in kept.values()} == {RESERVED}
    assert all(one.expire_time > one.decide_time for one in kept.values())


def test_the_id_of_a_grant_is_that_of_the_caller_the_request_and_the_place() -> None:
    ids = {reservation.grant_id(*told) for told in (("a", "1", 0), ("a", "1", 1), ("b", "1", 0), ("a", "2", 0))}
    assert len(ids) == 4
    assert reservation.grant_id("a", "1", 0) in ids


def test_a_unit_is_taken_of_all_quotas_or_of_none() -> None:
    blocks = reservation.Blocks()
    blocks.add("a", 1, 0.0)
    assert not blocks.take(("a", "b"))
    assert blocks.free("a") == 1
    assert blocks.take(("a",))
    assert not blocks.take(("a",))
