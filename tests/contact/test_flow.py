"""From a moment to what came of it: every contact goes through the rules, and each stage is found by one id."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from lifecircle.contact import v1 as proto
from services.contact.domain.benefit import Message, Receipt
from services.contact.domain.fact import Moment
from services.contact.store import Store
from services.contact.usecases import Moments, Sender
from services.kit.db import Database
from services.kit.errors import Refusal
from tests.contact.conftest import Quiet
from tests.contact.counter import NOW, SHANGHAI, ask, furnish, offers, replica, rules
from tests.contact.test_reach import brief

STORE = Store()
BYPASSED = """
    SELECT count(*) FROM message LEFT JOIN decision USING (grant_id)
    WHERE message.state = 'SENT' AND decision.state IS DISTINCT FROM 'CONFIRMED'
"""


async def gateway(messages: Sequence[Message]) -> Sequence[Receipt]:
    return [Receipt(one.message_id, True, "ok") for one in messages]


def sender(quiet: Quiet) -> Sender:
    return Sender(quiet.db, STORE, quiet.clock, SHANGHAI, {"sms": gateway, "app": gateway})


async def rows(db: Database, statement: str) -> list[tuple[Any, ...]]:
    async with db.read() as read:
        return [tuple(row) for row in await read.rows(text(statement))]


async def test_moment_control_send_and_effect_of_a_contact_are_one_trace(quiet: Quiet) -> None:
    """R003-074: perceived, controlled, executed, evaluated: the four stages follow from one to the next."""
    quiet.clock.now = NOW
    waits = offers(brief=brief(moments=("airport",)))
    await furnish(quiet.db, rule=rules(most=1), campaigns=[waits])
    moments = Moments(quiet.db, STORE, quiet.clock, await replica(quiet.db, clock=quiet.clock))
    async with quiet.db.begin() as tx:
        await moments.told(tx, [Moment("m1", 1, "airport", NOW)])
        await tx.commit()
    await moments.act()
    await sender(quiet).send()
    ((moment, grant),) = await rows(
        quiet.db,
        "SELECT moment_id, grant_id FROM moment JOIN decision USING (customer_key) "
        "JOIN message USING (grant_id) WHERE acted AND decision.state = 'CONFIRMED' AND message.state = 'SENT'",
    )
    outcome = proto.Outcome(contact_id=grant, result=proto.Outcome.RESULT_RESPONDED)
    stub = quiet.stub("li")
    kept = await stub.RecordOutcomes(proto.RecordOutcomesRequest(outcomes=[outcome], request_id="o1"))
    (line,) = (await stub.ListEffectReports(proto.ListEffectReportsRequest())).lines
    assert (moment, kept.recorded, list(kept.unmatched_contact_ids)) == ("m1", 1, [])
    assert line.campaign_id == waits.campaign_id
    assert (line.online.sent, line.online.response.successes) == (1, 1)


async def test_nothing_goes_out_beside_the_rules(quiet: Quiet) -> None:
    """R003-075: what is queued without a grant is judged like any other; an audit of what was sent finds none."""
    quiet.clock.now = NOW
    await furnish(quiet.db, rule=rules(most=1))
    deciding = await replica(quiet.db, clock=quiet.clock)
    [granted] = await deciding.decide(ask(1))
    await deciding.confirm(granted.decided.grant_id)
    await deciding.withdraw(2, None)
    async with quiet.db.begin() as tx:
        beside = [Message(f"b{key}", "campaign-秋季", key, "sms", "P01 半价", NOW) for key in (1, 2, 3, 99)]
        await STORE.sends.queue(tx, beside, NOW)
        await tx.commit()
    await sender(quiet).send()
    ended = dict(await rows(quiet.db, "SELECT customer_key, state || ' ' || receipt FROM message"))
    assert ended == {1: "QUEUED cap", 2: "WITHHELD do not contact", 3: "SENT ok", 99: "WITHHELD not a customer"}
    assert await rows(quiet.db, BYPASSED) == [(0,)]
    with pytest.raises(Refusal):
        await deciding.confirm("never granted")


async def test_each_decision_keeps_the_rule_that_made_it(quiet: Quiet) -> None:
    """R003-050: campaign and moment matched, or the rule that was against it, stands with every decision."""
    waits = offers(brief=brief(moments=("airport",)))
    await furnish(quiet.db, rule=rules(most=1), campaigns=[waits])
    deciding = await replica(quiet.db)
    await deciding.withdraw(3, ("sms", "marketing"))
    for customer, moment in ((1, "airport"), (1, "airport"), (2, "shop"), (3, "airport"), (99, "airport")):
        await deciding.decide(ask(customer, moment=moment))
    kept = await rows(quiet.db, "SELECT customer_key, campaign_id, reason FROM decision ORDER BY 1, 3")
    assert kept == [
        (1, waits.campaign_id, ""),
        (1, "", "cool-down"),
        (2, "", "nothing to offer"),
        (3, "", "no consent"),
        (99, "", "not a customer"),
    ]


async def test_a_slot_shows_what_the_model_thinks_best(quiet: Quiet) -> None:
    """R003-057: another model, another content in the same slot."""
    await furnish(quiet.db, rule=rules(most=9))
    shown = []
    for customer, scores in enumerate(({"P01": 0.3, "P02": 0.1}, {"P01": 0.1, "P02": 0.3}), start=1):
        [answer] = await (await replica(quiet.db, scores=scores)).decide(ask(customer, "top"))
        shown.append(answer.decided.content)
    assert shown == ["P01 半价", "P02 半价"]
