"""What is measured of an answer, averaged per customer: everybody counts once."""

from collections.abc import Sequence

import numpy as np

from services.recommend.domain.evaluation import per_customer
from services.recommend.domain.product import Flags, Floats, Ints
from services.recommend.training.contest.protocol import Asked

NAMES = ("hit@1", "hit@3", "mrr", "ndcg@5", "ndcg@10")
_TOP = 10
_SHOWN = 5


def per_question(scores: Floats, asked: Asked) -> dict[str, Floats]:
    """Each measure of every question. Equal scores: the lower index first. NDCG as in Järvelin and Kekäläinen 2002."""
    order = top(scores, asked)
    found = np.take_along_axis(asked.relevant, order, axis=1)
    scored = np.where(asked.allowed, scores, -np.inf)
    best = np.where(asked.relevant, scored, -np.inf)
    place = best.argmax(axis=1)
    value = np.take_along_axis(best, place[:, None], axis=1)
    before = np.arange(scores.shape[1]) < place[:, None]
    rank = 1 + (scored > value).sum(axis=1) + ((scored == value) & before).sum(axis=1)
    told = {"hit@1": found[:, :1].any(axis=1), "hit@3": found[:, :3].any(axis=1), "mrr": 1.0 / rank}
    for most in (5, 10):
        width = min(most, order.shape[1])
        discount = 1.0 / np.log2(np.arange(2, width + 2))
        ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(asked.relevant.sum(axis=1), width)]
        told[f"ndcg@{most}"] = (found[:, :width] @ discount) / np.maximum(ideal, 1e-12)
    return {name: values.astype(np.float64) for name, values in told.items()}


def worth(owned: Flags, most: int = 5) -> Floats:
    """What finding one holding of a customer is worth in NDCG@most of all his holdings, before discount: (n,) to 1.

    A ranking that is to find all of them is best by the expected worth, not by the chance (Järvelin and Kekäläinen's
    measure divides by the best that can be had, which is less for who holds little).
    """
    ideal = np.concatenate([[1.0], np.cumsum(1.0 / np.log2(np.arange(2, most + 2)))])
    return np.asarray(1.0 / ideal[np.minimum(owned.sum(axis=1), most)])


def top(scores: Floats, asked: Asked, most: int = _TOP) -> Ints:
    """The first products of every question."""
    scored = np.where(asked.allowed, scores, -np.inf)
    return np.argsort(-scored, axis=1, kind="stable")[:, :most]


def shown(scores: Floats, asked: Asked) -> Ints:
    """The products that appear among anybody's first five."""
    order = top(scores, asked, _SHOWN)
    return np.unique(order[np.take_along_axis(asked.allowed, order, axis=1)])


def by_segment(scores: Floats, asked: Asked, segment: Ints) -> list[dict[str, float]]:
    """Precision and recall at 5 of the questions of each segment (R000-036); `segment` (m,) numbers them."""
    order = top(scores, asked, _SHOWN)
    hits = np.take_along_axis(asked.relevant & asked.allowed, order, axis=1).sum(axis=1)
    wanted = np.maximum(asked.relevant.sum(axis=1), 1)
    return [
        {
            "segment": float(each),
            "queries": float((segment == each).sum()),
            "precision@5": round(float(hits[segment == each].mean() / _SHOWN), 6),
            "recall@5": round(float((hits / wanted)[segment == each].mean()), 6),
        }
        for each in np.unique(segment).tolist()
    ]


def ndcg(scores: Floats, asked: Asked) -> float:
    """Mean NDCG@5 per customer."""
    return float(per_customer(per_question(scores, asked)["ndcg@5"], asked.row).mean())


def interval(differences: Sequence[float] | Floats, rng: np.random.Generator, draws: int = 500) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over customers (Efron 1979)."""
    values = np.asarray(differences, dtype=np.float64)
    if not len(values):
        return float("nan"), float("nan")
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))
