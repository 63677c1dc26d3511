"""Static columns about customers (`stat_columns` of the catalogue), from customers, bills, orders and consent.

Numbers are float64 with NaN for null, truth values 1.0, 0.0 and NaN; words are arrays of str with "" for null.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.str_]
Column = Floats | Words

TYPES: Mapping[str, str] = {
    "age": "int", "gender": "text", "brand": "text", "plan_code": "text", "plan_tier": "text", "plan_fee": "decimal",
    "is_group_customer": "bool", "terminal_class": "text", "terminal_5g": "bool", "tenure_months": "int",
    "contract_months_left": "int", "credit_class": "text", "arpu_1m": "decimal", "arpu_3m_avg": "decimal",
    "arpu_prev_3m_avg": "decimal", "arpu_slope_6m": "decimal", "arpu_cv_6m": "decimal", "recharge_days_ago": "int",
    "recharge_count_90d": "int", "recharge_amount_90d": "decimal", "mou_1m": "int", "mou_prev_3m_avg": "decimal",
    "mou_night_share": "decimal", "mou_roam_share": "decimal", "mou_longdist_share": "decimal", "call_days_1m": "int",
    "call_contacts_1m": "int", "call_top5_share": "decimal", "call_out_share": "decimal", "sms_mo_1m": "int",
    "mms_1m": "int", "dou_mb_1m": "decimal", "dou_prev_3m_avg": "decimal", "dou_night_share": "decimal",
    "dou_video_share": "decimal", "data_quota_mb": "decimal", "data_used_share": "decimal",
    "mou_used_share": "decimal", "overage_fee_3m": "decimal", "products_active": "int", "product_music": "bool",
    "product_mail": "bool", "product_pay": "bool", "product_im": "bool", "product_news": "bool",
    "complaints_90d": "int", "contacts_30d": "int", "optout": "bool", "silent_days": "int", "stop_status": "text",
    "competitor_call_share": "decimal",
}  # fmt: skip
"""Stat columns that a catalogue may name without declaring them (`stat_columns` adds others)."""
NUMBERS = tuple(name for name, kind in TYPES.items() if kind != "text")
WORDS = tuple(name for name, kind in TYPES.items() if kind == "text")
BILL_MONTHS = 6


@dataclass(frozen=True)
class Customers:
    """Customers of the base by key; (customers,) each."""

    customer_key: Ints
    org_id: Words
    sex: Words
    birth_year: Floats
    brand: Words
    plan: Words
    join_month: Floats
    """Months since year 0 of the join date, less 1 when the day of the month is not reached on the last day."""
    device: Words
    active: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Bills:
    """Bill rows; (rows,) each. `customer` is a number into the base, `month` counts back: 0 is the last month."""

    customer: Ints
    month: Ints
    fee_fen: Floats
    voice_minutes: Floats
    sms_count: Floats
    data_mb: Floats


def columns(
    customers: Customers, bills: Bills, products_active: Floats, optout: Floats, to_date: date
) -> Mapping[str, Column]:
    """All stat columns as of `to_date`, by name; (customers,) each.

    A customer without enough months has null: the averages need one month, slope and variation three.
    """
    count = len(customers.customer_key)
    fee = months(bills, bills.fee_fen / 100.0, count)
    voice = months(bills, bills.voice_minutes, count)
    data = months(bills, bills.data_mb, count)
    sms = months(bills, bills.sms_count, count)
    last_chars = np.array([word[-2:] for word in customers.device.tolist()], dtype=np.str_)
    five_g = np.where(customers.device == "", np.nan, (last_chars == "5G").astype(np.float64))
    tier = np.where(customers.plan == "", "", np.where(np.strings.startswith(customers.plan, "5G"), "5G", "4G"))
    return {
        "age": to_date.year - customers.birth_year,
        "gender": customers.sex,
        "brand": customers.brand,
        "plan_code": customers.plan,
        "plan_tier": tier,
        "terminal_5g": five_g,
        "tenure_months": (to_date.year * 12 + to_date.month - 1) - customers.join_month,
        "arpu_1m": fee[:, 0],
        "arpu_3m_avg": _mean(fee[:, :3]),
        "arpu_prev_3m_avg": _mean(fee[:, 3:6]),
        "arpu_slope_6m": _slope(fee),
        "arpu_cv_6m": _variation(fee),
        "mou_1m": voice[:, 0],
        "mou_prev_3m_avg": _mean(voice[:, 1:4]),
        "sms_mo_1m": sms[:, 0],
        "dou_mb_1m": data[:, 0],
        "dou_prev_3m_avg": _mean(data[:, 1:4]),
        "products_active": products_active,
        "optout": optout,
        "stop_status": np.where(customers.left, "销户", "正常"),
    }


def completed(known: Mapping[str, Column], wanted: Mapping[str, str], count: int) -> dict[str, Column]:
    """All wanted columns: those that are known, and null for the others. Raises ValueError for one of another type."""
    found: dict[str, Column] = {}
    for name, kind in wanted.items():
        if name not in known:
            found[name] = np.full(count, "", dtype=np.str_) if kind == "text" else np.full(count, np.nan)
        elif (known[name].dtype.kind == "f") is (kind == "text"):
            raise ValueError(f"stat column {name}: expected {kind}")
        else:
            found[name] = known[name]
    return found


def months(bills: Bills, values: Floats, count: int) -> Floats:
    """Values of bills by customer and months back, NaN without a bill; (customers, 6)."""
    table = np.full((count, BILL_MONTHS), np.nan)
    inside = (bills.customer >= 0) & (bills.month >= 0) & (bills.month < BILL_MONTHS)
    table[bills.customer[inside], bills.month[inside]] = values[inside]
    return table


def percentile(column: Floats, active: npt.NDArray[np.bool_], rank: float) -> float:
    """The percentile over active customers with a value, linearly interpolated; NaN when there are none."""
    base = column[active & ~np.isnan(column)]
    return float(np.percentile(base, rank)) if len(base) else float("nan")


def _present(table: Floats, least: int) -> tuple[npt.NDArray[np.bool_], Floats]:
    has = ~np.isnan(table)
    count = has.sum(axis=1).astype(np.float64)
    return has, np.where(count >= least, count, np.nan)


def _mean(table: Floats) -> Floats:
    has, count = _present(table, 1)
    return np.asarray(np.where(has, table, 0.0).sum(axis=1) / count)


def _slope(fee: Floats) -> Floats:
    """Slope of the least-squares line of the fee over the months, over the mean fee; per month. Null below 3 months."""
    has, count = _present(fee, 3)
    month = np.where(has, -np.arange(fee.shape[1], dtype=np.float64), 0.0)
    value = np.where(has, fee, 0.0)
    middle, mean = month.sum(axis=1) / count, value.sum(axis=1) / count
    off = np.where(has, month - middle[:, None], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (off * value).sum(axis=1) / (off**2).sum(axis=1)
        return np.asarray(np.where(mean > 0, slope / mean, np.nan))


def _variation(fee: Floats) -> Floats:
    """Population standard deviation over the mean. Null below 3 months."""
    has, count = _present(fee, 3)
    mean = np.where(has, fee, 0.0).sum(axis=1) / count
    spread = np.where(has, fee - mean[:, None], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(mean > 0, np.sqrt((spread**2).sum(axis=1) / count) / mean, np.nan))
