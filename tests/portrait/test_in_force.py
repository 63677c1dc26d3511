"""Which version of a moment rule an event belongs to, and what a process that fails must not believe."""

import asyncio
from dataclasses import replace
from typing import Any

from google.protobuf.duration_pb2 import Duration
from sqlalchemy import text

from lifecircle.portrait import v1
from services.kit import domains
from services.portrait.domain.moment import Event
from services.portrait.store import Moments
from tests.fixtures.serving import Served
from tests.portrait.test_api import publish
from tests.portrait.test_matching import PACE, Here, happened, here, now, published, served, stub, watched

__all__ = ["here", "served"]  # fixtures


async def test_each_event_belongs_to_the_version_that_was_in_force_when_it_occurred(here: Here, served: Served) -> None:
    """R003-026: one match for each event, of one version, whatever is published while events are on their way."""
    ask, told, rules = stub(served), list[Event](), list[v1.MomentRule]()

    async def flow(stop: asyncio.Event) -> None:
        while not stop.is_set():
            held = [here.event(number % 8 + 1, "behaviour.web", page="fee") for number in range(3)]
            await asyncio.sleep(0.01)  # on their way: what is published now did not apply to them
            await here.tell(held)
            told.extend(held)

    async with here.worker("one"), here.worker("two"):
        rules.append(await published(ask, "query", happened("behaviour.web", page="fee")))
        stop = asyncio.Event()
        flowing = asyncio.create_task(flow(stop))
        for _ in range(6):
            await asyncio.sleep(0.15)
            rules.append(await published(ask, "query", happened("behaviour.web", page="fee")))
        stop.set()
        await flowing
        found = await watched(ask, len(told), 30)
    begun = {rule.version: rule.publish_time.ToMilliseconds() for rule in rules}
    wanted = {event.event_id: max(version for version, since in begun.items() if since <= event.time) for event in told}
    assert {match.start_event_id: match.rule_version for match in found} == wanted
    async with here.db.read() as read:
        assert await read.value(text("SELECT count(*) FROM moment")) == len(told)


async def test_what_could_not_be_committed_is_found_again(here: Here, served: Served) -> None:
    """A process whose commit fails knows of matches that nobody was told of: it keeps nothing of what it knows."""
    ask = stub(served)
    await published(ask, "query", happened("behaviour.web", page="fee"))
    async with here.worker("fails") as worker:
        await here.tell([here.event(7, "behaviour.web", page="fee")])
        assert len(await watched(ask, 1, 30)) == 1
        worker._moments = Broken()
        await here.tell([here.event(7, "behaviour.web", page="fee")])
        async with asyncio.timeout(30):
            while not worker._moments.tried:
                await asyncio.sleep(0.02)
    async with here.worker("goes on"):
        assert [m.start_event_id for m in await watched(ask, 2, 30)] == ["e1", "e2"]


async def test_a_match_of_a_version_that_ended_meanwhile_is_not_committed(here: Here, served: Served) -> None:
    """R003-026: a process that did not hear of a publication finds the old version's match, and starts again."""
    ask = stub(served)
    await published(ask, "query", happened("behaviour.web", page="fee"))
    async with here.worker("deaf") as worker:
        await here.tell([here.event(7, "behaviour.web", page="fee")])
        assert len(await watched(ask, 1, 30)) == 1
        worker._moments, worker._pace = Deaf(), replace(PACE, look_seconds=3600)
        await published(ask, "query", happened("behaviour.web", page="fee"))
        await here.tell([here.event(7, "behaviour.web", page="fee")])
        found = await watched(ask, 2, 30)
    assert [(m.start_event_id, m.rule_version) for m in found] == [("e1", 1), ("e2", 2)]
    async with here.db.read() as read:
        assert await read.value(text("SELECT count(*) FROM moment")) == 2


class Deaf(Moments):
    """Moments that tell of no publication."""

    async def stamp(self, read: Any) -> str:
        return ""


