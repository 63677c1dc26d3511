"""What a model has to beat on the same questions: `owned` (n, p) of the training customers, `rest` (m, p) of the asked.

All give scores (m, p), ties by popularity. None sees a profile but `profile_votes` and `segment_votes`.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from services.recommend.domain.product import Flags, Floats, Ints, Singles

NEIGHBOURS = 50
_TIE = 1e-9
_CHUNK = 1024


def popularity(owned: Flags, rest: Flags) -> Floats:
    """How many of the training customers own each product, the same for every question."""
    return np.broadcast_to(owned.sum(axis=0).astype(np.float64), rest.shape)


def item_knn(owned: Flags, rest: Flags) -> Floats:
    """Sum of cosine similarities to the remaining products (Sarwar et al. 2001)."""
    together = _together(owned)
    length = np.sqrt(np.maximum(np.diag(together), 1.0))
    similarity = together / length / length[:, None]
    np.fill_diagonal(similarity, 0.0)
    return rest @ similarity + _TIE * popularity(owned, rest)


def confidence(owned: Flags, rest: Flags) -> Floats:
    """The highest confidence of a rule {remaining product} → product (Agrawal, Imieliński and Swami 1993)."""
    together = _together(owned)
    share = together / np.maximum(np.diag(together), 1.0)[:, None]
    np.fill_diagonal(share, 0.0)
    told = np.zeros(rest.shape)
    for number in range(rest.shape[1]):
        np.maximum(told, np.where(rest[:, number : number + 1], share[number], 0.0), out=told)
    return told + _TIE * popularity(owned, rest)


def ease(owned: Flags, rest: Flags, ridge: float = 100.0) -> Floats:
    """EASE (Steck 2019): the closed-form linear autoencoder without a diagonal."""
    together = _together(owned)
    inverse = np.linalg.inv(together + ridge * np.eye(len(together)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return rest @ weights + _TIE * popularity(owned, rest)


def als(
    owned: Flags, rest: Flags, *, factors: int, alpha: float, ridge: float = 5.0, rounds: int = 8, seed: int = 0
) -> Floats:
    """Implicit matrix factorisation by alternating least squares (Hu, Koren and Volinsky 2008), the asked folded in."""
    rng = np.random.default_rng(seed)
    items = rng.normal(0.0, 0.1, (owned.shape[1], factors))
    for _ in range(rounds):
        users = _solved(owned, items, alpha, ridge)
        items = _solved(owned.T, users, alpha, ridge)
    return _solved(rest, items, alpha, ridge) @ items.T + _TIE * popularity(owned, rest)


def _solved(known: Flags, other: Floats, alpha: float, ridge: float) -> Floats:
    """For each row of `known` the factors that explain it, given those of its columns."""
    factors = other.shape[1]
    whole = other.T @ other + ridge * np.eye(factors)
    outer = (other[:, :, None] * other[:, None, :]).reshape(len(other), -1)
    found = np.empty((len(known), factors))
    for start in range(0, len(known), 8 * _CHUNK):
        part = known[start : start + 8 * _CHUNK].astype(np.float64)
        left = whole + alpha * (part @ outer).reshape(-1, factors, factors)
        right = (1.0 + alpha) * (part @ other)
        found[start : start + len(part)] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
    return found


def user_knn(owned: Flags, rest: Flags, neighbours: int = NEIGHBOURS) -> Floats:
    """`user_knn_curve` for one number of neighbours."""
    return user_knn_curve(owned, rest, [neighbours])[0]


def user_knn_curve(owned: Flags, rest: Flags, sizes: Sequence[int]) -> list[Floats]:
    """Votes of the nearest training customers by cosine of ownership, for each number of neighbours.

    Neighbours that hold nothing beyond the remaining products are skipped: they could vote for nothing. Customers of
    the same holdings are alike, so they are counted as one row with a weight.
    """
    kinds, count = np.unique(owned, axis=0, return_counts=True)
    asked, back = np.unique(rest, axis=0, return_inverse=True)
    ones = kinds.astype(np.float64)
    length = np.sqrt(np.maximum(ones.sum(axis=1), 1.0))
    votes = [np.zeros(asked.shape) for _ in sizes]
    most = min(max(sizes), len(kinds))
    for rows in _chunks(len(asked)):
        shared = asked[rows].astype(np.float64) @ ones.T
        size = np.maximum(np.sqrt(asked[rows].sum(axis=1)), 1.0)[:, None]
        similarity = np.where(shared < ones.sum(axis=1), shared / length / size, -1.0)
        order = _nearest(similarity + _TIE * count / count.max(), most)
        near = np.take_along_axis(similarity, order, axis=1)
        weight = count[order]
        before = np.cumsum(weight, axis=1) - weight
        for place, neighbours in enumerate(sizes):
            room = np.where(near >= 0.0, np.clip(neighbours - before, 0, weight), 0)
            voting = (near + 1e-6) * room
            votes[place][rows] = np.einsum("qk,qkp->qp", voting, ones[order])
    popular = owned.sum(axis=0)
    return [(each + _TIE * popular)[back.reshape(-1)] for each in votes]


def profile_votes(
    known: Floats, owned: Flags, asked: Floats, rest: Flags, sizes: Sequence[int], share: float = 0.5
) -> list[Floats]:
    """UserKNN on profile + products: `known` (n, f) and `asked` (m, f) scaled profiles without gaps.

    Similarity is `share` times the cosine of profiles plus the rest times the cosine of ownership.
    """
    ones = owned.astype(np.float64)
    left, right = _unit(known), _unit(ones)
    votes = [np.zeros(rest.shape) for _ in sizes]
    most = min(max(sizes), len(owned))
    for rows in _chunks(len(rest)):
        remaining = rest[rows].astype(np.float64)
        similarity = 1.0 + share * (_unit(asked[rows]) @ left.T) + (1.0 - share) * (_unit(remaining) @ right.T)
        similarity[remaining @ ones.T >= ones.sum(axis=1)] = 0.0
        _vote(votes, rows, similarity, ones, sizes, most)
    popular = owned.sum(axis=0)
    return [each + _TIE * popular for each in votes]


def segment_votes(owned: Flags, segment: Ints, rest: Flags, asked: Ints, sizes: Sequence[int]) -> list[Floats]:
    """UserKNN within the customer's segment only (R000-036): `segment` (n,), `asked` (m,)."""
    votes = [np.zeros(rest.shape) for _ in sizes]
    for each in np.unique(asked):
        mine = segment == each
        rows = np.flatnonzero(asked == each)
        for place, found in enumerate(user_knn_curve(owned[mine] if mine.any() else owned, rest[rows], sizes)):
            votes[place][rows] = found
    popular = owned.sum(axis=0)
    return [each + _TIE * _TIE * popular for each in votes]


