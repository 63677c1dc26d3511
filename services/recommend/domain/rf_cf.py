"""RF-CF: the next-product random forest, and what can be read off it.

Every holding is hidden once (with what stands on it: nobody holds a product without its prerequisite), and the forest
learns [profile | remaining products] → which product was hidden. One more question per customer, nothing hidden, has
the answer NONE. So a leaf's distribution d tells, for customers with this profile R and these other products, how many
hold j on top (d_j) against how many hold nothing more (d_none): d_j / (d_j + d_none) is the share that holds j. That
makes scores comparable from one customer to another, which a distribution over products alone is not; within one
customer the order is that of d_j. Customers who own nothing are sent to a second forest on the profile alone, whose
leaf values are the shares of owners; both are trees of one ensemble, behind a root that asks whether anything is owned.

The same trees are the collaborative filter: d is the vote of the training customers by how often they share a leaf with
this one (Lin and Jeon 2006, "Random forests and adaptive nearest neighbors").
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.recommend.domain.product import Catalogue, Flags, Floats, Ints, Singles
from services.recommend.refusals import training_data_unfit

Nodes = npt.NDArray[np.int32]

FEWEST_CUSTOMERS = 20


@dataclass(frozen=True)
class Questions:
    """Row i: customer `row[i]` with the products `rest[i]`; `hidden[i]` is what was hidden, p for NONE."""

    row: Ints
    rest: Flags
    hidden: Ints


def hide_each(owned: Flags, catalogue: Catalogue) -> Questions:
    """Every holding hidden once, with what requires it; by customer, then product."""
    row, hidden = np.nonzero(owned)
    rest = owned[row] & ~catalogue.dependents[hidden]
    rest[np.arange(len(row)), hidden] = False
    return Questions(row.astype(np.int64), rest, hidden.astype(np.int64))


def hide_nothing(owned: Flags) -> Questions:
    """Every customer as he is."""
    customers, products = owned.shape
    return Questions(np.arange(customers), owned, np.full(customers, products, dtype=np.int64))


def check_fit(owned: Flags) -> None:
    """Raise training_data_unfit unless the holdings can teach which product goes with which."""
    holders = owned.sum(axis=1)
    if int((holders > 0).sum()) < FEWEST_CUSTOMERS:
        raise training_data_unfit(f"fewer than {FEWEST_CUSTOMERS} customers hold anything")
    if int(owned.any(axis=0).sum()) < 2:
        raise training_data_unfit("one class: fewer than two products are held by anybody")
    if int(holders.max()) < 2:
        raise training_data_unfit("no overlap: nobody holds two products")


def inputs(profile: Singles, owned: Flags) -> Singles:
    """The columns that trees split on, shape (n, f + p + 1): profile, owned, whether anything is owned."""
    rest = owned.astype(np.float32)
    return np.hstack([profile.astype(np.float32), rest, rest.max(axis=1, keepdims=True, initial=0.0)])


@dataclass(frozen=True)
class Forest:
    """Trees in flat arrays over all their nodes; a leaf is its own child.

    A row goes left when its value of `feature` is at most `threshold`, or is missing and `missing_left` is set.
    `value` has shape (nodes, p + 1), the last column NONE; inner nodes carry the value of all that passed them.
    """

    root: Nodes
    left: Nodes
    right: Nodes
    feature: Nodes
    threshold: Singles
    missing_left: Flags
    value: Singles

    def step(self, node: Nodes, x: Singles) -> Nodes:
        """Children of `node` (n, trees) for the rows `x` (n, width)."""
        told = x.ravel().take(self.feature.take(node) + (np.arange(len(x)) * x.shape[1])[:, None])
        goes_left = told <= self.threshold.take(node)
        if (missing := np.isnan(told)).any():
            goes_left |= self.missing_left.take(node) & missing
        return np.where(goes_left, self.left.take(node), self.right.take(node))

    def leaves(self, x: Singles) -> Nodes:
        """The leaf of every row in every tree, shape (n, trees)."""
        node = np.broadcast_to(self.root, (len(x), len(self.root)))
        while not np.array_equal(step := self.step(node, x), node):
            node = step
        return node

    def distribution(self, x: Singles) -> Floats:
        """The mean of the leaves' values, shape (n, p + 1)."""
        mean: Floats = self.value[self.leaves(x)].mean(axis=1, dtype=np.float64)
        return mean

    def contributions(self, x: Singles, products: Ints) -> tuple[Floats, Floats]:
        """What each input did to the shares of some products, walking down the trees; `products` (n, k) of each row.

        Gives the mean value at the roots, shape (n, k), and the sum per input of the changes at the splits on it, shape
        (n, k, width), over the number of trees. Their sum is the distribution (Saabas 2014; Palczewska et al. 2013).
        The first split, which only chooses between the two forests, belongs to the roots.
        """
        (rows, width), trees, across = x.shape, len(self.root), self.value.shape[1]
        first = self.step(np.broadcast_to(self.root, (rows, trees)), x)
        own = first[:, :, None].astype(np.int64) * across + products[:, None, :]
        base: Floats = self.value.ravel().take(own).mean(axis=1, dtype=np.float64)
        trails, leaf = self._trails, self.leaves(x)
        many = trails.many.take(leaf)
        ends = many.ravel().cumsum()
        step = np.arange(ends[-1]) + (trails.first.take(leaf).ravel() - ends + many.ravel()).repeat(many.ravel())
        row = np.arange(rows).repeat(many.sum(axis=1))
        at, cell = trails.change.take(step), trails.feature.take(step) + row * width
        change = np.empty((rows, products.shape[1], width))
        for kind in range(products.shape[1]):
            moved = self._changes.take(at + products[:, kind].take(row))
            change[:, kind] = np.bincount(cell, moved, minlength=rows * width).reshape(rows, width)
        change /= trees
        return base, change

    @cached_property
    def _changes(self) -> Floats:
        """What every node's value differs by from its parent's, one after the other; worked out once."""
        return np.asarray((self.value - self.value[self._parent]).astype(np.float64).ravel())

    @cached_property
    def _parent(self) -> Ints:
        parent = np.arange(len(self.left))
        inner = np.flatnonzero(self.left != parent)
        parent[self.left[inner]] = parent[self.right[inner]] = inner
        return parent

    @cached_property
    def _trails(self) -> "Trails":
        """The way to every leaf, without the root and the first split; worked out once."""
        up, number = self._parent, np.arange(len(self.left))
        node = np.flatnonzero(self.left == number)
        below, tops = up[up] != up, []  # whether a node lies below the first split
        leaf = node
        while len(node):
            kept = below[node]
            leaf, node = leaf[kept], node[kept]
            tops.append((leaf, node))
            node = up[node]
        leaves, nodes = (np.concatenate([pair[place] for pair in tops]) for place in (0, 1))
        order = np.argsort(leaves, kind="stable")
        many = np.bincount(leaves, minlength=len(number))
        passed, across = nodes[order], self.value.shape[1]
        return Trails(many.cumsum() - many, many, passed * across, self.feature[up[passed]].astype(np.int64))


@dataclass(frozen=True)
class Trails:
    """For the leaf i the steps first[i] to first[i] + many[i]: where the changes of a step begin, and what it asks."""

    first: Ints
    many: Ints
    change: Ints
    feature: Ints


def round_down(threshold: Floats) -> Singles:
    """The largest float32 that is not above each float64: x <= threshold stays true for exactly the same float32 x."""
    with np.errstate(over="ignore"):  # beyond float32 lies infinity, and just below it the largest float32
        near = threshold.astype(np.float32)
        below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > threshold, below, near)
