"""Associations between owned products (R002-026): lift is the share of the users of one service who use another,
relative to the share of that other's users among all analysed customers."""

from dataclasses import dataclass

import numpy as np

from services.recommend.domain.product import Catalogue, Flags


@dataclass(frozen=True)
class Association:
    """`left` is owned, `right` goes with it. `support` and `confidence` are shares, `both` counts customers."""

    left: str
    right: str
    both: int
    support: float
    confidence: float
    lift: float


def associations(owned: Flags, catalogue: Catalogue) -> list[Association]:
    """All ordered pairs that at least one customer owns together, the highest lift first (then by ids). Exact counts.

    With n customers: support = both / n, confidence = both / owners(left), lift = confidence / (owners(right) / n).
    """
    customers = len(owned)
    ones = owned.astype(np.int64)
    together = ones.T @ ones
    owners = ones.sum(axis=0)
    found = [
        Association(
            catalogue.ids[left],
            catalogue.ids[right],
            both := int(together[left, right]),
            both / customers,
            both / int(owners[left]),
            both * customers / (int(owners[left]) * int(owners[right])),
        )
        for left, right in zip(*np.nonzero(together), strict=True)
        if left != right
    ]
    return sorted(found, key=lambda each: (-each.lift, each.left, each.right))
