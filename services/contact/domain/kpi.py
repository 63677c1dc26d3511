"""The KPI catalogue: what each figure is, who answers for it, and how its months make a trend."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Kpi:
    """A figure: `scale` × numerator / denominator; `formula` says what these are."""

    name: str
    title: str
    formula: str
    owner: str
    unit: str
    rising_is_good: bool = True
    scale: float = 1.0


_ALL = (
    Kpi(
        "complaints_per_10000",
        "万次接触投诉量",
        "10,000 × complaints that follow a contact / contacts handed over",
        "quality",
        "complaints per 10,000 contacts",
        rising_is_good=False,
        scale=10_000.0,
    ),
    Kpi(
        "launch_lead_days",
        "活动上线周期",
        "days from draft to roll-out / campaigns rolled out, in the month of the roll-out",
        "planning",
        "days",
        rising_is_good=False,
    ),
    Kpi(
        "model_targeted_share",
        "模型目标客户接触占比",
        "contacts won in an auction / all contacts, marketing orders without a plan among them",
        "planning",
        "share",
    ),
    Kpi("response_rate", "响应率", "contacts answered with interest / contacts handed over", "marketing", "share"),
    Kpi(
        "opening_rate", "开通率", "contacts with an opening within 30 days / contacts handed over", "marketing", "share"
    ),
    Kpi(
        "cost_per_opening",
        "单次成功成本",
        "cost of the contacts in fen / openings that followed them",
        "finance",
        "fen",
        rising_is_good=False,
    ),
    Kpi(
        "offer_diversity",
        "推荐多样性",
        "1 − Σ share² over the products of the contacts (Simpson): the chance that two contacts differ in product",
        "planning",
        "share",
    ),
    Kpi(
        "satisfaction",
        "投诉处理满意度",
        "answered to satisfaction / asked about",
        "quality",
        "share",
    ),
    Kpi(
        "orders_in_time",
        "工单及时率",
        "closed marketing orders that never timed out / closed marketing orders",
        "field",
        "share",
    ),
    Kpi(
        "repeated_exposure",
        "重复曝光率",
        "exposures of a content to a customer who saw it within 7 days before / exposures to known customers",
        "marketing",
        "share",
        rising_is_good=False,
    ),
    Kpi("order_response", "工单响应率", "orders answered with interest / orders with a result", "field", "share"),
)

CATALOGUE: Mapping[str, Kpi] = {kpi.name: kpi for kpi in _ALL}
"""Name → KPI, in the catalogue's order."""


@dataclass(frozen=True)
class Count:
    """What a group's month counts."""

    month: date
    group: str
    numerator: float
    denominator: float


@dataclass(frozen=True)
class KpiValue:
    """A KPI in one month of one group; `change` is against the group's month before."""

    count: Count
    value: float
    change: float


def values(kpi: Kpi, counts: Iterable[Count]) -> list[KpiValue]:
    """The KPI by group and month, with its trend."""
    found: list[KpiValue] = []
    for count in sorted(counts, key=lambda one: (one.group, one.month)):
        value = kpi.scale * count.numerator / count.denominator if count.denominator else 0.0
        before = found[-1] if found and found[-1].count.group == count.group else None
        found.append(KpiValue(count, value, value - before.value if before else 0.0))
    return found
