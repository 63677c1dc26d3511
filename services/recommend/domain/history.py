"""What was known of a customer just before a contact: nothing that happened later may teach a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from services.recommend.domain.outcome import Answered
from services.recommend.domain.ownership import Orders
from services.recommend.domain.product import Catalogue, Flags, Floats, Ints, Singles


@dataclass(frozen=True)
class Contacts:
    """Contacts by time: `profile` (m, f) of the latest run before each, `owned` (m, p) just before; `product` (m,).

    `called` (m, c) is what those hold whom the customer called before that run's end; c is 0 without calls.
    """

    customer: Ints
    product: Ints
    accepted: Flags
    time: Floats
    profile: Singles
    owned: Flags
    called: Singles

    def of(self, kept: "Flags | Ints") -> "Contacts":
        """Some of them."""
        return Contacts(
            self.customer[kept],
            self.product[kept],
            self.accepted[kept],
            self.time[kept],
            self.profile[kept],
            self.owned[kept],
            self.called[kept],
        )


def run_before(days: Sequence[date], time: datetime) -> int:
    """The place of the latest of `days` (ascending, last days of runs) before the day of `time` (UTC); -1 without."""
    return int(np.searchsorted(np.array(days, dtype="datetime64[D]"), np.datetime64(time.date()), side="left")) - 1


def owned_before(answered: Sequence[Answered], orders: Orders, catalogue: Catalogue) -> Flags:
    """Who held what just before each contact, (m, p): the latest earlier order of each product counts."""
    order = np.lexsort((~orders.opens, orders.order_id.astype(str), orders.time, orders.customer_key))
    keys, time = orders.customer_key[order], orders.time[order]
    column = np.array([catalogue.index.get(each, -1) for each in orders.product_id[order].tolist()], dtype=np.int64)
    opens = orders.opens[order]
    owned = np.zeros((len(answered), len(catalogue)), dtype=bool)
    asked = np.array([each.customer_key for each in answered], dtype=np.int64)
    first, last = np.searchsorted(keys, asked, side="left"), np.searchsorted(keys, asked, side="right")
    for row, each in enumerate(answered):
        mine = slice(int(first[row]), int(last[row]))
        now = int(each.time.timestamp() * 1000)
        for place, opened in zip(column[mine][time[mine] < now].tolist(), opens[mine][time[mine] < now], strict=True):
            if place >= 0:
                owned[row, place] = opened  # in the order of time: the last one stays
    return owned
