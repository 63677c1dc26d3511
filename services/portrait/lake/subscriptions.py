"""Columns of plans, contracts, terminals and products held, as far as their feeds were delivered."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain import subscription
from services.portrait.domain.run import LakeFile
from services.portrait.domain.statistic import Bills, Column, Customers
from services.portrait.domain.subscription import Agreements, Kind, Plans
from services.portrait.lake.columns import Longs, floats, last_of, latest, millis, numbers, positions, words

_FOR_EVER = np.iinfo(np.int64).max


def subscription_columns(
    facts: Mapping[str, Sequence[LakeFile]],
    customers: Customers,
    bills: Bills,
    orders: pa.Table | None,
    kinds: Mapping[str, Kind],
    to_date: date,
) -> dict[str, Column]:
    """The columns as of `to_date`; those of a feed that was never delivered are left out."""
    key = customers.customer_key
    plans, terminals, agreements, products = (
        latest(facts.get(feed, ())) for feed in ("plans", "terminals", "agreements", "products")
    )
    told: dict[str, Column] = {}
    if plans is not None:
        rows = last_of(words(plans, "plan"))
        held = Plans(
            words(plans, "plan")[rows], *(floats(plans, name)[rows] for name in ("fee_fen", "voice_minutes", "data_mb"))
        )
        told |= subscription.of_plans(customers.plan, bills, held)
    if terminals is not None:
        classes = zip(words(terminals, "device").tolist(), words(terminals, "terminal_class").tolist(), strict=True)
        told |= subscription.of_terminals(customers.device, dict(classes))
    if agreements is not None:
        known = Agreements(
            positions(key, numbers(agreements, "customer_key", pa.int64())),
            words(agreements, "kind"),
            _days(agreements, "from_date"),
            _days(agreements, "to_date"),
        )
        told |= subscription.of_agreements(known, len(key), to_date)
    if products is not None and orders is not None:
        named = zip(words(products, "category").tolist(), words(products, "name").tolist(), strict=True)
        names = dict(zip(words(products, "product_id").tolist(), named, strict=True))
        told |= subscription.of_products(_held(orders, key), names, kinds, len(key))
    return told


def _held(orders: pa.Table, key: Longs) -> list[tuple[int, str]]:
    """Who holds what: customer and product whose latest order opened it."""
    customer = positions(key, numbers(orders, "customer_key", pa.int64()))
    product, action = words(orders, "product_id"), words(orders, "action")
    order = np.argsort(millis(orders, "time"), kind="stable")
    rows = order[last_of(customer[order], product[order])]
    rows = rows[(customer[rows] >= 0) & (action[rows] == "open")]
    return list(zip(customer[rows].tolist(), product[rows].tolist(), strict=True))


def _days(table: pa.Table, name: str) -> Longs:
    days = pc.cast(pc.cast(pc.cast(table[name], pa.date32()), pa.int32()), pa.int64())
    return np.asarray(pc.fill_null(days, _FOR_EVER).to_numpy(), dtype=np.int64)
