"""Looks ahead and back: what other limits would come to, and why a customer's bids won or lost."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from services.contact.domain import auction, budget
from services.contact.domain.arbitration import DUAL_PRICES
from services.contact.domain.auction import Audience, Matrix
from services.contact.domain.campaign import Campaign
from services.contact.domain.policy import Policy
from services.contact.domain.trial import Fate, Trial, fates, trial
from services.contact.lake import LakeFile
from services.contact.refusals import inputs_incomplete, plan_not_found
from services.contact.store import Store
from services.kit.db import Database
from services.kit.errors import Refusal


@dataclass(frozen=True)
class Change:
    """What to try: another policy (None: the one in force), these campaigns alone (empty: all), another engine."""

    policy: Policy | None
    campaign_ids: tuple[str, ...]
    engine: str = DUAL_PRICES


class Trials:
    """Holds auctions that nothing comes of."""

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

    async def trials(self, on: date, matrix_id: str, changes: Sequence[Change]) -> list[Trial]:
        """What is in force comes to, then each change. Raises inputs_incomplete."""
        async with self._db.read() as read:
            policy = await self._store.policies.latest(read)
            known = await self._store.matrices.get(read, matrix_id)
            if policy is None or known is None:
                raise inputs_incomplete("policy" if policy is None else f"matrix {matrix_id}".strip())
            campaigns = [one for one in await self._store.campaigns.active(read) if one.bids_on(on)]
            window = max([policy.widest_window(), *(one.policy.widest_window() for one in changes if one.policy)])
            audience = await self._store.audience(read, on, window, campaigns)
        matrix = await self._matrix(known.matrix_id)
        tried = [await asyncio.to_thread(_tried, matrix, campaigns, policy, audience, on, DUAL_PRICES)]
        for change in changes:
            chosen = [one for one in campaigns if not change.campaign_ids or one.campaign_id in change.campaign_ids]
            rules = change.policy or policy
            tried.append(await asyncio.to_thread(_tried, matrix, chosen, rules, audience, on, change.engine))
        return tried

    async def fates(self, plan_id: str, customer_key: int) -> tuple[str, list[Fate]]:
        """The plan, and how the customer's bids fare at its prices. Raises plan_not_found."""
        async with self._db.read() as read:
            plan = await self._store.plans.get(read, plan_id)
            if plan is None:
                raise plan_not_found(plan_id)
            policy = await self._store.policies.version(read, plan.policy_version)
            campaigns = [one for one in await self._store.campaigns.active(read) if one.bids_on(plan.plan_date)]
            audience = await self._store.audience(
                read, plan.plan_date, policy.widest_window(), campaigns, keys=[customer_key], but_plan=plan.plan_id
            )
            mine = await self._store.plans.of_customer(read, plan.plan_id, customer_key)
        matrix = await self._matrix(plan.matrix_id)
        rows = matrix.customer == customer_key
        matrix = replace(matrix, customer=matrix.customer[rows], product=matrix.product[rows], score=matrix.score[rows])
        bid = auction.bids(matrix, campaigns, policy, audience, plan.plan_date)
        prices = {price.constraint: price.price_fen for price in plan.prices}
        return plan.plan_id, fates(bid, prices, {(one.offer_id, one.channel) for one in mine})

    async def _matrix(self, matrix_id: str) -> Matrix:
        files = await self._matrix_files(matrix_id)
        return await asyncio.to_thread(self._read_matrix, files)


def _tried(
    matrix: Matrix, campaigns: Sequence[Campaign], policy: Policy, audience: Audience, on: date, engine: str
) -> Trial:
    bid = auction.bids(matrix, campaigns, policy, audience, on)
    try:
        return trial(bid, budget.solve(bid.problem, bid.cost, bid.budget, engine))
    except Refusal as refusal:
        return Trial(candidates=bid.problem.candidates, infeasible=tuple(refusal.metadata["rows"].split(", ")))
