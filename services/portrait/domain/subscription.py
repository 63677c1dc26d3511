"""What follows of a customer's plan, contract, terminal and products: columns that need a feed of their own.

Each function gives (customers,) columns as `domain/statistic.py` does: NaN or "" where nothing is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from services.portrait.domain.statistic import Bills, Column, Words, months

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_EPOCH = date(1970, 1, 1)
_OVERAGE_MONTHS = 3


@dataclass(frozen=True)
class Plans:
    """What plans hold, (plans,) each; NaN for what is not limited."""

    plan: Words
    fee_fen: Floats
    voice_minutes: Floats
    data_mb: Floats


@dataclass(frozen=True)
class Agreements:
    """Agreements, (rows,) each: a number of the base, the kind, first and last day counted from 1970-01-01."""

    customer: Ints
    kind: Words
    from_day: Ints
    to_day: Ints


@dataclass(frozen=True)
class Kind:
    """Products of a kind: those of a category, and those with a word in their name."""

    categories: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def has(self, category: str, name: str) -> bool:
        """Whether a product is of the kind."""
        return category in self.categories or any(word in name for word in self.words)


def of_plans(plan: Words, bills: Bills, plans: Plans) -> dict[str, Column]:
    """Fee and quota of the plan, the share of the quotas that last month's use was, and the overage of three months:
    what was billed above the plan's fee in months in which a quota was exceeded, in yuan."""
    order = np.argsort(plans.plan, kind="stable")
    at = np.searchsorted(plans.plan[order], plan)
    known = at < len(order)
    known[known] = plans.plan[order][at[known]] == plan[known]

    def of_plan(values: Floats) -> Floats:
        told = np.full(len(plan), np.nan)
        told[known] = values[order][at[known]]
        return told

    fee, minutes, quota = (of_plan(each) for each in (plans.fee_fen / 100.0, plans.voice_minutes, plans.data_mb))
    billed = months(bills, bills.fee_fen / 100.0, len(plan))[:, :_OVERAGE_MONTHS]
    voice, data = (months(bills, each, len(plan))[:, :_OVERAGE_MONTHS] for each in (bills.voice_minutes, bills.data_mb))
    over = (voice > minutes[:, None]) | (data > quota[:, None])
    above = np.where(over, np.maximum(billed - fee[:, None], 0.0), 0.0)
    judged = ~np.isnan(fee) & ~np.isnan(billed).all(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "plan_fee": fee,
            "data_quota_mb": quota,
            "data_used_share": np.where(quota > 0, data[:, 0] / quota, np.nan),
            "mou_used_share": np.where(minutes > 0, voice[:, 0] / minutes, np.nan),
            "overage_fee_3m": np.where(judged, np.nansum(above, axis=1), np.nan),
        }


def of_terminals(device: Words, classes: Mapping[str, str]) -> dict[str, Column]:
    """The class of the terminal, by its name."""
    return {"terminal_class": np.array([classes.get(each, "") for each in device.tolist()], dtype=np.str_)}


def of_agreements(agreements: Agreements, customers: int, to_date: date) -> dict[str, Column]:
    """Whole months to the end of the contract that lasts longest, null without one that ends; and who is a member of a
    corporate customer. Both of what is in force on the last day."""
    today = (to_date - _EPOCH).days
    there = (agreements.customer >= 0) & (agreements.from_day <= today) & (agreements.to_day >= today)
    bound = there & (agreements.kind == "contract") & (agreements.to_day < np.iinfo(np.int64).max)
    left = np.full(customers, np.nan)
    np.fmax.at(left, agreements.customer[bound], _months_to(agreements.to_day[bound], to_date))
    member = np.zeros(customers)
    member[agreements.customer[there & (agreements.kind == "group")]] = 1.0
    return {"contract_months_left": left, "is_group_customer": member}


def of_products(
    held: Sequence[tuple[int, str]], named: Mapping[str, tuple[str, str]], kinds: Mapping[str, Kind], customers: int
) -> dict[str, Column]:
    """Who holds a product of each kind: 1 or 0. `held` are pairs of customer and product, `named` tells of a product
    its category and name."""
    told: dict[str, Column] = {}
    for column, kind in kinds.items():
        mine = {product for product, (category, name) in named.items() if kind.has(category, name)}
        flags = np.zeros(customers)
        flags[[customer for customer, product in held if product in mine]] = 1.0
        told[column] = flags
    return told


def _months_to(day: Ints, to_date: date) -> Floats:
    """Whole months from a day to others that are not before it."""
    dates = day.astype("datetime64[D]")
    month = dates.astype("datetime64[M]")
    of_month = (dates - month.astype("datetime64[D]")).astype(np.int64) + 1
    between = month.astype(np.int64) - ((to_date.year - 1970) * 12 + to_date.month - 1)
    return np.asarray(between - (of_month < to_date.day), dtype=np.float64)
