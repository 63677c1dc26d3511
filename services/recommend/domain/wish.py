"""What a caller asks of the products that he is to be given, and where he will show them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.recommend.domain.product import Flags, Product


@dataclass(frozen=True)
class Wish:
    """Keeps products of `categories`, with one of `tags`, of at most `most_fee_fen` (0: any), not `excluded`.

    With `order_way` those that can be ordered that way, and those of which nobody says how. The customer is taken to
    hold what is in his `basket`. `place` is where the answer is shown. What is empty asks for nothing.
    """

    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    most_fee_fen: int = 0
    excluded: tuple[str, ...] = ()
    order_way: str = ""
    basket: tuple[str, ...] = ()
    place: str = ""

    @property
    def plain(self) -> bool:
        """Whether it leaves no product out."""
        return not (self.categories or self.tags or self.most_fee_fen or self.excluded or self.order_way)

    def fits(self, product: Product) -> bool:
        """Whether a product is one of those asked for."""
        terms = product.terms
        ways = terms.order_ways if terms else ()
        return (
            (not self.categories or product.category in self.categories)
            and (not self.tags or (terms is not None and not set(self.tags).isdisjoint(terms.tags)))
            and (not self.most_fee_fen or product.fee_fen <= self.most_fee_fen)
            and product.product_id not in self.excluded
            and (not self.order_way or not ways or self.order_way in ways)
        )

    def of(self, products: Sequence[Product]) -> Flags:
        """Which products fit, (p,)."""
        return np.array([self.fits(product) for product in products], dtype=bool)


ANYTHING = Wish()
"""Asks for nothing in particular, as most callers do."""
