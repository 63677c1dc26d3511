"""The auction: when it is held, how it is held, and the plans that came of it."""

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, tzinfo
from functools import partial

from services.contact.domain import answering, arbitration, auction, precedence, timing
from services.contact.domain.arbitration import DUAL_PRICES
from services.contact.domain.auction import Audience
from services.contact.domain.campaign import ACTIVE, Campaign, auction_day
from services.contact.domain.fact import Matrix
from services.contact.domain.plan import Contact, Plan, Price, checksum
from services.contact.domain.policy import Policy, next_business_day
from services.contact.domain.precedence import Stage
from services.contact.domain.pricing import expected
from services.contact.domain.timing import Hours
from services.contact.lake import LakeFile
from services.contact.refusals import campaign_not_found, campaign_state, inputs_incomplete, plan_not_found
from services.contact.store import Store
from services.contact.store.prices import PriceSet
from services.contact.usecases.reach import Audiences
from services.contact.usecases.work import ARBITRATE, asked_again
from services.kit import idempotency, jobs, outbox, telemetry
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.kit.jobs import Job, Running

MatrixFiles = Callable[[str], Awaitable[Sequence[LakeFile]]]
"""The files of a matrix, by its id."""
BestHours = Callable[[Sequence[int]], Awaitable[Mapping[int, Sequence[Hours]]]]
"""Customers → when each is well spoken to, as far as portrait knows."""
ReadMatrix = Callable[[Sequence[LakeFile]], auction.Matrix]

_STEPS = 5

_gap = telemetry.gauge("lifecircle.contact.plan.gap", "1", "What the latest plan may lack of the best: 0.01 is 1 %.")
_planned = telemetry.gauge("lifecircle.contact.plan.contacts", "{contact}", "Contacts of the latest plan.")


