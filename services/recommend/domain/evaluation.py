"""Held-out quality: what is measured of answers to questions.

A question hides one holding of a held-out customer; a recommender scores the products; those that the customer still
has are left out, and the rank of the hidden one counts (equal scores: the lower index first, as in the graph).
Questions are averaged per customer first, so that everybody counts once.
"""

import numpy as np

from services.recommend.domain.product import Flags, Floats, Ints


def ranks(scores: Floats, allowed: Flags, hidden: Ints) -> Ints:
    """Rank from 1 of the hidden product (m,) among the allowed ones, (m, p) each."""
    scored = np.where(allowed, scores, -np.inf)
    here = np.arange(len(hidden))
    own = scored[here, hidden][:, None]
    before = np.arange(scored.shape[1]) < hidden[:, None]
    return np.asarray(1 + (scored > own).sum(axis=1) + ((scored == own) & before).sum(axis=1))


def per_customer(values: Floats, customer: Ints) -> Floats:
    """Mean over each customer's questions; customers ascending."""
    _, place = np.unique(customer, return_inverse=True)
    return np.asarray(np.bincount(place, weights=values) / np.bincount(place))


def ndcg(rank: Ints, customer: Ints, most: int = 5) -> Floats:
    """NDCG@most per customer, one relevant product a question: 1 / log2(rank + 1), 0 beyond `most`.

    Järvelin and Kekäläinen 2002.
    """
    return per_customer(np.where(rank <= most, 1.0 / np.log2(rank + 1.0), 0.0), customer)


def hit(rank: Ints, customer: Ints, most: int = 1) -> Floats:
    """Share per customer of questions whose hidden product is among the first `most`."""
    return per_customer((rank <= most).astype(np.float64), customer)


def ndcg_of_all(scores: Floats, relevant: Flags, most: int = 5) -> Floats:
    """NDCG@most per row with several relevant products, as for a customer of whom no holding is known.

    `scores` and `relevant` (n, p); every row has a relevant product.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    discount = 1.0 / np.log2(np.arange(2, order.shape[1] + 2))
    found = np.take_along_axis(relevant, order, axis=1) @ discount
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant.sum(axis=1), order.shape[1])]
    return np.asarray(found / best)


def auc(scores: Floats, positive: Flags) -> float:
    """Chance that a positive scores above a negative, ties count half (Mann and Whitney 1947); NaN without both."""
    order = np.argsort(scores, kind="stable")
    _, first, count = np.unique(scores[order], return_index=True, return_counts=True)
    place = np.empty(len(scores))
    place[order] = np.repeat(first + (count + 1) / 2.0, count)
    yes = int(positive.sum())
    no = len(positive) - yes
    return float((place[positive].sum() - yes * (yes + 1) / 2.0) / (yes * no)) if yes and no else float("nan")
