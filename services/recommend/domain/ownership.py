"""Ownership as orders tell it: per customer and product the latest order counts, whatever came in which delivery."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.recommend.domain.product import Catalogue, Flags, Ints

Texts = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Orders:
    """Columns of equal length: `time` in milliseconds since 1970 UTC, `opens` False for a cancellation."""

    customer_key: Ints
    product_id: Texts
    order_id: Texts
    time: Ints
    opens: Flags

    def __len__(self) -> int:
        """How many orders there are."""
        return len(self.customer_key)


def latest(orders: Orders) -> Orders:
    """The last order of every customer and product, by (time, order_id, cancel after open); by customer and product.

    The maximum does not depend on the order of the rows, and taking it twice changes nothing: deliveries may come late,
    twice and in any order.
    """
    rank = np.lexsort(
        (~orders.opens, orders.order_id.astype(str), orders.time, orders.product_id.astype(str), orders.customer_key)
    )
    customer, product = orders.customer_key[rank], orders.product_id[rank].astype(str)
    last = np.ones(len(rank), dtype=bool)
    last[:-1] = (customer[1:] != customer[:-1]) | (product[1:] != product[:-1])
    kept = rank[last]
    return Orders(
        orders.customer_key[kept], orders.product_id[kept], orders.order_id[kept], orders.time[kept], orders.opens[kept]
    )


@dataclass(frozen=True)
class Folded:
    """Ownership of known customers, shape (n, p), and how many holdings fell outside of it."""

    owned: Flags
    unknown_customers: int
    unknown_products: int


def fold(orders: Orders, customers: Ints, catalogue: Catalogue) -> Folded:
    """Who of `customers` (ascending keys) owns what; holdings of others and of unknown products are only counted."""
    state = latest(orders)
    customer, product_id = state.customer_key[state.opens], state.product_id[state.opens]
    row = np.searchsorted(customers, customer)
    known = row < len(customers)
    known[known] = customers[row[known]] == customer[known]
    column = np.array([catalogue.index.get(each, -1) for each in product_id.tolist()], dtype=np.int64)
    owned = np.zeros((len(customers), len(catalogue)), dtype=bool)
    both = known & (column >= 0)
    owned[row[both], column[both]] = True
    return Folded(owned, len(np.unique(customer[~known])), int((column < 0).sum()))
