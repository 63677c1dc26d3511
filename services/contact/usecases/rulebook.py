"""What decisions go by, in memory: rules, campaigns, prices and scores, no older than a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from services.contact.domain import decision
from services.contact.domain.auction import Matrix
from services.contact.domain.decision import Book
from services.contact.lake import LakeFile
from services.contact.refusals import inputs_incomplete
from services.contact.store import Store
from services.kit.db import Database

BOOK_SECONDS = 1.0
"""How old rules, campaigns and prices may be: a kill switch works within so many seconds."""


class Rulebook:
    """The book of one process."""

    def __init__(
        self,
        db: Database,
        store: Store,
        matrix_files: Callable[[str], Awaitable[Sequence[LakeFile]]],
        read_matrix: Callable[[Sequence[LakeFile]], Matrix],
    ) -> None:
        self._db = db
        self._store = store
        self._matrix_files = matrix_files
        self._read_matrix = read_matrix
        self._book: Book | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()
        self._scored = ""
        self._scores = decision.NOBODY
        self._loading: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Have rules and scores in memory. Raises inputs_incomplete."""
        await self.book()
        if self._loading is not None:
            await self._loading
        await self.book()

    async def book(self) -> Book:
        """The book, no older than BOOK_SECONDS. Raises inputs_incomplete."""
        if self._book is None or time.monotonic() >= self._until:
            async with self._lock:
                if self._book is None or time.monotonic() >= self._until:
                    await self._load()
        assert self._book is not None
        return self._book

    async def _load(self) -> None:
        async with self._db.read() as read:
            policy = await self._store.policies.latest(read)
            campaigns = await self._store.campaigns.active(read)
            plan = await self._store.plans.get(read, "")
            matrix = await self._store.matrices.get(read, "")
        if policy is None:
            raise inputs_incomplete("policy")
        if matrix is not None and matrix.matrix_id != self._scored and (self._loading is None or self._loading.done()):
            self._loading = asyncio.create_task(self._load_scores(matrix.matrix_id))
        prices = {price.constraint: price.price_fen for price in plan.prices} if plan else {}
        channel_price = {limit.channel: prices.get(f"capacity {limit.channel}", 0.0) for limit in policy.channel_limits}
        campaign_price = {
            one.name: prices.get(f"max {one.name}", 0.0) + prices.get(f"min {one.name}", 0.0) for one in campaigns
        }
        self._book = Book(policy, tuple(campaigns), channel_price, campaign_price, self._scores)
        self._until = time.monotonic() + BOOK_SECONDS

    async def _load_scores(self, matrix_id: str) -> None:
        files = await self._matrix_files(matrix_id)
        self._scores = await asyncio.to_thread(lambda: decision.Scores(self._read_matrix(files)))
        self._scored = matrix_id
        self._until = 0.0
