"""Columns of plan, contract, terminal and products held, at their bounds."""

from datetime import date

import numpy as np
import pytest
import yaml

from services.portrait.domain.detail import DetailsInvalid, parse_details
from services.portrait.domain.statistic import Bills
from services.portrait.domain.subscription import (
    Agreements,
    Kind,
    Plans,
    of_agreements,
    of_plans,
    of_products,
    of_terminals,
)  # fmt: skip
from tests.portrait.conftest import HERE

NAN = float("nan")
EVER = np.iinfo(np.int64).max


def day(year: int, month: int, of_month: int) -> int:
    return (date(year, month, of_month) - date(1970, 1, 1)).days


def test_quotas_are_filled_by_last_month_and_overage_is_what_was_billed_above_the_fee_in_months_beyond_them() -> None:
    """R003-037: package tags: saturation of data and voice, overage again and again."""
    plans = Plans(
        np.array(["4G38", "4G18"]), np.array([3800.0, 1800]), np.array([100.0, NAN]), np.array([8000.0, 3000])
    )
    rows = [
        (0, 0, 4800, 50, 9000),
        (0, 1, 4000, 101, 10),
        (0, 2, 9900, 100, 8000),
        (0, 3, 9900, 999, 1),
        (1, 0, 1800, 999, 3000),
    ]
    customer, month, fee, voice, data = (np.array(column) for column in zip(*rows, strict=True))
    bills = Bills(customer, month, fee.astype(float), voice.astype(float), np.zeros(5), data.astype(float))
    told = of_plans(np.array(["4G38", "4G18", "", "5G999"]), bills, plans)
    assert np.array_equal(told["plan_fee"], [38, 18, NAN, NAN], equal_nan=True)
    assert np.array_equal(told["data_used_share"], [1.125, 1, NAN, NAN], equal_nan=True)
    assert np.array_equal(told["mou_used_share"], [0.5, NAN, NAN, NAN], equal_nan=True)
    assert np.array_equal(told["overage_fee_3m"], [10 + 2, 0, NAN, NAN], equal_nan=True), (
        "a quota that is just full is not exceeded"
    )


def test_the_longest_contract_in_force_counts_in_whole_months_and_members_are_those_of_today() -> None:
    """R003-037: whose contract is about to end; who belongs to a corporate customer."""
    rows = [
        (0, "contract", day(2026, 1, 1), day(2026, 12, 14)),
        (0, "contract", day(2026, 1, 1), day(2026, 10, 1)),
        (1, "contract", day(2026, 1, 1), day(2026, 9, 15)),
        (2, "contract", day(2025, 1, 1), day(2026, 9, 14)),
        (3, "contract", day(2025, 1, 1), EVER),
        (4, "contract", day(2026, 9, 16), day(2027, 9, 16)),
        (1, "group", day(2026, 9, 15), EVER),
        (2, "group", day(2025, 1, 1), day(2026, 9, 14)),
        (-1, "group", day(2025, 1, 1), EVER),
    ]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    told = of_agreements(Agreements(columns[0], columns[1], columns[2], columns[3]), 5, date(2026, 9, 15))
    assert np.array_equal(told["contract_months_left"], [2, 0, NAN, NAN, NAN], equal_nan=True)
    assert np.asarray(told["is_group_customer"]).tolist() == [0, 1, 0, 0, 0]


def test_a_terminal_has_the_class_of_its_model() -> None:
    assert of_terminals(np.array(["P1 5G", "", "X9"]), {"P1 5G": "旗舰"})["terminal_class"].tolist() == ["旗舰", "", ""]


def test_products_are_of_a_kind_by_category_or_by_a_word_of_their_name() -> None:
    kinds = parse_details(yaml.safe_load((HERE / "catalogue" / "details.yaml").read_text(encoding="utf-8"))).held
    named = {
        "P08": ("音乐", "视频彩铃"),
        "P16": ("数字", "手机邮箱"),
        "P15": ("支付", "移动支付礼包"),
        "P04": ("宽带", "x"),
    }
    told = of_products([(0, "P08"), (1, "P16"), (2, "P15"), (2, "P04"), (3, "P04")], named, kinds, 4)
    held = {name: np.flatnonzero(flags).tolist() for name, flags in told.items()}
    assert held == {
        "product_music": [0], "product_mail": [1], "product_pay": [2], "product_im": [], "product_news": [],
    }  # fmt: skip
    assert not Kind(("音乐",)).has("", "音乐")


@pytest.mark.parametrize("body", [{}, {"colour": ["x"]}, ["音乐"]])
def test_a_kind_that_says_nothing_is_refused(body: object) -> None:
    with pytest.raises(DetailsInvalid, match=r"held\.product_music"):
        parse_details({"format": "details/1", "columns": {}, "held": {"product_music": body}})
