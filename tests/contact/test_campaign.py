"""Campaigns: what may be written, how they move, who excludes whom."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from services.contact.domain.campaign import (
    ACTIVE,
    CLOSED,
    DRAFT,
    Campaign,
    auction_day,
    drafted,
    exclusion_classes,
    moved,
)
from services.kit.errors import Refusal
from tests.contact.made import campaign, offer

NOW = datetime(2026, 9, 1, tzinfo=UTC)


def test_a_draft_gets_ids_and_becomes_active_and_then_closed() -> None:
    draft = drafted(campaign("秋季", offer("P01"), offer("P02", channels=("app", "sms"))), "c1", NOW)
    assert [one.offer_id for one in draft.offers] == ["c1-01", "c1-02"]
    assert draft.offers[1].channels == ("sms", "app")
    active = moved(draft, ACTIVE, draft.etag)
    closed = moved(active, CLOSED, "")
    assert [one.state for one in (draft, active, closed)] == [DRAFT, ACTIVE, CLOSED]
    assert len({one.etag for one in (draft, active, closed)}) == 3
    assert not draft.bids_on(date(2026, 10, 1))
    assert active.bids_on(date(2026, 10, 1))
    assert not active.bids_on(date(2027, 1, 1))


@pytest.mark.parametrize(("state", "to"), [(DRAFT, CLOSED), (ACTIVE, ACTIVE), (CLOSED, ACTIVE), (CLOSED, CLOSED)])
def test_an_illegal_move_is_refused_with_the_state(state: str, to: str) -> None:
    with pytest.raises(Refusal) as refused:
        moved(campaign(state=state), to, "")
    assert (refused.value.reason, refused.value.metadata["state"]) == ("CAMPAIGN_STATE", state)


def test_a_move_by_an_old_etag_is_refused() -> None:
    draft = drafted(campaign(), "c1", NOW)
    with pytest.raises(Refusal) as refused:
        moved(moved(draft, ACTIVE, ""), CLOSED, draft.etag)
    assert refused.value.reason == "CAMPAIGN_CHANGED"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"end_date": date(2026, 8, 31)}, "end_date"),
        ({"contacts_max": 5, "contacts_min": 6}, "contacts_min"),
        ({"name": " 秋季"}, "name"),
        ({"offers": (offer("P01"), offer("P01"))}, "offers[1].product_id"),
        ({"offers": (offer("P01", content="一|二"),)}, "offers[0].content"),
        ({"offers": (offer("P01", content="一\n二"),)}, "offers[0].content"),
        ({"offers": (offer("P01", channels=("sms", "sms")),)}, "offers[0].channels"),
    ],
)
def test_a_campaign_that_cannot_be_used_is_refused_with_the_field_named(changes: dict[str, Any], field: str) -> None:
    told: dict[str, Any] = {"offers": (offer(),)} | changes
    wrong = Campaign(**{**campaign().__dict__, **told})
    with pytest.raises(Refusal) as refused:
        drafted(wrong, "c1", NOW)
    assert (refused.value.reason, refused.value.metadata) == ("CAMPAIGN_INVALID", {"field": field})


def test_offers_of_a_product_or_of_a_group_exclude_each_other_also_across_campaigns() -> None:
    data = campaign("a", offer("P01", offer_id="a1", exclusive_group="data"), offer("P02", offer_id="a2"))
    more = campaign("b", offer("P01", offer_id="b1"), offer("P03", offer_id="b3", exclusive_group="data"))
    classes = exclusion_classes([data, more])
    assert classes["a1"] == classes["b1"] == classes["b3"] != classes["a2"]


def test_the_auction_is_held_on_the_first_day_on_which_a_campaign_bids() -> None:
    soon, later = campaign("a", start_date=date(2026, 10, 5)), campaign("b", start_date=date(2026, 11, 1))
    assert auction_day([later, soon], date(2026, 9, 1)) == date(2026, 10, 5)
    assert auction_day([later, soon], date(2026, 10, 20)) == date(2026, 10, 20)
    assert auction_day([soon], date(2027, 1, 1)) is None
    assert auction_day([campaign(state=DRAFT)], date(2026, 10, 1)) is None
