"""Policy, jobs, plans, outcomes: one method per RPC."""

from lifecircle.contact import v1 as proto
from services.contact.api import incoming, outgoing
from services.contact.api.pages import READ, WRITE, Context, keyed, request_key, texts, timed, timed_token
from services.contact.usecases import Auctions, Desk, Effects, Handovers, Work
from services.kit import paging
from services.kit.interceptors import Rights

RIGHTS: Rights = {
    "UpdatePolicy": WRITE,
    "GetPolicy": READ,
    "CreateJob": WRITE,
    "GetJob": READ,
    "ListJobs": READ,
    "CancelJob": WRITE,
    "GetPlan": READ,
    "ListPlans": READ,
    "ListContacts": READ,
    "RecordOutcomes": WRITE | {"service"},
    "ListOutcomes": READ,
    "ListEffects": READ,
}


class ContactApi:
    """Policy, jobs, plans, outcomes."""

    def __init__(self, *, desk: Desk, auctions: Auctions, handovers: Handovers, work: Work, effects: Effects) -> None:
        self._desk = desk
        self._auctions = auctions
        self._handovers = handovers
        self._work = work
        self._effects = effects

    async def UpdatePolicy(self, request: proto.UpdatePolicyRequest, context: Context) -> proto.UpdatePolicyResponse:
        """Sets the policy."""
        policy = await self._desk.update_policy(request_key(request), incoming.policy(request.policy))
        return proto.UpdatePolicyResponse(policy=outgoing.policy(policy))

    async def GetPolicy(self, request: proto.GetPolicyRequest, context: Context) -> proto.GetPolicyResponse:
        """Gives the policy in force."""
        return proto.GetPolicyResponse(policy=outgoing.policy(await self._desk.policy()))

    async def CreateJob(self, request: proto.CreateJobRequest, context: Context) -> proto.CreateJobResponse:
        """Starts an auction or a hand-over."""
        key, asked = request_key(request), request.arbitrate
        if request.HasField("handover"):
            job = await self._handovers.begin(key, request.handover.plan_id)
        else:
            on = incoming.day(asked.plan_date, "arbitrate.plan_date")
            engine = incoming.engine(asked.engine)
            job = await self._auctions.begin(key, asked.campaign_ids, asked.matrix_id, on, engine)
        return proto.CreateJobResponse(job=outgoing.job(job))

    async def GetJob(self, request: proto.GetJobRequest, context: Context) -> proto.GetJobResponse:
        """Gives one job."""
        return proto.GetJobResponse(job=outgoing.job(await self._work.job(request.job_id)))

    async def ListJobs(self, request: proto.ListJobsRequest, context: Context) -> proto.ListJobsResponse:
        """Lists jobs."""
        size = paging.clamp(request.page_size)
        after = texts(request.page_token, "job_id")
        found = await self._work.page(after[0] if after else None, size)
        token = paging.encode({"job_id": found[-1].job_id}) if len(found) == size else ""
        return proto.ListJobsResponse(jobs=[outgoing.job(job) for job in found], next_page_token=token)

    async def CancelJob(self, request: proto.CancelJobRequest, context: Context) -> proto.CancelJobResponse:
        """Cancels a job."""
        return proto.CancelJobResponse(job=outgoing.job(await self._work.cancel(request_key(request), request.job_id)))

    async def GetPlan(self, request: proto.GetPlanRequest, context: Context) -> proto.GetPlanResponse:
        """Gives one plan."""
        return proto.GetPlanResponse(plan=outgoing.plan(await self._auctions.plan(request.plan_id)))

    async def ListPlans(self, request: proto.ListPlansRequest, context: Context) -> proto.ListPlansResponse:
        """Lists plans."""
        size = paging.clamp(request.page_size)
        found = await self._auctions.plans(timed(request.page_token), size)
        token = timed_token(*[(one.create_time, one.plan_id) for one in found], size=size)
        return proto.ListPlansResponse(plans=[outgoing.plan(plan) for plan in found], next_page_token=token)

    async def ListContacts(self, request: proto.ListContactsRequest, context: Context) -> proto.ListContactsResponse:
        """Lists the contacts of a plan."""
        size = paging.clamp(request.page_size)
        found = await self._auctions.contacts(request.plan_id, keyed(request.page_token), size)
        last = {"key": found[-1].customer_key, "offer_id": found[-1].offer_id} if len(found) == size else {}
        contacts = [outgoing.contact(contact) for contact in found]
        return proto.ListContactsResponse(contacts=contacts, next_page_token=paging.encode(last))

    async def RecordOutcomes(
        self, request: proto.RecordOutcomesRequest, context: Context
    ) -> proto.RecordOutcomesResponse:
        """Records what came of contacts."""
        done = await self._effects.record(request_key(request), incoming.outcomes(request.outcomes))
        return proto.RecordOutcomesResponse(
            recorded=done.recorded, duplicates=done.duplicates, unmatched_contact_ids=done.unmatched
        )

    async def ListOutcomes(self, request: proto.ListOutcomesRequest, context: Context) -> proto.ListOutcomesResponse:
        """Lists outcomes."""
        size = paging.clamp(request.page_size)
        after = (texts(request.page_token, "contact_id") or [""])[0]
        found = await self._effects.outcomes(request.contact_id, request.unmatched, after, size)
        token = paging.encode({"contact_id": found[-1].outcome.contact_id}) if len(found) == size else ""
        return proto.ListOutcomesResponse(outcomes=[outgoing.outcome(one) for one in found], next_page_token=token)

    async def ListEffects(self, request: proto.ListEffectsRequest, context: Context) -> proto.ListEffectsResponse:
        """Gives what campaigns achieved."""
        size = paging.clamp(request.page_size)
        after = texts(request.page_token, "name", "campaign_id")
        found = await self._effects.effects(request.campaign_id, (after[0], after[1]) if after else None, size)
        last = {"name": found[-1].name, "campaign_id": found[-1].campaign_id} if len(found) == size else {}
        effects = [outgoing.effect(effect) for effect in found]
        return proto.ListEffectsResponse(effects=effects, next_page_token=paging.encode(last))
