"""Periods, recalculation, corrections, disputes, analysis: over a real database."""

import asyncio
from datetime import date, timedelta

import pytest
from sqlalchemy import text

from services.kit import jobs
from services.kit.db import Database
from services.kit.errors import Refusal
from services.points.domain.period import State
from tests.fixtures.postgres import Fresh
from tests.points.desk import Desk, forget
from tests.points.made import NOON, RULES, ZONE, event, refund, rows

CAPPED = (
    RULES
    + """
multipliers:
  shop: {tables: [sales], rows: [{id: SHOP, channel: [store], bps: 12500}]}
tiers:
  - {id: THREE, component: development, of: count, type: [NEW], tables: [sales], steps: [{from: 3, bps: 11000}]}
caps:
  - {id: MONTH, component: development, per: employee, window: month, most: 150000}
"""
)


@pytest.fixture
async def desk(db: Database, database: Fresh) -> Desk:
    forget(database)
    desk = Desk(db)
    await desk.learn()
    await desk.publish(CAPPED)
    return desk


async def work(desk: Desk, *, lease: float = 5) -> None:
    """Run queued jobs until none is left."""
    stop = asyncio.Event()
    handlers = {"calculate": desk.periods.calculate, "recalculate": desk.periods.recalculate, "post": desk.periods.post}
    task = asyncio.create_task(
        jobs.work(desk.db, handlers, owner="tests", clock=desk.clock, stop=stop, lease_seconds=lease, poll=0.02)
    )
    try:
        while await waiting(desk):
            await asyncio.sleep(0.02)
        stop.set()
        await task
    finally:  # as a process that dies: nothing is handed back
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def waiting(desk: Desk) -> int:
    async with desk.db.read() as read:
        return int(await read.value(text("SELECT count(*) FROM job WHERE state IN ('QUEUED', 'RUNNING')")))


def month(count: int = 24) -> list:
    """A month of business over three employees, some of it taken back."""
    events = []
    for number in range(1, count + 1):
        when = {"occur_time": NOON + timedelta(hours=number), "receive_time": NOON + timedelta(hours=number)}
        kind = ("NEW", "NEW", "RENEW", "UPGRADE")[number % 4]
        events.append(event(number, type=kind, staff_id=f"S{number % 3 + 1}", customer_key=(7, 8, 9)[number % 3],
                            amount_fen=number * 311, **when))  # fmt: skip
    events.append(
        refund(101, 1, amount_fen=100, occur_time=NOON + timedelta(hours=90), receive_time=NOON + timedelta(hours=90))
    )
    events.append(
        refund(102, 2, amount_fen=0, occur_time=NOON + timedelta(hours=91), receive_time=NOON + timedelta(hours=91))
    )
    return events


async def test_a_period_closes_only_when_sql_says_what_the_ledger_says(desk: Desk) -> None:
    await desk.take(*month())
    job = await desk.periods.begin(desk.key(), "calculate", "2026-09", "li.lei")
    await work(desk)
    run, _ = await desk.periods.run(str(job.spec["run_id"]))
    assert (run.state, list(run.differences), run.posted) == ("AGREED", [], run.wanted)
    assert (await desk.period()).state is State.CALCULATED
    with pytest.raises(Refusal, match="PERIOD_STATE"):
        await desk.periods.move(desk.key(), "2026-09", State.PAID, "li.lei")
    locked = await desk.periods.move(desk.key(), "2026-09", State.LOCKED, "li.lei")
    await desk.take(event(500, staff_id="S1"))  # late: it moves the cap of September, in October
    again = await desk.period()
    assert (again.sha256, again.entries) == (locked.sha256, locked.entries)
    assert (await desk.period("2026-10")).late_entries > 0
    paid = await desk.periods.move(desk.key(), "2026-09", State.PAID, "li.lei")
    assert (paid.state, paid.sha256) == (State.PAID, locked.sha256)
    assert [p.period_id for p in await desk.periods.page("", 10)][:2] == ["2026-10", "2026-09"]


