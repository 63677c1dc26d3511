"""From the matrix to contacts: who may be contacted, for how much, and who is held out."""

import dataclasses
import random
from collections import Counter
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from services.contact.domain import auction, plan
from services.contact.domain.auction import Audience, Bids, Matrix
from services.contact.domain.campaign import Campaign
from services.contact.domain.experiment import held_out
from services.contact.domain.plan import Contact
from services.contact.domain.policy import Blackout, CustomerCap, Policy, Touch, business_day, quiet
from services.kit.errors import Refusal
from tests.contact.made import DAY, audience, campaign, limit, matrix, offer, policy

SHANGHAI = ZoneInfo("Asia/Shanghai")
SCORES = {(key, product): 0.1 + key / 1000 for key in range(1, 201) for product in ("P01", "P02")}
EVERYBODY = range(1, 201)


def held(scores: Matrix, campaigns: list[Campaign], rules: Policy, people: Audience) -> tuple[Bids, list[Contact]]:
    bid = auction.bids(scores, campaigns, rules, people, DAY)
    solution = auction.auction(bid)
    won = auction.contacts(
        bid, solution, plan_id="plan", sequence=1, on=DAY, policy=rules, audience=people, zone=SHANGHAI
    )
    return bid, won


def test_a_contact_is_worth_score_times_lift_times_worth_less_its_cost() -> None:
    rules = policy(
        limit("sms", cost_fen=7), limit("call", cost_fen=150, lift_bps=18_000), limit("app", lift_bps=90_000)
    )
    offers = campaign("a", offer("P01", channels=("sms", "call", "app"), worth_fen=1_000))
    bid, _ = held(matrix({(1, "P01"): 0.25}), [offers], rules, audience([1]))
    assert bid.problem.value.tolist() == [0.25 * 1_000 - 7, 0.25 * 1.8 * 1_000 - 150, 1_000 - 5]  # never surer than 1


def test_without_consent_on_the_channel_nobody_is_contacted_and_it_is_said_how_many() -> None:
    people = audience(EVERYBODY, channels=())
    granted = Audience(people.customers, {"sms": np.array([3, 5]), "call": np.array([7])}, {})
    offers = campaign("a", offer("P01", channels=("sms", "call", "app")))
    rules = policy(limit("sms"), limit("call"), limit("app"))
    bid, won = held(matrix(SCORES), [offers], rules, granted)
    assert {(one.customer_key, one.channel) for one in won} == {(3, "sms"), (5, "sms"), (7, "call")}
    assert bid.counts["without_consent"] == 197


def test_a_channel_that_the_policy_does_not_name_is_not_used() -> None:
    offers = campaign("a", offer("P01", channels=("sms", "app")))
    _, won = held(matrix(SCORES), [offers], policy(limit("app")), audience(EVERYBODY))
    assert {one.channel for one in won} == {"app"}


def test_who_has_left_or_is_not_known_is_not_contacted() -> None:
    people = audience([1, 2])
    people = Audience({**people.customers, 2: auction.Customer("G01", "B", "left")}, people.consents, {})
    _, won = held(matrix({(1, "P01"): 0.5, (2, "P01"): 0.5, (3, "P01"): 0.5}), [campaign()], policy(), people)
    assert [one.customer_key for one in won] == [1]


def test_earlier_contacts_within_the_window_use_up_the_cap() -> None:
    earlier = {1: [(DAY - timedelta(days=29), 1)], 2: [(DAY - timedelta(days=30), 1)], 3: [(DAY, 1)]}
    people = audience([1, 2, 3, 4], earlier=earlier)
    scores = matrix({(key, "P01"): 0.5 for key in (1, 2, 3, 4)})
    bid, won = held(scores, [campaign()], policy(), people)
    assert [one.customer_key for one in won] == [2, 4]
    assert bid.counts["without_room"] == 2


def test_the_holdout_is_in_no_plan_and_the_control_of_a_campaign_is_never_sent() -> None:
    offers = [campaign("a", offer("P01"), control_bps=3_000), campaign("b", offer("P02"), control_bps=0)]
    rules = policy(most=2, holdout_bps=2_000)
    _, won = held(matrix(SCORES), offers, rules, audience(EVERYBODY))
    out = {
        key for key, chosen in zip(EVERYBODY, held_out("holdout", np.array(EVERYBODY), 2_000), strict=True) if chosen
    }
    assert 20 < len(out) < 60
    assert {one.customer_key for one in won} == set(EVERYBODY) - out
    control = {one.customer_key for one in won if one.campaign_id == "campaign-a" and one.control}
    sent = {one.customer_key for one in won if one.campaign_id == "campaign-a" and not one.control}
    assert 25 < len(control) < 75
    assert not control & sent
    assert not any(one.control for one in won if one.campaign_id == "campaign-b")


def test_the_control_won_like_any_other_and_takes_up_room_in_the_plan() -> None:
    offers = campaign("a", offer("P01"), control_bps=5_000, contacts_max=50)
    _, won = held(matrix(SCORES), [offers], policy(limit("sms", capacity=60)), audience(EVERYBODY))
    assert len(won) == 50
    assert sorted(one.customer_key for one in won) == list(range(151, 201))  # the highest scores, control and treated
    assert 10 < sum(one.control for one in won) < 40


def test_of_a_product_and_of_an_exclusive_group_a_customer_gets_one_offer_at_most() -> None:
    """R001-082: exclusions are terms of the offers."""
    offers = [
        campaign("a", offer("P01", offer_id="a1"), offer("P02", offer_id="a2", exclusive_group="g")),
        campaign("b", offer("P01", offer_id="b1"), offer("P03", offer_id="b3", exclusive_group="g")),
    ]
    scores = matrix({(key, product): 0.5 for key in range(1, 20) for product in ("P01", "P02", "P03")})
    _, won = held(scores, offers, policy(most=9), audience(range(1, 20)))
    for key in range(1, 20):
        mine = sorted(one.product_id for one in won if one.customer_key == key)
        assert mine in (["P01", "P02"], ["P01", "P03"])


