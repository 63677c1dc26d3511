"""What answers teach: the channel and the hours in which a customer answers, found again where they were planted."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from services.contact.domain.answering import BANDS, Answers, Leaning, band, hours, leanings
from services.contact.domain.auction import Audience, bids
from services.contact.domain.timing import WEEKEND, WORKDAY, Hours
from services.contact.store import Store
from tests.contact.conftest import Quiet
from tests.contact.made import DAY, audience, campaign, limit, matrix, offer, policy
from tests.contact.test_campaign_life import contacted, write

CUSTOMERS, SENT = 400, 12


def planted(seed: int) -> Answers:
    """Two channels; the first half of the customers answers 30 % by the one and 6 % by the other, the rest turned."""
    dice = np.random.default_rng(seed)
    customer, cell = np.repeat(np.arange(1, CUSTOMERS + 1), 2), np.tile([0, 1], CUSTOMERS)
    rate = np.where((customer <= CUSTOMERS // 2) == (cell == 0), 0.3, 0.06)
    sent = np.full(2 * CUSTOMERS, SENT)
    order = dice.permutation(len(sent))
    return Answers(customer[order], cell[order], sent[order], dice.binomial(sent, rate)[order])


@pytest.mark.parametrize("seed", range(5))
def test_the_channel_that_a_customer_answers_is_learnt(seed: int) -> None:
    """R001-059: whoever leans to a channel bids more through it, and less through the other."""
    first, second = leanings(planted(seed), 2)
    keys = np.arange(1, CUSTOMERS + 1)
    better = first.of(keys) > second.of(keys)
    assert np.mean(better == (keys <= CUSTOMERS // 2)) > 0.9
    rules = policy(limit("sms", cost_fen=0), limit("app", cost_fen=0))
    scores = matrix({(key, "P01"): 0.2 for key in keys.tolist()})
    town = audience(keys.tolist())
    people = Audience(**{**town.__dict__, "leanings": {"sms": first, "app": second}})
    bid = bids(scores, [campaign("a", offer("P01", channels=("sms", "app")))], rules, people, DAY)
    value = bid.problem.value.reshape(CUSTOMERS, 2)
    channels = bid.problem.channel_of[bid.problem.kind].reshape(CUSTOMERS, 2)
    best = np.array(bid.problem.channels)[channels[np.arange(CUSTOMERS), value.argmax(axis=1)]]
    assert np.array_equal(best == "sms", better)


def test_few_answers_move_little_and_none_known_move_nothing() -> None:
    one = leanings(Answers(*np.array([[1, 1, 2, 2, 3], [0, 1, 0, 1, 0], [3, 3, 3, 3, 3], [1, 0, 0, 1, 0]])), 2)
    assert 1.0 < one[0].of(np.array([1]))[0] < 1.3
    assert 0.8 < one[1].of(np.array([1]))[0] < 1.0
    assert one[1].of(np.array([3, 9])).tolist() == [1.0, 1.0]
    assert one[0].of(np.array([3]))[0] == pytest.approx(1.0)  # one channel alone: nothing to compare
    assert [each.of(np.array([1])).tolist() for each in leanings(Answers(*np.zeros((4, 0), np.int64)), 2)] == [[1], [1]]


def test_windows_are_cut_at_the_bands_and_weighed_by_what_was_learnt() -> None:
    """R001-059: hours of portrait, corrected by answers; of whom portrait knows nothing, the answers alone."""
    learnt = [Leaning(np.zeros(0, np.int64), np.zeros(0)) for _ in BANDS]
    learnt[band(10)] = Leaning(np.array([1, 2]), np.array([0.5, 1.5]))
    told = {1: [Hours(WORKDAY, 8, 13, 0.8)], 3: [Hours(WEEKEND, 8, 13, 0.8)]}
    found = hours(told, learnt)
    assert found[1] == [Hours(WORKDAY, 8, 9, 0.8), Hours(WORKDAY, 9, 12, 0.4), Hours(WORKDAY, 12, 13, 0.8)]
    assert max(found[2], key=lambda one: (one.score, one.day_type == WORKDAY)) == Hours(WORKDAY, 9, 12, 0.75)
    assert found[3] == told[3]
    assert [band(hour) for hour in (0, 8, 9, 11, 12, 13, 14, 17, 18, 23)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


async def test_contacts_long_enough_ago_are_what_is_learnt_from(quiet: Quiet) -> None:
    made = await write(quiet.stub("li"))
    await contacted(quiet, made, sent=90, opened=9, controls=10)
    store, on = Store(), datetime(2026, 10, 1, tzinfo=UTC).date()
    moved = (
        "UPDATE contact SET channel = 'app', contact_time = contact_time + interval '5 hours' WHERE customer_key > 60"
    )
    async with quiet.db.begin() as tx:
        await tx.execute(text(moved))
        assert await store.outcomes.channel_leanings(tx, on + timedelta(days=2)) == {}
        found = await store.outcomes.channel_leanings(tx, on + timedelta(days=3))
        late = await store.outcomes.band_leanings(tx, on + timedelta(days=3), range(1, 91), "Asia/Shanghai")
        assert await store.outcomes.channel_leanings(tx, on + timedelta(days=200)) == {}
    assert sorted(found) == ["app", "sms"]
    assert [len(one.customers) for one in late] == [0, 60, 0, 30, 0]
    assert len(found["sms"].customers) == 60
