"""A process in which things go wrong on request: `python -m tests.deploy.faults PORT FOLDER`, then a word a line.

Each word brings about the fault itself, and the services' own code meets it: calls that fail or take long, jobs that
are refused, an event whose effect the database refuses, files that are late or have bad rows, events of unknown
products, a model that is old or lost, a plan that its limits keep from the best, a hand-over whose customers' caps are
used up. The databases are those of KIT_URL, INGEST_URL and so on.
A word is answered by "done"; the metrics are fetched at PORT like those of any process.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from services.kit import telemetry
from services.kit.db import Database
from tests.deploy.patients import Arrivals, Calls, Following, Market, Working, delivery, dies, model, refuse
from tests.ingest.house import House as Ingest
from tests.ingest.made import text_of
from tests.points.desk import Desk
from tests.points.made import event
from tests.recommend.house import House as Recommend

NUMBERS = text_of({"name": "number", "type": "int", "required": True})


class House:
    """Everything in which something can go wrong; each part is made when it is first asked for."""

    def __init__(self, closing: AsyncExitStack, folder: Path) -> None:
        self._closing, self._folder = closing, folder
        self._made: dict[str, Any] = {}
        self.numbers = itertools.count(1)

    async def _database(self, service: str, schema: str) -> Database:
        opened = await Database.open(os.environ[f"{service}_URL"], schema=schema, application="faults")
        self._closing.push_async_callback(opened.close)
        return opened

    async def part(self, name: str) -> Any:
        """A part by its name."""
        if name not in self._made:
            self._made[name] = await getattr(self, name)()
        return self._made[name]

    async def calls(self) -> Calls:
        """A server and its caller."""
        return await Calls.opened(self._closing, self._folder)

    async def following(self) -> Following:
        """A follower."""
        return await Following.opened(await self._database("KIT", "sample"))

    async def working(self) -> Working:
        """A worker."""
        return Working(await self._database("KIT", "sample"), self.numbers)

    async def ingest(self) -> Ingest:
        """Ingest with one small feed."""
        made = Ingest(await self._database("INGEST", "ingest"), self._folder)
        await made.feeds.ship([NUMBERS])
        return made

    async def arrivals(self) -> Arrivals:
        """Ingest's feed that has a schedule."""
        house: Ingest = await self.part("ingest")
        await house.feeds.ship([NUMBERS, Arrivals.TEXT])
        return Arrivals(house)

    async def points(self) -> Desk:
        """Points that know products, staff and rules."""
        desk = Desk(await self._database("POINTS", "points"))
        await desk.learn()
        await desk.publish()
        return desk

    async def market(self) -> Market:
        """Contact with campaigns."""
        return await Market.opened(self._closing, self._folder, await self._database("CONTACT", "contact"))

    async def recommend(self) -> Recommend:
        """Recommend with a trained champion."""
        made = Recommend(await self._database("RECOMMEND", "recommend"), self._folder)
        await made.train("m1")
        return made

    async def score(self, unknown: int) -> None:
        """A hundred business events, so many of them of a product that nobody knows."""
        desk: Desk = await self.part("points")
        numbers = [next(self.numbers) for _ in range(20)]
        told = [event(n, product_id="NEW" if place < unknown // 5 else "P1") for place, n in enumerate(numbers)]
        await desk.take(*told)

    async def obey(self, word: str) -> None:
        """Does what a word says."""
        part, _, how = word.partition(" ")
        if part == "call":
            asked = {"well": {"Well": 20}, "fault": {"Well": 18, "Fail": 2}, "slow": {"Well": 18, "Dawdle": 2}}[how]
            await (await self.part("calls")).ask(**asked)
        elif part == "background":
            await (dies() if how == "dies" else asyncio.sleep(0))
        elif part == "follower":
            follower: Following = await self.part("following")
            await {"fails": follower.fails, "well": follower.heard, "silent": follower.silence}[how]()
        elif part == "job":
            await (await self.part("working")).job(refused=how == "fails")
        elif part == "file":
            await (await self.part("arrivals")).look(how)
        elif part == "rows":
            await delivery(await self.part("ingest"), next(self.numbers), 10 if how == "rejected" else 0)
        elif part == "model":
            made = await self.part("recommend")
            await (refuse(made) if how == "refused" else model(made, days=120 if how == "old" else 3))
        elif part == "plan":
            await (await self.part("market")).plan(tight=how == "gap")
        elif part == "caps":
            await (await self.part("market")).hand_over(twice=how == "refuse")
        elif part == "points":
            await self.score(20 if how == "wait" else 0)
        else:
            raise KeyError(word)


async def live(port: int, folder: Path) -> None:
    """Obeys until there are no more words."""
    telemetry.setup("faults", {"METRICS_LISTEN": f"127.0.0.1:{port}", "LOG_LEVEL": "CRITICAL"})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a fault or a training says is no answer
    async with AsyncExitStack() as closing:
        house = House(closing, folder)
        print("done", file=answers, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await house.obey(line.strip())
            print("done", file=answers, flush=True)


if __name__ == "__main__":
    asyncio.run(live(int(sys.argv[1]), Path(sys.argv[2])))
