"""A process in which things go wrong on request: `python -m tests.deploy.faults PORT`, then a word per line on stdin.

What serves, supervises, follows and watches is the kit's and ingest's own code; where a fault would need an hour of a
whole platform (a plan, a model, a hand-over), the word is said where the service itself says it. Each word is answered
by "done"; the metrics are fetched at PORT like those of any process.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from services.contact.usecases import auctions, handovers
from services.ingest.usecases import load
from services.ingest.usecases.supply import Supply
from services.kit import cursors, jobs, server, telemetry
from services.kit.ids import system_ids
from services.kit.interceptors import tracing
from services.kit.interceptors.call import Call, Method
from services.points.usecases import scoring
from services.recommend.usecases import keeping
from tests.ingest.made import ZONE, feed_of
from tests.ingest.test_supply import DAILY, NOW, loaded


class Nothing:
    """A database that holds nothing, and stores whose every answer is the same."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    @asynccontextmanager
    async def begin(self) -> Any:
        yield self

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def answer(*_: object) -> Any:
            return self.answers.get(name)

        return answer


def call(code: str, seconds: float) -> None:
    """An RPC that ended so, after so long."""
    one = Call(Method.at("/lifecircle.points.v1.PointsService/GetPeriod"), None, {}, time.perf_counter() - seconds)  # type: ignore[arg-type]
    one.code = code
    with tracing.span(one) as span:
        tracing.ended(one, span)


async def dies() -> None:
    """Background work that ends with an error, under the kit's supervision."""
    stop = asyncio.Event()

    async def broken(_: asyncio.Event) -> None:
        stop.set()
        raise RuntimeError("dead")

    health = SimpleNamespace(background=lambda *_: asyncio.sleep(0))
    await server._supervise(broken, stop, health)  # type: ignore[arg-type]


def follower() -> cursors._Follower[str]:
    """A consumer's follower over a database that takes everything."""

    async def handle(*_: object) -> None:
        raise RuntimeError("this event is too much")

    return cursors._Follower(
        Nothing(execute=1),  # type: ignore[arg-type]
        "events", 1, "", lambda _: None, handle, asyncio.Event(), 15.0,  # type: ignore[arg-type,return-value]
    )  # fmt: skip


FOLLOWER = follower()


async def fails() -> None:
    """An event that cannot be handled, once more."""
    try:
        await FOLLOWER._take(cursors.Followed("1", "event"))
    except RuntimeError as error:
        await FOLLOWER._failed(error)


async def heard() -> None:
    """A checkpoint of a quiet stream, and the lease renewed."""
    await FOLLOWER._take(cursors.Followed("2", None))
    await FOLLOWER.renew()


async def silence() -> None:
    """Ten minutes without anything; the lease is renewed all the while."""
    FOLLOWER._moved = time.monotonic() - 600
    await FOLLOWER.renew()


async def supply(sent: list[Any], **keys: object) -> None:
    """Ingest's look at one feed, of which so much came."""
    feed = feed_of({"name": "word", "type": "string"}, **keys)
    feeds = Nothing(all_in_force=[SimpleNamespace(feed=feed)])
    alarms = Nothing(recent={feed.feed_id: sent}, open=[])
    watcher = Supply(Nothing(), feeds, alarms, ZONE, lambda: NOW.astimezone(UTC), system_ids)  # type: ignore[arg-type]
    await watcher.watch()


def model(days: int) -> None:
    """The model that serves was made so many days ago."""
    keeping._created((datetime.now(UTC) - timedelta(days=days)).timestamp())


async def refuse() -> None:
    """The champion's files are not there."""
    keeper = keeping.Keeper(*(None,) * 5)  # type: ignore[arg-type]
    await keeper._load(SimpleNamespace(model_id="m", sha256=""))  # type: ignore[arg-type]


def many(instrument: Callable[..., None], key: str, good: tuple[str, int], bad: tuple[str, int]) -> Callable[[], None]:
    """A counter told of so many of either kind."""

    def tell() -> None:
        for word, number in (good, bad):
            instrument(number, **{key: word})

    return tell


def rows(rejected: int) -> None:
    """A delivery of a hundred rows was loaded."""
    load._rows(100 - rejected, feed="tests", outcome="loaded")
    load._rows(rejected, feed="tests", outcome="rejected")


WORDS: dict[str, Callable[[], object]] = {
    "call well": lambda: [call("OK", 0.01) for _ in range(100)],
    "call fault": lambda: [call("INTERNAL" if n % 10 == 0 else "OK", 0.01) for n in range(100)],
    "call slow": lambda: [call("OK", 3.0 if n % 10 == 0 else 0.01) for n in range(100)],
    "background dies": dies,
    "background well": lambda: None,
    "follower fails": fails,
    "follower well": heard,
    "follower silent": silence,
    "job fails": lambda: jobs._ends(1, kind="score", outcome="failed"),
    "job well": lambda: jobs._ends(1, kind="score", outcome="succeeded"),
    "job settles": lambda: jobs._ends(0, kind="score", outcome="failed"),
    "file late": lambda: supply([loaded(8), loaded(10)], schedule=DAILY),
    "file broken": lambda: supply([loaded(9), loaded(10, rejected=2)], schedule=DAILY, rejects={"alarm": 0.01}),
    "file well": lambda: supply([loaded(9), loaded(10)], schedule=DAILY),
    "rows rejected": lambda: rows(10),
    "rows well": lambda: rows(0),
    "model refused": refuse,
    "model settles": lambda: keeping._refused(0, why="TypeError"),
    "model old": lambda: model(120),
    "model well": lambda: model(3),
    "plan gap": lambda: auctions._gap(0.03),
    "plan well": lambda: auctions._gap(0.0001),
    "caps refuse": many(handovers._told, "verdict", ("SENT", 60), ("CAP_REACHED", 40)),
    "caps well": many(handovers._told, "verdict", ("SENT", 99), ("CAP_REACHED", 1)),
    "points wait": many(scoring._scored, "state", ("SCORED", 80), ("UNKNOWN_PRODUCT", 20)),
    "points well": many(scoring._scored, "state", ("SCORED", 100), ("UNKNOWN_PRODUCT", 0)),
}


async def obey(word: str) -> None:
    """Does what a word says."""
    done = WORDS[word]()
    if asyncio.iscoroutine(done):
        await done


if __name__ == "__main__":
    telemetry.setup("faults", {"METRICS_LISTEN": f"127.0.0.1:{sys.argv[1]}", "LOG_LEVEL": "CRITICAL"})
    print("done", flush=True)
    for line in sys.stdin:
        asyncio.run(obey(line.strip()))
        print("done", flush=True)
