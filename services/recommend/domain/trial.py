"""What a contact changes: customers who were contacted, and others whom chance held out of the same campaign."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from services.recommend.domain.ownership import Orders
from services.recommend.domain.product import Catalogue, Flags, Floats, Ints, Singles

DAYS = 30
"""How long after its time a contact is answerable for an opening."""


@dataclass(frozen=True)
class Trial:
    """One customer with one offer of a campaign: `treated` was contacted at `time`, the other would have been."""

    contact_id: str
    customer_key: int
    product_id: str
    campaign_id: str
    time: datetime
    treated: bool


@dataclass(frozen=True)
class Trials:
    """What is known of trials: `values` (m, f) before each, `product` (m,) by place, who was `treated`, who `opened`.

    `campaigns` names by product the campaign that they are of.
    """

    values: Singles
    product: Ints
    treated: Flags
    opened: Flags
    campaigns: Mapping[str, str]


def experiments(told: Sequence[Trial], gone: Mapping[int, int]) -> tuple[list[Trial], dict[str, str]]:
    """Of each product the campaign that held most customers out, every customer once at his first contact.

    One campaign, since others hold out other shares. Who was erased is left out, who was merged goes on as the other.
    """
    held: dict[tuple[str, str], int] = {}
    for each in told:
        held[each.product_id, each.campaign_id] = held.get((each.product_id, each.campaign_id), 0) + (not each.treated)
    chosen: dict[str, str] = {}
    for (product_id, campaign_id), many in sorted(held.items(), key=lambda item: (item[1], item[0])):
        if many:
            chosen[product_id] = campaign_id  # the last one has most
    first: dict[tuple[int, str], Trial] = {}
    for each in sorted(told, key=lambda each: (each.time, each.contact_id)):
        key = gone.get(each.customer_key, each.customer_key)
        if key and chosen.get(each.product_id) == each.campaign_id:
            first.setdefault((key, each.product_id), each)
    return list(first.values()), chosen


def opened_after(customer: Ints, product: Ints, time: Floats, orders: Orders, catalogue: Catalogue) -> Flags:
    """Whether each customer (m,) opened the product within DAYS of the time (seconds since 1970)."""
    openings: dict[tuple[int, int], list[float]] = {}
    rows = zip(orders.customer_key.tolist(), orders.product_id.tolist(), orders.time.tolist(), orders.opens.tolist(),
               strict=True)  # fmt: skip
    wanted = set(zip(customer.tolist(), product.tolist(), strict=True))
    for key, product_id, at, opens in rows:
        place = catalogue.index.get(product_id, -1)
        if opens and (key, place) in wanted:
            openings.setdefault((key, place), []).append(at / 1000.0)
    last = 86_400.0 * DAYS
    asked = zip(customer.tolist(), product.tolist(), time.tolist(), strict=True)
    told = [any(at <= each < at + last for each in openings.get((key, place), ())) for key, place, at in asked]
    return np.array(told, dtype=bool)
