"""The auction: never over a limit, never above its bound, never beaten by more than its gap, always the same."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator
from scipy import optimize

from services.contact.domain import arbitration
from services.contact.domain.arbitration import dual, exact
from services.contact.domain.arbitration.checker import Columns, Limits, Won, counted, violations
from services.contact.domain.arbitration.problem import Problem, from_columns
from services.contact.domain.arbitration.reduction import reduce
from services.kit.errors import Refusal
from tests.contact.made import problem
from tests.fixtures.counts import seeds


def random_problem(dice: Generator) -> Problem:
    """A small auction in which caps, groups, capacities, maxima and minima all may bind."""
    customers, offers, channels = int(dice.integers(1, 16)), int(dice.integers(1, 6)), int(dice.integers(1, 4))
    there = np.argwhere(dice.random((customers, offers, channels)) < dice.uniform(0.2, 0.9))
    rows = [
        (int(c), int(o), int(h), float(v)) for (c, o, h), v in zip(there, dice.normal(2, 3, len(there)), strict=True)
    ]
    if dice.random() < 0.3:  # many equal values
        rows = [(c, o, h, float(round(v))) for c, o, h, v in rows]

    def bounds(size: int, share: float, highest: int) -> list[int]:
        return [int(dice.integers(0, highest + 1)) if dice.random() < share else -1 for _ in range(size)]

    most = bounds(offers, 0.6, max(1, customers // 2))
    least = [max(0, bound) for bound in bounds(offers, 0.4, max(1, customers // 3))]
    least = [low if high < 0 else min(low, high) for low, high in zip(least, most, strict=True)]
    return problem(
        rows or [(0, 0, 0, -1.0)],
        cap=[int(cap) for cap in dice.integers(0, 4, customers)],
        group_of=[int(group) for group in dice.integers(0, dice.integers(1, 5), offers)],
        capacity=bounds(channels, 0.7, customers),
        most=most,
        least=least,
    )


def best(auction: Problem) -> float | None:
    """The exact optimum as HiGHS finds it, from a formulation of our own; None when there is no plan."""
    count = auction.candidates
    customer = np.repeat(np.arange(auction.customers), np.diff(auction.starts))
    rows: list[tuple[Any, float, float]] = []
    for who in range(auction.customers):
        rows.append((customer == who, 0, auction.cap[who]))
        for group in np.unique(auction.group):
            rows.append(((customer == who) & (auction.group == group), 0, 1))
    for index, capacity in enumerate(auction.capacity):
        rows.append((auction.channel == index, 0, capacity if capacity >= 0 else np.inf))
    for index, (least, most) in enumerate(zip(auction.least, auction.most, strict=True)):
        rows.append((auction.campaign == index, least, most if most >= 0 else np.inf))
    matrix = np.array([row for row, _, _ in rows], dtype=float)
    constraint = optimize.LinearConstraint(matrix, [low for _, low, _ in rows], [high for _, _, high in rows])
    found = optimize.milp(
        -auction.value, integrality=np.ones(count), bounds=optimize.Bounds(0, 1), constraints=constraint
    )
    return None if found.x is None else float(auction.value[found.x > 0.5].sum())


def solved(auction: Problem) -> arbitration.Solution | None:
    """The plan, or None when it was refused with the limits named that block it."""
    try:
        return arbitration.solve(auction)
    except Refusal as refusal:
        if refusal.reason == "PLAN_INFEASIBLE" and refusal.metadata["rows"] and refusal.metadata["proven"] == "true":
            return None
        raise


def checked(auction: Problem, solution: arbitration.Solution) -> dict[str, int]:
    customer = np.repeat(np.arange(auction.customers), np.diff(auction.starts))
    won = [
        Won(int(customer[at]), int(auction.group[at]), str(auction.channel[at]), str(auction.campaign[at]))
        for at in np.flatnonzero(solution.picked)
    ]
    limits = Limits(
        cap={who: int(cap) for who, cap in enumerate(auction.cap)},
        capacity={str(index): int(bound) for index, bound in enumerate(auction.capacity) if bound >= 0},
        most={str(index): int(bound) for index, bound in enumerate(auction.most) if bound >= 0},
        least={str(index): int(bound) for index, bound in enumerate(auction.least)},
    )
    return violations(won, limits)


@pytest.mark.parametrize("first", [60 * part for part in seeds(2, 16)])
def test_no_exact_optimum_beats_a_plan_by_more_than_its_reported_gap(first: int) -> None:
    """Invariant 14."""
    plans = 0
    for seed in range(first, first + 60):
        auction = random_problem(np.random.default_rng([20261122, seed]))
        optimum = best(auction)
        solution = solved(auction)
        assert (solution is None) == (optimum is None), f"seed {seed}: the optimum is {optimum}"
        if solution is None or optimum is None:
            continue
        assert not any(checked(auction, solution).values()), f"seed {seed}"
        assert solution.objective <= optimum + 1e-9, f"seed {seed}"
        assert optimum <= solution.bound + 1e-9, f"seed {seed}"
        if solution.bound > 0:
            assert optimum - solution.objective <= solution.gap * solution.bound + 1e-9, f"seed {seed}"
        plans += 1
    assert plans > 20


def test_plans_of_small_auctions_are_nearly_always_the_optimum() -> None:
    lost, worth = 0.0, 0.0
    for seed in range(40):
        auction = random_problem(np.random.default_rng([7, seed]))
        optimum = best(auction)
        if optimum is not None:
            lost += optimum - arbitration.solve(auction).objective
            worth += optimum
    assert lost <= 0.002 * worth


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    return random_problem(np.random.default_rng(draw(st.integers(0, 2**32))))


@given(problems())
@settings(deadline=None, max_examples=40)
def test_a_plan_keeps_caps_groups_capacities_maxima_and_minima(auction: Problem) -> None:
    solution = solved(auction)
    if solution is None:
        return
    assert checked(auction, solution) == {"cap": 0, "group": 0, "channel": 0, "max": 0, "min": 0}
    assert solution.objective <= solution.bound


@given(problems(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_the_dual_function_at_any_prices_is_above_every_plan(auction: Problem, seed: int) -> None:
    low, high = dual.box(auction, 10.0)
    prices = np.random.default_rng(seed).uniform(low, high)
    plan = solved(auction)
    if plan is not None:
        assert dual.look(auction, prices).bound >= plan.objective - 1e-9


@given(problems(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_the_slope_of_the_dual_function_supports_it_from_below(auction: Problem, seed: int) -> None:
    low, high = dual.box(auction, 10.0)
    dice = np.random.default_rng(seed)
    here, there = (dual.look(auction, dice.uniform(low, high)) for _ in range(2))
    assert there.bound >= here.bound + here.slope @ (there.prices - here.prices) - 1e-7


def larger_problem() -> Problem:
    dice = np.random.default_rng(5)
    there = np.argwhere(dice.random((2_000, 12, 3)) < 0.3)
    rows = [
        (int(c), int(o), int(h), float(v)) for (c, o, h), v in zip(there, dice.gamma(2, 3, len(there)), strict=True)
    ]
    return problem(
        rows,
        cap=[int(cap) for cap in dice.integers(1, 4, 2_000)],
        group_of=[0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        capacity=[900, 150, 700],
        most=[150] * 8 + [-1] * 4,
        least=[0] * 8 + [60, 0, 300, 0],
    )


def test_the_same_auction_gives_the_same_plan_to_the_bit() -> None:
    """R001-081: the plan can be made again."""
    auction = larger_problem()
    first, second = arbitration.solve(auction), arbitration.solve(auction)
    assert np.array_equal(first.picked, second.picked)
    assert (first.objective, first.bound, first.rows) == (second.objective, second.bound, second.rows)


def greedy(auction: Problem) -> list[int]:
    """What a hand would do: the dearest candidate first, as long as the limits let it."""
    cap, capacity, most = auction.cap.copy(), auction.capacity.copy(), auction.most.copy()
    customer = np.repeat(np.arange(auction.customers), np.diff(auction.starts))
    taken: set[tuple[int, int]] = set()
    picked: list[int] = []
    for at in np.argsort(-auction.value, kind="stable").tolist():
        who, channel, campaign = int(customer[at]), int(auction.channel[at]), int(auction.campaign[at])
        pair = who, int(auction.group[at])
        if auction.value[at] > 0 and pair not in taken and cap[who] and capacity[channel] and most[campaign]:
            taken.add(pair)
            picked.append(at)
            cap[who] -= 1
            capacity[channel] -= 1  # what is unlimited is -1, and never comes to 0
            most[campaign] -= 1
    return picked


def test_the_plan_is_worth_more_than_the_dearest_first() -> None:
    """R001-081: under capacities of channels and of products, and as feasible."""
    dice = np.random.default_rng(8)
    rows = [(who, offer, way, float(dice.gamma(2, 3))) for who in range(200) for offer in range(4) for way in (0, 1)]
    auction = problem(
        rows, cap=[1] * 200, group_of=[0, 1, 2, 3], capacity=[90, 60], most=[40, 30, -1, 50], least=[0] * 4
    )
    plan = arbitration.solve(auction)
    assert not any(checked(auction, plan).values())
    hand = np.zeros(auction.candidates, dtype=bool)
    hand[greedy(auction)] = True
    assert not any(checked(auction, dataclasses.replace(plan, picked=hand)).values())
    assert plan.objective > float(auction.value[hand].sum())


def test_two_thousand_customers_are_auctioned_to_a_hundredth_of_a_percent_within_all_limits() -> None:
    auction = larger_problem()
    solution = arbitration.solve(auction)
    assert not any(checked(auction, solution).values())
    assert solution.gap < 1e-4
    assert {row.name for row in solution.rows if row.minimum and row.price < 0}


def test_a_scarce_channel_has_a_price_and_a_free_one_has_none() -> None:
    rows = [(who, 0, channel, 10.0 - who) for who in range(4) for channel in (0, 1)]
    auction = problem(rows, cap=[1] * 4, group_of=[0], capacity=[1, 100], most=[-1], least=[0])
    prices = {row.name: row.price for row in arbitration.solve(auction).rows}
    assert prices["capacity channel1"] == 0
    scarce = problem(
        [(who, 0, 0, 10.0 - who) for who in range(4)], cap=[1] * 4, group_of=[0], capacity=[2], most=[-1], least=[0]
    )
    [row] = arbitration.solve(scarce).rows
    assert 9.0 >= row.price >= 8.0  # between the worth of the last who won and the first who lost
    assert (row.used, row.bound) == (2, 2)


@pytest.mark.parametrize(("bound", "contacts"), [(0, 0), (2, 2), (-1, 3)], ids=["none", "two", "unlimited"])
def test_no_limit_a_limit_of_none_and_a_limit_are_three_things(bound: int, contacts: int) -> None:
    rows = [(who, 0, 0, 1.0) for who in range(3)]
    for field in ("capacity", "most"):
        limits = {"capacity": [-1], "most": [-1]} | {field: [bound]}
        auction = problem(rows, cap=[1] * 3, group_of=[0], least=[0], **limits)
        assert arbitration.solve(auction).picked.sum() == contacts


def test_a_minimum_that_the_channel_cannot_carry_names_both() -> None:
    """Invariant 15."""
    rows = [(who, 0, 0, 1.0) for who in range(6)] + [(who, 1, 1, 5.0) for who in range(6)]
    auction = problem(rows, cap=[1] * 6, group_of=[0, 1], capacity=[3, -1], most=[-1, -1], least=[4, 0])
    with pytest.raises(Refusal) as refused:
        arbitration.solve(auction)
    assert refused.value.metadata == {"rows": "capacity channel0, min offer0", "proven": "true"}


def test_minima_that_want_the_same_customers_name_each_other_and_the_customers() -> None:
    rows = [(who, offer, 0, 1.0) for who in range(4) for offer in (0, 1)]
    auction = problem(rows, cap=[1] * 4, group_of=[0, 1], capacity=[-1], most=[-1, -1], least=[3, 3])
    with pytest.raises(Refusal) as refused:
        arbitration.solve(auction)
    assert refused.value.metadata["rows"] == "min offer0, min offer1, customers' caps, groups and consents"


def test_a_minimum_is_met_by_contacts_that_lose_money_when_nothing_else_will() -> None:
    auction = problem(
        [(0, 0, 0, -4.0), (1, 0, 0, -1.0), (2, 0, 0, -2.0)],
        cap=[1, 1, 1],
        group_of=[0],
        capacity=[-1],
        most=[-1],
        least=[2],
    )
    solution = arbitration.solve(auction)
    assert solution.objective == -3.0
    assert solution.bound == pytest.approx(-3.0)


def test_an_auction_without_candidates_is_an_empty_plan() -> None:
    auction = problem([(0, 0, 0, -1.0)], cap=[1], group_of=[0], capacity=[5], most=[5], least=[0])
    solution = arbitration.solve(auction)
    assert (solution.objective, solution.bound, solution.gap, solution.picked.sum()) == (0, 0, 0, 0)


def test_a_sample_keeps_every_nth_customer_whole() -> None:
    auction = larger_problem()
    sample = auction.sample(8)
    assert sample.customers == 250
    for index in (0, 17, 249):
        mine = slice(sample.starts[index], sample.starts[index + 1])
        theirs = slice(auction.starts[8 * index], auction.starts[8 * index + 1])
        assert np.array_equal(sample.value[mine], auction.value[theirs])
    assert list(sample.capacity) == [112, 19, 88]


def test_the_checker_sees_every_kind_of_violation() -> None:
    one = Won(1, 1, "sms", "a")
    limits = Limits(cap={1: 2}, capacity={"sms": 1}, most={"a": 1}, least={"b": 2})
    assert violations([one, one, dataclasses.replace(one, customer=2)], limits) == {
        "cap": 1,
        "group": 1,
        "channel": 2,
        "max": 2,
        "min": 2,
    }
    assert not any(violations([one], dataclasses.replace(limits, least={})).values())


def apart_problem(dice: Generator) -> Problem:
    """A small auction over days: one contact a day, the same channel three days apart."""
    customers, offers, media, days = int(dice.integers(1, 6)), int(dice.integers(1, 4)), 2, 5
    there = np.argwhere(dice.random((customers, offers, media, days)) < 0.4)
    if not len(there):
        there = np.zeros((1, 4), np.int64)
    kinds = np.arange(offers * media * days)
    made, _ = from_columns(
        customer=there[:, 0],
        kind=(there[:, 1] * media + there[:, 2]) * days + there[:, 3],
        value=dice.gamma(2, 2, len(there)),
        cap=dice.integers(0, 4, customers).astype(np.int32),
        group_of=kinds // (media * days),
        channel_of=kinds % (media * days),
        campaign_of=kinds // (media * days),
        medium_of=kinds // days % media,
        day_of=kinds % days,
        spacing=3,
        capacity=[int(bound) for bound in dice.integers(0, 3, media * days)],
        most=[-1] * offers,
        least=[0] * offers,
        channels=[str(row) for row in range(media * days)],
        campaigns=[str(offer) for offer in range(offers)],
    )
    return made


@pytest.mark.parametrize("seed", seeds(60, 400))
def test_contacts_kept_apart_by_days_are_a_plan_that_the_exact_optimum_does_not_beat_by_more_than_the_gap(
    seed: int,
) -> None:
    auction = apart_problem(np.random.default_rng([31, seed]))
    solution = arbitration.solve(auction)
    kind = auction.kind[solution.picked]
    plan = Columns(
        auction.customer[solution.picked],
        auction.group_of[kind],
        auction.channel_of[kind],
        auction.campaign_of[kind],
        auction.medium_of[kind],
        auction.day_of[kind],
    )
    bounds = auction.capacity, auction.most, auction.least
    assert not any(counted(plan, auction.cap, *bounds, spacing=3).values())
    picked, _ = exact.optimum(auction)
    assert picked is not None
    optimum = float(auction.value[picked].sum())
    assert solution.objective <= optimum + 1e-9 <= solution.bound + 2e-9


@pytest.mark.parametrize("days", [False, True])
def test_what_is_certain_in_a_box_of_prices_is_in_the_best_sets_at_each_of_its_prices(days: bool) -> None:
    for seed in range(40):
        dice = np.random.default_rng([8, seed])
        auction = apart_problem(dice) if days else random_problem(dice)
        low, high = dual.box(auction, 4.0)
        centre = dice.uniform(low, high)
        sides = np.maximum(low, centre - 0.4), np.minimum(high, centre + 0.4)
        rest = reduce(auction, *sides)
        for _ in range(4):
            prices = dice.uniform(*sides)
            whole, part = np.zeros(auction.candidates, np.bool_), np.zeros(rest.problem.candidates, np.bool_)
            dual.look(auction, prices, whole)
            dual.look(rest.problem, prices, part)
            assert np.array_equal(whole, rest.whole(part)), f"seed {seed}"
