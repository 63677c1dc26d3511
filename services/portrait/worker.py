"""Inbound time: peers are followed, jobs are run, moments are watched for, what nobody reads any more is dropped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from services.kit import cursors, jobs
from services.kit.clock import Clock
from services.kit.cursors import Followed
from services.kit.db import Database, Write
from services.kit.waiting import pause
from services.portrait.domain import track
from services.portrait.domain.moment import Event
from services.portrait.domain.readiness import Delivery
from services.portrait.domain.run import LakeFile
from services.portrait.store.projections import Contact
from services.portrait.usecases import KIND, Computing, Journeys, Matching, Plans
from services.portrait.usecases.forgetting import Forgetting
from services.portrait.usecases.journey import Matrix
from services.portrait.usecases.latent import LEARN, SCORE, Learning
from services.portrait.usecases.reports import ReportDesk
from services.portrait.usecases.reviews import ReviewDesk
from services.portrait.usecases.segments import SEGMENT, Clustering
from services.portrait.usecases.wide import WIDE, WideTables

_CONSUMER = "ingest.deliveries"
_TIDY_SECONDS = 60.0
_SCORE_SECONDS = 5.0
_REPORT_SECONDS = 5.0
_REVIEW_SECONDS = 3600.0


@dataclass(frozen=True)
class Peers:
    """What is followed; contact's and recommend's streams only where they are known."""

    events: Callable[[str], AsyncIterator[Followed[list[tuple[Event, int]]]]]
    outcomes: Callable[[str], AsyncIterator[Followed[list[Contact]]]] | None = None
    matrices: Callable[[str], AsyncIterator[Followed[Matrix]]] | None = None
    matrix_files: Callable[[str], Awaitable[list[LakeFile]]] | None = None


@dataclass(frozen=True)
class Learnt:
    """Segments and latent tags: their jobs, and the scoring of every run."""

    clustering: Clustering
    learning: Learning

    def handlers(self) -> dict[str, jobs.Handler]:
        """By kind of job."""
        return {SEGMENT: self.clustering.cluster, LEARN: self.learning.learn, SCORE: self.learning.score}


@dataclass(frozen=True)
class Worker:
    """The background work of one process; `owner` names it in leases."""

    db: Database
    plans: Plans
    computing: Computing
    watch: Callable[[str], AsyncIterator[Followed[Delivery]]]
    matching: Matching
    journeys: Journeys
    peers: Peers
    owner: str
    clock: Clock
    learnt: Learnt | None = None
    wide: WideTables | None = None
    forgetting: Forgetting | None = None

    def background(self) -> list[Callable[[asyncio.Event], Awaitable[None]]]:
        """Everything that runs beside."""
        running: list[Callable[[asyncio.Event], Awaitable[None]]]
        running = [self.follow_deliveries, self.follow_events, self.watch_moments, self.run_jobs, self.tidy]
        if self.learnt is not None:
            running.append(self.score_runs)
        if self.wide is not None:
            running.append(self.widen_runs)
        if self.peers.outcomes is not None:
            running.append(self.follow_contacts)
        if self.peers.matrices is not None:
            running.append(self.follow_matrices)
        return running

    async def follow_deliveries(self, stop: asyncio.Event) -> None:
        """Learn of every delivery that ingest loaded, and plan what it makes due."""
        await cursors.follow(
            self.db, consumer=_CONSUMER, owner=self.owner, watch=self.watch, handle=self.plans.learn, stop=stop
        )

    async def follow_events(self, stop: asyncio.Event) -> None:
        """Journal every event that ingest learns of, and forget whom it says to forget, in the order of the stream."""
        journal = self.matching.journal

        async def take(tx: Write, told: list[tuple[Event, int]]) -> Callable[[], None] | None:
            committed = await journal.take(tx, told)
            if self.forgetting is not None and await self.forgetting.take(tx, told):
                journal.tail.clear()  # whoever was forgotten left the table, and with this the memory of it
                return None
            return committed

        await cursors.follow(
            self.db,
            consumer="ingest.events",
            owner=self.owner,
            watch=self.peers.events,
            handle=take,
            stop=stop,
        )

    async def watch_moments(self, stop: asyncio.Event) -> None:
        """Match the journal's events with the rules, for this process's share of the customers."""
        await self.matching.run(self.owner, stop)

    async def follow_contacts(self, stop: asyncio.Event) -> None:
        """Learn what came of contacts."""
        assert self.peers.outcomes is not None, "is only started with a peer"
        await cursors.follow(
            self.db,
            consumer="contact.outcomes",
            owner=self.owner,
            watch=self.peers.outcomes,
            handle=self.journeys.take_contacts,
            stop=stop,
        )

    async def follow_matrices(self, stop: asyncio.Event) -> None:
        """Pack the offers of each published matrix."""
        assert self.peers.matrices is not None, "is only started with a peer"

        async def take(tx: Write, matrix: Matrix) -> None:
            assert self.peers.matrix_files is not None, "comes with the matrices"
            await self.journeys.take_matrix(tx, matrix, self.peers.matrix_files)

        await cursors.follow(
            self.db, consumer="recommend.matrices", owner=self.owner, watch=self.peers.matrices, handle=take, stop=stop
        )

    async def run_jobs(self, stop: asyncio.Event) -> None:
        """Run jobs, one at a time: a run uses all cores by itself. Kernels are compiled while nothing waits yet."""
        await asyncio.to_thread(track.warm)
        handlers = {KIND: self.computing.compute} | (self.learnt.handlers() if self.learnt is not None else {})
        if self.wide is not None:
            handlers[WIDE] = self.wide.build
        await jobs.work(self.db, handlers, owner=self.owner, clock=self.clock, stop=stop, at_once=1)

    async def score_runs(self, stop: asyncio.Event) -> None:
        """Have every new run, and every new live model, scored."""
        assert self.learnt is not None, "is only started with it"
        while not stop.is_set():
            await self.learnt.learning.plan()
            await pause(_SCORE_SECONDS, stop)

    async def widen_runs(self, stop: asyncio.Event) -> None:
        """Have the wide table of every new run built."""
        assert self.wide is not None, "is only started with it"
        while not stop.is_set():
            await self.wide.plan()
            await pause(_SCORE_SECONDS, stop)

    async def tidy(self, stop: asyncio.Event) -> None:
        """Drop rows of old runs every minute."""
        while not stop.is_set():
            await self.computing.tidy()
            await self.matching.tidy()
            await pause(_TIDY_SECONDS, stop)


async def make_reports(desk: ReportDesk, stop: asyncio.Event) -> None:
    """Make the reports that schedules ask for, a few seconds after each run is published."""
    while not stop.is_set():
        await desk.make_due()
        await pause(_REPORT_SECONDS, stop)


async def remind_of_reviews(desk: ReviewDesk, stop: asyncio.Event) -> None:
    """Remind every hour of definitions and models whose review is overdue."""
    while not stop.is_set():
        await desk.remind()
        await pause(_REVIEW_SECONDS, stop)
