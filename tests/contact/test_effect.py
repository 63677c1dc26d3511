"""The arithmetic of reports: money against the control, trends, who stays; what is told of one complaint, merged."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contact.domain.effect import Line, cohorts, report
from services.contact.domain.fact import Complained
from services.contact.domain.kpi import CATALOGUE, Count, values

NOW = datetime(2026, 10, 1, tzinfo=UTC)


def line(**changes: Any) -> Line:
    told: dict[str, Any] = {"sent": 1_000, "reached": 600, "responded": 120, "opened": 80, "controls": 500}
    told |= {"control_opened": 10, "contacts": 1_200, "cost_fen": 6_000, "other_cost_fen": 4_000}
    told |= {"worth_fen": 80 * 3_000, "mean_worth_fen": 3_000.0, "complaints": 3}
    return Line("c1", "秋季", "", NOW, NOW, **(told | changes))


def test_income_is_what_the_openings_beyond_the_control_are_worth_and_roi_counts_every_cost() -> None:
    """R004-003, R004-032: ROI = (incremental income − cost) / cost, all costs in it."""
    found = report(line())
    assert found.income_fen == 80 * 3_000 - round(0.02 * 1_000 * 3_000)
    assert found.roi == pytest.approx((180_000 - 10_000) / 10_000)
    assert found.to_control.ratio == pytest.approx(4.0)
    assert found.complaints_per_10000 == 25.0


def test_targeting_needs_fewer_contacts_for_a_success_than_chance_does() -> None:
    """R000-049: contacts per success, targeted against the control."""
    found = report(line())
    assert (found.contacts_per_success, found.control_per_success) == (12.5, 50.0)


@pytest.mark.parametrize(
    ("opened", "control", "ratio"),
    [(80, 25, 3.2), (540, 100, 5.4), (197, 100, 1.97), (250, 100, 2.5)],
)
def test_the_ratio_of_a_circle_to_the_ordinary_comes_out_of_its_counts(opened: int, control: int, ratio: float) -> None:
    """R001-012, R001-013, R001-015: 8 % against 2.5 %, 5.4 times, 2.5 times: each with its interval."""
    found = report(line(sent=1_000, responded=opened, opened=opened, controls=1_000, control_opened=control))
    assert (found.response.rate, found.control_opening.rate) == (opened / 1_000, control / 1_000)
    for rate in (found.response, found.opening, found.control_opening):
        assert rate.low < rate.rate < rate.high
    assert found.to_control.ratio == pytest.approx(ratio)
    assert 1 < found.to_control.low < ratio < found.to_control.high


def test_nothing_is_divided_by_nothing() -> None:
    empty = line(sent=0, reached=0, responded=0, opened=0, controls=0, control_opened=0, contacts=0, worth_fen=0)
    found = report(
        Line(**{**empty.__dict__, "cost_fen": 0, "other_cost_fen": 0, "complaints": 0, "mean_worth_fen": 0.0})
    )
    assert (found.roi, found.income_fen, found.contacts_per_success, found.complaints_per_10000) == (0.0, 0, 0.0, 0.0)


def test_every_kpi_says_what_it_is_and_who_answers_for_it() -> None:
    """R002-106, R004-002: the catalogue: formula, owner, unit, and which way is good."""
    named = {"complaints_per_10000", "launch_lead_days", "model_targeted_share", "offer_diversity", "satisfaction"}
    assert named < set(CATALOGUE)
    assert all(
        one.title and " / " in one.formula + " / " * (one.name == "offer_diversity") for one in CATALOGUE.values()
    )
    assert all(one.owner and one.unit for one in CATALOGUE.values())


def test_a_kpi_is_a_quotient_with_its_change_from_month_to_month() -> None:
    kpi = CATALOGUE["complaints_per_10000"]
    counts = [
        Count(date(2026, 10, 1), "A", 2, 1_000),
        Count(date(2026, 9, 1), "A", 1, 1_000),
        Count(date(2026, 10, 1), "B", 0, 0),
    ]
    found = values(kpi, counts)
    assert [(one.count.group, one.value, one.change) for one in found] == [("A", 10, 0), ("A", 20, 10), ("B", 0, 0)]


def test_cohorts_lose_customers_and_never_win_them_back() -> None:
    """R002-090: the retention curve by cohort; R002-047: how many have the product, month by month."""
    months = [date(2026, month, 1) for month in (7, 8, 9)]
    ends = [(month, datetime(2026, month.month + 1, 1, tzinfo=UTC)) for month in months]
    july, august = datetime(2026, 7, 5, tzinfo=UTC), datetime(2026, 8, 5, tzinfo=UTC)
    spans = [
        (months[0], july, None),
        (months[0], july, july + timedelta(days=40)),
        (months[0], july, july + timedelta(days=3)),
        (months[1], august, None),
    ]
    found = cohorts(spans, ends)
    assert [(one.opened, one.kept, one.holding) for one in found] == [(3, (1, 1), 2), (1, (1,), 2), (0, (), 2)]


@given(st.permutations([0, 1, 2]))
def test_what_is_told_of_a_complaint_is_the_same_in_any_order(order: list[int]) -> None:
    told = [
        Complained("k1", 7, "marketing", "", NOW, ""),
        Complained("k1", 7, "marketing", "contact", NOW + timedelta(days=1), ""),
        Complained("k1", 7, "marketing", "", NOW + timedelta(days=2), "N"),
    ]
    one, two, three = (told[at] for at in order)
    assert one.with_(two).with_(three) == Complained("k1", 7, "marketing", "contact", NOW, "N")
