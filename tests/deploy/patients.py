"""What can go wrong in the services, each with the fault that makes it: used by tests/deploy/faults.py."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import grpc.aio
from google.protobuf.empty_pb2 import Empty as Nobody
from google.type.date_pb2 import Date
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from lifecircle.contact import v1 as contact
from services.contact import app
from services.contact.api import RIGHTS as contact_rights
from services.kit import cursors, jobs, server
from services.kit.channel import open_channel
from services.kit.config import ServerSettings
from services.kit.db import Database, Write
from services.kit.errors import Kind, Refusal
from services.kit.ids import system_ids
from services.kit.interceptors import Rights
from tests.contact.desk import Desk as Campaigner
from tests.contact.desk import until
from tests.contact.town import playing
from tests.fixtures.clock import FakeClock
from tests.fixtures.serving import Keys
from tests.ingest.house import House as Ingest
from tests.ingest.made import ZONE, text_of
from tests.kit import workshop
from tests.recommend.house import House as Recommend

DAY = date(2026, 10, 1)
_THERE = 0
CHANNELS = contact.CHANNEL_APP, contact.CHANNEL_CALL, contact.CHANNEL_SMS
LATE = Date(year=2036, month=1, day=1)
# Four customers and two offers whose best shares of two narrow channels are no whole contacts.
SCARCE = {(1, "P02"): 0.03, (1, "P03"): 0.32, (2, "P02"): 0.39, (2, "P03"): 0.37}
SCARCE |= {(3, "P02"): 0.74, (3, "P03"): 0.28, (4, "P02"): 0.02, (4, "P03"): 0.63}
TIGHT = [
    contact.Policy.ChannelLimit(
        channel=channel, capacity=capacity, cost_fen=5, quiet_from_hour=21, quiet_to_hour=9, lift_bps=10_000
    )
    for channel, capacity in ((contact.CHANNEL_SMS, 2), (contact.CHANNEL_CALL, None), (contact.CHANNEL_APP, 1))
]


def offer(product_id: str, *channels: contact.Channel.ValueType) -> contact.Offer:
    """An offer of little worth."""
    return contact.Offer(product_id=product_id, content="首月半价", channels=channels, worth_fen=100)


async def serve(
    closing: AsyncExitStack,
    folder: Path,
    register: server.Register,
    rights: Rights,
    background: Sequence[server.Background] = (),
) -> grpc.aio.Channel:
    """Starts a server behind the kit's chain; gives a channel of one who may do all that an operator may."""
    keys = Keys(folder / f"{system_ids()}.json")  # each server has keys of its own
    settings = ServerSettings(
        "postgresql://unused", keys.path, listen="127.0.0.1:0", drain_seconds=timedelta(0), grace_seconds=timedelta(2)
    )
    running = server.running(
        service="faults", settings=settings, register=register, rights=rights, background=background
    )
    port, shown = await closing.enter_async_context(running), keys.token(roles={"operator"})
    channel = open_channel(f"127.0.0.1:{port}", token=lambda: shown, default_deadline=60)
    closing.push_async_callback(channel.close)
    return channel


class Calls:
    """A server whose methods answer, fail, or take their time; and a caller."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    @classmethod
    async def opened(cls, closing: AsyncExitStack, folder: Path) -> Calls:
        """Starts the server."""
        rights = dict.fromkeys(("Well", "Fail", "Dawdle"), frozenset({"operator"}))
        return cls(await serve(closing, folder, cls.register, rights))

    @staticmethod
    def register(to: grpc.aio.Server) -> None:
        """Adds the methods."""

        async def well(request: Nobody, context: object) -> Nobody:
            return request

        async def fail(request: Nobody, context: object) -> Nobody:
            raise RuntimeError("a fault of ours")

        async def dawdle(request: Nobody, context: object) -> Nobody:
            await asyncio.sleep(1.05)
            return request

        methods = {"Well": well, "Fail": fail, "Dawdle": dawdle}
        handlers: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(method, Nobody.FromString, Nobody.SerializeToString)
            for name, method in methods.items()
        }
        to.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("faults.Faults", handlers),))

    async def ask(self, **times: int) -> None:
        """Calls methods so often, all at once; what fails fails."""

        async def one(name: str) -> None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._channel.unary_unary(f"/faults.Faults/{name}", Nobody.SerializeToString)(
                    Nobody(), timeout=30
                )

        await asyncio.gather(*(one(name) for name, number in times.items() for _ in range(number)))


async def dies() -> None:
    """Background work that ends with an error, under the kit's supervision."""
    stop = asyncio.Event()

    async def broken(_: asyncio.Event) -> None:
        stop.set()
        raise RuntimeError("dead")

    health = SimpleNamespace(background=lambda *_: asyncio.sleep(0))
    await server._supervise(broken, stop, health)  # type: ignore[arg-type]


