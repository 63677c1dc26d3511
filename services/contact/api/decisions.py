"""The room of decisions online, and of looks ahead and back."""

from collections.abc import Mapping

from lifecircle.contact import v1 as proto
from services.contact.api import incoming, outgoing
from services.contact.api.pages import READ, WRITE, Context
from services.contact.domain.reservation import Decided
from services.contact.domain.trial import Fate, Trial
from services.contact.usecases import Decisions, Trials
from services.contact.usecases.deciding import Answer, Ask
from services.contact.usecases.trials import Change
from services.kit.errors import invalid_field
from services.kit.interceptors import Rights, caller

RIGHTS: Rights = {
    "Decide": WRITE | {"service"},
    "ConfirmGrant": WRITE | {"service"},
    "CancelGrant": WRITE | {"service"},
    "Withdraw": WRITE | {"service"},
    "ExplainPlan": READ,
    "GetTrials": READ,
}


class DecisionsApi:
    """Decide, grants, Withdraw, ExplainPlan, GetTrials."""

    def __init__(self, decisions: Decisions, trials: Trials) -> None:
        self._decisions = decisions
        self._trials = trials

    async def Decide(self, request: proto.DecideRequest, context: Context) -> proto.DecideResponse:
        """Decides what may be shown or sent."""
        ask = _ask(request)
        within = request.answer_within.ToTimedelta().total_seconds()
        answers = await (self._decisions.decide_within(ask, within) if within else self._decisions.decide(ask))
        return proto.DecideResponse(decisions=[_decision(one) for one in answers])

    async def ConfirmGrant(self, request: proto.ConfirmGrantRequest, context: Context) -> proto.ConfirmGrantResponse:
        """Confirms a grant."""
        incoming.check(request)
        return proto.ConfirmGrantResponse(grant=_grant(await self._decisions.confirm(request.grant_id)))

    async def CancelGrant(self, request: proto.CancelGrantRequest, context: Context) -> proto.CancelGrantResponse:
        """Gives a grant back."""
        incoming.check(request)
        return proto.CancelGrantResponse(grant=_grant(await self._decisions.cancel(request.grant_id)))

    async def Withdraw(self, request: proto.WithdrawRequest, context: Context) -> proto.WithdrawResponse:
        """Takes consent back."""
        way = (incoming.channel(request.channel), incoming.purpose(request.purpose)) if request.channel else None
        return proto.WithdrawResponse(cancelled=await self._decisions.withdraw(request.customer_key, way))

    async def ExplainPlan(self, request: proto.ExplainPlanRequest, context: Context) -> proto.ExplainPlanResponse:
        """Gives why a customer's bids won or lost."""
        plan_id, found = await self._trials.fates(request.plan_id, request.customer_key)
        return proto.ExplainPlanResponse(plan_id=plan_id, bids=[_loss(one) for one in found])

    async def GetTrials(self, request: proto.GetTrialsRequest, context: Context) -> proto.GetTrialsResponse:
        """Gives what changes would come to."""
        changes = [
            Change(
                incoming.policy(one.policy) if one.HasField("policy") else None,
                tuple(one.campaign_ids),
                incoming.engine(one.engine),
            )
            for one in request.changes
        ]
        on = incoming.day(request.plan_date, "plan_date")
        current, *tried = await self._trials.trials(on, request.matrix_id, changes)
        return proto.GetTrialsResponse(current=_trial(current), trials=[_trial(one) for one in tried])


def _ask(request: proto.DecideRequest) -> Ask:
    who = caller()
    return Ask(
        caller=who.subject,
        request_id=request.request_id,
        customer_key=request.customer_key,
        places=tuple(_place(place, at) for at, place in enumerate(request.places)),
        moment=request.moment,
        no_profile=request.no_profile,
        domain=who.domain,
    )


def _place(place: proto.Place, at: int) -> tuple[str, str]:
    if place.slot_id:
        return place.slot_id, ""
    if not place.channel:
        raise invalid_field([(f"places[{at}]", "names neither a slot nor a channel")])
    return "", incoming.channel(place.channel)


def _decision(answer: Answer) -> proto.Decision:
    one, kind = answer.decided, answer.decided.kind
    granted = bool(kind.offer_id)
    return proto.Decision(
        place=proto.Place(slot_id=kind.slot_id, channel=outgoing.channel(kind.channel or "unspecified")),
        offer_id=kind.offer_id,
        campaign_id=kind.campaign_id,
        product_id=kind.product_id,
        content=kind.content,
        bid_fen=one.bid_fen,
        grant_id=one.grant_id if granted else "",
        expire_time=outgoing.moment(one.expire_time) if granted else None,
        attribution_token=answer.attribution_token,
        reason=kind.reason,
    )


def _grant(one: Decided) -> proto.Grant:
    return proto.Grant(
        grant_id=one.grant_id,
        state=proto.Grant.State.Value(f"STATE_{one.state}"),
        customer_key=one.customer_key,
        campaign_id=one.kind.campaign_id,
        offer_id=one.offer_id,
        channel=outgoing.channel(one.kind.channel),
        decide_time=outgoing.moment(one.decide_time),
        expire_time=outgoing.moment(one.expire_time),
    )


def _loss(fate: Fate) -> proto.Loss:
    return proto.Loss(
        offer_id=fate.offer_id,
        campaign_id=fate.campaign_id,
        channel=outgoing.channel(fate.channel),
        value_fen=fate.value_fen,
        won=fate.reason == "won",
        reason=fate.reason,
        lost_to=fate.lost_to,
        short_fen=fate.short_fen,
    )


def _trial(told: Trial) -> proto.Trial:
    prices: Mapping[str, float] = told.prices
    return proto.Trial(
        objective_fen=told.objective_fen,
        bound_fen=told.bound_fen,
        contacts=told.contacts,
        candidates=told.candidates,
        volumes=[
            proto.Trial.Volume(name=one.name, contacts=one.contacts, value_fen=one.value_fen, part=one.part)
            for one in told.volumes
        ],
        prices=prices,
        outcomes=told.outcomes,
        evenness=told.evenness,
        infeasible=told.infeasible,
    )
