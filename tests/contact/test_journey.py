"""From matrix to effect: what contact does between a town that tells it things and a desk that calls it."""

import asyncio
import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from sqlalchemy import text

from lifecircle.contact import v1 as proto
from tests.contact.conftest import Running
from tests.contact.desk import PLAN_DAY, until
from tests.contact.town import number
from tests.fixtures.serving import refused

PEOPLE = range(1, 61)
SCORES = {(key, product): 0.05 + key / 200 for key in PEOPLE for product in ("P01", "P02")}


async def settle(running: Running) -> None:
    """Wait until contact has taken in what the town has told so far."""
    wanted = {"events": len(running.town.events.messages), "deliveries": len(running.town.deliveries.messages)}

    async def taken() -> bool:
        async with running.db.read() as read:
            rows = await read.rows(text("SELECT consumer, cursor FROM consumer_cursor"))
        return {row.consumer: int(row.cursor or 0) for row in rows if row.consumer in wanted} == wanted

    await until(taken)


async def known(running: Running, **consent: Any) -> None:
    await running.town.publish_customers({key: ("G01", "ABC"[key % 3], "active") for key in PEOPLE})
    await running.town.consent(list(PEOPLE), **consent)
    await settle(running)


async def planned(running: Running, **changes: Any) -> tuple[proto.Campaign, proto.Plan]:
    """A campaign, a matrix, and the plan that comes of them by itself."""
    await running.desk.set_policy(**changes.pop("policy", {}))
    await known(running, **changes.pop("consent", {}))
    campaign = await running.desk.run_campaign(**changes)
    await running.town.publish_matrix("m1", SCORES)

    async def there() -> proto.Job | None:
        jobs = (await running.desk.stub.ListJobs(proto.ListJobsRequest())).jobs
        return jobs[0] if jobs else None

    job = await running.desk.end_of((await until(there)).job_id)
    assert job.state == proto.Job.STATE_SUCCEEDED, job
    return campaign, await running.desk.plan(job.result_id)


def written(folder: Path, name: str) -> list[list[str]]:
    return [line.split("|") for line in (folder / name).read_text("gb18030").splitlines()]


async def handed_over(running: Running, plan: proto.Plan) -> proto.Plan:
    job = await running.desk.end_of((await running.desk.hand_over(plan.plan_id)).job_id)
    assert job.state == proto.Job.STATE_SUCCEEDED, job
    return await running.desk.plan(plan.plan_id)


async def test_a_published_matrix_starts_the_auction_by_itself_for_the_day_after_its_data(running: Running) -> None:
    campaign, plan = await planned(running, policy={"capacity": 20})
    assert plan.plan_date == PLAN_DAY
    assert (plan.contacts, plan.control_contacts, plan.state) == (40, 0, proto.Plan.STATE_READY)
    assert plan.objective_fen <= plan.bound_fen
    assert {price.constraint for price in plan.prices} == {"capacity sms", "capacity call"}
    contacts = await running.desk.contacts(plan.plan_id, page_size=7)
    assert [one.customer_key for one in contacts] == list(range(21, 61))
    assert {one.campaign_id for one in contacts} == {campaign.campaign_id}
    assert {one.state for one in contacts} == {proto.Contact.STATE_PLANNED}
    assert len({one.attribution_token for one in contacts}) == 40