async def recalculated(desk: Desk, kills: int) -> str:
    """Rules are changed for days that were scored, reported, and posted though the worker is killed again and again."""
    await desk.take(*month())
    await desk.publish(CAPPED.replace("fixed: 20000", "fixed: 25000"), date(2026, 9, 1), retroactive=True)
    job = await desk.periods.begin(desk.key(), "recalculate", "2026-09", "li.lei")
    await work(desk)
    run_id = str(job.spec["run_id"])
    run, _ = await desk.periods.run(run_id)
    assert run.state == "DIFFERS"
    assert run.differences
    with pytest.raises(Refusal, match="SECOND_PERSON"):
        await desk.periods.begin_posting(desk.key(), run_id, "li.lei")
    await desk.periods.begin_posting(desk.key(), run_id, "han.mei")
    for number in range(kills):
        task = asyncio.create_task(work(desk, lease=0.6))
        await asyncio.sleep(0.03 * (number + 1))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await work(desk, lease=0.6)
    assert (await desk.periods.run(run_id))[0].state == "POSTED"
    again = await desk.periods.begin(desk.key(), "recalculate", "2026-09", "li.lei")
    await work(desk)
    assert (await desk.periods.run(str(again.spec["run_id"])))[0].state == "AGREED"
    assert sum((await desk.balances()).values()) == 0
    return (await desk.period()).accrual_sha256


async def test_a_recalculation_posts_exactly_once_though_it_is_interrupted(desk: Desk, database: Fresh) -> None:
    """R000-017: a coefficient changed from the 1st; reversing and new entries, and a report before."""
    interrupted = await recalculated(desk, 3)
    forget(database)
    calm = Desk(desk.db)
    await calm.learn()
    await calm.publish(CAPPED)
    assert await recalculated(calm, 0) == interrupted


async def test_an_adjustment_needs_a_reason_and_a_second_person(desk: Desk) -> None:
    made = await desk.corrections.propose(desk.key(), "S1", "development", -700, "told twice", "li.lei")
    with pytest.raises(Refusal, match="SECOND_PERSON"):
        await desk.corrections.decide(desk.key(), made.adjustment_id, "li.lei", post=True)
    posted = await desk.corrections.decide(desk.key(), made.adjustment_id, "han.mei", post=True)
    assert (posted.state, posted.approver) == ("POSTED", "han.mei")
    assert await desk.balances() == {"staff:S1": -700, "budget:development": 700}
    with pytest.raises(Refusal, match="ADJUSTMENT_DECIDED"):
        await desk.corrections.decide(desk.key(), made.adjustment_id, "han.mei", post=True)


async def test_a_dispute_is_answered_by_replay_and_resolved_by_a_delta(desk: Desk) -> None:
    """R000-027: what an employee misses is tracked to a decision."""
    await desk.take(event(1, type="RENEW", customer_key=9, staff_id="S3"))  # nobody owned customer 9 when it came
    opened = await desk.corrections.dispute(desk.key(), "S3", ("boss", "E1"), "he is mine", "S3")
    desk.told.fields_rows = [*desk.told.fields_rows, *rows((9, "S3", 10000))]
    await desk.learn("fields")
    answered = await desk.corrections.answer(desk.key(), opened.dispute_id)
    assert (answered.posted_milli_points, answered.state) == (0, "ANSWERED")
    assert (answered.replayed_milli_points or 0) > 0
    resolved, [adjustment] = await desk.corrections.resolve(desk.key(), opened.dispute_id, "han.mei", accept=True)
    assert resolved.state == "RESOLVED"
    assert (adjustment.component, adjustment.milli_points) == ("stock", answered.replayed_milli_points)


async def test_why_not_names_the_nearest_row_and_what_would_have_earned_it(desk: Desk) -> None:
    await desk.take(event(1, channel="app", type="UPGRADE"))
    missing = await desk.corrections.missing("boss", "E1")
    assert missing.reason == ""
    assert any(row.startswith("UPGRADE") for row in missing.given)
    nearest = {row.rule_id: row.reasons for row in missing.missed}
    assert nearest["NEW"] == ("type is UPGRADE; it must be NEW",)


