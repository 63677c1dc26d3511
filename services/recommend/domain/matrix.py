"""The matrix: for every customer the products that could be opened, ranked by score."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.recommend.domain.product import Ints, Singles

UNFIT = -1.0
"""The score that the graph gives to a product that is owned or not eligible."""


@dataclass(frozen=True)
class Cells:
    """Rows by customer and rank, columns of equal length. `row` and `product` are indices, `rank` counts from 1."""

    row: Ints
    product: Ints
    rank: npt.NDArray[np.int16]
    score: Singles


def cells(ids: Ints, scores: Singles) -> Cells:
    """The eligible cells of the graph's answer: `ids` and `scores` of shape (n, k), best first, UNFIT at the end."""
    row, place = np.nonzero(scores > UNFIT)
    return Cells(row, ids[row, place], (place + 1).astype(np.int16), scores[row, place])
