"""A caller who runs campaigns by RPC, with request ids of his own."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.type.date_pb2 import Date

from lifecircle.contact import v1 as proto

T = TypeVar("T")

ENDED = (proto.Job.STATE_SUCCEEDED, proto.Job.STATE_FAILED, proto.Job.STATE_CANCELLED)
FIRST, LAST = Date(year=2026, month=9, day=1), Date(year=2026, month=12, day=31)
PLAN_DAY = Date(year=2026, month=10, day=1)


def policy(*, most: int | None = 1, capacity: int | None = None, **changes: Any) -> proto.Policy:
    limits = [
        proto.Policy.ChannelLimit(
            channel=channel, capacity=capacity, cost_fen=cost, quiet_from_hour=21, quiet_to_hour=9, lift_bps=10_000
        )
        for channel, cost in ((proto.CHANNEL_SMS, 5), (proto.CHANNEL_CALL, 150))
    ]
    cap = proto.Policy.CustomerCap(most=most, window_days=30)
    told: dict[str, Any] = {"customer_caps": [cap], "channel_limits": limits, "holdout_bps": 0}
    return proto.Policy(**(told | changes))


def campaign(name: str = "秋季", products: tuple[str, ...] = ("P01",), **changes: Any) -> proto.Campaign:
    offers = [
        proto.Offer(
            product_id=product,
            content=f"{product}首月半价",
            channels=[proto.CHANNEL_SMS, proto.CHANNEL_CALL],
            worth_fen=9_000,
        )
        for product in products
    ]
    told: dict[str, Any] = {"start_date": FIRST, "end_date": LAST, "offers": offers, "control_bps": 0}
    return proto.Campaign(**({"name": name} | told | changes))


class Desk:
    """The caller."""

    def __init__(self, stub: proto.ContactServiceStub, name: str = "desk") -> None:
        self.stub = stub
        self._numbers = itertools.count()
        self._name = name

    def request_id(self) -> str:
        return f"{self._name}-{next(self._numbers)}"

    async def set_policy(self, **changes: Any) -> proto.Policy:
        request = proto.UpdatePolicyRequest(policy=policy(**changes), request_id=self.request_id())
        return (await self.stub.UpdatePolicy(request)).policy

    async def run_campaign(
        self, name: str = "秋季", products: tuple[str, ...] = ("P01",), **changes: Any
    ) -> proto.Campaign:
        """Create and activate."""
        draft = proto.CreateCampaignRequest(campaign=campaign(name, products, **changes), request_id=self.request_id())
        made = (await self.stub.CreateCampaign(draft)).campaign
        verb = proto.ActivateCampaignRequest(campaign_id=made.campaign_id, etag=made.etag, request_id=self.request_id())
        return (await self.stub.ActivateCampaign(verb)).campaign

    async def arbitrate(self, **changes: Any) -> proto.Job:
        spec = proto.ArbitrateSpec(**({"plan_date": PLAN_DAY} | changes))
        request = proto.CreateJobRequest(arbitrate=spec, request_id=self.request_id())
        return (await self.stub.CreateJob(request)).job

    async def hand_over(self, plan_id: str) -> proto.Job:
        spec = proto.HandoverSpec(plan_id=plan_id)
        request = proto.CreateJobRequest(handover=spec, request_id=self.request_id())
        return (await self.stub.CreateJob(request)).job

    async def end_of(self, job_id: str) -> proto.Job:
        async def ended() -> proto.Job | None:
            job = (await self.stub.GetJob(proto.GetJobRequest(job_id=job_id))).job
            return job if job.state in ENDED else None

        return await until(ended)

    async def plan(self, plan_id: str = "") -> proto.Plan:
        return (await self.stub.GetPlan(proto.GetPlanRequest(plan_id=plan_id))).plan

    async def contacts(self, plan_id: str, page_size: int = 1000) -> list[proto.Contact]:
        found: list[proto.Contact] = []
        token = ""
        while True:
            page = await self.stub.ListContacts(
                proto.ListContactsRequest(plan_id=plan_id, page_size=page_size, page_token=token)
            )
            found += page.contacts
            token = page.next_page_token
            if not token:
                return found

    async def effect(self, campaign_id: str) -> proto.Effect:
        found = await self.stub.ListEffects(proto.ListEffectsRequest(campaign_id=campaign_id))
        return found.effects[0]


async def until(ask: Callable[[], Awaitable[T | None]], seconds: float = 60) -> T:
    """Ask until there is an answer."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await ask()
            if answer:
                return answer
            await asyncio.sleep(0.02)
