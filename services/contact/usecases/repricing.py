"""Prices made anew within the day, when the scores are no more those that the plan's prices were made from."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, tzinfo

import structlog

from services.contact.domain import auction, pacing, pricing
from services.contact.domain.auction import Matrix
from services.contact.domain.campaign import Campaign
from services.contact.domain.fact import Matrix as Published
from services.contact.domain.policy import Policy, business_day
from services.contact.lake import LakeFile
from services.contact.store import Store
from services.contact.store.prices import PriceSet
from services.contact.usecases.reach import Audiences
from services.contact.usecases.work import REPRICE
from services.kit import jobs
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.ids import Ids
from services.kit.jobs import Running

_log = structlog.get_logger(__name__)


class Repricing:
    """Compares every new matrix with the one behind the prices in force, and solves the rest of the day again."""

    def __init__(
        self,
        db: Database,
        store: Store,
        clock: Clock,
        ids: Ids,
        zone: tzinfo,
        matrix_files: Callable[[str], Awaitable[Sequence[LakeFile]]],
        read_matrix: Callable[[Sequence[LakeFile]], Matrix],
        audiences: Audiences,
    ) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._ids = ids
        self._zone = zone
        self._matrix_files = matrix_files
        self._read_matrix = read_matrix
        self._audiences = audiences

    async def matrix_published(self, tx: Write, matrix: Published) -> None:
        """Where decisions of today go by prices, look whether the matrix has drifted from them."""
        on = business_day(self._clock(), self._zone)
        if await self._store.prices.latest(tx, on) is not None:
            spec: dict[str, object] = {"matrix_id": matrix.matrix_id, "business_day": str(on)}
            key = f"{matrix.matrix_id} {on}"
            await jobs.create(tx, job_id=self._ids(), kind=REPRICE, key=key, spec=spec, now=self._clock())

    async def reprice(self, running: Running) -> None:
        """Solve what is left of the day for the matrix, if it has drifted; nothing else comes of it."""
        on, now = date.fromisoformat(running.job.spec["business_day"]), self._clock()
        matrix_id = running.job.spec["matrix_id"]
        async with self._db.read() as read:
            policy = await self._store.policies.latest(read)
            campaigns = [one for one in await self._store.campaigns.active(read) if one.bids_on(on)]
            before = await self._store.prices.latest(read, on)
        matrix = await asyncio.to_thread(self._read_matrix, await self._matrix_files(matrix_id))
        seen = pricing.expected(matrix, campaigns)
        drifted = before is not None and pacing.drifted(before.expected_fen, seen, len(matrix.score))
        found = None
        if policy is not None and drifted and on == business_day(now, self._zone):
            found = await self._solved(policy, campaigns, matrix, on, now)
        async with self._db.begin() as tx:
            if found is not None:
                share, prices, begun = found
                made = PriceSet(running.job.job_id, on, matrix_id, seen, share, prices, now, begun)
                await self._store.prices.add(tx, made)
                _log.info("prices_made_anew", business_day=str(on), matrix_id=matrix_id, limits=len(prices))
            told = "no drift" if found is None else "prices made anew"
            await running.succeed(tx, message=told, limits=len(found[1]) if found else 0)
            await tx.commit()

    async def _solved(
        self, policy: Policy, campaigns: Sequence[Campaign], matrix: Matrix, on: date, now: datetime
    ) -> tuple[float, Mapping[str, float], Mapping[str, float]] | None:
        """The share of the day that is over, prices for its rest, and what is used of the limits; None at its end."""
        await self._audiences.ready(campaigns)
        names = pricing.quotas_of(policy, campaigns, on)
        async with self._db.read() as read:
            audience = await self._store.audience(read, on, policy.widest_window(), campaigns)
            made = await self._store.decisions.made_on(read, on)
            used = await self._store.decisions.quotas(read, list(names.values()))
        bid = await asyncio.to_thread(auction.bids, matrix, campaigns, policy, audience, on)
        share = pricing.passed(policy, "", now, self._zone)
        prices = await asyncio.to_thread(pricing.rest_of_day, bid, made, share)
        begun = {name: float(used[quota][1]) for name, quota in names.items() if quota in used}
        return None if prices is None else (share, prices, begun)
