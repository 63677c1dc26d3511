"""What can be owned, what must be owned first, and what goes not together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Product:
    """One product; money in fen. `requires_product_id` and `exclusive_group` are empty when there is none."""

    product_id: str
    name: str
    category: str
    fee_fen: int
    worth_fen: int
    requires_product_id: str = ""
    exclusive_group: str = ""


@dataclass(frozen=True)
class Held:
    """A product with the number of customers who own it."""

    product: Product
    owners: int


@dataclass(frozen=True)
class Catalogue:
    """Products by id. Arrays over products follow this order; p is their number.

    A prerequisite that is not in the catalogue can be owned by nobody, so its dependents are eligible for nobody.
    """

    products: tuple[Product, ...]

    @classmethod
    def of(cls, products: Sequence[Product]) -> "Catalogue":
        """The catalogue of the products, whatever their order."""
        return cls(tuple(sorted(products, key=lambda product: product.product_id)))

    def aligned(self, product_ids: Sequence[str]) -> "Catalogue":
        """The products in the order of a model, which never changes; one that is withdrawn is eligible for nobody."""
        gone = "(withdrawn)"
        found = [self.index.get(product_id) for product_id in product_ids]
        return Catalogue(
            tuple(
                Product(product_id, product_id, "", 0, 0, gone) if number is None else self.products[number]
                for product_id, number in zip(product_ids, found, strict=True)
            )
        )

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.products)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Product ids, ascending."""
        return tuple(product.product_id for product in self.products)

    @cached_property
    def index(self) -> dict[str, int]:
        """Where a product id stands."""
        return {product_id: number for number, product_id in enumerate(self.ids)}

    @cached_property
    def dependents(self) -> Flags:
        """Shape (p, p): [j, k] says that k cannot be owned without j, directly or through others."""
        direct = np.zeros((len(self), len(self)), dtype=bool)
        for number, product in enumerate(self.products):
            if product.requires_product_id in self.index:
                direct[self.index[product.requires_product_id], number] = True
        reach = direct.copy()
        for middle in range(len(self)):  # Warshall 1962
            reach |= reach[:, middle : middle + 1] & reach[middle]
        return reach

    def eligible(self, owned: Flags) -> Flags:
        """Who could open what, shape (n, p) like `owned`: not owned, prerequisite owned, exclusive group free."""
        free = ~owned
        groups = np.array([product.exclusive_group for product in self.products])
        for number, product in enumerate(self.products):
            if product.requires_product_id:
                required = self.index.get(product.requires_product_id)
                free[:, number] &= False if required is None else owned[:, required]
            if product.exclusive_group:
                free[:, number] &= ~owned[:, groups == product.exclusive_group].any(axis=1)
        return free
