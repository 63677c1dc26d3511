"""What the database itself holds to, and what concurrent writers see."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.kit.db import Database
from services.kit.errors import Refusal
from services.points.domain.proof import digest
from services.points.domain.reference import Snapshot
from tests.fixtures.postgres import Fresh
from tests.points.desk import Desk, count, forget
from tests.points.made import NOON, RULES, event, owned, refund, rows


@pytest.fixture
async def desk(db: Database, database: Fresh) -> Desk:
    forget(database)
    desk = Desk(db)
    await desk.publish()
    await desk.learn()
    return desk


async def refused_by_database(db: Database, statement: str) -> str:
    async def run() -> None:
        async with db.begin() as tx:
            await tx.execute(text(statement))
            await tx.commit()

    with pytest.raises(DBAPIError) as caught:
        await run()
    return str(caught.value.orig)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE points_entry SET milli_points = 1",
        "UPDATE points_entry SET milli_points = 1 WHERE false",
        "DELETE FROM points_entry",
        "DELETE FROM business_event",
        "DELETE FROM business_event_reused",
        "UPDATE business_event SET amount_fen = 1",
        "UPDATE rule_set SET definition = 'x'",
        "DELETE FROM rule_set",
        "UPDATE responsibility_field SET share_bps = 1",
        "DELETE FROM responsibility_field",
    ],
)
async def test_what_was_posted_told_published_or_known_never_changes(desk: Desk, statement: str) -> None:
    await desk.take(event())
    assert "never changes" in (why := await refused_by_database(desk.db, statement)) or "append only" in why


@pytest.mark.parametrize("statement", ["TRUNCATE points_entry", "DROP TRIGGER entry_is_kept ON points_entry"])
async def test_the_service_has_no_way_around(desk: Desk, statement: str) -> None:
    why = await refused_by_database(desk.db, statement)
    assert "permission denied" in why or "must be owner" in why


async def test_what_does_not_balance_is_refused_by_the_database(desk: Desk) -> None:
    await desk.take(event())
    columns = "account, staff_id, org_id, source, source_event_id, event_id, rule_set_id, rule_set_sha256, rule_id, "
    columns += "component, role, share_bps, assignment_id, period_id, occur_time, post_time"
    statement = f"INSERT INTO points_entry (entry_id, milli_points, {columns})"
    statement += f" SELECT entry_id || %s, %s, {columns} FROM points_entry"
    assert "sum to zero" in await refused_by_database(desk.db, statement % ("'x'", "abs(milli_points)"))
    reversing = statement.replace("(entry_id,", "(entry_id, reverses_entry_id,").replace("|| %s,", "|| %s, entry_id,")
    assert "mirror" in await refused_by_database(desk.db, reversing % ("'y'", "-2 * milli_points"))


async def test_a_closed_period_takes_nothing(desk: Desk, database: Fresh) -> None:
    await desk.take(event())
    entries = list((await desk.ledger()).values())
    database.admin("UPDATE points.period SET state = 'CALCULATED'")
    with pytest.raises(asyncpg.CheckViolationError):
        async with desk.db.begin() as tx:
            await desk.store.ledger.append(tx, [replace(e, entry_id=f"again-{e.entry_id}") for e in entries], NOON)


async def test_a_late_event_lands_in_the_next_open_period(desk: Desk, database: Fresh) -> None:
    await desk.take(event())
    before = await desk.period()
    database.admin("UPDATE points.period SET state = 'CALCULATED'")
    database.admin("UPDATE points.period SET state = 'LOCKED'")
    await desk.take(event(2))
    assert (await desk.period()).sha256 == before.sha256
    later = await desk.period("2026-10")
    assert later.late_entries == later.entries > 0
    assert {(e.period_id, e.accrual_id) for e in (await desk.ledger()).values()} == {
        ("2026-09", "2026-09"), ("2026-10", "2026-09")
    }  # fmt: skip


async def test_the_same_event_twice_at_once_posts_once(desk: Desk, database: Fresh) -> None:
    other = Desk(await Database.open(database.url, schema="points", application="other"))
    answers = await asyncio.gather(*(each.scoring.score(event()) for each in (desk, other) * 8))
    await other.db.close()
    assert len({tuple(p.entry.entry_id for p in answer.entries) for answer in answers}) == 1
    assert await count(desk.db, "business_event") == 1
    assert len(await desk.ledger()) == len(answers[0].entries)


async def test_a_refund_and_its_origin_at_once_net_to_zero(desk: Desk) -> None:
    pairs = [[event(n), refund(n + 100, n)] for n in range(1, 9)]
    await asyncio.gather(*(desk.scoring.score(each) for pair in pairs for each in reversed(pair)))
    assert not any((await desk.balances()).values())
    assert await desk.waiting() == {}


async def test_another_event_under_a_used_id_is_refused(desk: Desk) -> None:
    await desk.scoring.score(event())
    with pytest.raises(Refusal) as caught:
        await desk.scoring.score(event(amount_fen=1))
    assert caught.value.reason == "EVENT_ID_REUSED"


async def test_another_event_of_the_log_under_a_used_id_stands_in_suspense_and_never_scores(desk: Desk) -> None:
    await desk.scoring.score(event(event_id="rpc-1"))
    scored = await desk.ledger()
    other = event(amount_fen=1)
    for _ in range(2):  # told again after a crash, it stands there once
        await desk.take(event(event_id="ev-0"), other, event(2, product_id="P9"))
    found = await desk.reading.suspended(0, 10)
    assert [(told.event_id, reason) for _, told, reason, _ in found] == [
        ("ev-2", "UNKNOWN_PRODUCT"), ("ev-1", "EVENT_ID_REUSED")
    ]  # fmt: skip
    assert found[1][1] == other
    assert await desk.reading.suspended(found[0][0], 10) == found[1:]
    await desk.learn("products")
    await desk.settle()
    assert await desk.ledger() == scored
    assert await desk.waiting() == {"E1": "EVENT_ID_REUSED", "E2": "UNKNOWN_PRODUCT"}


async def test_events_are_scored_while_the_lake_is_read(desk: Desk) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow(snapshot: Snapshot) -> Mapping[str, Sequence[str]]:
        reading.set()
        assert go_on.wait(60)
        return desk.told.rows["products"]

    desk.told.by_id = slow  # type: ignore[method-assign]  # the lake is the test's own
    learning = asyncio.create_task(desk.learn("products"))
    assert await asyncio.to_thread(reading.wait, 60)
    async with asyncio.timeout(30):
        assert (await desk.scoring.score(event())).entries
    go_on.set()
    await learning


async def test_what_is_published_is_proved_before_the_ledger_is_locked(desk: Desk) -> None:
    columns = "name, state, sha256, author, publisher, create_time"
    async with desk.db.begin() as tx:
        await desk.rules.create(desk.key(), "other", RULES, "author")
        await tx.execute(
            text(
                f"INSERT INTO rule_set (rule_set_id, version, definition, {columns})"
                f" SELECT 'damaged', 2, 'tables: 1', {columns} FROM rule_set WHERE name = 'other'"
            )
        )
        await tx.commit()
    async with desk.db.begin() as tx, asyncio.timeout(30):
        await desk.store.ledger.lock(tx)
        with pytest.raises(Refusal) as caught:
            await desk.rules.publish(desk.key(), "damaged", "", date(2027, 1, 1), "publisher")
    assert caught.value.reason == "RULE_SET_INVALID"


async def test_fields_that_overlap_are_refused_by_the_database(desk: Desk) -> None:
    insert = (
        "INSERT INTO responsibility_field (customer_key, org_id, staff_id, role, share_bps, valid_from, known_from,"
    )
    insert += " delivery_id, line) VALUES (%d, '', '%s', '%s', 1, '2026-09-09', '2026-09-11', '', 0)"
    assert "responsibility_field_overlaps" in await refused_by_database(desk.db, insert % (7, "S1", "owner"))
    async with desk.db.begin() as tx:  # another role, another employee, another customer
        for values in ((7, "S1", "support"), (7, "S3", "owner"), (9, "S1", "owner")):
            await tx.execute(text(insert % values))
        await tx.commit()


async def test_what_was_known_at_an_instant_can_be_asked_for_ever(desk: Desk) -> None:
    desk.told.fields_rows = rows((7, "S2", 10000))
    later = desk.clock.advance(days=1)
    await desk.learn("fields")
    before = await desk.reading.assignments(7, later - timedelta(microseconds=1), None, 10)
    now = await desk.reading.assignments(7, None, None, 10)
    assert [(a.row.staff_id, a.row.share_bps) for a in before] == [("S1", 6000), ("S2", 2500)]
    assert [(a.row.staff_id, a.row.share_bps, a.known_from) for a in now] == [("S2", 10000, later)]
    assert await desk.reading.assignments(7, NOON - timedelta(microseconds=1), None, 10) == []


async def test_two_snapshots_in_one_instant_are_known_one_after_the_other(desk: Desk) -> None:
    for staff in ("S2", "S3", "S1"):
        desk.told.fields_rows = rows((7, staff, 10000))
        await desk.learn("fields")
    desk.clock.advance(seconds=1)
    assert [a.row.staff_id for a in await desk.reading.assignments(7, None, None, 10)] == ["S1"]


async def test_a_snapshot_that_says_the_same_writes_nothing(desk: Desk) -> None:
    before = await count(desk.db, "responsibility_field")
    await desk.learn("fields")
    assert await count(desk.db, "responsibility_field") == before


async def test_rows_that_cannot_stand_are_kept_with_why(desk: Desk) -> None:
    desk.told.fields_rows = [owned(7, "S1", 5000), owned(7, "S1", 5000, since=5)]
    await desk.learn("fields")
    assert await count(desk.db, "responsibility_field_refused") == 1


async def test_an_event_is_scored_with_the_owner_of_its_time_as_known_at_scoring(desk: Desk) -> None:
    await desk.take(event(1, type="RENEW"))
    desk.told.fields_rows = [owned(7, "S1", 10000, until=10), owned(7, "S2", 10000, since=10)]
    desk.clock.advance(days=1)
    await desk.learn("fields")
    await desk.take(event(2, type="RENEW"), event(3, type="RENEW", occur_time=NOON - timedelta(days=1)))
    found = {
        (e.source_event_id, e.account) for e in (await desk.ledger()).values() if not e.account.startswith("budget:")
    }
    first = {("E1", "staff:S1"), ("E1", "staff:S2"), ("E1", "unassigned")}
    assert found == first | {("E2", "staff:S2"), ("E3", "staff:S1")}


async def test_the_checksum_of_a_period_is_that_of_its_entries(desk: Desk) -> None:
    await desk.take(*(event(n, type="RENEW", amount_fen=n) for n in range(1, 40)))
    period = await desk.period()
    entries = await desk.ledger()
    assert period.sha256 == digest(entries.values())
    assert period.entries == len(entries)
    assert period.milli_points == sum(e.milli_points for e in entries.values() if not e.account.startswith("budget:"))
    assert period.milli_points > 0


async def test_equal_totals_share_a_rank(desk: Desk) -> None:
    for number, staff in enumerate(("S1", "S2", "S3"), 1):
        await desk.take(event(number, type="UPGRADE", staff_id=staff, amount_fen=5000 if staff == "S3" else 0))
    lines = await desk.reading.leaders("2026-09", None, 10)
    assert [(line.rank, line.staff_id, line.milli_points) for line in lines] == [
        (1, "S3", 761), (2, "S1", 700), (2, "S2", 700)
    ]  # fmt: skip
    second = await desk.reading.leaders("2026-09", (lines[1].milli_points, lines[1].staff_id), 10)
    assert second == lines[2:]
    assert lines[0].top_entry_id in await desk.ledger()


async def test_rules_do_not_reach_back_into_days_that_are_scored(desk: Desk) -> None:
    await desk.take(event(1))
    changed = RULES.replace("fixed: 20000", "fixed: 1")
    with pytest.raises(Refusal) as caught:
        await desk.publish(changed, date(2026, 9, 10))
    assert caught.value.reason == "EFFECTIVE_DATE_SCORED"
    assert (await desk.publish(changed, date(2026, 9, 11))).version == 3
    with pytest.raises(Refusal) as caught:
        await desk.publish(changed, date(2026, 9, 11))
    assert caught.value.reason == "EFFECTIVE_DATE_TAKEN"
    # Earlier days that the first version never scored are free.
    assert (await desk.publish(changed, date(2025, 1, 1))).effective_date == date(2025, 1, 1)


async def test_a_version_is_retired_from_the_day_that_a_later_one_scores(desk: Desk) -> None:
    first = (await desk.rules.page("main", None, 10))[0]
    await desk.publish(RULES, date(2026, 9, 11))
    assert (await desk.rules.get(first.rule_set_id)).state.value == "PUBLISHED"
    desk.clock.advance(days=1)
    assert (await desk.rules.get(first.rule_set_id)).state.value == "RETIRED"
    await desk.take(event(1), event(2, occur_time=desk.clock(), receive_time=desk.clock()))
    versions = {e.source_event_id: e.rule_set_id for e in (await desk.ledger()).values()}
    assert versions["E1"] == first.rule_set_id != versions["E2"]


async def test_drafts_of_one_name_written_at_once_are_numbered_apart(desk: Desk) -> None:
    drafts = await asyncio.gather(*(desk.rules.create(desk.key(), "other", RULES, "author") for _ in range(6)))
    assert sorted(draft.version for draft in drafts) == [1, 2, 3, 4, 5, 6]
