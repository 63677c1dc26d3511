"""What arrives from neighbours: gathered without waiting, understood or left alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lifecircle.ingest.v1 import Event
from services.contact.domain.fact import ConsentChange, Opening
from services.contact.domain.outcome import Outcome
from services.contact.peers import gathered, understood

NOON = datetime(2026, 10, 1, 4, tzinfo=UTC)


async def stream(items: list[str], fails: Exception | None = None) -> AsyncIterator[str]:
    for item in items:
        if item == "|":
            await asyncio.sleep(0.01)
        else:
            yield item
    if fails is not None:
        raise fails


async def parts(items: list[str]) -> list[list[str]]:
    return [part async for part in gathered(stream(items), lambda item: item[0])]


async def test_what_waits_together_and_is_kin_comes_together_in_order() -> None:
    assert [item for part in await parts(["a1", "a2", "|", "a3"]) for item in part] == ["a1", "a2", "a3"]
    many = [f"a{index}" for index in range(2_000)]
    taken: list[list[str]] = []
    async for part in gathered(stream(many), lambda item: item[0]):
        taken.append(part)
        await asyncio.sleep(0.001)  # while one part is handled, the next gathers
    assert [item for part in taken for item in part] == many
    assert len(taken) < 20


async def test_a_stranger_among_kin_begins_a_part_of_his_own() -> None:
    taken = []
    async for part in gathered(stream(["a1", "a2", "b1", "a3", "a4"]), lambda item: item[0]):
        taken.append(part)
        await asyncio.sleep(0.001)
    assert [item for part in taken for item in part] == ["a1", "a2", "b1", "a3", "a4"]
    assert all(len({item[0] for item in part}) == 1 for part in taken)


async def test_a_stream_that_breaks_gives_what_came_before_and_then_breaks() -> None:
    taken: list[str] = []

    async def take() -> None:
        async for part in gathered(stream(["a1", "a2"], OSError("gone")), lambda item: item[0]):
            taken.extend(part)

    with pytest.raises(OSError, match="gone"):
        await take()
    assert taken == ["a1", "a2"]


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
        ("product.ordered", {"product_id": "P01", "action": "cancel"}, 7),
        ("contact.feedback", {"contact_id": "c", "result": "danced", "opened": "N"}, 0),
        ("contact.feedback", {"contact_id": "c", "result": "refused", "opened": "N", "open_time": "soon"}, 0),
    ],
)
def test_an_event_that_says_nothing_of_use_is_no_fact_and_blocks_nothing(
    kind: str, attributes: dict[str, Any], customer_key: int
) -> None:
    assert understood(event(kind, attributes, customer_key)) == []