async def test_every_level_of_the_analysis_sums_to_the_one_above(desk: Desk) -> None:
    """R000-021, R000-022, R000-023, R000-024: drill down, consistent at each level, equal to the ledger."""
    await desk.take(*month())
    cells = await desk.analysis.cells(("2026-09", "2026-09"), ["component", "staff", "customer"], {}, 0, 10_000)
    by_level = {n: [c for c in cells if len(c.values) == n] for n in range(4)}
    total = by_level[0][0]
    assert total.points == (await desk.period()).milli_points
    for level in (1, 2, 3):
        for measure in ("points", "development", "stock", "fen", "new", "kept", "events"):
            assert sum(getattr(c, measure) for c in by_level[level]) == getattr(total, measure)
    assert total.fen == sum(n * 311 for n in range(1, 25)) - 100 - 622
    sums, balance = await desk.analysis.statement("S1", "2026-09")
    assert sum(each.milli_points for each in sums) == balance == (await desk.balances())["staff:S1"]
    sheet = await desk.analysis.appraisal("S1", "2026-09")
    assert sheet.reconciled


async def test_the_gate_shows_the_effect_on_real_events_and_binds_to_it(desk: Desk) -> None:
    await desk.take(*month())
    draft = await desk.rules.create(desk.key(), "main", CAPPED.replace("fixed: 20000", "fixed: 99000"), "author")
    with pytest.raises(Refusal, match="RULE_SET_STATE"):
        await desk.rules.simulate(desk.key(), draft.rule_set_id, "2026-09")
    _, _, most = await desk.rules.validate(desk.key(), draft.rule_set_id)
    assert most > 0
    version, effect = await desk.rules.simulate(desk.key(), draft.rule_set_id, "2026-09")
    now, then = effect.components["development"]
    assert then > now > 0
    assert effect.sha256 == version.previewed_sha256 == draft.sha256
    with pytest.raises(Refusal, match="SECOND_PERSON"):
        await desk.rules.approve(desk.key(), draft.rule_set_id, draft.sha256, "author")
    with pytest.raises(Refusal, match="RULE_SET_STATE"):
        await desk.rules.publish(desk.key(), draft.rule_set_id, draft.sha256, date(2026, 11, 1), "publisher")


async def test_planted_fraud_is_caught_and_explained(desk: Desk) -> None:
    """R002-102: replay, self-referral, void after earn, split orders."""
    at = NOON.astimezone(ZONE).replace(day=20)

    def sold(number: int, hours: float, **values: object):  # type: ignore[no-untyped-def]
        when = at + timedelta(hours=hours)
        return event(number, occur_time=when, receive_time=when, **values)

    honest = [sold(n, n, customer_key=100 + n, product_id="P2", amount_fen=n * 97) for n in range(1, 9)]
    replay = [sold(20, 0, customer_key=200), sold(21, 0.1, customer_key=200)]
    own = [sold(30, 1, customer_key=7, staff_id="S2")]
    split = [sold(40 + n, 5 + n / 10, customer_key=300, product_id="P3", amount_fen=100 + n) for n in range(3)]
    void = [sold(50 + n, 9 + n, customer_key=400 + n, staff_id="S3", amount_fen=5000 + n) for n in range(3)]
    later = at.replace(month=10, day=3)
    back = [refund(60 + n, 50 + n, amount_fen=0, occur_time=later, receive_time=later) for n in range(3)]
    await desk.take(*honest, *replay, *own, *split, *void, *back)
    found = await desk.corrections.find_fraud(desk.key(), "2026-09", {"S2": 7})
    assert found == {"REPLAY": 1, "SELF_REFERRAL": 1, "VOID_AFTER_EARN": 3, "SPLIT_ORDERS": 3}
    cases = await desk.corrections.fraud_cases("2026-09", "", 100)
    replayed = next(case for case in cases if case.pattern == "REPLAY")
    assert (replayed.source_event_id, "boss E20" in replayed.explanation) == ("E21", True)
    decided, [adjustment] = await desk.corrections.decide_fraud(desk.key(), replayed.case_id, "han.mei", confirm=True)
    assert (decided.state, adjustment.component) == ("CONFIRMED", "development")
    assert adjustment.milli_points == -replayed.milli_points < 0
    voided = next(case for case in cases if case.pattern == "VOID_AFTER_EARN")
    decided, nothing_left = await desk.corrections.decide_fraud(desk.key(), voided.case_id, "han.mei", confirm=True)
    assert (decided.state, nothing_left) == ("CONFIRMED", [])  # its refund took back what it gave: not twice
