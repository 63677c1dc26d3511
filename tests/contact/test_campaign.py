"""Campaigns: what may be written, how they move, who excludes whom."""

import dataclasses
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.contact.domain.campaign import (
    ACTIVATE,
    ACTIVE,
    APPROVE,
    APPROVED,
    CLOSE,
    CLOSED,
    DRAFT,
    KILL,
    KILLED,
    MOVES,
    PAUSE,
    PAUSED,
    PILOT,
    RESUME,
    ROLL_OUT,
    TRY,
    Brief,
    Campaign,
    Lesson,
    auction_day,
    drafted,
    examined,
    exclusion_classes,
    moved,
)
from services.contact.domain.campaign_type import TYPES
from services.contact.domain.pilot import Pilot
from services.kit.errors import Refusal
from tests.contact.made import campaign, offer
from tests.fixtures.counts import FULL

NOW = datetime(2026, 9, 1, tzinfo=UTC)


def test_a_draft_gets_ids_and_becomes_active_and_then_closed() -> None:
    draft = drafted(campaign("秋季", offer("P01"), offer("P02", channels=("app", "sms"))), "c1", NOW)
    assert [one.offer_id for one in draft.offers] == ["c1-01", "c1-02"]
    assert draft.offers[1].channels == ("sms", "app")
    active = moved(draft, ACTIVATE, draft.etag)
    closed = moved(active, CLOSE)
    assert [one.state for one in (draft, active, closed)] == [DRAFT, ACTIVE, CLOSED]
    assert len({one.etag for one in (draft, active, closed)}) == 3
    assert not draft.bids_on(date(2026, 10, 1))
    assert active.bids_on(date(2026, 10, 1))
    assert not active.bids_on(date(2027, 1, 1))


@pytest.mark.parametrize(("state", "verb"), [(DRAFT, CLOSE), (ACTIVE, ACTIVATE), (CLOSED, ACTIVATE), (CLOSED, CLOSE)])
def test_an_illegal_move_is_refused_with_the_state(state: str, verb: str) -> None:
    with pytest.raises(Refusal) as refused:
        moved(campaign(state=state), verb)
    assert (refused.value.reason, refused.value.metadata["state"]) == ("CAMPAIGN_STATE", state)


def test_a_move_by_an_old_etag_is_refused() -> None:
    draft = drafted(campaign(), "c1", NOW)
    with pytest.raises(Refusal) as refused:
        moved(moved(draft, ACTIVATE), CLOSE, draft.etag)
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


BRIEF = Brief("开通", "tag:home_east", "半价海报", 100_000, ("东区",), "10月1日起")
LESSON = Lesson("需要", "产品", "目标", "实施", "效益", "经验")
# Written down a second time, by hand, from the requirement: what may follow what.
LEGAL = {
    (DRAFT, ACTIVATE),
    (DRAFT, APPROVE),
    (APPROVED, TRY),
    (APPROVED, ROLL_OUT),
    (PILOT, ROLL_OUT),
    *((state, PAUSE) for state in (PILOT, ACTIVE)),
    (PAUSED, RESUME),
    *((state, KILL) for state in (APPROVED, PILOT, ACTIVE, PAUSED)),
    *((state, CLOSE) for state in (PILOT, ACTIVE, PAUSED, KILLED)),
}


class Life(RuleBasedStateMachine):
    """People try any verb at any time; a campaign never bids when it may not, and a closed one stays closed."""

    @initialize()
    def begin(self) -> None:
        self.campaign = drafted(dataclasses.replace(campaign(), brief=BRIEF, state=DRAFT), "c1", NOW)
        self.way = [DRAFT]

    @rule(verb=st.sampled_from(sorted(MOVES)))
    def somebody_acts(self, verb: str) -> None:
        before = self.campaign
        if (before.state, verb) not in LEGAL:
            with pytest.raises(Refusal) as refused:
                moved(before, verb)
            assert refused.value.reason == "CAMPAIGN_STATE"
            return
        self.campaign = moved(before, verb, before.etag)
        self.way.append(self.campaign.state)
        with pytest.raises(Refusal) as refused:
            moved(self.campaign, verb, before.etag)
        assert refused.value.reason == "CAMPAIGN_CHANGED"

    @invariant()
    def it_bids_only_in_pilot_and_roll_out(self) -> None:
        assert self.campaign.bids_on(date(2026, 10, 1)) == (self.campaign.state in (PILOT, ACTIVE))
        assert self.campaign.revision == len(self.way)
        assert (self.campaign.paused_from != "") == (self.campaign.state == PAUSED)
        assert CLOSED not in self.way[:-1]
        if PAUSED in self.way[:-1] and self.way[-1] in (PILOT, ACTIVE):
            last = len(self.way) - 1 - self.way[::-1].index(PAUSED)
            if last == len(self.way) - 2:
                assert self.way[-1] == self.way[last - 1]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=1000 if FULL else 40, stateful_step_count=20, deadline=None)


