"""Who calls whom: what the customers that somebody calls hold, and how much weight a customer has in his circle."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy import sparse

from services.recommend.domain.product import Flags, Floats, Ints, Singles
from services.recommend.domain.snapshot import File

DAMPING = 0.85
_CONVERGED, _STEPS = 1e-10, 200


@dataclass(frozen=True)
class CallGraph:
    """Calls between customers: `calls` (n, n), row calls column so many times; nobody calls himself."""

    calls: sparse.csr_array

    @classmethod
    def of(cls, customers: int, caller: Ints, called: Ints, count: Ints) -> "CallGraph":
        """From pairs of places, each once; pairs of a customer with himself are left out."""
        kept = caller != called
        ends = (caller[kept], called[kept])
        return cls(sparse.csr_array((count[kept].astype(np.float64), ends), shape=(customers, customers)))

    @property
    def spoken(self) -> sparse.csr_array:
        """Calls either way, symmetric."""
        return sparse.csr_array(self.calls + self.calls.T)

    def shares(self, owned: Flags) -> Singles:
        """Share of the customers called by each who hold each product (R002-037), (n, p).

        Each called customer counts once, however often he is called; NaN for one who calls no customer.
        """
        whom = sparse.csr_array((np.ones(self.calls.nnz), self.calls.indices, self.calls.indptr), self.calls.shape)
        many = np.diff(self.calls.indptr).astype(np.float64)
        many[many == 0] = np.nan
        return np.asarray((whom @ owned.astype(np.float64)) / many[:, None], dtype=np.float32)

    def social(self, owned: Flags, weight: Floats) -> Singles:
        """Share of each one's calls, either way, that are with holders of each product, (n, p), 0 to 1.

        Each call counts by the `weight` (n,) of the other end, his influence; 0 for one who speaks with nobody.
        """
        told = self.spoken * weight[None, :]
        whole = np.asarray(told.sum(axis=1)).ravel()
        whole[whole <= 0.0] = 1.0
        return np.asarray((told @ owned.astype(np.float64)) / whole[:, None], dtype=np.float32)


@dataclass(frozen=True)
class Influence:
    """Of the members of a circle who speak with another one, by rank: places among all customers `row` (m,).

    `peers` (m,) counts the members spoken with, `reach` (m,) is their share of the other members, `score` (m,) the
    weight in the circle relative to the greatest, above 0 to 1.
    """

    circle: str
    row: Ints
    peers: Ints
    reach: Floats
    score: Floats


@dataclass(frozen=True)
class Member:
    """One customer in one circle; an empty `circle` is all customers together."""

    circle: str
    customer_key: int
    org_id: str
    rank: int
    peers: int
    reach: float
    score: float


@dataclass(frozen=True)
class Published:
    """The files of one look at the calls: `members` of circles, `social` shares by customer and `product_ids`."""

    influence_id: str
    run_id: str
    customers: int
    links: int
    members: File
    social: File
    product_ids: tuple[str, ...]
    create_time: datetime


def influence(circle: str, members: Ints, spoken: sparse.csr_array) -> Influence:
    """Weight of members (ascending places) in their circle: PageRank on the calls between them, either way.

    A customer has weight as those with whom he speaks have weight and speak with him (Brin and Page 1998; damping 0.85,
    weighted by calls). Members who speak with no other member have none and are left out.
    """
    inside = sparse.csr_array(spoken[members][:, members])
    peers = np.diff(inside.indptr).astype(np.int64)
    some = np.flatnonzero(peers > 0)
    if not len(some):
        return Influence(circle, members[some], peers[some], np.zeros(0), np.zeros(0))
    inside = sparse.csr_array(inside[some][:, some])
    score = pagerank(inside)
    score = np.round(score / score.max(), 9)  # sums may differ in their last bits from machine to machine
    order = np.lexsort((members[some], -score))
    reach = peers[some] / max(len(members) - 1, 1)
    return Influence(circle, members[some][order], peers[some][order], reach[order], score[order])


def pagerank(weights: sparse.csr_array) -> Floats:
    """PageRank of a graph in which everybody has a link, (m,), summing to 1; by power iteration."""
    many = weights.shape[0]
    out = np.asarray(weights.sum(axis=1)).ravel()
    step = sparse.csr_array(weights.T) * (1.0 / out)[None, :]
    rank = np.full(many, 1.0 / many)
    for _ in range(_STEPS):
        new = DAMPING * (step @ rank) + (1.0 - DAMPING) / many
        moved = float(np.abs(new - rank).sum())
        rank = new
        if moved < _CONVERGED:
            break
    return np.asarray(rank / rank.sum())


def circles(names: Sequence[str], values: Singles) -> list[tuple[str, Ints]]:
    """Every circle, that is every tag column that anybody has, with the places of its members."""
    tags = [(number, name) for number, name in enumerate(names) if name.startswith("tag_")]
    found = [(name.removeprefix("tag_"), np.flatnonzero(values[:, number] > 0.5)) for number, name in tags]
    return [(circle, members) for circle, members in found if len(members)]
