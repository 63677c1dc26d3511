"""Ownership as orders tell it: per customer and product the latest order counts, whatever came in which delivery."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.recommend.domain.product import Catalogue, Flags, Ints

Texts = npt.NDArray[np.object_]

_MOST_KEY = 2**62


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


def ever(orders: Orders, customers: Ints, catalogue: Catalogue) -> Flags:
    """What each of `customers` (ascending keys) opened at any time, whether he holds it still or not."""
    column = np.array([catalogue.index.get(each, -1) for each in orders.product_id.tolist()], dtype=np.int64)
    opened = np.zeros((len(customers), len(catalogue)), dtype=bool)
    if not len(customers):
        return opened
    row = np.minimum(np.searchsorted(customers, orders.customer_key), len(customers) - 1)
    known = orders.opens & (column >= 0) & (customers[row] == orders.customer_key)
    opened[row[known], column[known]] = True
    return opened


@dataclass(frozen=True)
class State:
    """The latest orders as numbers, by customer: `column` is the product's in a catalogue, -1 for an unknown one."""

    customer_key: Ints
    column: Ints
    opens: Flags
    time: Ints
    products: int

    def of(self, customers: Ints) -> "Held":
        """What `customers` (ascending keys, with gaps or without) hold, and what they cancelled and when."""
        first, last = np.searchsorted(self.customer_key, customers[[0, -1]] + [0, 1]) if len(customers) else (0, 0)
        part = slice(int(first), int(last))
        row = np.searchsorted(customers, self.customer_key[part])
        mine = (
            customers[np.minimum(row, max(len(customers) - 1, 0))] == self.customer_key[part] if last > first else row
        )
        known = np.asarray(mine, dtype=bool) & (self.column[part] >= 0)
        opens, column = self.opens[part], self.column[part]
        owned = np.zeros((len(customers), self.products), dtype=bool)
        owned[row[known & opens], column[known & opens]] = True
        left = known & ~opens
        return Held(owned, row[left], column[left], self.time[part][left])


@dataclass(frozen=True)
class Held:
    """`owned` (n, p); what was cancelled: row, column and time in milliseconds, of equal length."""

    owned: Flags
    row: Ints
    column: Ints
    time: Ints

    def cooling(self, catalogue: Catalogue, now: int) -> Flags:
        """What each cancelled less than its cool-down ago, (n, p); `now` in milliseconds."""
        days = np.array([product.terms.cool_down_days if product.terms else 0 for product in catalogue.products])
        cool = np.zeros(self.owned.shape, dtype=bool)
        recent = self.time > now - days[self.column] * 86_400_000
        cool[self.row[recent], self.column[recent]] = True
        return cool


def renamed(customer: Ints, gone: Mapping[int, int]) -> Ints:
    """Keys that were merged as the one that stays, erased ones as 0."""
    old = np.array(sorted(gone), dtype=np.int64)
    if not len(old):
        return customer
    new = np.array([gone[each] for each in old.tolist()], dtype=np.int64)
    place = np.minimum(np.searchsorted(old, customer), len(old) - 1)
    return np.where(old[place] == customer, new[place], customer)


def before(orders: Orders, time: int) -> Orders:
    """The orders before a time, in milliseconds since 1970."""
    kept = orders.time < time
    return Orders(
        orders.customer_key[kept], orders.product_id[kept], orders.order_id[kept], orders.time[kept], orders.opens[kept]
    )


def mapped(orders: Orders, gone: Mapping[int, int]) -> Orders:
    """Orders of merged keys as those of the key that stays; without the orders of who was erased (into 0)."""
    if not gone:
        return orders
    key = renamed(orders.customer_key, gone)
    kept = key != 0
    told = (orders.product_id, orders.order_id, orders.time, orders.opens)
    return Orders(key[kept], *(each[kept] for each in told))


def state(orders: Orders, catalogue: Catalogue) -> State:
    """The latest orders by customer, with their products' columns."""
    ids, code = np.unique(orders.product_id.astype(str), return_inverse=True)
    column = np.array([catalogue.index.get(each, -1) for each in ids.tolist()], dtype=np.int32)
    found = column[code.reshape(-1)] if len(ids) else np.zeros(0, dtype=np.int32)
    return settled(
        orders.customer_key, found, orders.time, orders.opens, lambda rows: orders.order_id[rows], len(catalogue)
    )


def settled(
    customer: Ints,
    column: "npt.NDArray[np.int32]",
    time: Ints,
    opens: Flags,
    order_id: Callable[[Ints], Texts],
    products: int,
) -> State:
    """The rule of `latest` over numbers; `order_id` is asked for rows of the same customer, product and time alone.

    Products beyond the catalogue (column -1) are left out.
    """
    known = np.flatnonzero(column >= 0)
    who = customer[known]
    if len(who) and int(who.max()) > _MOST_KEY // products:  # no room for the product beside such a key
        who = np.unique(who, return_inverse=True)[1]
    cell = who * products + column[known]
    order = np.argsort(cell, kind="stable")  # in one pass where the files came by customer
    rank, cell = known[order], cell[order]
    alike = cell[:-1] == cell[1:]
    if alike.any():
        places = np.flatnonzero(np.append(alike, False) | np.append(False, alike))
        rank[places] = _by_time(rank[places], customer, column, time, opens, order_id)
    kept = rank[np.append(~alike, True)] if len(rank) else rank
    return State(customer[kept], column[kept].astype(np.int64), opens[kept], time[kept], products)


def _by_time(
    rows: Ints,
    customer: Ints,
    column: "npt.NDArray[np.int32]",
    time: Ints,
    opens: Flags,
    order_id: Callable[[Ints], Texts],
) -> Ints:
    """The rows by customer, product, time, order and what was done last; `order_id` is asked where times tie."""
    rows = rows[np.lexsort((~opens[rows], time[rows], column[rows], customer[rows]))]
    one, two = rows[:-1], rows[1:]
    tied = (customer[one] == customer[two]) & (column[one] == column[two]) & (time[one] == time[two])
    if tied.any():
        places = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        mine = rows[places]
        texts = order_id(mine).astype(str)
        rows[places] = mine[np.lexsort((~opens[mine], texts, time[mine], column[mine], customer[mine]))]
    return rows


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