class Following:
    """A consumer's follower with its lease and cursor in PostgreSQL; only the ten minutes of silence are not waited."""

    def __init__(self, follower: cursors._Follower[int]) -> None:
        self._follower = follower
        self._numbers = itertools.count(1)

    @classmethod
    async def opened(cls, db: Database) -> Following:
        """Takes the lease."""

        async def handle(tx: Write, number: int) -> None:
            await tx.execute(text("INSERT INTO note VALUES (:note_id, 'heard')"), {"note_id": number})

        async with db.begin() as tx:
            await handle(tx, _THERE)
            await tx.commit()
        row = await cursors._acquire(db, "events", system_ids(), 3600)
        assert row is not None
        watch: Any = None  # what comes is said by the words
        return cls(cursors._Follower(db, "events", row.epoch, row.cursor, watch, handle, asyncio.Event(), 3600.0))

    async def heard(self) -> None:
        """The next event, and the lease renewed."""
        number = next(self._numbers)
        await self._follower._take(cursors.Followed(str(number), number))
        assert await self._follower.renew()

    async def fails(self) -> None:
        """An event whose effect the database refuses, as it is there already: asked for three times more."""
        for _ in range(3):
            try:
                await self._follower._take(cursors.Followed("again", _THERE))
            except IntegrityError as error:
                await self._follower._failed(error)

    async def silence(self) -> None:
        """Ten minutes without anything; the lease is renewed all the while."""
        self._follower._moved = time.monotonic() - 600
        assert await self._follower.renew()


@dataclass
class Working:
    """A worker of the kit over a real table of jobs."""

    db: Database
    numbers: itertools.count[int]

    async def job(self, *, refused: bool) -> None:
        """One job, to its end."""

        async def handle(running: jobs.Running) -> None:
            if refused:
                raise Refusal(Kind.FAILED_PRECONDITION, "NO_DATA", "nothing there")
            await workshop.succeed(running, self.db)

        name = f"j{next(self.numbers)}"
        await workshop.create(self.db, name, kind="score")
        async with workshop.working(self.db, {"score": handle}):
            while (await workshop.get(self.db, name)).state not in workshop.ENDED:
                await asyncio.sleep(0.01)


class Arrivals:
    """A feed of ingest whose file is due at nine every morning; its days go by as the files need them to."""

    TEXT = text_of(
        {"name": "number", "type": "int", "required": True},
        feed="mornings", file_name="MORNING_{period}_{sequence}.TXT",
        schedule={"cycle": "daily", "due": "09:00"}, rejects={"alarm": 0.01},
    )  # fmt: skip

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._day = datetime.now(ZoneInfo(ZONE)).date() - timedelta(days=300)
        self._numbers = itertools.count(1)
        self._state = ""

    async def look(self, wanted: str) -> None:
        """Ingest looks at its supply after the day's file did not come ("late"), came with bad rows ("broken"), or came
        as it should ("well")."""
        if wanted != self._state:
            if wanted == "late":
                self._day += timedelta(days=1)
                self._ingest.ahead += timedelta(days=1)
            else:
                await self._deliver(bad=10 if wanted == "broken" else 0)
            self._state = wanted
        await self._ingest.supply.watch()

    async def _deliver(self, bad: int) -> None:
        rows = [f"{next(self._numbers)}" if n >= bad else "x" for n in range(100)]
        delivered = await self._ingest.deliver(f"MORNING_{self._day:%Y%m%d}_001.TXT", "\n".join(rows) + "\n")
        assert (delivered.source_rows, delivered.rejected_rows) == (100, bad)
        ten = datetime.combine(self._day + timedelta(days=1), clock(10), ZoneInfo(ZONE))
        self._ingest.ahead = ten - datetime.now(UTC)


