"""Static columns from bills and customers."""

import statistics
from datetime import date

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.statistic import NUMBERS, WORDS, Bills, Customers, columns, percentile

TO_DATE = date(2026, 9, 30)


def customers(count: int, **over: object) -> Customers:
    plain: dict[str, object] = {
        "customer_key": np.arange(1, count + 1),
        "org_id": np.full(count, "G1"),
        "sex": np.full(count, "F"),
        "birth_year": np.full(count, 1990.0),
        "brand": np.full(count, "b"),
        "plan": np.full(count, "5G128"),
        "join_month": np.full(count, 2020.0 * 12),
        "device": np.full(count, "X 5G"),
        "active": np.ones(count, dtype=bool),
        "left": np.zeros(count, dtype=bool),
    }
    return Customers(**{**plain, **over})  # type: ignore[arg-type]


def table(bills: Bills, count: int = 1, who: Customers | None = None) -> dict[str, np.ndarray]:
    return dict(columns(who or customers(count), bills, np.zeros(count), np.zeros(count), TO_DATE))


def bills_of(fees: list[int | None]) -> Bills:
    """One customer's fees, the last month first; None is a month without a bill."""
    months = [month for month, fee in enumerate(fees) if fee is not None]
    values = np.array([fee for fee in fees if fee is not None], dtype=np.float64)
    return Bills(np.zeros(len(months), np.int64), np.array(months, np.int64), values, values, values, values)


@given(st.lists(st.one_of(st.none(), st.integers(1, 50_000)), min_size=6, max_size=6))
@settings(max_examples=300, deadline=None)
def test_trends_are_those_of_the_textbook(fees: list[int | None]) -> None:
    found = table(bills_of(fees))
    there = [(-month, fee / 100) for month, fee in enumerate(fees) if fee is not None]
    last = [fee / 100 for fee in fees[:3] if fee is not None]
    assert np.isclose(found["arpu_3m_avg"][0], statistics.fmean(last) if last else np.nan, equal_nan=True)
    if len(there) < 3:
        assert np.isnan(found["arpu_slope_6m"][0])
        assert np.isnan(found["arpu_cv_6m"][0])
        return
    months, values = zip(*there, strict=True)
    mean = statistics.fmean(values)
    line = statistics.linear_regression(months, values)
    assert np.isclose(found["arpu_slope_6m"][0], line.slope / mean, atol=1e-9)
    assert np.isclose(found["arpu_cv_6m"][0], statistics.pstdev(values) / mean, atol=1e-9)


def test_every_column_is_one_of_the_grammar() -> None:
    assert set(table(bills_of([100] * 6))) <= {*NUMBERS, *WORDS}


def test_a_null_stays_null() -> None:
    who = customers(
        2, birth_year=np.array([np.nan, 2000.0]), plan=np.array(["", "4G18"]), device=np.array(["", "Y 4G"])
    )
    found = table(bills_of([None] * 6), 2, who)
    assert np.isnan(found["age"][0])
    assert found["age"][1] == 26
    assert found["plan_tier"].tolist() == ["", "4G"]
    assert np.isnan(found["terminal_5g"][0])
    assert found["terminal_5g"][1] == 0
    assert np.isnan(found["mou_1m"]).all()


def test_percentiles_are_over_active_customers_with_a_value() -> None:
    column, active = np.array([1.0, 2.0, np.nan, 100.0]), np.array([True, True, True, False])
    assert percentile(column, active, 50) == 1.5
    assert np.isnan(percentile(column, np.zeros(4, dtype=bool), 50))
