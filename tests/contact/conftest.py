"""The service in this process, between a town that a test plays and a desk that calls it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc.aio
import pytest

from lifecircle.contact.v1 import ContactServiceStub
from services.contact import app
from services.contact.api import RIGHTS
from services.kit.db import Database
from tests.contact.desk import Desk
from tests.contact.town import Town, playing
from tests.fixtures.clock import FakeClock
from tests.fixtures.postgres import Databases, Fresh
from tests.fixtures.serving import Serve, Served


@dataclass(frozen=True)
class Running:
    """Contact at work: who tells it, who calls it, and where its files appear."""

    town: Town
    desk: Desk
    served: Served
    db: Database
    out: Path


@dataclass(frozen=True)
class Quiet:
    """The service without its background and without neighbours: the test says when time is looked at."""

    served: Served
    db: Database
    clock: FakeClock

    def stub(self, subject: str = "li", **claims: Any) -> ContactServiceStub:
        """A caller of this name, an operator unless told otherwise."""
        return ContactServiceStub(self.served.channel(**({"roles": {"operator"}, "subject": subject} | claims)))


@pytest.fixture
async def quiet(serving: Serve, fresh: Fresh, tmp_path: Path) -> AsyncIterator[Quiet]:
    db = await Database.open(fresh.url, schema="contact", application="tests")
    nowhere = grpc.aio.insecure_channel("127.0.0.1:1")
    clock = FakeClock(datetime(2026, 10, 1, 2, tzinfo=UTC))
    built = app.build(db, nowhere, nowhere, folder=tmp_path, zone=ZoneInfo("Asia/Shanghai"), clock=clock)
    async with serving("contact", register=built.register, rights=RIGHTS) as served:
        yield Quiet(served, db, clock)
    await nowhere.close()
    await db.close()


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with playing(tmp_path) as town:
        yield town


@pytest.fixture
def fresh(databases: Databases) -> Fresh:
    """A database for one test."""
    return databases.fresh("contact")


@pytest.fixture
async def running(serving: Serve, fresh: Fresh, town: Town, tmp_path: Path) -> AsyncIterator[Running]:
    db = await Database.open(fresh.url, schema="contact", application="tests")
    channel = grpc.aio.insecure_channel(town.target)
    clock = FakeClock(datetime(2026, 9, 30, 2, tzinfo=UTC))
    out = tmp_path / "ocrm"
    built = app.build(db, channel, channel, folder=out, zone=ZoneInfo("Asia/Shanghai"), clock=clock)
    async with serving(
        "contact", register=built.register, rights=RIGHTS, background=built.background, ready=db.ping
    ) as served:
        stub = ContactServiceStub(served.channel(roles={"operator"}))
        yield Running(town, Desk(stub), served, db, out)
    await channel.close()
    await db.close()