async def delivery(ingest: Ingest, number: int, bad: int) -> None:
    """A file of a hundred rows of which so many are no numbers, dropped and loaded."""
    rows = [str(n) if n >= bad else "x" for n in range(100)]
    period = DAY + timedelta(days=number)
    await ingest.deliver(f"TEST_{period:%Y%m%d}_001.TXT", "\n".join(rows) + "\n")


class Market:
    """Contact at work between the neighbours of its own tests; every plan is for a later day than the one before."""

    def __init__(self, desk: Campaigner) -> None:
        self._desk = desk
        self._days = itertools.count(1, 40)  # further apart than the window of the caps
        self._plain: list[str] = []
        self._tight: list[str] = []

    @classmethod
    async def opened(cls, closing: AsyncExitStack, folder: Path, db: Database) -> Market:
        """Starts contact, with a hundred customers, what they would like, and campaigns."""
        town = await closing.enter_async_context(playing(folder))
        channel = grpc.aio.insecure_channel(town.target)
        closing.push_async_callback(channel.close)
        clock = FakeClock(datetime(2026, 9, 30, 2, tzinfo=UTC))
        built = app.build(db, channel, channel, folder=folder / "ocrm", zone=ZoneInfo("Asia/Shanghai"), clock=clock)
        stub = contact.ContactServiceStub(
            await serve(closing, folder, built.register, contact_rights, built.background)
        )
        made, keys = cls(Campaigner(stub)), range(1, 101)
        await town.publish_customers(dict.fromkeys(keys, ("G01", "B", "active")))
        await town.consent(keys)
        await town.publish_matrix("m1", {(key, "P01"): 0.5 for key in keys} | SCARCE)
        await made._desk.set_policy()
        plain = await made._desk.run_campaign("plain", end_date=LATE)
        scarce = [
            await made._desk.run_campaign("first", offers=[offer("P02", contact.CHANNEL_SMS)], end_date=LATE),
            await made._desk.run_campaign("second", offers=[offer("P03", *CHANNELS)], end_date=LATE, contacts_max=2),
        ]
        made._plain, made._tight = [plain.campaign_id], [each.campaign_id for each in scarce]
        await until(made._ready)
        return made

    async def _ready(self) -> bool:
        """Whether a plan can be made: what the neighbours told has arrived."""
        try:
            return bool(await self._planned(0, self._plain))
        except (AssertionError, grpc.aio.AioRpcError):
            return False

    async def _planned(self, days: int, campaigns: Sequence[str]) -> str:
        day = DAY + timedelta(days=days)
        on = Date(year=day.year, month=day.month, day=day.day)
        ended = await self._desk.end_of((await self._desk.arbitrate(plan_date=on, campaign_ids=campaigns)).job_id)
        assert ended.state == contact.Job.STATE_SUCCEEDED, ended.error
        return ended.job_id

    async def plan(self, *, tight: bool) -> None:
        """The day's auction is held and its plan published; tight limits keep it from the best."""
        if tight:
            await self._desk.set_policy(channel_limits=TIGHT)
        else:
            await self._desk.set_policy()
        await self._planned(next(self._days), self._tight if tight else self._plain)

    async def hand_over(self, *, twice: bool) -> None:
        """A plan is handed over; another of the same customers, made before, finds their caps used up."""
        await self._desk.set_policy()
        day = next(self._days)
        for plan_id in [await self._planned(day + more, self._plain) for more in range(2 if twice else 1)]:
            ended = await self._desk.end_of((await self._desk.hand_over(plan_id)).job_id)
            assert ended.state == contact.Job.STATE_SUCCEEDED, ended.error


async def model(recommend: Recommend, *, days: int) -> None:
    """The champion is loaded; it was made so many days ago."""
    async with recommend.db.read() as read:
        kept = await recommend.models.model(read, "m1")
    assert kept is not None
    await recommend.keeper._load(replace(kept, create_time=datetime.now(UTC) - timedelta(days=days)))


async def refuse(recommend: Recommend) -> None:
    """A champion is to be loaded whose files are not there."""
    async with recommend.db.read() as read:
        kept = await recommend.models.model(read, "m1")
    assert kept is not None
    await recommend.keeper._load(replace(kept, model_id="lost"))
