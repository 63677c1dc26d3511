"""The forest as a collaborative filter with K neighbours (D1): who shares leaves with the asked one, votes.

A situation is a training customer with one holding hidden; its leaf in every tree is known. An asked customer is as
similar to a training customer as the share of (tree, situation) pairs of that customer which lie in his leaves, counted
over the situations that hide something he could still open. The K most similar vote for what those situations hid.
With K = all this is the forest's own prediction, up to the weighing of leaves (Lin and Jeon 2006).

Only those who share a leaf are ever compared: `pairs` counts them, where plain collaborative filtering compares all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from services.recommend.domain.product import Flags, Floats, Ints

_PRIOR = 0.3
_CHUNK = 256
Leaves = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Situations:
    """Leaves (s, trees), numbered within each tree, of the training customer `row` (s,) with `hidden` (s,) hidden."""

    leaves: Leaves
    row: Ints
    hidden: Ints
    customers: int


@dataclass(frozen=True)
class Votes:
    """Scores (m, p) for each number of neighbours, and how many pairs of customers were compared."""

    scores: list[Floats]
    pairs: int


def votes(known: Situations, asked: Leaves, allowed: Flags, sizes: Sequence[int], popular: Floats) -> Votes:
    """The votes for asked customers with the leaves (m, trees) and `allowed` products (m, p).

    Popularity is a weak prior, so that few votes are not taken for more than they are.
    """
    trees, products = asked.shape[1], allowed.shape[1]
    width = int(max(known.leaves.max(initial=0), asked.max(initial=0))) + 1
    table = _indicator(known.leaves, width).T.tocsr()
    cell = known.row * products + known.hidden  # a situation's customer and what it hid, as one number
    gather = sparse.csr_array(
        (np.ones(len(cell), np.float32), (np.arange(len(cell)), cell)), shape=(len(cell), known.customers * products)
    )
    table = (table @ gather).tocsr()  # (tree, leaf) → how often a customer and hidden product lies in it
    found = [np.zeros(allowed.shape) for _ in sizes]
    prior = _PRIOR * popular / max(float(popular.max(initial=0.0)), 1e-12)
    pairs = 0
    for start in range(0, len(asked), _CHUNK):
        rows = slice(start, start + _CHUNK)
        shared = (_indicator(asked[rows], width) @ table).tocsr()
        for number in range(shared.shape[0]):
            here = slice(shared.indptr[number], shared.indptr[number + 1])
            place, weight = shared.indices[here], shared.data[here] / trees
            customer, product = place // products, place % products
            open_ = allowed[start + number, product]
            who, inverse = np.unique(customer[open_], return_inverse=True)
            pairs += len(who)
            if not len(who):
                continue
            weight, product = weight[open_], product[open_]
            similarity = np.bincount(inverse, weights=weight)
            rank = np.empty(len(who), dtype=np.int64)
            rank[np.argsort(-similarity, kind="stable")] = np.arange(len(who))
            for index, neighbours in enumerate(sizes):
                near = rank[inverse] < neighbours
                told = np.bincount(product[near], weights=weight[near], minlength=products)
                strength = similarity[rank < neighbours].mean()
                found[index][start + number] = told + strength * prior * neighbours / (neighbours + 3.0)
    return Votes(found, pairs)


def _indicator(leaves: Leaves, width: int) -> sparse.csr_array:
    rows, trees = leaves.shape
    column = (leaves.astype(np.int64) + np.arange(trees, dtype=np.int64) * width).reshape(-1)
    ones = np.ones(len(column), np.float32)
    return sparse.csr_array((ones, column, np.arange(0, len(column) + 1, trees)), shape=(rows, width * trees))
