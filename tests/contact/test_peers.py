"""What arrives from neighbours: many at a time, understood or left alone."""

from datetime import UTC, datetime
from typing import Any

import grpc.aio
import pytest

from lifecircle.ingest.v1 import Event
from services.contact.domain.fact import Closing, Complained, ConsentChange, Opening
from services.contact.domain.outcome import Outcome
from services.contact.peers import Ingest, understood
from tests.contact.town import Town

NOON = datetime(2026, 10, 1, 4, tzinfo=UTC)


async def test_facts_that_wait_together_come_together_and_the_cursor_covers_them(town: Town) -> None:
    told = {"product_id": "P01"}
    await town.tell(*[("business.NEW", key, NOON, told) for key in range(1, 701)], ("page.viewed", 7, NOON, {}))
    async with grpc.aio.insecure_channel(town.target) as channel:
        taken = Ingest(channel).facts("")
        first, second = await anext(taken), await anext(taken)
    assert [first.cursor, second.cursor] == ["500", "701"]
    facts = [*(first.event or ()), *(second.event or ())]
    assert facts == [Opening(key, "P01", NOON) for key in range(1, 701)]


def event(kind: str, attributes: dict[str, Any], customer_key: int = 7) -> Event:
    made = Event(event_id="e1", type=kind, customer_key=customer_key, source="feedback")
    made.occur_time.FromDatetime(NOON)
    made.attributes.update(attributes)
    return made


def test_events_become_facts() -> None:
    consent = {"channel": "sms", "purpose": "marketing", "granted": "N"}
    assert understood(event("consent.changed", consent)) == [ConsentChange(7, "sms", "marketing", False, NOON)]
    assert understood(event("business.NEW", {"product_id": "P01"})) == [Opening(7, "P01", NOON)]
    order = {"product_id": "P01", "action": "open"}
    assert understood(event("product.ordered", order)) == [Opening(7, "P01", NOON)]
    given_up = {"product_id": "P01", "action": "cancel"}
    assert understood(event("product.ordered", given_up)) == [Closing(7, "P01", NOON)]
    complaint = {"complaint_id": "k1", "kind": "marketing", "contact_id": "c", "satisfied": "N"}
    assert understood(event("complaint.closed", complaint)) == [Complained("k1", 7, "marketing", "c", NOON, "N")]
    answer = {"contact_id": "c", "result": "responded", "opened": "Y", "open_time": "2026-10-01T05:00:00Z"}
    opened = datetime(2026, 10, 1, 5, tzinfo=UTC)
    assert understood(event("contact.feedback", answer, 0)) == [
        Outcome("c", "RESPONDED", True, opened, NOON, "feedback")
    ]


@pytest.mark.parametrize(
    ("kind", "attributes", "customer_key"),
    [
        ("consent.changed", {"channel": "sms"}, 7),
        ("consent.changed", {"channel": "sms", "purpose": "marketing", "granted": "Y"}, 0),
        ("business.NEW", {}, 7),
        ("complaint.opened", {"kind": "marketing"}, 7),
        ("complaint.opened", {"complaint_id": "k1", "kind": "marketing"}, 0),
        ("contact.feedback", {"contact_id": "c", "result": "danced", "opened": "N"}, 0),
        ("contact.feedback", {"contact_id": "c", "result": "refused", "opened": "N", "open_time": "soon"}, 0),
    ],
)
def test_an_event_that_says_nothing_of_use_is_no_fact_and_blocks_nothing(
    kind: str, attributes: dict[str, Any], customer_key: int
) -> None:
    assert understood(event(kind, attributes, customer_key)) == []