def test_every_pair_of_state_and_verb_goes_as_the_requirement_says() -> None:
    """R003-073: the life of a campaign, and no other move."""
    assert {(state, verb) for verb, pairs in MOVES.items() for state in pairs} == LEGAL


@pytest.mark.parametrize("empty", ["goal", "audience", "creative", "plan", "budget_fen", "places"])
def test_a_brief_needs_all_of_its_six_fields_before_the_approval(empty: str) -> None:
    """R002-080: goal, audience, creative, budget, places and plan; each one missing is named."""
    nothing: dict[str, Any] = {empty: {"budget_fen": 0, "places": ()}.get(empty, " ")}
    brief = dataclasses.replace(BRIEF, **nothing)
    with pytest.raises(Refusal) as refused:
        examined(campaign(state=DRAFT, brief=brief), APPROVE, "boss", None)
    assert refused.value.metadata == {"field": f"brief.{empty}"}


def test_nobody_approves_his_own_campaign() -> None:
    with pytest.raises(Refusal) as refused:
        examined(campaign(state=DRAFT, brief=BRIEF, author="li"), APPROVE, "li", None)
    assert refused.value.reason == "NOT_FOUR_EYES"
    examined(campaign(state=DRAFT, brief=BRIEF, author="li"), APPROVE, "wang", None)


def test_a_large_campaign_is_tried_before_it_is_rolled_out_and_a_small_one_need_not_be() -> None:
    """R004-027: a pilot is required by policy."""
    with pytest.raises(Refusal) as refused:
        examined(campaign(state=APPROVED, brief=BRIEF), ROLL_OUT, "wang", None)
    assert refused.value.reason == "CAMPAIGN_STATE"
    examined(campaign(state=APPROVED, brief=BRIEF, contacts_max=1_000), ROLL_OUT, "wang", None)
    with pytest.raises(Refusal):
        examined(campaign(state=APPROVED, brief=BRIEF, contacts_max=1_001), ROLL_OUT, "wang", None)


@pytest.mark.parametrize("empty", ["need", "product", "targeting", "implementation", "benefit", "summary"])
def test_a_campaign_is_closed_with_all_five_steps_and_the_summary(empty: str) -> None:
    """R002-013, R002-055, R002-056: the five steps and the experience are mandatory on close."""
    with pytest.raises(Refusal) as refused:
        examined(campaign(brief=BRIEF), CLOSE, "wang", dataclasses.replace(LESSON, **{empty: ""}))
    assert refused.value.metadata == {"field": f"lesson.{empty}"}
    with pytest.raises(Refusal):
        examined(campaign(brief=BRIEF), CLOSE, "wang", None)
    examined(campaign(brief=BRIEF), CLOSE, "wang", LESSON)


def test_in_its_pilot_a_campaign_reaches_its_share_and_rolled_out_everybody() -> None:
    keys = np.arange(50_000)
    tried = campaign(state=PILOT, pilot=Pilot(share_bps=500, tolerance=0.2, least_trials=100))
    assert tried.reaches(keys, {}).mean() == pytest.approx(0.05, abs=0.003)
    assert np.array_equal(tried.reaches(keys, {}), tried.reaches(keys, {}))
    assert moved(tried, ROLL_OUT).reaches(keys, {}).all()


def test_the_catalogue_has_the_types_of_the_requirements() -> None:
    """R002-079: each with mechanism, goal and measure; an event campaign needs its tag (R001-157)."""
    assert set(TYPES) >= {
        "event",
        "recurring",
        "referral",
        "trial",
        "benefit",
        "coupon",
        "care",
        "wake_up",
        "reactivate",
    }
    assert all(one.mechanism and one.goal and one.measure and one.audience for one in TYPES.values())
    with pytest.raises(Refusal) as refused:
        drafted(campaign(type="event"), "c1", NOW)
    assert refused.value.metadata == {"field": "brief.event_tag"}
    with pytest.raises(Refusal) as refused:
        drafted(campaign(type="lottery"), "c1", NOW)
    assert refused.value.metadata == {"field": "type"}
