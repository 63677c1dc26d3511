"""A stratified sample with its seed, and what it says of everybody with the error stated (Cochran 1977, chapter 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from services.recommend.domain.product import Flags, Floats, Ints, Singles

_MOST_VALUES, _QUARTERS = 8, 4
_WIDTH = 1.959964
"""Half of the 95 % interval in standard errors."""


@dataclass(frozen=True)
class Stratum:
    """One class of customers: all of them, and those drawn."""

    name: str
    customers: int
    drawn: int


@dataclass(frozen=True)
class Estimate:
    """The share of all customers who own a product, and half of its 95 % interval."""

    product_id: str
    share: float
    error: float


def strata_of(column: Singles) -> tuple[list[str], Ints]:
    """Names of the classes of a column, and the class of each customer: values if they are few, else quarters."""
    known = ~np.isnan(column)
    values = np.unique(column[known])
    if len(values) <= _MOST_VALUES:
        names, place = [f"{value:g}" for value in values], np.searchsorted(values, column)
    else:
        edges = np.unique(np.quantile(column[known], np.linspace(0, 1, _QUARTERS + 1)[1:-1]))
        bounds = [f"{edge:g}" for edge in edges]
        between = [f"{low} – {high}" for low, high in pairwise(bounds)]
        names = [f"< {bounds[0]}", *between, f"≥ {bounds[-1]}"]
        place = np.searchsorted(edges, column, side="right")
    return [*names, "unknown"], np.where(known, place, len(names)).astype(np.int64)


def drawn(stratum: Ints, size: int, seed: int) -> Ints:
    """Rows of the sample, ascending: each stratum in proportion, at least two of it where there are two."""
    rng = np.random.default_rng(seed)
    many = np.bincount(stratum)
    wanted = np.minimum(many, np.maximum(np.rint(many * size / max(len(stratum), 1)).astype(np.int64), 2))
    there = np.flatnonzero(many)
    rows = [rng.permutation(np.flatnonzero(stratum == number))[: wanted[number]] for number in there]
    return np.sort(np.concatenate([*rows, np.zeros(0, dtype=np.int64)])).astype(np.int64)


def estimates(stratum: Ints, rows: Ints, owned: Flags, product_ids: Sequence[str]) -> list[Estimate]:
    """Shares of all customers from the sample `rows` and what these own, (n, p)."""
    many = np.bincount(stratum).astype(np.float64)
    mine = stratum[rows]
    share, variance = np.zeros(owned.shape[1]), np.zeros(owned.shape[1])
    for number in np.unique(mine):
        part: Floats = owned[mine == number].astype(np.float64)
        weight, taken = many[number] / len(stratum), len(part)
        mean = part.mean(axis=0)
        left = 1.0 - taken / many[number]
        # A stratum where nobody or everybody owns it is not without error: one case more each way.
        careful = (part.sum(axis=0) + 1.0) / (taken + 2.0)
        share += weight * mean
        variance += weight**2 * left * careful * (1.0 - careful) / max(taken - 1, 1)
    error = _WIDTH * np.sqrt(variance)
    return [Estimate(*told) for told in zip(product_ids, share.tolist(), error.tolist(), strict=True)]


def counted(names: Sequence[str], stratum: Ints, rows: Ints) -> list[Stratum]:
    """The strata that have customers, by name."""
    many = np.bincount(stratum, minlength=len(names))
    taken = np.bincount(stratum[rows], minlength=len(names))
    told = zip(names, many.tolist(), taken.tolist(), strict=True)
    return sorted((Stratum(*each) for each in told if each[1]), key=lambda each: each.name)