def test_of_two_campaigns_for_one_customer_the_better_match_wins_and_the_other_bids_again() -> None:
    """R001-060: the conflict is settled by the customer's own propensity; who lost is free to win later."""
    offers = [campaign("a", offer("P01")), campaign("b", offer("P02"))]
    scores = matrix({(1, "P01"): 0.5, (1, "P02"): 0.3, (2, "P01"): 0.2, (2, "P02"): 0.4})
    _, won = held(scores, offers, policy(), audience([1, 2]))
    assert {one.customer_key: one.product_id for one in won} == {1: "P01", 2: "P02"}
    later = policy(customer_caps=(CustomerCap("", 1, 7),), cooldown_days=30)
    touches = {key: [Touch(DAY - timedelta(days=8), 1, "sms", product_id=f"P0{key}")] for key in (1, 2)}
    _, again = held(scores, offers, later, audience([1, 2], earlier=touches))
    assert {one.customer_key: one.product_id for one in again} == {1: "P02", 2: "P01"}


def test_contacts_keep_out_of_quiet_hours_and_have_ids_that_do_not_depend_on_assigned_ids() -> None:
    rules = policy(limit("sms"))
    _, first = held(matrix(SCORES), [campaign("a", campaign_id="x")], rules, audience(EVERYBODY))
    _, second = held(matrix(SCORES), [campaign("a", campaign_id="y")], rules, audience(EVERYBODY))
    assert [one.contact_id for one in first] == [one.contact_id for one in second]
    assert len({one.contact_id for one in first}) == len(first) == 200
    assert plan.checksum(first) == plan.checksum(second)
    for one in first:
        assert business_day(one.contact_time, SHANGHAI) == DAY
        assert not quiet(rules.channel_limits[0], one.contact_time.astimezone(SHANGHAI).hour)
    assert len({one.contact_time for one in first}) > 100


def test_what_matches_less_loses_the_contact_when_the_period_has_room_for_one() -> None:
    """R001-005, R001-158: the matrix bids, the limit per period decides, and the weaker match is not sent."""
    offers = [campaign("a", offer("P01"), offer("P02")), campaign("b", offer("P03"))]
    scores = {(1, "P01"): 0.5, (1, "P02"): 0.4, (1, "P03"): 0.6, (2, "P01"): 0.3, (2, "P02"): 0.7, (2, "P03"): 0.2}

    def sent(most: int) -> set[tuple[int, str]]:
        _, won = held(matrix(scores), offers, policy(most=most), audience([1, 2]))
        return {(one.customer_key, one.product_id) for one in won}

    assert sent(1) == {(1, "P03"), (2, "P02")}
    assert sent(2) == {(1, "P03"), (1, "P01"), (2, "P02"), (2, "P01")}


def test_the_order_of_rows_campaigns_and_consents_changes_nothing() -> None:
    offers = [campaign("a", offer("P01"), control_bps=1_000), campaign("b", offer("P02"), contacts_max=70)]
    rules = policy(limit("sms", capacity=150), most=2)
    _, straight = held(matrix(SCORES), offers, rules, audience(EVERYBODY))
    rows = list(SCORES.items())
    random.Random(3).shuffle(rows)
    _, shuffled = held(matrix(dict(rows)), offers[::-1], rules, audience(EVERYBODY[::-1]))
    assert plan.checksum(straight) == plan.checksum(shuffled)


def test_a_matrix_without_a_row_for_any_offer_makes_an_empty_plan() -> None:
    _, won = held(matrix({(1, "P99"): 0.5}), [campaign()], policy(), audience([1]))
    assert won == []


def test_a_minimum_beyond_what_the_channel_carries_is_refused_by_name() -> None:
    offers = campaign("秋季", contacts_min=50)
    with pytest.raises(Refusal) as refused:
        held(matrix(SCORES), [offers], policy(limit("sms", capacity=40)), audience(EVERYBODY))
    assert refused.value.metadata == {"rows": "capacity sms, min 秋季", "proven": "true"}


def test_the_rules_of_the_policy_hold_in_a_plan_channel_caps_cool_down_blackout_and_what_went_out() -> None:
    """R000-044: batch goes by the evaluator of the decisions online."""
    offers = campaign("a", *[offer(product, channels=("sms", "call")) for product in ("P01", "P02")])
    scores = matrix({(key, product): 0.5 for key in range(1, 41) for product in ("P01", "P02")})
    caps = (CustomerCap("", 3, 30), CustomerCap("", 1, 30, channel="call"))
    rules = policy(limit("call", cost_fen=1), limit("sms", capacity=30), customer_caps=caps, cooldown_days=7)
    earlier = {1: [Touch(DAY - timedelta(days=3), 1, "sms", product_id="P01")], 2: [Touch(DAY, 1, "call")]}
    people = dataclasses.replace(audience(range(1, 41), earlier=earlier), used={"sms": 10}, unwanted={3})
    _, won = held(scores, [offers], rules, people)
    calls = Counter(one.customer_key for one in won if one.channel == "call")
    assert max(calls.values()) == 1
    assert 2 not in calls
    assert sum(one.channel == "sms" for one in won) == 20
    assert {one.product_id for one in won if one.customer_key == 1} <= {"P02"}
    assert not any(one.customer_key == 3 for one in won)
    closed = policy(limit("sms"), blackouts=(Blackout("春节", DAY, DAY),))
    assert held(scores, [offers], closed, audience(range(1, 41)))[1] == []
