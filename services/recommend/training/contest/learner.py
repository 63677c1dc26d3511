"""The algorithms of the contest as learners of parts: each tunes on the inner split, learns, and answers.

A part's answer is kept for the inner and for the outer questions, so that what is made of several parts (blends, the
re-ranker) can learn on the inner answers, which no part has seen, how much to trust each.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from services.recommend.domain import baseline
from services.recommend.domain.acceptance import SMOOTHING
from services.recommend.domain.log_linear import basis_of
from services.recommend.domain.product import Catalogue, Flags, Floats, Ints, Singles
from services.recommend.training import boosting, linear
from services.recommend.training.contest import measure
from services.recommend.training.contest.protocol import Asked, Split
from services.recommend.training.forests import Forests, grow

SIZES = (1, 2, 3, 5, 10, 20, 50, 100, 150, 200, 400)
"""Numbers of neighbours of every accuracy-against-K curve."""
LEAVES = (40, 15, 5)
COLUMNS: tuple[str | float, ...] = ("sqrt", 0.4)
"""Columns that the cold forest looks at in each split."""
TREES, COLD_TREES = 100, 300
_TUNING_TREES = 40
_COLD_BAGS, _COLD_LEAVES = 5, 7
_NETWORKS, _HIDDEN = 8, 32
"""Small networks of other seeds that are averaged, and the hidden units of each."""
FEWEST_TAUGHT = 1_000
"""Customers that networks need: fewer teach them nothing that a forest does not know."""
_RIDGES = (10.0, 50.0, 200.0, 1000.0)
_FACTORS = ((2, 0.3, 10.0), (3, 5.0, 100.0), (4, 5.0, 100.0), (6, 5.0, 100.0), (16, 5.0, 100.0), (48, 5.0, 50.0))
"""Factors, confidence (alpha) and ridge of ALS."""
_SEGMENTS = (4, 8, 16)


@dataclass(frozen=True)
class Answer:
    """Scores of the outer questions; `curve` has NDCG@5 of every question by number of neighbours."""

    scores: Floats
    inner: Floats
    fit_seconds: float
    score_seconds: float
    best_k: int | None = None
    curve: dict[int, Floats] = field(default_factory=dict)
    pairs: int | None = None
    chosen: dict[str, float] = field(default_factory=dict)
    segments: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """What every learner gets: a split of the customers with their profiles, and the means."""

    profile: Singles
    catalogue: Catalogue
    split: Split
    inner: Split
    seed: int
    threads: int

    @property
    def all_own(self) -> bool:
        """Whether everybody who is asked for owns something, so that what is learned from profiles alone has no use."""
        return all(each.asked.rest.any(axis=1).all() for each in (self.split, self.inner))

    def side(self, inner: bool) -> Split:
        """The split to learn for tuning, or for the answer."""
        return self.inner if inner else self.split


Score = Callable[[Flags, Flags], Floats]


def plain(bench: Bench, score: Score) -> Answer:
    """An algorithm of ownership alone that has nothing to tune."""
    return tuned(bench, {(): score})


def tuned(bench: Bench, grid: dict[tuple[float, ...], Score]) -> Answer:
    """An algorithm of ownership alone; the best of the grid on the inner questions."""
    started = time.perf_counter()
    inner, split = bench.inner, bench.split
    told = {key: score(inner.owned[inner.learn], inner.asked.rest) for key, score in grid.items()}
    best = max(grid, key=lambda key: measure.ndcg(told[key], inner.asked))
    fitted = time.perf_counter()
    scores = grid[best](split.owned[split.learn], split.asked.rest)
    chosen = {f"parameter_{number}": value for number, value in enumerate(best)}
    return Answer(scores, told[best], fitted - started, time.perf_counter() - fitted, chosen=chosen)


def ease(bench: Bench) -> Answer:
    """EASE with its ridge tuned."""

    def score(ridge: float) -> Score:
        return lambda owned, rest: baseline.ease(owned, rest, ridge)

    return tuned(bench, {(ridge,): score(ridge) for ridge in _RIDGES})


def als(bench: Bench) -> Answer:
    """ALS with factors and confidence tuned."""
    products = len(bench.catalogue)

    def score(factors: int, alpha: float, ridge: float) -> Score:
        return lambda owned, rest: baseline.als(owned, rest, factors=factors, alpha=alpha, ridge=ridge, seed=bench.seed)

    grid = [each for each in _FACTORS if each[0] < products] or [(1, 1.0, 10.0)]
    return tuned(bench, {each: score(*each) for each in grid})


Curve = Callable[[Split, Sequence[int]], list[Floats]]


def neighbours(bench: Bench, curve: Curve) -> Answer:
    """An algorithm of neighbours: K by the inner questions, and the whole curve on the outer ones."""
    started = time.perf_counter()
    inner = curve(bench.inner, SIZES)
    place = int(np.argmax([measure.ndcg(each, bench.inner.asked) for each in inner]))
    fitted = time.perf_counter()
    outer = curve(bench.split, SIZES)
    seconds = time.perf_counter() - fitted
    quality = {
        size: measure.per_question(each, bench.split.asked)["ndcg@5"] for size, each in zip(SIZES, outer, strict=True)
    }
    return Answer(outer[place], inner[place], fitted - started, seconds, SIZES[place], quality)


def user_knn(bench: Bench) -> Answer:
    """UserKNN on ownership vectors only."""
    return neighbours(
        bench,
        lambda split, sizes: baseline.user_knn_curve(split.owned[split.learn], split.asked.rest, sizes),
    )


def user_knn_profile(bench: Bench) -> Answer:
    """UserKNN on profile and products; only the profile where no product is known."""

    def curve(split: Split, sizes: Sequence[int]) -> list[Floats]:
        known = bench.profile[split.learn]
        return baseline.profile_votes(
            baseline.scaled(known, known),
            split.owned[split.learn],
            baseline.scaled(bench.profile[split.asked.row], known),
            split.asked.rest,
            sizes,
        )

    return neighbours(bench, curve)


def cluster_cf(bench: Bench) -> Answer:
    """UserKNN within segments of the profile (of ownership where there is none): segments and K tuned."""
    found: list[Answer] = []
    asked: list[Ints] = []
    for segments in _SEGMENTS:

        def curve(split: Split, sizes: Sequence[int], segments: int = segments) -> list[Floats]:
            known = bench.profile[split.learn]
            if known.shape[1]:
                left, right = baseline.scaled(known, known), baseline.scaled(bench.profile[split.asked.row], known)
            else:
                left, right = split.owned[split.learn].astype(float), split.asked.rest.astype(float)
            means = KMeans(min(segments, len(left)), n_init=2, random_state=bench.seed % 2**32).fit(left)
            owned, mine = split.owned[split.learn], means.predict(right)
            if split is bench.split:
                asked.append(mine)
            return baseline.segment_votes(owned, means.labels_, split.asked.rest, mine, sizes)

        found.append(neighbours(bench, curve))
    best = max(range(len(found)), key=lambda number: measure.ndcg(found[number].inner, bench.inner.asked))
    told = measure.by_segment(found[best].scores, bench.split.asked, asked[best])
    return replace(found[best], fit_seconds=sum(each.fit_seconds for each in found), segments=told)


def forest(bench: Bench) -> tuple[Answer, Forests]:
    """The next-product forest (the cold one where nothing is owned), its leaf size tuned."""
    started = time.perf_counter()

    def learned(split: Split, leaf: int, columns: str | float, trees: int) -> Forests:
        owned, profile = split.owned[split.learn], bench.profile[split.learn]
        recipe: dict[str, Any] = {"leaf": leaf, "trees": trees, "seed": bench.seed, "threads": bench.threads}
        worth = _worth(split, owned)
        return grow(profile, owned, bench.catalogue, worth=worth, columns=columns, unasked=unasked, **recipe)

    told, cold = {}, not bench.split.asked.rest.any()
    unasked = "warm" if cold else "cold" if bench.all_own else ""
    for leaf in LEAVES:
        for columns in COLUMNS if cold else ("sqrt",):
            forests = learned(bench.inner, leaf, columns, TREES if cold else _TUNING_TREES)
            told[leaf, columns] = forests.odds(bench.profile[bench.inner.asked.row], bench.inner.asked.rest)
    best = max(told, key=lambda each: measure.ndcg(told[each], bench.inner.asked))
    forests = learned(bench.split, *best, COLD_TREES if cold else TREES)
    fitted = time.perf_counter()
    scores = forests.odds(bench.profile[bench.split.asked.row], bench.split.asked.rest)
    seconds = time.perf_counter() - fitted
    chosen = {"min_leaf": float(best[0]), "columns": 0.0 if isinstance(best[1], str) else best[1]}
    return Answer(scores, told[best], fitted - started, seconds, chosen=chosen), forests


def log_linear(bench: Bench) -> Answer:
    """The log-linear collaborative filter, its penalty tuned."""
    started = time.perf_counter()

    def told(split: Split, penalty: float) -> Floats:
        profile, owned = bench.profile[split.learn], split.owned[split.learn]
        free, worth = bench.catalogue.eligible(owned), _worth(split, owned)
        fitted = linear.fit(profile, owned, penalty, bench.threads, free, worth, cold=not bench.all_own)
        return fitted.odds(bench.profile[split.asked.row], split.asked.rest)

    inner = {penalty: told(bench.inner, penalty) for penalty in linear.PENALTIES}
    best = max(inner, key=lambda penalty: measure.ndcg(inner[penalty], bench.inner.asked))
    scores = told(bench.split, best)
    return Answer(scores, inner[best], time.perf_counter() - started, 0.0, chosen={"penalty": best})


def boosted(bench: Bench) -> Answer:
    """LightGBM per product, stopped early on the inner customers."""
    started = time.perf_counter()
    inner, split = bench.inner, bench.split
    others = np.setdiff1d(split.learn, inner.learn)
    others = others if len(others) else np.unique(inner.asked.row)
    cold = not split.asked.rest.any()
    leaves = _COLD_LEAVES if cold else 15
    first = boosting.fit(
        bench.profile[inner.learn],
        inner.owned[inner.learn],
        seed=bench.seed,
        threads=bench.threads,
        valid=(bench.profile[others], split.owned[others]),
        worth=_both(split, inner.owned[inner.learn], split.owned[others]),
        leaves=leaves,
    )
    told = first.odds(bench.profile[inner.asked.row], inner.asked.rest)
    found = boosting.fit(
        bench.profile[split.learn],
        split.owned[split.learn],
        seed=bench.seed,
        threads=bench.threads,
        rounds=first.rounds,
        bags=_COLD_BAGS if cold else 2,
        worth=_both(split, split.owned[split.learn], split.owned[others]),
        leaves=leaves,
    )
    fitted = time.perf_counter()
    scores = found.odds(bench.profile[split.asked.row], split.asked.rest)
    return Answer(scores, told, fitted - started, time.perf_counter() - fitted)


def networks(bench: Bench) -> Answer:
    """Small networks on the profile alone, of other seeds and averaged: what each holding is worth (scikit-learn)."""
    started = time.perf_counter()

    def told(split: Split) -> Floats:
        owned, profile = split.owned[split.learn], bench.profile[split.learn]
        basis, goal = basis_of(profile, 0), owned * measure.worth(owned)[:, None]
        known, asked = basis.of(profile), basis.of(bench.profile[split.asked.row])

        def one(number: int) -> Floats:
            machine = MLPRegressor(
                hidden_layer_sizes=(_HIDDEN,),
                alpha=1.0,
                batch_size=128,
                learning_rate_init=3e-3,
                max_iter=60,
                early_stopping=True,
                random_state=(bench.seed + 7919 * number) % 2**32,
            )
            return np.asarray(machine.fit(known, goal).predict(asked))

        with warnings.catch_warnings():  # which holds for all threads, so there is one
            warnings.simplefilter("ignore", ConvergenceWarning)  # the rounds are the budget
            share = np.clip(np.mean([one(number) for number in range(_NETWORKS)], axis=0), 0.0, 1.0)
        return np.asarray(np.log(share + SMOOTHING) - np.log(1.0 - share + SMOOTHING))

    inner = told(bench.inner)
    fitted = time.perf_counter()
    return Answer(told(bench.split), inner, fitted - started, time.perf_counter() - fitted)


def _worth(split: Split, owned: Flags) -> Floats | None:
    """Where all holdings are asked for at once, what finding one is worth; None where one is."""
    return None if split.asked.rest.any() else measure.worth(owned)


def _both(split: Split, owned: Flags, others: Flags) -> tuple[Floats, Floats] | None:
    return None if split.asked.rest.any() else (measure.worth(owned), measure.worth(others))


def mixed(bench: Bench, parts: Sequence[Answer]) -> Answer:
    """A weighted sum of log-odds: a product of odds, its exponents learned on the inner questions."""
    started = time.perf_counter()
    weights = exponents([part.inner for part in parts], bench.inner.asked)
    sums = [np.asarray(sum(w * told for w, told in zip(weights, each, strict=True))) for each in (
        [part.scores for part in parts], [part.inner for part in parts]
    )]  # fmt: skip
    fit = sum(part.fit_seconds for part in parts) + time.perf_counter() - started
    chosen = {f"weight_{number}": float(weight) for number, weight in enumerate(weights)}
    return Answer(sums[0], sums[1], fit, sum(part.score_seconds for part in parts), chosen=chosen)


def exponents(parts: Sequence[Floats], asked: Asked, ridge: float = 0.5) -> Floats:
    """Non-negative weights that make what was chosen likeliest among what was allowed (McFadden 1974).

    Every customer counts once, however many questions he makes. Drawn towards equal shares by `ridge` a question: parts
    that say nearly the same are not told apart by chance.
    """
    allowed, relevant = asked.allowed, asked.relevant
    _, row, many = np.unique(asked.row, return_inverse=True, return_counts=True)
    once = (1.0 / many)[row][:, None] * len(row) / len(many)
    share = relevant / np.maximum(relevant.sum(axis=1, keepdims=True), 1)
    equal = np.full(len(parts), 1.0 / len(parts))
    ridge *= len(allowed)
    stack = np.stack([np.where(allowed, part, 0.0) for part in parts])

    def loss(weights: Floats) -> tuple[float, Floats]:
        told = np.where(allowed, np.tensordot(weights, stack, 1), -np.inf)
        told = told - told.max(axis=1, keepdims=True)
        chance = np.exp(told)
        whole = chance.sum(axis=1, keepdims=True)
        chance = chance / whole
        value = -(once * share * np.where(allowed, told - np.log(whole), 0.0)).sum()
        slope = ((once * (chance - share))[None] * stack).sum(axis=(1, 2))
        return (
            float(value + 0.5 * ridge * ((weights - equal) ** 2).sum()),
            slope + ridge * (weights - equal),
        )

    found = minimize(loss, equal, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(parts))
    return np.asarray(found.x)
