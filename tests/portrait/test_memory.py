"""How far back a rule is told of what happened before it was published, and that whoever publishes it hears so."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from lifecircle.portrait import v1
from services.kit.ids import system_ids
from services.portrait.store import Moments
from tests.fixtures.serving import Served
from tests.portrait.test_matching import Here, here, now, served, stamp, stub

__all__ = ["here", "served"]  # fixtures

SEARCH, MALL = v1.EventMatch(types=["behaviour.search"]), v1.EventMatch(types=["behaviour.arrived"])


def remembering(rule_id: str, days: int) -> v1.MomentRule:
    """Who searched within days, and arrives now."""
    searched = v1.MomentPattern.Happened(event=SEARCH, remember=Duration(seconds=days * 86_400))
    parts = [v1.MomentPattern(happened=searched), v1.MomentPattern(happened=v1.MomentPattern.Happened(event=MALL))]
    return v1.MomentRule(rule_id=rule_id, pattern=v1.MomentPattern(all_of=v1.MomentPattern.Parts(parts=parts)))


async def test_whoever_publishes_a_rule_is_told_how_far_back_events_are_known(here: Here, served: Served) -> None:
    """R003-029: a pattern may remember 90 days though the journal is kept for 30; nobody is left to find that out."""
    ask = stub(served)

    async def publish(rule: v1.MomentRule) -> v1.PublishMomentRuleResponse:
        await ask.CreateMomentRule(v1.CreateMomentRuleRequest(rule=rule, request_id=system_ids()))
        request = v1.PublishMomentRuleRequest(rule_id=rule.rule_id, request_id=system_ids())
        answer = await ask.PublishMomentRule(request)
        assert await ask.PublishMomentRule(request) == answer, "sent twice it says the same"
        return answer

    empty = await publish(remembering("early", 7))
    assert (empty.HasField("known_since"), "no event is known yet" in empty.warnings[0]) == (False, True)
    old = int((now() - timedelta(days=20)).timestamp() * 1000)
    async with here.db.begin() as tx:
        event = here.event(7, "behaviour.search")._replace(time=old)
        await Moments().journal(tx, [(event, old)])
        await tx.commit()
    week = await publish(remembering("week", 7))
    assert (week.known_since.ToMilliseconds(), list(week.warnings)) == (old, [])
    quarter = await publish(remembering("quarter", 90))
    (told,) = quarter.warnings
    assert "remembers 90 d, events are known since 20" in told
    assert quarter.known_since == week.known_since
    span = {"from_time": stamp(now() - timedelta(days=1)), "to_time": stamp(now())}
    tried = await ask.CountMoments(v1.CountMomentsRequest(rule=remembering("quarter", 90), **span))
    assert (list(tried.warnings), tried.known_since) == ([told], quarter.known_since)
    assert not (await ask.CountMoments(v1.CountMomentsRequest(rule=remembering("week", 7), **span))).warnings
    span["from_time"] = stamp(now() - timedelta(days=60))
    tried = await ask.CountMoments(v1.CountMomentsRequest(rule=remembering("week", 7), **span))
    assert "matches count from before" in tried.warnings[0], "nor does a dry run of two months seem whole"
