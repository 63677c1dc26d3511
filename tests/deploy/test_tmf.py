"""TM Forum's shapes, read by GET at the published paths through Envoy: every field that the published APIs require.

The services behind are canned: what is renamed is looked at here, what is said the services' own tests look at.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc.aio
import pytest
from google.type.date_pb2 import Date

from deploy.local import processes
from deploy.local.services import serving as answers
from deploy.mesh import envoy
from lifecircle.contact import v1 as contact
from lifecircle.points import v1 as points
from lifecircle.recommend import v1 as recommend
from services.contact.api import tmf as tmf681
from services.points.api import tmf as tmf658
from services.recommend.api import tmf as tmf680
from tests.fixtures.serving import Keys, Serve

# What the published v4 definitions list as `required`, and what their conformance profiles ask a GET to give. TMF681's
# swagger (v4.0.0) requires content, messageType, receiver and sender of CommunicationMessage_Create, name and value of
# a Characteristic, and nothing of a Receiver, a Sender or a message that is read; the ids are what we give beyond it.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "TMF658 LoyaltyBalance": ("id", "href", "quantity"),
    "TMF658 LoyaltyProgramMemberRef": ("id", "href"),
    "TMF680 QueryProductRecommendation": ("id", "href", "state", "recommendationItem"),
    "TMF680 RecommendationItem": ("product",),
    "TMF680 RelatedParty": ("id", "@referredType"),
    "TMF681 CommunicationMessage": ("id", "href", "content", "messageType", "receiver", "sender", "state"),
    "TMF681 Receiver": ("id",),
    "TMF681 Sender": ("id",),
    "TMF681 Characteristic": ("name", "value"),
}
# Every property of TMF681's swagger that a message or a part of it may have, and ours: what a receiver or sender is.
KNOWN: Mapping[str, set[str]] = {
    "CommunicationMessage": {
        "id", "href", "content", "description", "logFlag", "messageType", "priority", "scheduledSendTime", "sendTime",
        "sendTimeComplete", "subject", "tryTimes", "attachment", "characteristic", "receiver", "sender", "state",
    },
    "Receiver": {"id", "appUserId", "email", "ip", "name", "phoneNumber", "party", "@referredType"},
    "Sender": {"id", "email", "name", "phoneNumber", "party", "@referredType"},
    "Characteristic": {"id", "name", "valueType", "characteristicRelationship", "value"},
}  # fmt: skip
STATES = {"initial", "inProgress", "completed", "cancelled", "failed"}
ZONE = ZoneInfo("Asia/Shanghai")
PERSONAL = {"customerKey", "customer_key", "relatedParty", "related_party", "msisdn", "phoneNumber", "attributionToken"}


def holds(of: str, shape: Mapping[str, Any]) -> None:
    missing = [name for name in REQUIRED[of] if shape.get(name) in (None, "", [], {})]
    assert not missing, f"{of} lacks {missing}: {shape}"
    strange = set(shape) - KNOWN.get(of.removeprefix("TMF681 "), set(shape)) - {"@baseType", "@schemaLocation", "@type"}
    assert not strange, f"{of} has no {strange}"


class Recommending(recommend.RecommendServiceServicer):
    async def Recommend(self, request: Any, context: Any) -> Any:
        ranked = [recommend.Recommendation(product_id=f"P{n}", name=f"产品{n}", rank=n, score=1 / n) for n in (1, 2, 3)]
        return recommend.RecommendResponse(
            recommendations=ranked[: request.most or 3], model_id="m", attribution_token="t"
        )

    async def GetShortlist(self, request: Any, context: Any) -> Any:
        counted = [recommend.ShortlistEntry(product_id=f"P{n}", rank=n, members=n * 9) for n in (1, 2, 3)]
        return recommend.GetShortlistResponse(entries=counted)


class Contacting(contact.ContactServiceServicer):
    async def ListContacts(self, request: Any, context: Any) -> Any:
        states = contact.Contact.STATE_HANDED_OVER, contact.Contact.STATE_CAP_REACHED, contact.Contact.STATE_CONTROL
        made = [
            contact.Contact(
                contact_id=f"C{number}", plan_id=request.plan_id, customer_key=17, campaign_id="K1", offer_id="O1",
                product_id="P1", channel=contact.CHANNEL_SMS, control=state == contact.Contact.STATE_CONTROL,
                attribution_token="t", state=state,
            )
            for number, state in enumerate(states)
        ]  # fmt: skip
        return contact.ListContactsResponse(contacts=made)

    async def GetCampaign(self, request: Any, context: Any) -> Any:
        offer = contact.Offer(offer_id="O1", product_id="P1", content="一句话")
        return contact.GetCampaignResponse(campaign=contact.Campaign(campaign_id="K1", name="春", offers=[offer]))


class Pointing(points.PointsServiceServicer):
    async def ListLeaderboard(self, request: Any, context: Any) -> Any:
        return points.ListLeaderboardResponse(
            lines=[points.LeaderboardLine(rank=1, staff_id="S1", milli_points=1_500)], next_page_token="more"
        )

    async def GetStatement(self, request: Any, context: Any) -> Any:
        return points.GetStatementResponse(
            statement=points.Statement(staff_id=request.staff_id, period_id=request.period_id, milli_points=1_500)
        )

    async def GetPeriod(self, request: Any, context: Any) -> Any:
        first, last = Date(year=2026, month=9, day=1), Date(year=2026, month=9, day=30)
        return points.GetPeriodResponse(
            period=points.Period(period_id=request.period_id, first_date=first, last_date=last)
        )


class Door:
    """The front door, and a caller with one role."""

    def __init__(self, port: int, keys: Keys) -> None:
        self.port, self.keys = port, keys

    async def get(self, path: str, role: str = "viewer") -> Any:
        def work() -> Any:
            shown = {"authorization": f"Bearer {self.keys.token(roles={role})}"}
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}/tmf-api{path}", headers=shown)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)

        return await asyncio.to_thread(work)

    async def status(self, path: str, role: str) -> int:
        try:
            await self.get(path, role)
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code
        return 200


@pytest.fixture
async def door(serving: Serve, keys: Keys, tmp_path: Path) -> AsyncIterator[Door]:
    port, admin_port = processes.free_ports(2)
    one: Any = Recommending()  # type: ignore[abstract]  # canned: what they are not asked they do not answer
    two: Any = Contacting()  # type: ignore[abstract]
    three: Any = Pointing()  # type: ignore[abstract]
    async with (
        serving("recommend", register=lambda s: tmf680.register(one, s), rights=tmf680.RIGHTS) as first,
        serving("contact", register=lambda s: tmf681.register(two, s), rights=tmf681.RIGHTS) as second,
        serving("points", register=lambda s: tmf658.register(three, ZONE, s), rights=tmf658.RIGHTS) as third,
    ):
        served = {"recommend": first, "contact": second, "points": third}
        replicas = {name: [int(each.target.rpartition(":")[2])] for name, each in served.items()}
        config = envoy.write(
            tmp_path, port=port, admin_port=admin_port, replicas=replicas, files=envoy.contract(replicas)
        )
        child = processes.spawn(envoy.command(config), log=tmp_path / "envoy.log")
        try:
            async with asyncio.timeout(60):
                for name in replicas:
                    while not await asyncio.to_thread(answers, port, service=name):
                        assert processes.alive(child), processes.tail(tmp_path / "envoy.log")
                        await asyncio.sleep(0.05)
            yield Door(port, keys)
        finally:
            await asyncio.to_thread(processes.stop, [child])


async def test_each_resource_has_what_the_published_apis_require(door: Door) -> None:
    recommended = await door.get("/recommendationManagement/v4/queryProductRecommendation/17?limit=2")
    holds("TMF680 QueryProductRecommendation", recommended)
    holds("TMF680 RelatedParty", recommended["relatedParty"])
    assert [each["product"]["id"] for each in recommended["recommendationItem"]] == ["P1", "P2"]
    for item in recommended["recommendationItem"]:
        holds("TMF680 RecommendationItem", item)

    page = await door.get("/communicationManagement/v4/communicationMessage?planId=L1")
    messages = page["communicationMessage"]
    assert [each["state"] for each in messages] == ["completed", "cancelled"], "who is held out is sent nothing"
    for message in messages:
        holds("TMF681 CommunicationMessage", message)
        assert message["state"] in STATES
        holds("TMF681 Sender", message["sender"])
        for part, name in (("receiver", "Receiver"), ("characteristic", "Characteristic")):
            for each in message[part]:
                holds(f"TMF681 {name}", each)

    balance = await door.get("/loyaltyManagement/v4/loyaltyBalance/2026-09:S1")
    page = await door.get("/loyaltyManagement/v4/loyaltyBalance?periodId=2026-09")
    for each in (balance, *page["loyaltyBalance"]):
        holds("TMF658 LoyaltyBalance", each)
        holds("TMF658 LoyaltyProgramMemberRef", each["loyaltyProgramMember"])
        assert each["quantity"] == {"unit": "points", "value": 1.5}
        assert each["validFor"] == {"startDateTime": "2026-08-31T16:00:00Z", "endDateTime": "2026-09-30T16:00:00Z"}


async def test_a_partner_gets_recommendations_without_any_identity_and_nothing_else(door: Door) -> None:
    """R003-011: neither question nor answer names a customer, and a group too small to be told of is not."""
    told = await door.get("/recommendationManagement/v4/partnerRecommendation/HU01", "partner")
    assert [each["product"]["id"] for each in told["recommendationItem"]] == ["P2", "P3"]
    assert told["place"] == {"id": "HU01", "role": "lifeCircle"}
    assert not PERSONAL & set(told), told
    for message in (recommend.GetPartnerRecommendationRequest, recommend.GetPartnerRecommendationResponse):
        assert not PERSONAL & {name for field in message.DESCRIPTOR.fields for name in (field.name, field.json_name)}
    for path in ("/recommendationManagement/v4/queryProductRecommendation/17", "/loyaltyManagement/v4/loyaltyBalance"):
        assert await door.status(path + ("?periodId=2026-09" if "loyalty" in path else ""), "partner") == 403
    assert await door.status("/recommendationManagement/v4/queryProductRecommendation/nobody", "viewer") == 400


async def test_the_facades_answer_grpc_as_well(door: Door) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{door.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        shown = [("authorization", f"Bearer {door.keys.token(roles={'viewer'})}")]
        page = await points.Tmf658ServiceStub(channel).ListLoyaltyBalances(
            points.ListLoyaltyBalancesRequest(period_id="2026-09"), metadata=shown
        )
        assert page.next_page_token == "more"
        assert page.loyalty_balance[0].loyalty_program_member.id == "S1"