class Auctions:
    """Holds auctions and shows plans."""

    def __init__(
        self,
        db: Database,
        store: Store,
        clock: Clock,
        ids: Ids,
        zone: tzinfo,
        matrix_files: MatrixFiles,
        read_matrix: ReadMatrix,
        audiences: Audiences,
        hours: BestHours,
    ) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._ids = ids
        self._zone = zone
        self._matrix_files = matrix_files
        self._read_matrix = read_matrix
        self._audiences = audiences
        self._hours = hours

    async def matrix_published(self, tx: Write, matrix: Matrix) -> None:
        """Know the matrix; where there is a policy and a campaign that bids, an auction begins by itself.

        It is held for the day after the data behind the matrix, or the first day on which a campaign bids. A day whose
        contacts have gone out gets no second plan by itself: a corrected file must not reach people twice.
        """
        await self._store.matrices.add(tx, matrix)
        policy = await self._store.policies.latest(tx)
        campaigns = await self._store.campaigns.active(tx)
        on = auction_day(campaigns, self._day_after(matrix))
        if policy is None or on is None or await self._store.plans.is_handed_over(tx, on):
            return
        bidding = [campaign for campaign in campaigns if campaign.bids_on(on)]
        key, spec = _asked(matrix, policy, bidding, on)
        await jobs.create(tx, job_id=self._ids(), kind=ARBITRATE, key=key, spec=spec, now=self._clock())

    async def begin(
        self, key: RequestKey, campaign_ids: Sequence[str], matrix_id: str, on: date, engine: str = DUAL_PRICES
    ) -> Job:
        """Ask for a plan; the same inputs give the job that is there, unless it failed or was cancelled.

        Raises inputs_incomplete, campaign_not_found, campaign_state.
        """
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            policy = await self._store.policies.latest(tx)
            matrix = await self._store.matrices.get(tx, matrix_id)
            if policy is None or matrix is None:
                raise inputs_incomplete("policy" if policy is None else f"matrix {matrix_id}".strip())
            name, spec = _asked(matrix, policy, await self._bidding(tx, campaign_ids, on), on, engine)
            job = await asked_again(tx, kind=ARBITRATE, key=name, spec=spec, ids=self._ids, clock=self._clock)
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def arbitrate(self, running: Running) -> None:
        """Hold the auction and publish its plan, whose id is the job's. Raises inputs_incomplete, plan_infeasible."""
        spec = running.job.spec
        on, engine = date.fromisoformat(spec["plan_date"]), spec.get("engine", DUAL_PRICES)
        async with self._db.read() as read:
            policy = await self._store.policies.version(read, spec["policy_version"])
            named = await self._store.campaigns.of_ids(read, [campaign_id for campaign_id, _ in spec["campaigns"]])
            missing = await self._store.customers.missing(read)
        campaigns = [campaign for campaign in named if campaign.bids_on(on)]
        if missing or not campaigns:
            raise inputs_incomplete(", ".join([*missing, *([] if campaigns else ["campaigns"])]))
        await self._audiences.ready(campaigns)
        async with self._db.read() as read:
            audience = await self._store.audience(read, on, policy.widest_window(), campaigns)
        await running.progress(1, _STEPS, message="reads the matrix")
        files = await self._matrix_files(spec["matrix_id"])
        matrix = await asyncio.to_thread(self._read_matrix, files)
        await running.progress(2, _STEPS, message="holds the auction")
        stages = await asyncio.to_thread(precedence.held, matrix, campaigns, policy, audience, on, engine)
        counts = stages[-1].bid.counts
        won = sum(int(one.solution.picked.sum()) for one in stages)
        await running.progress(3, _STEPS, message="publishes the plan", **counts, contacts=won)
        await self._publish(running, stages, policy, audience, on, expected(matrix, campaigns))

    async def plan(self, plan_id: str) -> Plan:
        """One plan; an empty id gives the latest. Raises plan_not_found."""
        async with self._db.read() as read:
            plan = await self._store.plans.get(read, plan_id)
        if plan is None:
            raise plan_not_found(plan_id)
        return plan

    async def plans(self, after: tuple[datetime, str] | None, size: int) -> list[Plan]:
        """Plans, the latest first, those after (create_time, plan_id)."""
        async with self._db.read() as read:
            return await self._store.plans.page(read, after, size)

    async def contacts(self, plan_id: str, after: tuple[int, str] | None, size: int) -> list[Contact]:
        """A plan's contacts by customer and offer, those after (customer_key, offer_id). Raises plan_not_found."""
        async with self._db.read() as read:
            if await self._store.plans.get(read, plan_id) is None:
                raise plan_not_found(plan_id)
            return await self._store.plans.contacts(read, plan_id, after, size)

    def _day_after(self, matrix: Matrix) -> date:
        if matrix.as_of_date is None:
            return next_business_day(self._clock(), self._zone)
        return date.fromordinal(matrix.as_of_date.toordinal() + 1)

    async def _bidding(self, read: Read, campaign_ids: Sequence[str], on: date) -> list[Campaign]:
        """The campaigns that are asked for, all of which bid; or all that bid on the day."""
        if not campaign_ids:
            bidding = [campaign for campaign in await self._store.campaigns.active(read) if campaign.bids_on(on)]
            if not bidding:
                raise inputs_incomplete(f"a campaign that bids on {on}")
            return bidding
        found = {one.campaign_id: one for one in await self._store.campaigns.of_ids(read, campaign_ids)}
        for campaign_id in campaign_ids:
            if campaign_id not in found:
                raise campaign_not_found(campaign_id)
            if not found[campaign_id].bids_on(on):
                state = found[campaign_id].state
                raise campaign_state(campaign_id, state if state != ACTIVE else f"not running on {on}", ACTIVE)
        return list(found.values())

    async def _publish(
        self,
        running: Running,
        stages: Sequence[Stage],
        policy: Policy,
        audience: auction.Audience,
        on: date,
        worth: float,
    ) -> None:
        """Plan, contacts, prices, the fact and the job's end in one transaction; `worth` is the matrix's mean bid.

        The contacts are made before it, under the number that the plan will have: made anew when another was faster.
        """
        winners = sorted({key for one in stages for key in auction.winners(one.bid, one.solution)})
        told = await self._hours(winners)
        async with self._db.read() as read:
            learnt = await self._store.outcomes.band_leanings(read, on, winners, str(self._zone))
            hours = answering.hours(told, learnt)
            number = await self._store.plans.next_number(read, on)
        while True:
            make = partial(self._made, running.job, stages, policy, audience, on, number, hours)
            plan, won = await asyncio.to_thread(make)
            async with self._db.begin(statement_seconds=300) as tx:
                number = await self._store.plans.lock_day(tx, on)
                if number != plan.sequence:
                    continue
                await self._store.plans.add(tx, plan, won)
                prices = {row.name: row.price for stage in stages for row in stage.solution.rows if row.price}
                priced = PriceSet(plan.plan_id, on, plan.matrix_id, worth, 0.0, prices, plan.create_time)
                await self._store.prices.add(tx, priced)
                fact = {"plan_id": plan.plan_id, "plan_date": str(on), "contacts": plan.contacts, "sha256": plan.sha256}
                await outbox.put(tx, "plan.published", plan.plan_id, fact)
                counts = {"contacts": plan.contacts, "control_contacts": plan.control_contacts}
                await running.succeed(tx, message=f"gap {plan.gap:.6%}", **counts, candidates=plan.candidates)
                await tx.commit()
                _gap(plan.gap)
                _planned(plan.contacts)
                return

    def _made(
        self,
        job: Job,
        stages: Sequence[Stage],
        policy: Policy,
        audience: Audience,
        on: date,
        number: int,
        hours: Mapping[int, Sequence[Hours]],
    ) -> tuple[Plan, list[Contact]]:
        draw = partial(
            auction.contacts,
            plan_id=job.job_id,
            sequence=number,
            on=on,
            policy=policy,
            audience=audience,
            zone=self._zone,
        )
        won = [contact for stage in stages for contact in draw(stage.bid, stage.solution)]
        won = timing.timed(won, hours, policy, on, self._zone)
        control = sum(contact.control for contact in won)
        objective = math.fsum(stage.solution.objective for stage in stages)
        bound = math.fsum(stage.solution.bound for stage in stages)
        plan = Plan(
            plan_id=job.job_id,
            matrix_id=job.spec["matrix_id"],
            policy_version=policy.version,
            plan_date=on,
            sequence=number,
            candidates=sum(stage.bid.problem.candidates for stage in stages),
            contacts=len(won) - control,
            control_contacts=control,
            objective_fen=objective,
            bound_fen=bound,
            gap=arbitration.gap(objective, bound),
            prices=_binding(stages),
            sha256=checksum(won),
            create_time=self._clock(),
        )
        return plan, won


def _asked(
    matrix: Matrix, policy: Policy, campaigns: Sequence[Campaign], on: date, engine: str = DUAL_PRICES
) -> tuple[str, dict[str, object]]:
    """Key and spec of an auction's job: all that decides it but consents, levels and earlier contacts as they stand."""
    spec: dict[str, object] = {
        "matrix_id": matrix.matrix_id,
        "policy_version": policy.version,
        "campaigns": sorted([campaign.campaign_id, campaign.revision] for campaign in campaigns),
        "plan_date": str(on),
    }
    if engine != DUAL_PRICES:
        spec["engine"] = engine
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest(), spec


def _binding(stages: Sequence[Stage]) -> tuple[Price, ...]:
    """The limits that cost something, or are used up; marketing, which comes last, tells those of the channels."""
    rows = {row.name: row for stage in stages for row in stage.solution.rows}
    return tuple(
        Price(row.name, row.price, row.used, -1 if row.minimum else row.bound)
        for row in rows.values()
        if row.price != 0 or row.used == row.bound
    )