async def test_the_handover_file_is_written_once_with_its_control_file(running: Running) -> None:
    campaign, plan = await planned(running, control_bps=3_000)
    assert plan.control_contacts > 5
    done = await handed_over(running, plan)
    [file] = done.handover_files
    assert file.file_name == "OCRM_CONTACT_20261001_001.TXT"
    assert done.state == proto.Plan.STATE_HANDED_OVER
    data = (running.out / file.file_name).read_bytes()
    control = (running.out / "OCRM_CONTACT_20261001_001.CHK").read_text()
    assert control == f"{file.file_name}|{file.rows}|{hashlib.md5(data).hexdigest()}|{len(data)}|0\n"
    assert file.tagged_rows == 0  # nobody is there who knows tags, and the control file says so
    assert sorted(path.suffix for path in running.out.iterdir()) == [".CHK", ".TXT"]
    contacts = {one.contact_id: one for one in await running.desk.contacts(plan.plan_id)}
    rows = written(running.out, file.file_name)
    assert len(rows) == plan.contacts == file.rows
    for contact_id, msisdn, campaign_id, offer_id, product, channel, content, time, token, tags in rows:
        one = contacts[contact_id]
        assert (one.state, one.control) == (proto.Contact.STATE_HANDED_OVER, False)
        assert msisdn == number(one.customer_key)
        assert (campaign_id, offer_id, product) == (campaign.campaign_id, one.offer_id, "P01")
        assert (channel, content, token, tags) == ("sms", "P01首月半价", one.attribution_token, "")
        assert "20261001090000" <= time < "20261001210000"
    again = await running.desk.hand_over(plan.plan_id)
    assert again.state == proto.Job.STATE_SUCCEEDED
    assert (running.out / file.file_name).read_bytes() == data
    assert running.town.purposes == [f"OCRM hand-over of plan {plan.plan_id}"]


async def test_a_day_whose_contacts_went_out_gets_no_second_plan_by_itself(running: Running) -> None:
    _, plan = await planned(running)
    await running.town.publish_matrix("m2", SCORES)

    async def jobs() -> list[proto.Job]:
        return list((await running.desk.stub.ListJobs(proto.ListJobsRequest())).jobs)

    async def second() -> bool:
        return len([job for job in await jobs() if job.HasField("arbitrate")]) == 2

    await until(second)  # nothing has gone out yet, so a corrected matrix makes a better plan
    await handed_over(running, plan)
    before = len(await jobs())
    await running.town.publish_matrix("m3", SCORES)

    async def known_to_contact() -> bool:
        async with running.db.read() as read:
            return bool(await read.value(text("SELECT count(*) FROM matrix WHERE matrix_id = 'm3'")))

    await until(known_to_contact)
    assert len(await jobs()) == before


async def test_a_handover_that_breaks_in_the_middle_leaves_no_file_and_is_resumed_to_the_same_bytes(
    running: Running,
) -> None:
    _, plan = await planned(running)
    running.town.breaks_after = 14
    job = await running.desk.hand_over(plan.plan_id)

    async def one_attempt() -> bool:
        return bool(running.town.purposes)

    await until(one_attempt)
    await asyncio.sleep(0.3)
    assert not [path for path in running.out.iterdir() if not path.name.startswith(".")]
    running.town.breaks_after = None
    ended = await running.desk.end_of(job.job_id)
    assert ended.state == proto.Job.STATE_SUCCEEDED
    assert ended.attempt > 1
    [file] = (await running.desk.plan(plan.plan_id)).handover_files
    rows = written(running.out, file.file_name)
    assert [row[1] for row in rows] == [number(key) for key in PEOPLE]
    assert [path for path in running.out.iterdir() if path.name.startswith(".")] == []


async def test_a_handover_that_is_cancelled_half_way_has_sent_nothing_and_may_be_asked_for_again(
    running: Running,
) -> None:
    """R001-149: a part of a file is never under the name that is polled."""
    _, plan = await planned(running)
    running.town.open.clear()
    job = await running.desk.hand_over(plan.plan_id)

    async def writing() -> bool:
        return running.out.exists() and any(path.suffix == ".part" for path in running.out.iterdir())

    await until(writing)
    cancel = proto.CancelJobRequest(job_id=job.job_id, request_id="stop")
    await running.desk.stub.CancelJob(cancel)
    running.town.open.set()
    assert (await running.desk.end_of(job.job_id)).state == proto.Job.STATE_CANCELLED
    assert not list(running.out.iterdir())
    assert {one.state for one in await running.desk.contacts(plan.plan_id)} == {proto.Contact.STATE_PLANNED}
    done = await handed_over(running, plan)
    assert done.handover_files[0].rows == 60


