"""What callers get: who may call, what is refused and how it is named, pages, and requests said twice."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc.aio
import pytest
from google.type.date_pb2 import Date

from lifecircle.contact import v1 as proto
from services.contact import app, refusals
from services.contact.api import RIGHTS
from services.kit import errors
from services.kit.db import Database
from tests.contact.conftest import Running
from tests.contact.desk import campaign, policy
from tests.fixtures.serving import Serve, refused, refused_fields

METHODS = proto.contact_service_pb2.DESCRIPTOR.services_by_name["ContactService"].methods
METHODS_BY_NAME = {method.name: method for method in METHODS}


@pytest.fixture
async def stub(serving: Serve, db: Database, tmp_path: Path) -> AsyncIterator[proto.ContactServiceStub]:
    """An operator's stub of the service alone, over the module's empty database."""
    nowhere = grpc.aio.insecure_channel("127.0.0.1:1")
    built = app.build(db, nowhere, nowhere, folder=tmp_path, zone=ZoneInfo("Asia/Shanghai"))
    async with serving("contact", register=built.register, rights=RIGHTS) as served:
        yield proto.ContactServiceStub(served.channel(roles={"operator"}))
    await nowhere.close()


async def ask(stub: proto.ContactServiceStub, name: str) -> None:
    """Calls a method with an empty request; a stream is asked for its first message."""
    call = getattr(stub, name)(getattr(proto, f"{name}Request")())
    await (call.read() if METHODS_BY_NAME[name].server_streaming else call)


async def test_a_stranger_is_refused(running: Running) -> None:
    stub = proto.ContactServiceStub(running.served.channel())
    for method in METHODS:
        with pytest.raises(grpc.aio.AioRpcError) as stranger:
            await ask(stub, method.name)
        assert refused(stranger.value)[:2] == ("UNAUTHENTICATED", "STRANGER"), method.name


async def test_every_method_has_its_rights_and_a_viewer_only_reads(running: Running) -> None:
    """R002-095: access is by role, method by method."""
    assert set(RIGHTS) == {method.name for method in METHODS}
    stub = proto.ContactServiceStub(running.served.channel(roles={"viewer"}))
    assert not (await stub.ListCampaigns(proto.ListCampaignsRequest())).campaigns
    for name in sorted(name for name, roles in RIGHTS.items() if "viewer" not in roles):
        with pytest.raises(grpc.aio.AioRpcError) as denied:
            await ask(stub, name)
        assert refused(denied.value)[:2] == ("PERMISSION_DENIED", "NOT_ALLOWED"), name


def wrong(change: Callable[[proto.Campaign], object]) -> proto.Campaign:
    made = campaign()
    change(made)
    return made


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (proto.UpdatePolicyRequest(request_id="r"), "policy"),
        (proto.UpdatePolicyRequest(policy=policy()), "request_id"),
        (proto.UpdatePolicyRequest(policy=policy(holdout_bps=5_001), request_id="r"), "policy.holdout_bps"),
        (proto.UpdatePolicyRequest(policy=policy(customer_caps=[]), request_id="r"), "policy.customer_caps"),
        (proto.CreateCampaignRequest(request_id="r"), "campaign"),
        (proto.CreateCampaignRequest(campaign=campaign(""), request_id="r"), "campaign.name"),
        (proto.CreateCampaignRequest(campaign=campaign("x" * 101), request_id="r"), "campaign.name"),
        (proto.CreateCampaignRequest(campaign=campaign("a\0b"), request_id="r"), "campaign.name"),
        (proto.CreateCampaignRequest(campaign=campaign(offers=[]), request_id="r"), "campaign.offers"),
        (
            proto.CreateCampaignRequest(campaign=campaign(end_date=Date(year=2026, month=13)), request_id="r"),
            "campaign.end_date",
        ),
        (
            proto.CreateCampaignRequest(
                campaign=wrong(lambda made: made.offers[0].ClearField("product_id")), request_id="r"
            ),
            "campaign.offers[0].product_id",
        ),
        (
            proto.CreateCampaignRequest(
                campaign=wrong(lambda made: made.offers[0].MergeFrom(proto.Offer(content="|"))), request_id="r"
            ),
            "campaign.offers[0].content",
        ),
        (proto.ActivateCampaignRequest(request_id="r"), "campaign_id"),
        (proto.CreateJobRequest(request_id="r"), "spec"),
        (proto.CreateJobRequest(arbitrate=proto.ArbitrateSpec(), request_id="r"), "arbitrate.plan_date"),
        (proto.CreateJobRequest(handover=proto.HandoverSpec(), request_id="r"), "handover.plan_id"),
        (proto.GetJobRequest(), "job_id"),
        (proto.ListContactsRequest(), "plan_id"),
        (proto.ListPlansRequest(page_size=-1), "page_size"),
        (proto.ListPlansRequest(page_token="no token"), "page_token"),
        (proto.ListContactsRequest(plan_id="p", page_token="eyJrZXkiOiJ4In0"), "page_token"),
        (proto.RecordOutcomesRequest(request_id="r"), "outcomes"),
        (
            proto.RecordOutcomesRequest(outcomes=[proto.Outcome(contact_id="c")], request_id="r"),
            "outcomes[0].result",
        ),
    ],
)
async def test_a_missing_or_oversized_field_is_refused_by_name(
    stub: proto.ContactServiceStub, request_: Any, field: str
) -> None:
    method = getattr(stub, type(request_).__name__.removesuffix("Request"))
    with pytest.raises(grpc.aio.AioRpcError) as invalid:
        await method(request_)
    assert invalid.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in refused_fields(invalid.value)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (proto.GetCampaignRequest(campaign_id="nobody's"), ("NOT_FOUND", "CAMPAIGN_NOT_FOUND")),
        (proto.CloseCampaignRequest(campaign_id="nobody's", request_id="r"), ("NOT_FOUND", "CAMPAIGN_NOT_FOUND")),
        (proto.ListEffectsRequest(campaign_id="nobody's"), ("NOT_FOUND", "CAMPAIGN_NOT_FOUND")),
        (proto.GetPlanRequest(), ("NOT_FOUND", "PLAN_NOT_FOUND")),
        (proto.ListContactsRequest(plan_id="nobody's"), ("NOT_FOUND", "PLAN_NOT_FOUND")),
        (proto.GetJobRequest(job_id="nobody's"), ("NOT_FOUND", "JOB_NOT_FOUND")),
        (proto.CancelJobRequest(job_id="nobody's", request_id="r"), ("NOT_FOUND", "JOB_NOT_FOUND")),
        (proto.GetPolicyRequest(), ("FAILED_PRECONDITION", "INPUTS_INCOMPLETE")),
        (
            proto.CreateJobRequest(handover=proto.HandoverSpec(plan_id="nobody's"), request_id="r"),
            ("NOT_FOUND", "PLAN_NOT_FOUND"),
        ),
        (
            proto.CreateJobRequest(
                arbitrate=proto.ArbitrateSpec(plan_date=Date(year=2026, month=10, day=1)), request_id="r"
            ),
            ("FAILED_PRECONDITION", "INPUTS_INCOMPLETE"),
        ),
    ],
)
async def test_what_is_not_there_is_said_to_be_missing(
    stub: proto.ContactServiceStub, request_: Any, answer: tuple[str, str]
) -> None:
    method = getattr(stub, type(request_).__name__.removesuffix("Request"))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await method(request_)
    assert refused(missing.value)[:2] == answer


async def test_a_write_said_twice_happens_once_and_answers_the_same(running: Running) -> None:
    stub = running.desk.stub
    set_policy = proto.UpdatePolicyRequest(policy=policy(most=None), request_id="p1")
    assert await stub.UpdatePolicy(set_policy) == await stub.UpdatePolicy(set_policy)
    await stub.UpdatePolicy(proto.UpdatePolicyRequest(policy=policy(most=3), request_id="p2"))
    assert (await stub.UpdatePolicy(set_policy)).policy.version == 1
    in_force = (await stub.GetPolicy(proto.GetPolicyRequest())).policy
    assert (in_force.version, in_force.customer_caps[0].most) == (2, 3)

    create = proto.CreateCampaignRequest(campaign=campaign(contacts_max=0), request_id="c1")
    draft = (await stub.CreateCampaign(create)).campaign
    activate = proto.ActivateCampaignRequest(campaign_id=draft.campaign_id, etag=draft.etag, request_id="a1")
    active = await stub.ActivateCampaign(activate)
    await stub.CloseCampaign(proto.CloseCampaignRequest(campaign_id=draft.campaign_id, request_id="x1"))
    assert (await stub.CreateCampaign(create)).campaign == draft
    assert await stub.ActivateCampaign(activate) == active
    assert (draft.state, active.campaign.state) == (proto.Campaign.STATE_DRAFT, proto.Campaign.STATE_ACTIVE)
    assert draft.HasField("contacts_max")
    with pytest.raises(grpc.aio.AioRpcError) as reused:
        await stub.CreateCampaign(proto.CreateCampaignRequest(campaign=campaign("another"), request_id="c1"))
    assert refused(reused.value)[:2] == ("ABORTED", "REQUEST_ID_REUSED")


async def test_a_campaigns_name_is_its_own_and_its_states_are_moved_by_verbs(running: Running) -> None:
    stub = running.desk.stub
    made = await running.desk.run_campaign()
    with pytest.raises(grpc.aio.AioRpcError) as taken:
        await stub.CreateCampaign(proto.CreateCampaignRequest(campaign=campaign(), request_id="c2"))
    assert refused(taken.value)[1:] == ("CAMPAIGN_INVALID", {"field": "name"})
    with pytest.raises(grpc.aio.AioRpcError) as active:
        await stub.ActivateCampaign(proto.ActivateCampaignRequest(campaign_id=made.campaign_id, request_id="a2"))
    assert refused(active.value)[:2] == ("FAILED_PRECONDITION", "CAMPAIGN_STATE")
    with pytest.raises(grpc.aio.AioRpcError) as changed:
        await stub.CloseCampaign(
            proto.CloseCampaignRequest(campaign_id=made.campaign_id, etag="older", request_id="x2")
        )
    assert refused(changed.value)[:2] == ("ABORTED", "CAMPAIGN_CHANGED")
    with pytest.raises(grpc.aio.AioRpcError) as invalid:
        await stub.UpdatePolicy(
            proto.UpdatePolicyRequest(
                policy=policy(customer_caps=[proto.Policy.CustomerCap(window_days=1)] * 2), request_id="p"
            )
        )
    assert refused(invalid.value)[1] == "POLICY_INVALID"


async def test_campaigns_are_listed_in_pages_the_latest_first_and_found_by_name(running: Running) -> None:
    names = [f"活动{index}" for index in range(5)]
    for name in names:
        await running.desk.run_campaign(name)
    found, token, pages = [], "", 0
    while True:
        page = await running.desk.stub.ListCampaigns(proto.ListCampaignsRequest(page_size=2, page_token=token))
        found += [one.name for one in page.campaigns]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
    assert (found, pages) == (names[::-1], 3)
    [one] = (await running.desk.stub.ListCampaigns(proto.ListCampaignsRequest(name="活动3"))).campaigns
    assert one.name == "活动3"
    effects = (await running.desk.stub.ListEffects(proto.ListEffectsRequest(page_size=3))).effects
    assert [one.name for one in effects] == names[:3]


def test_the_refusals_are_one_to_one_with_the_contract() -> None:
    told = {name.removeprefix("ERROR_REASON_") for name in dict(proto.ErrorReason.items())} - {"UNSPECIFIED"}
    ours = {name.upper() for module in (refusals, errors) for name in vars(module) if name.upper() in told}
    assert ours == told