def _vote(votes: list[Floats], rows: slice, similarity: Floats, ones: Floats, sizes: Sequence[int], most: int) -> None:
    order = _nearest(similarity, most)
    near = np.take_along_axis(similarity, order, axis=1)
    told = np.zeros((len(similarity), ones.shape[1]))
    done = 0
    for place, neighbours in sorted(enumerate(sizes), key=lambda item: item[1]):
        if neighbours > done:
            new = slice(done, neighbours)
            told += np.einsum("qk,qkp->qp", near[:, new], ones[order[:, new]])
            done = neighbours
        votes[place][rows] = told


def _nearest(similarity: Floats, most: int) -> Ints:
    """The `most` columns of the highest similarity per row, the highest first."""
    if most < similarity.shape[1]:
        found = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
    else:
        found = np.broadcast_to(np.arange(similarity.shape[1]), similarity.shape)
    order = np.argsort(-np.take_along_axis(similarity, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def scaled(profile: Singles, known: Singles) -> Floats:
    """Columns of mean 0 and deviation 1 over `known` (n, f), what is missing at the mean."""
    told = known.astype(np.float64)
    filled = ~np.isnan(told)
    many = np.maximum(filled.sum(axis=0), 1)
    mean = np.where(filled, told, 0.0).sum(axis=0) / many
    spread = np.sqrt(np.where(filled, (told - mean) ** 2, 0.0).sum(axis=0) / many)
    here = (profile.astype(np.float64) - mean) / np.where(spread > 0, spread, 1.0)
    return np.where(np.isnan(here), 0.0, here)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _together(owned: Flags) -> Floats:
    ones: Singles = owned.astype(np.float32)  # exact up to 2**24 customers
    return np.asarray(ones.T @ ones, dtype=np.float64)


def _chunks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _CHUNK):
        yield slice(start, min(start + _CHUNK, rows))