async def test_a_consent_withdrawn_after_the_plan_is_not_handed_over_and_marked(running: Running) -> None:
    """R002-097: consent is asked for again at the hand-over."""
    _, plan = await planned(running)
    assert plan.contacts == 60
    await running.town.consent([10, 20], granted=False, at=datetime(2026, 9, 30, 3, tzinfo=UTC))
    await settle(running)
    done = await handed_over(running, plan)
    numbers = {row[1] for row in written(running.out, done.handover_files[0].file_name)}
    assert numbers == {number(key) for key in PEOPLE if key not in (10, 20)}
    states = {one.customer_key: one.state for one in await running.desk.contacts(plan.plan_id)}
    assert states[10] == states[20] == proto.Contact.STATE_CONSENT_WITHDRAWN
    assert done.withheld_contacts == 2


async def test_without_consent_or_after_its_withdrawal_nobody_is_planned(running: Running) -> None:
    await running.town.consent([5], granted=False, at=datetime(2026, 9, 1, tzinfo=UTC))
    _, plan = await planned(running, consent={"channels": ["sms"]})
    contacts = await running.desk.contacts(plan.plan_id)
    assert {one.customer_key for one in contacts} == set(PEOPLE) - {5}  # the older consent arrived later
    assert {one.channel for one in contacts} == {proto.CHANNEL_SMS}


async def test_a_customer_without_a_known_number_is_left_out_and_marked(running: Running) -> None:
    _, plan = await planned(running)
    running.town.unknown = {1, 33, 60}
    done = await handed_over(running, plan)
    states = {one.customer_key: one.state for one in await running.desk.contacts(plan.plan_id)}
    assert {key for key, state in states.items() if state == proto.Contact.STATE_UNREACHABLE} == {1, 33, 60}
    assert (done.handover_files[0].rows, done.withheld_contacts) == (57, 3)


async def test_caps_count_what_was_sent_before_and_hold_again_at_the_handover(running: Running) -> None:
    campaign, first = await planned(running, products=("P01", "P02"))
    second = await running.desk.arbitrate(campaign_ids=[campaign.campaign_id])
    assert second.job_id == first.plan_id  # the same inputs give the job that is there
    await running.desk.run_campaign("冬季", ("P02",))
    third = await running.desk.end_of((await running.desk.arbitrate()).job_id)
    overlapping = await running.desk.plan(third.result_id)
    assert overlapping.contacts == 60  # nothing was sent yet
    await handed_over(running, first)
    withheld = await handed_over(running, overlapping)
    assert (withheld.handover_files[0].rows, withheld.withheld_contacts) == (0, 60)
    await running.desk.set_policy(most=1)
    fourth = await running.desk.end_of((await running.desk.arbitrate()).job_id)
    assert (await running.desk.plan(fourth.result_id)).contacts == 0


async def test_feedback_ten_times_and_in_any_order_counts_once(running: Running) -> None:
    campaign, plan = await planned(running, control_bps=3_000)
    await handed_over(running, plan)
    contacts = await running.desk.contacts(plan.plan_id)
    sent = [one for one in contacts if not one.control]
    control = [one for one in contacts if one.control]
    told: list[Any] = []
    for one in sent[:20]:
        time = one.contact_time.ToDatetime(tzinfo=UTC)
        answer = {"contact_id": one.contact_id, "result": "responded", "opened": "N"}
        told.append(("contact.feedback", 0, time, answer))
    for one in [*sent[:12], *control[:3]]:
        time = one.contact_time.ToDatetime(tzinfo=UTC) + timedelta(days=2)
        told.append(("product.ordered", one.customer_key, time, {"product_id": "P01", "action": "open"}))
        told.append(("business.NEW", one.customer_key, time + timedelta(minutes=5), {"product_id": "P01"}))
    for one in [*sent[20:25], *control[3:6]]:  # before the contact, another product, too late, a cancellation
        time = one.contact_time.ToDatetime(tzinfo=UTC)
        told.append(("business.NEW", one.customer_key, time - timedelta(hours=1), {"product_id": "P01"}))
        told.append(("business.NEW", one.customer_key, time, {"product_id": "P02"}))
        told.append(("business.NEW", one.customer_key, time + timedelta(days=31), {"product_id": "P01"}))
        told.append(("product.ordered", one.customer_key, time, {"product_id": "P01", "action": "cancel"}))
    feedback = {"contact_id": control[0].contact_id, "result": "refused", "opened": "N"}
    told.append(("contact.feedback", 0, datetime(2026, 10, 2, tzinfo=UTC), feedback))
    told.append(("contact.feedback", 0, datetime(2026, 10, 2, tzinfo=UTC), {**feedback, "contact_id": "nobody"}))
    told.append(("contact.feedback", 0, datetime(2026, 10, 2, tzinfo=UTC), {"result": "not understood"}))
    told *= 10
    random.Random(1).shuffle(told)
    await running.town.tell(*told)
    await settle(running)
    effect = await running.desk.effect(campaign.campaign_id)
    assert (effect.response.successes, effect.response.trials) == (20, len(sent))
    assert (effect.opening.successes, effect.opening.trials) == (12, len(sent))
    assert (effect.control_opening.successes, effect.control_opening.trials) == (3, len(control))
    assert effect.cost_fen == 5 * len(sent)
    assert effect.income_fen == round(9_000 * (12 - 3 / len(control) * len(sent)))
    assert effect.unmatched == 1
    unmatched = await running.desk.stub.ListOutcomes(proto.ListOutcomesRequest(unmatched=True))
    assert sorted(one.outcome.contact_id for one in unmatched.outcomes) == sorted([control[0].contact_id, "nobody"])


