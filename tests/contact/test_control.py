"""Treated and control differ by the contact alone; and who has lost the hand-over moves neither."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from google.type.date_pb2 import Date
from sqlalchemy import text

from lifecircle.contact import v1 as proto
from tests.contact.conftest import Running
from tests.contact.desk import campaign, until
from tests.contact.test_journey import PEOPLE, handed_over, planned, settle, written
from tests.contact.town import number

State = proto.Contact.State


async def states(running: Running, plan: proto.Plan) -> dict[int, State.ValueType]:
    return {one.customer_key: one.state for one in await running.desk.contacts(plan.plan_id)}


async def sides(running: Running, plan: proto.Plan) -> tuple[list[proto.Contact], list[proto.Contact]]:
    contacts = await running.desk.contacts(plan.plan_id)
    return [one for one in contacts if not one.control], [one for one in contacts if one.control]


async def planned_again(running: Running, **changes: Any) -> proto.Plan:
    job = await running.desk.end_of((await running.desk.arbitrate(**changes)).job_id)
    assert job.state == proto.Job.STATE_SUCCEEDED, job
    return await running.desk.plan(job.result_id)


def opened(contact: proto.Contact, after: timedelta) -> Any:
    time = contact.contact_time.ToDatetime(tzinfo=UTC) + after
    return ("business.NEW", contact.customer_key, time, {"product_id": contact.product_id})


async def test_the_handover_withholds_the_control_as_it_withholds_the_others(running: Running) -> None:
    campaign, plan = await planned(running, control_bps=3_000)
    treated, control = await sides(running, plan)
    withdrawn = [treated[0].customer_key, control[0].customer_key]
    await running.town.consent(withdrawn, granted=False, at=datetime(2026, 9, 30, 3, tzinfo=UTC))
    await settle(running)
    running.town.unknown = {treated[1].customer_key, control[1].customer_key}
    done = await handed_over(running, plan)
    found = await states(running, plan)
    assert [found[one.customer_key] for one in treated[:3]] == [
        proto.Contact.STATE_CONSENT_WITHDRAWN,
        proto.Contact.STATE_UNREACHABLE,
        proto.Contact.STATE_HANDED_OVER,
    ]
    assert [found[one.customer_key] for one in control[:3]] == [
        proto.Contact.STATE_CONTROL_WITHHELD,
        proto.Contact.STATE_CONTROL_WITHHELD,
        proto.Contact.STATE_CONTROL,
    ]
    assert {one.contact_id for one in control} == {one.contact_id for one in (await sides(running, plan))[1]}
    numbers = {row[1] for row in written(running.out, done.handover_files[0].file_name)}
    assert numbers == {number(one.customer_key) for one in treated[2:]}
    await running.town.tell(*[opened(one, timedelta(days=1)) for one in [*treated[:3], *control[:3]]])
    await settle(running)
    effect = await running.desk.effect(campaign.campaign_id)
    assert (effect.opening.successes, effect.opening.trials) == (1, len(treated) - 2)
    assert (effect.control_opening.successes, effect.control_opening.trials) == (1, len(control) - 2)


async def test_a_cap_that_another_plan_used_up_withholds_the_control_too(running: Running) -> None:
    _, first = await planned(running)
    await running.desk.run_campaign("冬季", ("P02",), control_bps=3_000)
    await running.desk.set_policy(most=1, capacity=None)
    overlapping = await planned_again(running)
    assert overlapping.control_contacts > 0
    await handed_over(running, first)
    await handed_over(running, overlapping)
    found = Counter((await states(running, overlapping)).values())
    assert found[proto.Contact.STATE_CONTROL_WITHHELD] == overlapping.control_contacts
    assert found[proto.Contact.STATE_CONTROL] == found[proto.Contact.STATE_HANDED_OVER] == 0


async def test_one_customer_and_product_is_one_trial_however_many_plans_won_it(running: Running) -> None:
    campaign, first = await planned(running, control_bps=3_000, policy={"most": 5})
    await handed_over(running, first)
    await running.desk.set_policy(most=6)
    await handed_over(running, await planned_again(running, plan_date=Date(year=2026, month=10, day=2)))
    treated, control = await sides(running, first)
    await running.town.tell(*[opened(one, timedelta(days=3)) for one in [*treated[:4], *control[:2]]])
    late = [opened(one, timedelta(days=30, seconds=1)) for one in [treated[5], control[3]]]
    await running.town.tell(*late)
    await settle(running)
    effect = await running.desk.effect(campaign.campaign_id)
    assert (effect.opening.successes, effect.opening.trials) == (4, len(treated))
    assert (effect.control_opening.successes, effect.control_opening.trials) == (2, len(control))
    assert effect.response.trials == len(treated)
    assert effect.cost_fen == 2 * 5 * len(treated)


async def lost_to_another(running: Running) -> None:
    """Another worker has the job, and holds it for long."""
    async with running.db.begin() as tx:
        taken = "UPDATE job SET epoch = epoch + 1, owner = 'another', lease_until = now() + interval '1 hour'"
        assert await tx.execute(text(f"{taken} WHERE kind = 'handover' AND state = 'RUNNING'")) == 1
        await tx.commit()


async def test_a_worker_that_lost_the_handover_does_not_decide(running: Running) -> None:
    _, plan = await planned(running, control_bps=3_000)
    before = await states(running, plan)
    async with running.db.begin() as tx:
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('contact.handover', 0))"))
        await running.desk.hand_over(plan.plan_id)

        async def waits() -> bool:
            async with running.db.read() as read:
                return bool(await read.value(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

        await until(waits)
        await lost_to_another(running)
    await asyncio.sleep(0.5)
    assert await states(running, plan) == before


async def test_a_worker_that_lost_the_handover_does_not_take_the_decision_back(running: Running) -> None:
    _, plan = await planned(running)
    running.town.open.clear()
    await running.desk.hand_over(plan.plan_id)

    async def parts() -> list[Any]:
        return [path for path in running.out.iterdir() if path.suffix == ".part"] if running.out.exists() else []

    await until(parts)
    decided = await states(running, plan)
    assert set(decided.values()) == {proto.Contact.STATE_HANDED_OVER}
    await lost_to_another(running)
    running.town.breaks_after = 7
    running.town.open.set()

    async def given_up() -> bool:
        return not await parts()

    await until(given_up)
    await asyncio.sleep(0.5)
    assert await states(running, plan) == decided


async def test_customers_are_read_while_no_transaction_is_open(running: Running) -> None:
    running.town.open.clear()
    await running.town.publish_customers(dict.fromkeys(PEOPLE, ("G01", "A", "active")))

    async def reading() -> bool:
        return running.town.asked > 0

    await until(reading)
    await asyncio.sleep(0.5)
    stmt = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND state LIKE 'idle in%' AND clock_timestamp() - xact_start > interval '0.3 s'"
    )
    async with running.db.read() as read:
        assert await read.value(stmt) == 0
    running.town.open.set()
    await settle(running)


async def test_what_a_caller_makes_carries_his_organisation(running: Running) -> None:
    _, plan = await planned(running)
    await handed_over(running, plan)
    [first, *_] = await running.desk.contacts(plan.plan_id)
    told = [proto.Outcome(contact_id=name, result=proto.Outcome.RESULT_REFUSED) for name in (first.contact_id, "no")]
    await running.desk.stub.RecordOutcomes(proto.RecordOutcomesRequest(outcomes=told, request_id="r1"))
    branch = proto.ContactServiceStub(running.served.channel(roles={"operator"}, org="HQ"))
    await branch.CreateCampaign(proto.CreateCampaignRequest(campaign=campaign("分公司"), request_id="r2"))
    found = {}
    async with running.db.read() as read:
        for table in ("campaign", "offer", "outcome"):
            rows = await read.rows(text(f"SELECT org_id FROM {table} ORDER BY org_id"))
            found[table] = [row.org_id for row in rows]
    assert found == {"campaign": ["", "HQ"], "offer": ["", "HQ"], "outcome": ["", "G01"]}


async def test_a_second_plan_of_a_day_repeats_nobody_and_finds_the_capacity_that_is_left(running: Running) -> None:
    _, first = await planned(running, control_bps=0, policy={"most": 5, "capacity": 30})
    await handed_over(running, first)
    await running.desk.run_campaign("冬季", ("P02",), control_bps=0)
    second = await planned_again(running)
    gone, more = await running.desk.contacts(first.plan_id), await running.desk.contacts(second.plan_id)
    channels = Counter(contact.channel for contact in [*gone, *more])
    assert max(channels.values()) <= 30
    told = [(contact.customer_key, contact.product_id) for contact in [*gone, *more]]
    assert len(set(told)) == len(told)
