"""By RPC: what other limits would come to, why a bid lost, and a decision with its grant."""

import grpc.aio
import pytest

from lifecircle.contact import v1 as proto
from tests.contact.conftest import Running
from tests.contact.desk import PLAN_DAY, policy
from tests.contact.test_journey import planned
from tests.fixtures.serving import refused


async def test_a_trial_tells_what_less_capacity_would_cost_and_changes_nothing(running: Running) -> None:
    _, plan = await planned(running, policy={"most": 1})
    changes = [proto.Change(policy=policy(capacity=capacity)) for capacity in (10, 0)]
    found = await running.desk.stub.GetTrials(proto.GetTrialsRequest(plan_date=PLAN_DAY, changes=changes))
    assert found.current.objective_fen == plan.objective_fen
    assert found.current.contacts == plan.contacts + plan.control_contacts
    less, none = found.trials
    assert 0 < less.objective_fen < found.current.objective_fen
    assert none.contacts == 0
    assert max(one.contacts for one in less.volumes if one.name.startswith("channel")) == 10
    assert less.outcomes["won"] == less.contacts
    assert any(price > 0 for price in less.prices.values())
    assert (await running.desk.plan()).plan_id == plan.plan_id


async def test_an_engine_is_chosen_and_its_objective_is_compared_with_the_others(running: Running) -> None:
    """R003-048: by dual prices or the most valuable first; each within all limits, told against one bound."""
    _, plan = await planned(running, products=("P01", "P02"), policy={"most": 1, "capacity": 20})
    engines = (proto.ENGINE_DUAL_PRICES, proto.ENGINE_GREEDY)
    asked = proto.GetTrialsRequest(plan_date=PLAN_DAY, changes=[proto.Change(engine=one) for one in engines])
    found = await running.desk.stub.GetTrials(asked)
    dual, greedy = found.trials
    assert dual.objective_fen == found.current.objective_fen == plan.objective_fen
    assert 0 < greedy.objective_fen <= dual.objective_fen <= dual.bound_fen == greedy.bound_fen
    job = await running.desk.end_of((await running.desk.arbitrate(engine=proto.ENGINE_GREEDY)).job_id)
    assert (job.state, job.arbitrate.engine) == (proto.Job.STATE_SUCCEEDED, proto.ENGINE_GREEDY)
    simple = await running.desk.plan(job.result_id)
    assert simple.plan_id != plan.plan_id
    assert (simple.objective_fen, simple.bound_fen) == (greedy.objective_fen, greedy.bound_fen)


async def test_each_bid_of_a_customer_tells_why_it_won_or_lost(running: Running) -> None:
    """R001-055, R003-010, R003-049: all bids of a customer, the winner, each loser with its reason and its rival."""
    _, plan = await planned(running, products=("P01", "P02"), policy={"most": 1, "capacity": 20})
    won = {one.customer_key: one for one in await running.desk.contacts(plan.plan_id)}
    reasons = set()
    for customer in (1, 30, 60):
        told = await running.desk.stub.ExplainPlan(proto.ExplainPlanRequest(customer_key=customer))
        mine = [bid for bid in told.bids if bid.won]
        assert [(bid.offer_id, bid.channel) for bid in mine] == (
            [(won[customer].offer_id, won[customer].channel)] if customer in won else []
        )
        for bid in told.bids:
            reasons.add(bid.reason)
            assert bid.lost_to or bid.reason not in ("rival", "cap")
    assert "won" in reasons
    assert reasons & {"rival", "cap", "capacity"}


async def test_a_decision_by_rpc_grants_once_and_what_nobody_knows_is_refused(running: Running) -> None:
    """R003-045: what a customer is to get is decided for him alone, by one call."""
    await planned(running, policy={"most": 5})
    stub = running.desk.stub
    sms = proto.Place(channel=proto.CHANNEL_SMS)
    request = proto.DecideRequest(customer_key=7, places=[sms], request_id="d1")
    [one] = (await stub.Decide(request)).decisions
    assert [one] == list((await stub.Decide(request)).decisions)
    if one.grant_id:  # the night and the scores still loading give the default with its reason
        confirmed = await stub.ConfirmGrant(proto.ConfirmGrantRequest(grant_id=one.grant_id, request_id="c1"))
        assert confirmed.grant.state == proto.Grant.STATE_CONFIRMED
    else:
        assert one.reason
    await stub.Withdraw(proto.WithdrawRequest(customer_key=8, request_id="w1"))
    again = await stub.Decide(proto.DecideRequest(customer_key=8, places=[sms], request_id="d2"))
    assert not again.decisions[0].grant_id
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await stub.CancelGrant(proto.CancelGrantRequest(grant_id="nobody", request_id="x1"))
    assert refused(unknown.value)[1] == "GRANT_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError) as nowhere:
        await stub.Decide(proto.DecideRequest(customer_key=7, places=[proto.Place()], request_id="d3"))
    assert refused(nowhere.value)[1] == "INVALID_FIELD"
