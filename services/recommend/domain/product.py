"""What can be owned, what must be owned first, and what goes not together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.integer[Any]]  # of products in a catalogue; narrow where there are many
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
    terms: "Terms | None" = None

    @property
    def prerequisites(self) -> tuple[str, ...]:
        """All that must be owned first."""
        first = (self.requires_product_id,) if self.requires_product_id else ()
        return first + (self.terms.prerequisite_product_ids if self.terms else ())


@dataclass(frozen=True)
class Terms:
    """How a product is sold and who may be offered it, as product managers keep it."""

    frequency: str = ""
    free_trial_days: int = 0
    how_to_order: str = ""
    tags: tuple[str, ...] = ()
    bundled_product_ids: tuple[str, ...] = ()
    prerequisite_product_ids: tuple[str, ...] = ()
    excluded_product_ids: tuple[str, ...] = ()
    cool_down_days: int = 0
    withdrawn: bool = False
    order_ways: tuple[str, ...] = ()
    issues_per_day: int = 0
    target: str = ""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Terms":
        """From JSON."""
        told: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
        return cls(**told)


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

    def with_terms(self, terms: Mapping[str, Terms]) -> "Catalogue":
        """The same products under these terms."""
        return Catalogue(tuple(replace(each, terms=terms.get(each.product_id)) for each in self.products))

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
            for required in product.prerequisites:
                if required in self.index:
                    direct[self.index[required], number] = True
        reach = direct.copy()
        for middle in range(len(self)):  # Warshall 1962
            reach |= reach[:, middle : middle + 1] & reach[middle]
        return reach

    def eligible(self, owned: Flags) -> Flags:
        """Who could open what, shape (n, p) like `owned`: not owned, what it needs is, nothing rules it out."""
        free = ~owned
        groups = np.array([product.exclusive_group for product in self.products])
        for number, product in enumerate(self.products):
            for each in product.prerequisites:
                required = self.index.get(each)
                free[:, number] &= False if required is None else owned[:, required]
            if product.terms is not None:
                against = [self.index[each] for each in product.terms.excluded_product_ids if each in self.index]
                free[:, number] &= not product.terms.withdrawn
                free[:, number] &= ~owned[:, against].any(axis=1)
            if product.exclusive_group:
                free[:, number] &= ~owned[:, groups == product.exclusive_group].any(axis=1)
        return free