async def test_outcomes_by_rpc_and_by_feed_are_one_and_the_unmatched_are_named(running: Running) -> None:
    """R001-110: results come back, are linked to their contacts, and those of nobody are listed."""
    campaign, plan = await planned(running)
    await handed_over(running, plan)
    [first, second, *_] = await running.desk.contacts(plan.plan_id)
    told = {"contact_id": first.contact_id, "result": "unreached", "opened": "N"}
    await running.town.tell(("contact.feedback", 0, first.contact_time.ToDatetime(tzinfo=UTC), told))
    await settle(running)
    request = proto.RecordOutcomesRequest(
        outcomes=[
            proto.Outcome(contact_id=first.contact_id, result=proto.Outcome.RESULT_UNREACHED),
            proto.Outcome(contact_id=second.contact_id, result=proto.Outcome.RESULT_RESPONDED, opened=True),
            proto.Outcome(contact_id="nobody", result=proto.Outcome.RESULT_REFUSED),
        ],
        request_id="r1",
    )
    for _ in range(2):
        answer = await running.desk.stub.RecordOutcomes(request)
        assert (answer.recorded, answer.duplicates, list(answer.unmatched_contact_ids)) == (2, 1, ["nobody"])
    effect = await running.desk.effect(campaign.campaign_id)
    assert (effect.response.successes, effect.opening.successes) == (1, 0)  # nobody gives feedback of the control
    kept = await running.desk.stub.ListOutcomes(proto.ListOutcomesRequest(contact_id=second.contact_id))
    assert kept.outcomes[0].matched
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await running.desk.stub.ListOutcomes(proto.ListOutcomesRequest(contact_id="never heard of"))
    assert refused(unknown.value)[:2] == ("NOT_FOUND", "OUTCOME_UNMATCHED")


async def test_an_auction_that_cannot_meet_a_minimum_fails_and_names_the_rows(running: Running) -> None:
    await running.desk.set_policy(capacity=10)
    await known(running)
    await running.town.publish_matrix("m1", SCORES)
    await running.desk.run_campaign(contacts_min=30)

    async def there() -> bool:
        async with running.db.read() as read:
            return bool(await read.value(text("SELECT count(*) FROM matrix")))

    await until(there)
    job = await running.desk.end_of((await running.desk.arbitrate()).job_id)
    assert (job.state, job.error) == (proto.Job.STATE_FAILED, "PLAN_INFEASIBLE")
    assert job.message.endswith("capacity sms, capacity call, min 秋季")
    await running.desk.set_policy(capacity=15)
    again = await running.desk.end_of((await running.desk.arbitrate()).job_id)
    assert again.state == proto.Job.STATE_SUCCEEDED


async def test_no_clear_number_is_in_any_table(running: Running) -> None:
    _, plan = await planned(running)
    await handed_over(running, plan)
    async with running.db.read() as read:
        tables = await read.rows(text("SELECT tablename FROM pg_tables WHERE schemaname = 'contact'"))
        for (table,) in tables:
            stmt = text(f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%139000000%'")
            assert await read.value(stmt) == 0, table
