"""The matrix: for every customer the products that could be opened, ranked by score."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.recommend.domain.product import Flags, Floats, Ints, Places, Singles

UNFIT = -1.0
"""The score that the graph gives to a product that is owned or not eligible."""


@dataclass(frozen=True)
class Cells:
    """Rows by customer and rank, columns of equal length. `row` and `product` are indices, `rank` counts from 1."""

    row: Ints
    product: Places
    rank: npt.NDArray[np.int16]
    score: Singles


def cells(ids: Places, scores: Singles) -> Cells:
    """The eligible cells of the graph's answer: `ids` and `scores` of shape (n, k), best first, UNFIT at the end."""
    rows, width = scores.shape
    many = np.count_nonzero(scores > UNFIT, axis=1)
    kept = np.arange(width) < many[:, None]
    rank = np.broadcast_to(np.arange(1, width + 1, dtype=np.int16), (rows, width))[kept]
    return Cells(np.arange(rows).repeat(many), ids[kept], rank, scores[kept])


@dataclass(frozen=True)
class Cell:
    """One customer and product; `rank` from 1 among the customer's products."""

    customer_key: int
    product_id: str
    org_id: str
    rank: int
    score: float


@dataclass(frozen=True)
class Change:
    """One product in two matrices; `mean_change` of the score over the cells of both."""

    product_id: str
    cells_before: int
    cells_after: int
    appeared: int
    disappeared: int
    first_before: int
    first_after: int
    mean_change: float


def stability(edges: Floats, shares: Floats, column: Singles) -> float:
    """Population stability index of a column against what was learned from: sum of (now - then) × log(now / then).

    `edges` (b - 1,) part what is known into b classes of the `shares` (b + 1,), the last one of the missing.
    """
    known = column[~np.isnan(column)]
    count = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1).astype(np.float64)
    now = (np.append(count, len(column) - len(known)) + 0.5) / (len(column) + 0.5 * (len(shares)))
    then = np.maximum(shares, 1e-4)
    return float(((now - then) * np.log(now / then)).sum())


def classes(column: Singles, parts: int = 10) -> tuple[Floats, Floats]:
    """Edges and shares of a column's quantile classes, the last share of what is missing; for `stability`."""
    known = column[~np.isnan(column)].astype(np.float64)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, parts + 1)[1:-1])) if len(known) else known
    count = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1).astype(np.float64)
    return edges, np.append(count, len(column) - len(known)) / max(len(column), 1)


@dataclass(frozen=True)
class Row:
    """One product of a matrix: customers to whom it could be offered, whose first it is, and its scores."""

    product_id: str
    customers: int
    first: int
    mean_score: float
    best_score: float


@dataclass(frozen=True)
class Band:
    """Cells of like scores, and how many of them were opened since."""

    low: float
    high: float
    cells: int
    opened: int
    rate: float
    lift: float
    mean_score: float


def bands(score: Floats, opened: Flags, parts: int = 10) -> list[Band]:
    """Bands of equally many cells, the highest scores first (R001-125)."""
    order = np.argsort(-score, kind="stable")
    base = float(opened.mean()) if len(opened) else 0.0
    return [
        Band(
            float(score[part].min()),
            float(score[part].max()),
            len(part),
            int(opened[part].sum()),
            rate := float(opened[part].mean()),
            rate / base if base else 0.0,
            float(score[part].mean()),
        )
        for part in np.array_split(order, parts)
        if len(part)
    ]
