"""The planted truth: consistent with the files, and findable in them."""

import csv
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from city.dice import Dice
from city.dwell import Dwell
from city.lives import Stays, plan
from city.people import populate
from city.products import PRODUCTS, eligible
from city.tables import Days, column
from city.tags import ENUM_TAGS, FLAG_TAGS
from city.world import build, events
from tests.city.made import Made, make


def table(city: Made, name: str) -> list[dict[str, str]]:
    with (city.truth / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_customer_of_the_truth_is_a_customer_of_the_files(city: Made) -> None:
    told = [row["msisdn"] for row in table(city, "customers")]
    assert told == [row[0] for row in city.clean("CUST_20260901_001.TXT")]


def test_ownership_is_what_the_orders_leave(city: Made) -> None:
    held: set[tuple[str, str]] = set()
    orders = [row for name in city.names("ORDER") for row in city.clean(name)]
    for _, msisdn, product, action, _ in sorted(orders, key=lambda row: row[4]):
        assert ((msisdn, product) in held) == (action == "cancel")
        held ^= {(msisdn, product)}
    assert held == {(row["msisdn"], row["product_id"]) for row in table(city, "ownership")}


def test_acceptance_is_told_for_what_can_be_opened_and_only_for_that(city: Made) -> None:
    customers = [row["msisdn"] for row in table(city, "customers") if row["status"] != "left"]
    index = {msisdn: number for number, msisdn in enumerate(customers)}
    held = np.zeros((len(customers), len(PRODUCTS)), dtype=bool)
    for row in table(city, "ownership"):
        held[index[row["msisdn"]], PRODUCTS.index(row["product_id"])] = True
    possible = {(customers[i], PRODUCTS[j]) for i, j in zip(*np.nonzero(eligible(held)), strict=True)}
    told = {(row["msisdn"], row["product_id"]): float(row["probability"]) for row in table(city, "acceptance")}
    assert set(told) <= possible
    assert len(told) > 0.999 * len(possible)
    assert all(0 < probability < 1 for probability in told.values())
    assert not eligible(held)[held].any()


def test_nothing_held_lacks_its_prerequisite_or_breaks_its_group(city: Made) -> None:
    held: dict[str, set[str]] = defaultdict(set)
    for row in table(city, "ownership"):
        held[row["msisdn"]].add(row["product_id"])
    required = dict(zip(PRODUCTS, column("products", "requires_product_id"), strict=True))
    groups = dict(zip(PRODUCTS, column("products", "exclusive_group"), strict=True))
    for products in held.values():
        assert all(not required[product] or required[product] in products for product in products)
        assert max(Counter(groups[product] for product in products if groups[product]).values(), default=0) <= 1


def test_every_tag_that_ten_days_allow_fires_for_some_and_not_for_others(city: Made) -> None:
    holders = Counter(row["tag"] for row in table(city, "tags"))
    flags = [code for code in FLAG_TAGS if code != "BE01"]
    assert [code for code in flags if not 0 < holders[code] < city.order.customers] == []
    assert holders["BE01"] == 0
    values = Counter(tag.split("=")[0] for tag in holders if "=" in tag)
    assert set(values) == set(ENUM_TAGS)
    assert min(values.values()) >= 3


def test_be01_needs_ten_workdays_and_then_fires(tmp_path: Path) -> None:
    month = make(tmp_path, customers=60, days=15)
    assert Counter(row["tag"] for row in table(month, "tags"))["BE01"] > 5


def test_signalling_is_about_seventy_rows_a_customer_day(city: Made) -> None:
    rows = [row for name in city.names("SIGNAL") for row in city.clean(name)]
    assert 63 <= len(rows) / (city.order.customers * city.order.days) <= 77
    behaviours = Counter(row[2] for row in rows)
    assert set(behaviours) == set("12345")


def test_who_left_is_not_seen_and_holds_nothing(city: Made) -> None:
    left = {row["msisdn"] for row in table(city, "customers") if row["status"] == "left"}
    seen = {row[0] for name in city.names("SIGNAL") for row in city.clean(name)}
    assert left
    assert not left & seen
    assert not left & {row["msisdn"] for row in table(city, "ownership")}
    assert len(seen) == city.order.customers - len(left)


def test_the_place_of_a_stay_serves_the_phone_during_it(city: Made) -> None:
    served = defaultdict(set)
    for lac, cell, place, weight in city.clean("CELLPLACE_20260901_001.TXT"):
        assert 0 < float(weight) <= 1
        served[(lac, cell)].add(place)
    visits = pl.read_parquet(city.truth / "visits.parquet")
    day = visits.filter(pl.col("start").dt.date() == date(2026, 9, 2))
    stays = defaultdict(list)
    for msisdn, place, start, end in day.iter_rows():
        stays[str(msisdn)].append((f"{start:%H%M%S}", f"{end:%H%M%S}" if end.day == 2 else "240000", place))
    right = wrong = 0
    for msisdn, time, _, lac, cell in city.clean("SIGNAL_20260902_001.TXT"):
        for start, end, place in stays[msisdn]:
            if start <= time[8:] < end:
                right += place in served[(lac, cell)]
                wrong += place not in served[(lac, cell)]
    assert right > 15_000
    assert 0.002 < wrong / (right + wrong) < 0.05  # the ping-pong to another place


def test_stays_neither_overlap_nor_cross_midnight(city: Made) -> None:
    visits = pl.read_parquet(city.truth / "visits.parquet").sort("msisdn", "start")
    assert (visits["end"] > visits["start"]).all()
    nxt = visits.with_columns(pl.col("start").shift(-1).over("msisdn").alias("next"))
    assert nxt.filter(pl.col("next") < pl.col("end")).is_empty()
    last = (pl.col("end") - pl.duration(seconds=1)).dt.date()
    assert visits.filter(pl.col("start").dt.date() != last).is_empty()


def test_weights_and_shares_sum_to_one(city: Made) -> None:
    weights: dict[tuple[str, str], float] = defaultdict(float)
    for lac, cell, _, weight in city.clean("CELLPLACE_20260901_001.TXT"):
        weights[(lac, cell)] += float(weight)
    assert all(abs(total - 1) < 1e-9 for total in weights.values())
    shares: dict[str, int] = defaultdict(int)
    for msisdn, _, _, share, begin, end in city.clean("FIELD_20260901_001.TXT"):
        if begin <= "20260901" and (not end or end > "20260901"):
            shares[msisdn] += int(share)
    assert set(shares.values()) == {10_000}
    assert 0.75 < len(shares) / city.order.customers < 0.95


def test_refunds_follow_their_origin_for_the_same_customer_and_product(tmp_path: Path) -> None:
    city = make(tmp_path, customers=800, days=1)
    found = {row[0]: row for row in city.clean("BIZEVT_20260901_001.TXT")}
    refunds = [row for row in found.values() if row[2] == "REFUND"]
    assert refunds
    for _, time, _, msisdn, product, _, _, amount, origin in refunds:
        first = found[origin]
        assert first[2] in ("NEW", "RENEW")
        assert (first[3], first[4]) == (msisdn, product)
        assert first[1] < time
        assert 0 < int(amount) <= int(first[7])


def test_a_small_city_has_business_events_of_every_type(city: Made) -> None:
    types = Counter(row[2] for row in city.clean("BIZEVT_20260910_001.TXT"))
    assert set(types) == {"NEW", "RENEW", "UPGRADE", "RETAIN", "CHURN", "REFUND", "ACTIVATE"}


def test_a_customer_lives_the_same_life_in_a_larger_city_and_in_another_block() -> None:
    dice, days = Dice(3), Days(date(2026, 9, 1), 7)
    world = build(dice)
    lives: list[Stays] = []
    for count, who in ((150, np.arange(100, 150)), (400, np.arange(60, 300))):
        people = populate(world, dice, days, count)
        stays = plan(world, people, dice, days, events(world, dice, days), who)
        lives.append(stays.only((stays.who >= 100) & (stays.who < 150)))
    for name in ("who", "day", "start", "end", "place"):
        np.testing.assert_array_equal(getattr(lives[0], name), getattr(lives[1], name))


@pytest.mark.parametrize(
    ("hours", "metric", "expected"),
    [((17, 19), "pieces", [3600, 3600]), ((9, 11), "pieces", [7200]), ((0, 24), "pieces", [21600, *[10800] * 2, 7200])],
)
def test_a_stay_is_cut_at_slot_borders(hours: tuple[int, int], metric: str, expected: list[int]) -> None:
    dice, days = Dice(3), Days(date(2026, 9, 1), 2)
    one = np.array([0])
    stays = Stays(one, one, one + hours[0] * 3600, one + hours[1] * 3600, one + 5)
    dwell = Dwell(build(dice), days, one, stays)
    assert dwell.seconds.tolist()[: len(expected)] == expected
    assert dwell.seconds.sum() == (hours[1] - hours[0]) * 3600


def test_the_state_council_moves_workdays() -> None:
    days = Days(date(2026, 9, 20), 21)
    rest = dict(zip((days.on(day) for day in range(21)), days.rest(0).tolist(), strict=True))
    assert not rest[date(2026, 9, 20)]  # a Sunday that is worked
    assert [rest[date(2026, 9, day)] for day in (24, 25, 26, 27, 28)] == [False, True, True, True, False]
    assert [rest[date(2026, 10, day)] for day in (1, 7, 8, 10)] == [True, True, False, False]
