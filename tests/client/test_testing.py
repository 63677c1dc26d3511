"""The fake takes what the platform takes, and the OCRM integration runs against it as against the platform."""

import csv
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import ocrm
from lifecircle import refusal
from lifecircle.contact.v1 import (
    CHANNEL_SMS,
    Contact,
    GetPlanRequest,
    ListContactsResponse,
    ListPlansRequest,
    ListPlansResponse,
    Outcome,
    RecordOutcomesResponse,
)
from lifecircle.ingest.v1 import RevealIdentitiesRequest, RevealIdentitiesResponse, WatchDeliveriesRequest
from lifecircle.portrait.v1 import BatchGetPortraitsResponse, ListTagsResponse, Portrait, Tag, TagValue
from lifecircle.retry import SERVICES
from lifecircle.testing import FakePlatform


@pytest.fixture
def fake() -> FakePlatform:
    return FakePlatform()


def contact(number: int, state: "Contact.State.ValueType" = Contact.STATE_HANDED_OVER) -> Contact:
    return Contact(
        contact_id=f"C{number}",
        customer_key=number,
        product_id="P01",
        offer_id="O1",
        campaign_id="K1",
        channel=CHANNEL_SMS,
        contact_time=Timestamp(seconds=1_770_000_000),
        attribution_token=f"T{number}",
        state=state,
    )


def revealed(request: RevealIdentitiesRequest) -> list[RevealIdentitiesResponse]:
    numbers = [
        RevealIdentitiesResponse.Identity(customer_key=key, msisdn=f"1390000{key:04d}") for key in request.customer_keys
    ]
    return [RevealIdentitiesResponse(identities=numbers)]


def test_the_fake_has_every_rpc(fake: FakePlatform) -> None:
    for name, service in SERVICES.items():
        assert all(callable(getattr(getattr(fake, name), method.name)) for method in service.methods)
    with pytest.raises(KeyError, match=r"points\.Nothing"):
        fake.answer("points.Nothing", ListPlansResponse())


async def test_a_method_without_an_answer_answers_empty(fake: FakePlatform) -> None:
    assert await fake.contact.ListPlans(ListPlansRequest()) == ListPlansResponse()
    assert [each async for each in fake.ingest.WatchDeliveries(WatchDeliveriesRequest())] == []
    assert fake.calls("contact.ListPlans") == [ListPlansRequest()]


async def test_a_refusal_is_the_class_of_its_reason(fake: FakePlatform) -> None:
    fake.refuse("contact.GetPlan", "PLAN_NOT_FOUND", grpc.StatusCode.NOT_FOUND, plan_id="x")
    with pytest.raises(refusal("PLAN_NOT_FOUND")) as refused:
        await fake.contact.GetPlan(GetPlanRequest(plan_id="x"))
    assert refused.value.fault.metadata == {"plan_id": "x"}


async def test_what_breaks_the_contract_is_refused_as_the_platform_would(fake: FakePlatform) -> None:
    with pytest.raises(refusal("INVALID_FIELD")) as refused:
        await fake.contact.ListPlans(ListPlansRequest(page_size=-1))
    assert set(refused.value.fault.fields) == {"page_size"}
    with pytest.raises(TypeError, match="takes a ListPlansRequest"):
        await fake.contact.ListPlans(GetPlanRequest(plan_id="x"))


async def test_the_integration_takes_lists_and_returns_outcomes(fake: FakePlatform, tmp_path: Path) -> None:
    """R001-148: number, tags, recommended product, channel (a file each) and time."""
    listed = [contact(1), contact(2), contact(3, Contact.STATE_CONTROL)]
    fake.answer("contact.ListContacts", ListContactsResponse(contacts=listed))
    fake.answer("ingest.RevealIdentities", revealed)
    catalogue = {"LC_CAMPUS": "normal", "LC01": "personal", "HEALTH": "sensitive"}
    fake.answer("portrait.ListTags", ListTagsResponse(tags=[Tag(code=k, sensitivity=v) for k, v in catalogue.items()]))
    tags = [TagValue(code="LC01", value="成长"), TagValue(code="LC_CAMPUS"), TagValue(code="HEALTH")]
    fake.answer(
        "portrait.BatchGetPortraits", BatchGetPortraitsResponse(portraits=[Portrait(customer_key=1, tags=tags)])
    )
    assert await ocrm.take(fake, "PLAN", tmp_path) == {"sms": 2}
    with (tmp_path / "sms.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["contact_id"], row["msisdn"], row["attribution_token"], row["tags"]) for row in rows] == [
        ("C1", "13900000001", "T1", "LC01=成长;LC_CAMPUS"),
        ("C2", "13900000002", "T2", ""),
    ]
    fake.refuse("portrait.ListTags", "CUSTOMER_NOT_FOUND", grpc.StatusCode.UNAVAILABLE)
    assert await ocrm.take(fake, "PLAN", tmp_path) == {"sms": 2}, "without tags rather than not at all"
    assert "LC_CAMPUS" not in (tmp_path / "sms.csv").read_text("utf-8")
    assert fake.calls("ingest.RevealIdentities")[0].purpose == "ocrm list of plan PLAN"

    fake.answer("contact.RecordOutcomes", RecordOutcomesResponse(recorded=1, unmatched_contact_ids=["C9"]))
    outcomes = tmp_path / "outcomes.csv"
    outcomes.write_text("contact_id,result,opened\nC1,responded,是\nC9,refused,\n", "utf-8")
    assert await ocrm.report(fake, outcomes) == (1, 0, ["C9"])
    assert await ocrm.report(fake, outcomes) == (1, 0, ["C9"])
    first, again = fake.calls("contact.RecordOutcomes")
    assert first == again, "the same file is the same call"
    assert first.outcomes[0] == Outcome(contact_id="C1", result=Outcome.RESULT_RESPONDED, opened=True)


@pytest.mark.parametrize(
    "text", ["contact,result\nC1,refused\n", "contact_id,result\nC1,maybe\n", "contact_id,result\n,refused\n"]
)
async def test_a_bad_file_of_outcomes_is_refused_whole(fake: FakePlatform, tmp_path: Path, text: str) -> None:
    bad = tmp_path / "outcomes.csv"
    bad.write_text(text, "utf-8")
    with pytest.raises(ocrm.BadFile, match=r"outcomes\.csv"):
        await ocrm.report(fake, bad)
    assert not fake.calls("contact.RecordOutcomes")
