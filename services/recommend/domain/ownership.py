"""Ownership as orders tell it: per customer and product the latest order counts, whatever came in which delivery."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.recommend.domain.product import Catalogue, Flags, Ints

Texts = npt.NDArray[np.object_]
Smalls = npt.NDArray[np.int32]

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
    """The latest orders as numbers: those of `customer_key[i]` (ascending) stand at `first[i]` to `first[i + 1]`.

    `column` is the product's in a catalogue, `opens` False for a cancellation, `time` in milliseconds.
    """

    customer_key: Ints
    first: Ints
    column: Smalls
    opens: Flags
    time: Ints
    products: int

    def of(self, customers: Ints) -> "Held":
        """What `customers` (ascending keys, with gaps or without) hold, and what they cancelled and when."""
        place = np.searchsorted(self.customer_key, customers)
        there = self.customer_key.take(place, mode="clip") == customers if len(self.customer_key) else place < 0
        known = np.flatnonzero(there)
        begin, end = self.first[place[known]], self.first[place[known] + 1]
        many = end - begin
        row, at = known.repeat(many), np.arange(many.sum()) + (end - many.cumsum()).repeat(many)
        opens, column = self.opens[at], self.column[at]
        owned = np.zeros((len(customers), self.products), dtype=bool)
        owned.ravel()[(row * self.products + column)[opens]] = True
        left = np.flatnonzero(~opens)
        return Held(owned, row[left], column[left], self.time[at[left]])


@dataclass(frozen=True)
class Held:
    """`owned` (n, p); what was cancelled: row, column and time in milliseconds, of equal length."""

    owned: Flags
    row: Ints
    column: Smalls
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
    column: Smalls,
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
    last = np.append(~alike, True)[: len(rank)]
    return _state(rank[last], customer, column, time, opens, products)


def _state(rank: Ints, customer: Ints, column: Smalls, time: Ints, opens: Flags, products: int) -> State:
    """Rows that count, by customer, as a State."""
    who = customer[rank]
    first = np.flatnonzero(np.append(True, who[1:] != who[:-1])[: len(who)])
    return State(who[first], np.append(first, len(who)), column[rank], opens[rank], time[rank], products)


def _by_time(
    rows: Ints,
    customer: Ints,
    column: Smalls,
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
