"""The forest's neighbourhood where products are many: its classes are groups of products, its inputs their factors.

Products that are bought by the same customers lie near each other in the factors of ownership (truncated SVD, Eckart
and Young 1936); k-means makes groups of them. The forest learns [profile | mean factors of the rest] → group of what
was hidden, and its leaves make the neighbours (domain.neighbourhood); these vote for products.
"""

import time

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier

from services.recommend.domain import neighbourhood
from services.recommend.domain.neighbourhood import Situations
from services.recommend.domain.product import Flags, Floats, Singles
from services.recommend.training.contest import measure
from services.recommend.training.contest.learner import SIZES, Answer, Bench
from services.recommend.training.contest.protocol import Split

_GROUPS, _FACTORS, _TREES, _LEAF = 24, 16, 60, 10
_MOST_SITUATIONS = 40_000


def large_forest(bench: Bench) -> Answer:
    """The votes of the forest's neighbours, K tuned on the inner questions."""
    started = time.perf_counter()
    inner, _ = _votes(bench, bench.inner)
    place = int(np.argmax([measure.ndcg(each, bench.inner.asked) for each in inner]))
    fitted = time.perf_counter()
    outer, pairs = _votes(bench, bench.split)
    seconds = time.perf_counter() - fitted
    curve = {
        size: measure.per_question(scores, bench.split.asked)["ndcg@5"]
        for size, scores in zip(SIZES, outer, strict=True)
    }
    return Answer(outer[place], inner[place], fitted - started, seconds, SIZES[place], curve, pairs)


def _votes(bench: Bench, split: Split) -> tuple[list[Floats], int]:
    owned, asked = split.owned[split.learn], split.asked
    rng = np.random.default_rng(bench.seed)
    factors = _factors(owned, bench.seed)
    groups = KMeans(min(_GROUPS, len(factors)), n_init=2, random_state=bench.seed % 2**32).fit_predict(factors)
    row, hidden = np.nonzero(owned)
    if len(row) > _MOST_SITUATIONS:
        kept = np.sort(rng.permutation(len(row))[:_MOST_SITUATIONS])
        row, hidden = row[kept], hidden[kept]
    known = owned.astype(np.float32) @ factors
    count = owned.sum(axis=1).astype(np.float32)
    if asked.rest.any():
        rest = (known[row] - factors[hidden]) / np.maximum(count[row] - 1, 1)[:, None]
        left = np.hstack([bench.profile[split.learn][row], rest])
        right = np.hstack([bench.profile[asked.row], _mean(asked.rest, factors)])
    else:
        left, right = bench.profile[split.learn][row], bench.profile[asked.row]
    if not left.shape[1]:
        left, right = np.zeros((len(row), 1), np.float32), np.zeros((len(asked.row), 1), np.float32)
    forest = RandomForestClassifier(
        _TREES, min_samples_leaf=_LEAF, random_state=bench.seed % 2**32, n_jobs=bench.threads
    ).fit(left, groups[hidden])
    forest.set_params(n_jobs=1)
    situations = Situations(forest.apply(left), row, hidden, len(owned))
    found = neighbourhood.votes(situations, forest.apply(right), asked.allowed, SIZES, owned.mean(axis=0))
    return found.scores, found.pairs


def _factors(owned: Flags, seed: int) -> Singles:
    matrix = sparse.csr_array(owned.astype(np.float32))
    rank = min(_FACTORS, min(matrix.shape) - 1)
    start = np.random.default_rng(seed).normal(size=min(matrix.shape))
    _, strength, right = svds(matrix, k=rank, v0=start)
    return np.ascontiguousarray((right * strength[:, None]).T / np.sqrt(len(owned)), dtype=np.float32)


def _mean(rest: Flags, factors: Singles) -> Singles:
    ones = rest.astype(np.float32)
    return np.asarray(ones @ factors / np.maximum(ones.sum(axis=1, keepdims=True), 1))
