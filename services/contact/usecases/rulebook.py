"""What decisions go by, in memory: rules, campaigns, prices and scores, no older than a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, tzinfo

from services.contact.domain import decision, pacing
from services.contact.domain.auction import Matrix
from services.contact.domain.decision import Book, Prices
from services.contact.domain.membership import Members
from services.contact.domain.policy import Policy, business_day
from services.contact.domain.pricing import passed, quotas_of
from services.contact.lake import LakeFile
from services.contact.refusals import inputs_incomplete
from services.contact.store import Store
from services.contact.store.prices import PriceSet
from services.kit import domains
from services.kit.clock import Clock
from services.kit.db import Database, Read

BOOK_SECONDS = 1.0
"""How old rules, campaigns and prices may be: a kill switch works within so many seconds."""


class Rulebook:
    """The book of one process."""

    def __init__(
        self,
        db: Database,
        store: Store,
        clock: Clock,
        zone: tzinfo,
        matrix_files: Callable[[str], Awaitable[Sequence[LakeFile]]],
        read_matrix: Callable[[Sequence[LakeFile]], Matrix],
    ) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._zone = zone
        self._matrix_files = matrix_files
        self._read_matrix = read_matrix
        self._book: Book | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()
        self._scored = ""
        self._scores = decision.NOBODY
        self._members: dict[str, tuple[datetime, Members]] = {}
        self._loading: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Have rules and scores in memory. Raises inputs_incomplete."""
        await self.book()
        if self._loading is not None:
            await self._loading
        await self.book()

    @property
    def scored(self) -> bool:
        """Whether scores are in memory, or none were ever published that could be."""
        return bool(self._scored) or (self._book is not None and self._loading is None)

    @property
    def stale(self) -> bool:
        """Whether the book in hand is too old, or none is."""
        return self._book is None or time.monotonic() >= self._until

    async def book(self) -> Book:
        """The book, no older than BOOK_SECONDS. Raises inputs_incomplete."""
        if self.stale:
            async with self._lock:
                if self.stale:
                    with domains.whole():  # the book is every caller's, whoever is the first to ask for it
                        await self._load()
        assert self._book is not None
        return self._book

    async def _load(self) -> None:
        now = self._clock()
        on = business_day(now, self._zone)
        async with self._db.read() as read:
            policy = await self._store.policies.latest(read)
            campaigns = await self._store.campaigns.active(read)
            priced = await self._store.prices.latest(read, on)
            matrix = await self._store.matrices.get(read, "")
            await self._load_members(read, [one.campaign_id for one in campaigns if one.limited])
            names = quotas_of(policy, campaigns, on) if policy else {}
            used = await self._store.decisions.quotas(read, list(names.values())) if priced else {}
        if policy is None:
            raise inputs_incomplete("policy")
        if self._book is not None and self._book.policy == policy:
            policy = self._book.policy  # the very same, by which standings know what they remember
        if matrix is not None and matrix.matrix_id != self._scored and (self._loading is None or self._loading.done()):
            self._loading = asyncio.create_task(self._load_scores(matrix.matrix_id))
        told = self._paced(policy, priced, on, now, {name: used.get(quota) for name, quota in names.items()})
        prices = Prices(
            {one.channel: told.get(f"capacity {one.channel}", 0.0) for one in policy.channel_limits},
            {one.name: told.get(f"max {one.name}", 0.0) + told.get(f"min {one.name}", 0.0) for one in campaigns},
            {one.name: told.get(f"budget {one.name}", 0.0) for one in campaigns},
        )
        members = {campaign_id: one for campaign_id, (_, one) in self._members.items()}
        self._book = Book(policy, tuple(campaigns), prices, self._scores, members)
        self._until = time.monotonic() + BOOK_SECONDS

    def _paced(
        self,
        policy: Policy,
        priced: PriceSet | None,
        on: date,
        now: datetime,
        used: Mapping[str, tuple[int, int] | None],
    ) -> Mapping[str, float]:
        """The prices in force by limit, moved by how far the day's use is from an even pace.

        What is not used of the blocks that are leased counts as used; a block is small against a limit that has a
        price worth moving.
        """
        if priced is None or priced.business_day != on:
            return priced.prices if priced else {}
        found = dict(priced.prices)
        for name, told in used.items():
            if told is not None and name in found:
                capacity, leased = told
                kind, _, channel = name.partition(" ")
                share = passed(policy, channel if kind == "capacity" else "", now, self._zone)
                begun = priced.begun.get(name, 0.0)
                due = pacing.due(capacity, begun, priced.since_share, share)
                found[name] = pacing.paced(found[name], leased - begun, due - begun, capacity - begun)
        return found

    async def _load_members(self, read: Read, campaign_ids: Sequence[str]) -> None:
        """Have the audiences of these campaigns and of no others; only what changed is read."""
        loaded = await self._store.audiences.loaded(read, campaign_ids)
        changed = [one for one in loaded if one not in self._members or self._members[one][0] != loaded[one].load_time]
        told = await self._store.audiences.members(read, changed) if changed else {}
        fresh = {one: (loaded[one].load_time, told[one]) for one in changed if one in told}
        kept = {one: self._members[one] for one in loaded if one in self._members}
        self._members = {**kept, **fresh}

    async def _load_scores(self, matrix_id: str) -> None:
        files = await self._matrix_files(matrix_id)
        self._scores = await asyncio.to_thread(lambda: decision.Scores(self._read_matrix(files)))
        self._scored = matrix_id
        self._until = 0.0
