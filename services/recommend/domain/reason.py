"""Why a product is recommended, in short true sentences: drivers, customers alike, products that go together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.recommend.domain.acceptance import SMOOTHING
from services.recommend.domain.association import Association
from services.recommend.domain.product import Flags, Floats, Ints, Places, Singles
from services.recommend.domain.rf_cf import Forest

_MOST_DRIVERS = 3
_LEAST = 0.02  # of the log-odds; a weaker driver is not worth a word

LABELS = {
    "age": "年龄",
    "gender": "性别",
    "terminal_5g": "5G终端",
    "plan_tier": "5G套餐",
    "arpu_3m_avg": "近三月平均消费",
    "arpu_slope_6m": "近六月消费走势",
    "arpu_cv_6m": "近六月消费波动",
    "mou_1m": "上月通话分钟",
    "mou_prev_3m_avg": "此前三月平均通话分钟",
    "dou_mb_1m": "上月流量(MB)",
    "dou_prev_3m_avg": "此前三月平均流量(MB)",
    "sms_mo_1m": "上月短信条数",
    "tenure_months": "在网月数",
}
"""What well-known feature columns are called; a tag is called by the name that portrait gives it."""


@dataclass(frozen=True)
class Evidence:
    """Why some products for some customers.

    `alike` (n, k) is the share of the training customers in the same leaves who hold the product; `inputs` (n, k, 3)
    are the numbers of the strongest drivers, the strongest first, -1 for none; `weights` their parts of the log-odds.
    """

    alike: Floats
    inputs: Ints
    weights: Floats


def evidence(forest: Forest, rows: Singles, products: Places, owns: Flags) -> Evidence:
    """Explain `products` (n, k) for the customers of `rows` (n, width), who own something or not (n,).

    A change of the shares moves the log-odds, to first order, by the change of the product's share over that share less
    the change of what it stands against over that.
    """
    none = forest.value.shape[1] - 1
    asked = np.column_stack([products, np.full(len(products), none)])
    base, change = forest.contributions(rows, asked)
    end = base + change.sum(axis=2)
    cold = ~owns[:, None]
    share, rest = end[:, :-1], end[:, -1:]
    against = np.where(cold, rest - share, rest)
    moved, opposed = change[:, :-1], change[:, -1:]
    # d log(share / against); who owns nothing stands against 1 - share
    slope = 1.0 / (share + SMOOTHING) + np.where(cold, 1.0 / (against + SMOOTHING), 0.0)
    weight = moved * slope[:, :, None] - opposed * (1.0 / (against + SMOOTHING))[:, :, None]
    # That the product itself is not owned goes without saying, and so does the last input, whether anything is.
    first = rows.shape[1] - 1 - none
    np.put_along_axis(weight, (first + products)[:, :, None], 0.0, axis=2)
    weight[:, :, -1] = 0.0
    order, strongest = _strongest(weight)
    whole = share + np.where(cold, 1.0 - share, rest)
    alike = np.clip(np.where(whole > 0, share / np.where(whole > 0, whole, 1.0), 0.0), 0.0, 1.0)
    return Evidence(alike, np.where(strongest > _LEAST, order, -1), strongest)


def _strongest(weight: Floats) -> tuple[Ints, Floats]:
    """Places and values of the greatest of the last axis, the greatest first, the lower place first among equals."""
    many = min(_MOST_DRIVERS, weight.shape[2])
    order, found = np.empty((*weight.shape[:2], many), np.int64), np.empty((*weight.shape[:2], many))
    for place in range(many):
        best = weight.argmax(axis=2)[:, :, None]
        order[:, :, place : place + 1] = best
        found[:, :, place : place + 1] = np.take_along_axis(weight, best, axis=2)
        np.put_along_axis(weight, best, -np.inf, axis=2)
    return order, found


@dataclass(frozen=True)
class Words:
    """The names that sentences use: features in the model's order with `labels` by column, then products by id.

    `product_ids` are the model's, `products` the names of all by id.
    """

    features: Sequence[str]
    labels: Mapping[str, str]
    product_ids: Sequence[str]
    products: Mapping[str, str]

    def driver(self, number: int, value: float) -> str:
        """One input and its value; a number beyond the features is a product, owned or not."""
        called = self._called[number]
        if isinstance(called, tuple):
            return called[value > 0.5]
        return f"{called}未知" if math.isnan(value) else f"{called}为{value:.4g}"

    @cached_property
    def _called(self) -> list[str | tuple[str, str]]:
        """What each input is called; with two values: what is said of no and of yes."""
        found: list[str | tuple[str, str]] = []
        for name in self.features:
            tag = name.removeprefix("tag_")
            label = self.labels.get(tag, tag)
            found.append(LABELS.get(name, name) if tag == name else (f"不属于“{label}”", f"属于“{label}”"))
        names = [self.products.get(each, each) for each in self.product_ids]
        return [*found, *((f"未办理{name}", f"已办理{name}") for name in names)]


def sentences(found: Iterable[str], share: float, together: Association | None, words: Words) -> list[str]:
    """The reasons: what weighs in favour, what customers alike hold, and the owned product that goes with it best."""
    told = "、".join(found)
    reasons = [f"有利因素：{told}"] if told else []
    reasons.append(f"画像和已办产品相近的客户中，约{share:.0%}办理了该产品")
    if together is not None:
        left = words.products.get(together.left, together.left)
        reasons.append(f"办理{left}的客户中，{together.confidence:.0%}也办理了该产品（提升度{together.lift:.2f}）")
    return reasons
