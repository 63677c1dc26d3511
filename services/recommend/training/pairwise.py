"""Algorithms that add up, over the owned products, what each says of the others: one matrix (p, p) and a bias.

In this form they are served by the same graph as everything else, and their sums are calibrated like its log-odds.
"""

import numpy as np

from services.recommend.domain import baseline
from services.recommend.domain.log_linear import LogLinear, basis_of
from services.recommend.domain.product import Catalogue, Flags, Floats

PAIRWISE = ("popularity", "item_knn", "user_knn", "ease", "als", "content")
_FACTORS = 8


def pairwise(name: str, owned: Flags, catalogue: Catalogue, features: int) -> LogLinear:
    """The algorithm as a log-linear filter whose profile weights are 0. `owned` (n, p)."""
    products = owned.shape[1]
    pair = _nothing(products) if name == "popularity" else _MADE[name](owned, catalogue)
    share = (owned.sum(axis=0) + 0.5) / (len(owned) + 1.0)
    bias = np.tile(np.log(share / (1.0 - share)), (2, 1))
    if name != "popularity":
        bias[1] *= 1e-3 * max(float(np.abs(pair).max(initial=0.0)), 1e-9)  # ties by popularity
    basis = basis_of(np.zeros((1, features), np.float32), 0)
    return LogLinear(basis, np.zeros((2, basis.width, products)), bias, pair)


def _unit(owned: Flags) -> Flags:
    """What an algorithm says of every product for a customer who owns exactly one: row i for product i."""
    return np.eye(owned.shape[1], dtype=bool)


def _nothing(products: int) -> Floats:
    return np.zeros((products, products))


def _item_knn(owned: Flags, catalogue: Catalogue) -> Floats:
    return _without_own(baseline.item_knn(owned, _unit(owned)))


def _ease(owned: Flags, catalogue: Catalogue) -> Floats:
    return _without_own(baseline.ease(owned, _unit(owned)))


def _user_knn(owned: Flags, catalogue: Catalogue) -> Floats:
    """All customers vote with what they hold, by the cosine of their ownership: linear in what is owned."""
    ones = owned.astype(np.float64)
    size = np.sqrt(np.maximum(ones.sum(axis=1, keepdims=True), 1.0))
    return _without_own((ones / size).T @ ones / max(len(ones), 1))


def _als(owned: Flags, catalogue: Catalogue) -> Floats:
    """Low-rank factors folded in linearly; without confidences the fixed point of ALS is the truncated SVD."""
    ones = owned.astype(np.float64)
    _, _, right = np.linalg.svd(ones.T @ ones)
    factors = right[: min(_FACTORS, max(1, len(right) // 2))].T
    return _without_own(factors @ factors.T)


def _content(owned: Flags, catalogue: Catalogue) -> Floats:
    """Likeness of products by what the catalogue says: category, group, tags, a like fee (R002-076)."""
    fee = np.log1p([max(product.fee_fen, 0) for product in catalogue.products])
    near = np.exp(-np.abs(fee[:, None] - fee))
    tags = [set(product.terms.tags) if product.terms else set() for product in catalogue.products]
    words = [
        {product.category, product.exclusive_group, *mine} - {""}
        for product, mine in zip(catalogue.products, tags, strict=True)
    ]
    alike = np.array([[len(one & two) / max(len(one | two), 1) for two in words] for one in words])
    return _without_own(alike + 0.5 * near)


def _without_own(pair: Floats) -> Floats:
    made = pair.copy()
    np.fill_diagonal(made, 0.0)
    return made


_MADE = {"item_knn": _item_knn, "user_knn": _user_knn, "ease": _ease, "als": _als, "content": _content}
