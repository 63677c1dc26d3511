"""Moments as portrait itself finds and tells them: its process, between a town's events and our decisions."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from lifecircle.portrait import v1 as proto
from services.contact import app
from services.contact.api import RIGHTS
from services.kit.channel import open_channel
from services.kit.db import Database
from tests.contact.counter import SHANGHAI, furnish, offers, rules
from tests.contact.desk import until
from tests.contact.test_process import ROOT, Process, patiently
from tests.contact.test_reach import brief
from tests.contact.town import Town
from tests.fixtures.postgres import Databases, Fresh
from tests.fixtures.serving import Keys, Serve

PEOPLE = range(1, 7)


class Portrait(Process):
    """`python -m services.portrait serve --work`, one process after the other on the same port and database."""

    async def start(self) -> None:
        command = [sys.executable, "-m", "services.portrait", "serve", "--work"]
        self.running = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=self.environ, stderr=asyncio.subprocess.DEVNULL
        )


@asynccontextmanager
async def portrait(fresh: Fresh, keys: Keys, town: Town, folder: Path) -> AsyncIterator[tuple[Portrait, str]]:
    """portrait's process, fed by the town's events, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    token = folder / "portrait.token"
    token.write_text(keys.token(roles={"service"}))
    environ = {
        **os.environ,
        **fresh.environ,
        "JWT_KEYS": str(keys.path),
        "SERVICE_TOKEN_FILE": str(token),
        "LISTEN": listen,
        "PEER_INGEST": town.target,
        "LAKE_URL": (folder / "lake").as_uri(),
        "MOMENT_PARTITIONS": "2",
        "SCRATCH": str(folder / "scratch"),
        "DRAIN_SECONDS": "0",
    }
    process = Portrait(environ)
    await process.start()
    try:
        yield process, listen
    finally:
        if process.running is not None and process.running.returncode is None:
            await process.kill(signal.SIGTERM)


@asynccontextmanager
async def deciding(db: Database, serving: Serve, keys: Keys, town: Town, at: str, folder: Path) -> AsyncIterator[None]:
    """Contact at work, following portrait."""
    token = keys.token(roles={"service"})
    theirs, around = open_channel(at, token=lambda: token), grpc.aio.insecure_channel(town.target)
    built = app.build(db, around, around, None, theirs, folder=folder / "ocrm", zone=SHANGHAI)
    async with serving("contact", register=built.register, rights=RIGHTS, background=built.background, ready=db.ping):
        yield
    await theirs.close()
    await around.close()


@pytest.mark.timeout(240)
async def test_a_moment_that_portrait_finds_becomes_one_grant_and_one_message_however_often_it_is_told(
    databases: Databases, keys: Keys, serving: Serve, town: Town, tmp_path: Path
) -> None:
    """R003-074, R003-076: event → portrait's rule → WatchMoments → decision → message; portrait is killed before it
    finds the moment, and contact reads the whole stream again as if it had died before its cursor was kept.
    """
    theirs, ours = databases.fresh("portrait"), databases.fresh("contact")
    db = await Database.open(ours.url, schema="contact", application="tests")
    await furnish(db, customers=len(PEOPLE), rule=rules(most=9), campaigns=[offers(brief=brief(moments=("fee",)))])

    def kept(query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in ours.admin(query)]

    async def sent() -> Any:
        return kept("SELECT customer_key, campaign_id FROM contact.message")

    async def read_again() -> Any:
        followed = kept("SELECT cursor FROM contact.consumer_cursor WHERE consumer = 'moments' AND cursor <> ''")
        return followed and not kept("SELECT FROM contact.moment WHERE NOT acted")

    async with portrait(theirs, keys, town, tmp_path) as (process, at):
        operator = keys.token(roles={"operator"})
        channel = open_channel(at, token=lambda: operator)
        ask = proto.PortraitServiceStub(channel)
        page = proto.FieldTest(field="page", one_of=proto.FieldTest.Values(values=["fee"]))
        happened = proto.MomentPattern.Happened(event=proto.EventMatch(types=["behaviour.web"], tests=[page]))
        rule = proto.MomentRule(rule_id="fee", title="查资费", pattern=proto.MomentPattern(happened=happened))
        await patiently(ask.CreateMomentRule, proto.CreateMomentRuleRequest(rule=rule, request_id="r1"))
        await patiently(ask.PublishMomentRule, proto.PublishMomentRuleRequest(rule_id="fee", request_id="r2"))
        await channel.close()
        await town.publish_matrix("m1", {(key, "P01"): 0.5 for key in PEOPLE})
        await process.kill()
        theirs.admin("UPDATE portrait.consumer_cursor SET lease_until = now()")
        theirs.admin("UPDATE portrait.moment_partition SET lease_until = now()")
        theirs.admin("DELETE FROM portrait.moment_worker")
        now = datetime.now(UTC)
        pages = [("behaviour.web", key, now, {"page": "fee" if key == 4 else "news"}) for key in PEOPLE]
        await town.tell(*pages)
        async with deciding(db, serving, keys, town, at, tmp_path):
            await process.start()
            assert await until(sent, 120) == [(4, "campaign-秋季")]
        granted = "SELECT customer_key FROM contact.decision WHERE state IN ('RESERVED', 'CONFIRMED')"
        assert kept(granted) == [(4,)]
        ours.admin("DELETE FROM contact.consumer_cursor WHERE consumer = 'moments'")
        ours.admin("UPDATE contact.moment SET acted = false, match_time = match_time - interval '1 second'")
        async with deciding(db, serving, keys, town, at, tmp_path):
            await until(read_again, 120)
    assert (await sent(), kept(granted)) == ([(4, "campaign-秋季")], [(4,)])
    await db.close()