class Broken(Moments):
    """Moments that cannot be written any more."""

    tried = False

    async def put(self, tx: Any, found: Any) -> None:
        self.tried = True
        raise ConnectionError


async def test_a_rule_that_comes_back_cools_down_from_its_earlier_matches(here: Here, served: Served) -> None:
    """The cool-down is the rule's, not the version's, also when nobody watched for it in between."""
    ask, cooling = stub(served), {"cool_down": Duration(seconds=86_400)}
    await published(ask, "query", happened("behaviour.web", page="fee"), **cooling)
    async with here.worker("one") as worker:
        await here.tell([here.event(7, "behaviour.web", page="fee")])
        assert len(await watched(ask, 1, 30)) == 1
        await ask.RetireMomentRule(v1.RetireMomentRuleRequest(rule_id="query", request_id="r"))
        async with here.db.begin() as tx:  # hours go by
            await tx.execute(text("UPDATE moment_rule SET retire_ms = retire_ms - 7200000"))
            await tx.commit()
        async with asyncio.timeout(30):
            while any(held.engine.knows_matches("query") for held in worker._held.values()):
                await asyncio.sleep(0.05)
        for held in worker._held.values():
            held.engine.forget()
        await published(ask, "query", happened("behaviour.web", page="fee"), **cooling)
        await here.tell([here.event(who, "behaviour.web", page="fee") for who in (7, 8)])
        found = await watched(ask, 2, 30)
    assert [(m.customer_key, m.rule_version) for m in found] == [(7, 1), (8, 2)]
    async with here.db.read() as read:
        assert await read.value(text("SELECT count(*) FROM moment")) == 2


async def test_why_it_did_not_fire_tells_of_versions_and_of_what_became_known_too_late(
    here: Here, served: Served
) -> None:
    """R003-022: a draft, a version of before and of after, an event that came two hours late."""
    ask = stub(served)

    async def why(customer: int, version: int = 0, ago: int = 0) -> str:
        asked = v1.ExplainMomentRequest(rule_id="query", customer_key=customer, version=version)
        asked.time.FromMilliseconds(int(now().timestamp() * 1000) - ago)
        told = await ask.ExplainMoment(asked)
        assert not told.matched
        return told.because

    stays = v1.MomentPattern.Happened(event=v1.EventMatch(types=["behaviour.web"]), remember=Duration(seconds=86_400))
    rule = v1.MomentRule(rule_id="query", pattern=v1.MomentPattern(happened=stays))
    await ask.CreateMomentRule(v1.CreateMomentRuleRequest(rule=rule, request_id="d"))
    assert await why(7) == "it is a draft"
    first = await published(ask, "query", rule.pattern)
    assert await why(7, ago=60_000) == "it was published later"
    old = here.event(7, "behaviour.web")
    async with here.worker("one"):
        await here.tell([old._replace(time=old.time - 7_200_000)])
        assert await why(7) == "what made it became known more than 1 h after"
        await here.tell([here.event(8, "behaviour.web")])
        assert len(await watched(ask, 1, 30)) == 1
    await published(ask, "query", rule.pattern)
    assert await why(7, version=first.version) == "it was retired before"
    assert await why(9) == "behaviour.web (remembered for 1 d): 0 such events in reach"


async def test_a_limited_caller_follows_the_moments_of_his_own_customers(here: Here, served: Served) -> None:
    """R000-004: the stream has no rows of its own to be hidden; whose customer it was stands in each moment."""
    await publish(here.db)
    await published(stub(served), "query", happened("behaviour.web", page="fee"))

    async def first(org_id: str) -> int:
        domains.enter(frozenset({org_id}))
        async for seen in here.moments.watch("", here.stop):
            if seen.moment is not None:
                return seen.moment.match.customer_key
        return 0

    async with here.worker("one"), asyncio.timeout(30):
        await here.tell([here.event(who, "behaviour.web", page="fee") for who in (9, 7, 8)])
        assert await asyncio.gather(first("G1"), first("G2")) == [7, 8]
