"""Whatever comes twice, late or before what it needs, the ledger ends the same."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.kit.db import Database
from services.points.domain.event import Event
from services.points.domain.reference import FEEDS
from tests.fixtures.postgres import Fresh
from tests.points.desk import Desk, forget
from tests.points.made import NOON, PRODUCTS, RULES, STAFF, event, refund

LATER_RULES = RULES.replace("fixed: 1000,", "fixed: 2222,")
STEPS = [*FEEDS, "rules", "later rules", "new product"]


def history(seed: int) -> list[Event]:
    """Forty events over two months, a third refunded once, some with what is not known, or not ever."""
    chance = random.Random(seed)
    events = []
    for number in range(1, 31):
        when = NOON + timedelta(hours=chance.randrange(-900, 400))
        events.append(
            event(
                number,
                type=chance.choice(["NEW", "NEW", "RENEW", "UPGRADE", "CHURN", "SOLD"]),
                customer_key=chance.choice([0, 7, 8, 9]),
                product_id=chance.choice([*PRODUCTS, "P4", "P5", ""]),
                staff_id=chance.choice([*STAFF, "", "S9"]),
                amount_fen=chance.choice([0, 99, 3900, 88_000, -5, 10**7]),
                occur_time=when,
                receive_time=when + timedelta(days=1),
            )
        )
    for origin in chance.sample(range(1, 34), 10):
        when = NOON + timedelta(hours=chance.randrange(0, 900))
        events.append(refund(100 + origin, origin, occur_time=when, receive_time=when))
    return events


@dataclass
class Run:
    """One way through the steps."""

    desk: Desk

    async def take_step(self, step: str) -> None:
        if step in FEEDS:
            await self.desk.learn(step)
        elif step == "new product":  # P4 joins; the products known before stay
            self.desk.told.rows["products"] = {**self.desk.told.rows["products"], "P4": ("P4", "P4", "宽带")}
            if "products" in self.desk._versions:
                await self.desk.learn("products")
        elif step == "rules":
            await self.desk.publish(RULES, date(2026, 8, 20))
        else:
            await self.desk.publish(LATER_RULES, date(2026, 9, 15), "extra")


async def ends(
    db: Database, database: Fresh, path: Sequence[str | Sequence[Event]]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    forget(database)
    run = Run(Desk(db))
    for step in path:
        if isinstance(step, str):
            await run.take_step(step)
        else:
            await run.desk.take(*step)
        await run.desk.scoring.retry()
    await run.desk.settle()
    entries = (await run.desk.ledger()).values()
    periods = {entry.period_id for entry in entries}
    proofs = [(name, (await run.desk.period(name)).sha256) for name in sorted(periods)]
    return proofs, sorted((await run.desk.waiting()).items())


@st.composite
def paths(draw: st.DrawFn) -> tuple[int, list[str | list[Event]]]:
    """Any order of events in batches of any size, some of them twice, the steps strewn between."""
    seed = draw(st.integers(0, 10**6))
    chance = random.Random(draw(st.integers(0, 10**6)))
    events = history(seed)
    events += chance.sample(events, 12)
    chance.shuffle(events)
    path: list[str | list[Event]] = []
    while events:
        size = chance.randint(1, 20)
        path.append(events[:size])
        events = events[size:]
    for step in STEPS:
        path.insert(chance.randint(0, len(path)), step)
    # Rules do not reach back into days that were scored by others: both are published before the last feed is there.
    needed = [step for step in path if step in FEEDS]
    for step in ("rules", "later rules"):
        path.remove(step)
        path.insert(chance.randint(0, path.index(needed[-1])), step)
    return seed, path


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths())
async def test_duplicate_reordered_and_late_events_give_the_same_ledger(
    db: Database, database: Fresh, drawn: tuple[int, list[str | list[Event]]]
) -> None:
    seed, path = drawn
    in_order = sorted(history(seed), key=lambda each: each.occur_time)
    plain = await ends(db, database, [*STEPS, in_order])
    assert await ends(db, database, path) == plain
    assert plain[0]  # something was scored, or nothing was proved


async def test_the_same_delivery_ten_times_is_once(db: Database, database: Fresh) -> None:
    events = history(3)
    once = await ends(db, database, [*STEPS, events])
    assert await ends(db, database, [*STEPS, *([events] * 10)]) == once


async def test_events_before_anything_is_known_wait_and_are_scored_once(db: Database, database: Fresh) -> None:
    forget(database)
    desk = Desk(db)
    await desk.take(event(1), refund(2, 1), event(3))
    assert await desk.waiting() == {"E1": "REFERENCE_MISSING", "E2": "ORIGIN_NOT_SCORED", "E3": "REFERENCE_MISSING"}
    await desk.learn()
    await desk.settle()
    assert await desk.waiting() == {"E1": "NO_RULES_IN_FORCE", "E2": "ORIGIN_NOT_SCORED", "E3": "NO_RULES_IN_FORCE"}
    await desk.publish()
    await desk.settle()
    assert await desk.waiting() == {}
    assert {e.source_event_id for e in (await desk.ledger()).values()} == {"E1", "E2", "E3"}
    assert await desk.scoring.retry() == 0


async def test_a_refund_before_its_origin_waits_for_it(db: Database, database: Fresh) -> None:
    forget(database)
    desk = Desk(db)
    await desk.learn()
    await desk.publish()
    await desk.take(refund(2, 1))
    assert await desk.waiting() == {"E2": "UNKNOWN_ORIGIN"}
    await desk.take(event(1))
    assert await desk.waiting() == {}
    assert not any((await desk.balances()).values())


async def test_a_refund_says_what_it_waits_for_also_after_another_took_the_rest(db: Database, database: Fresh) -> None:
    forget(database)
    desk = Desk(db)
    await desk.learn()
    await desk.publish()
    await desk.take(event(1, amount_fen=10_000))
    await desk.take(refund(2, 1, amount_fen=6_000))
    await desk.take(refund(3, 1, amount_fen=5_000))
    assert await desk.waiting() == {"E3": "REFUND_TOO_LARGE"}
    await desk.take(refund(4, 1, amount_fen=4_000))
    assert await desk.waiting() == {"E3": "ORIGIN_REFUNDED"}


async def test_a_second_refund_takes_nothing_back(db: Database, database: Fresh) -> None:
    forget(database)
    desk = Desk(db)
    await desk.learn()
    await desk.publish()
    await desk.take(event(1))
    await desk.take(refund(2, 1))
    await desk.take(refund(3, 1))
    assert await desk.waiting() == {"E3": "ORIGIN_REFUNDED"}
    assert not any((await desk.balances()).values())
