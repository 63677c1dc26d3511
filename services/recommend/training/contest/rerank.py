"""A forest that re-ranks what collaborative filters propose: the form of RF-CF for large catalogues.

Candidates are the union of the base learners' first proposals. A row says, for one question and one candidate, what
each base learner thinks of it (score and place), how popular it is, how much is known of the customer, and his profile.
It learns on the inner questions, from answers that the base learners gave without having seen them.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import lightgbm
import numpy as np
from sklearn.ensemble import RandomForestClassifier

from services.recommend.domain.product import Flags, Floats, Ints, Singles
from services.recommend.training.contest import measure
from services.recommend.training.contest.learner import Answer, Bench
from services.recommend.training.contest.protocol import Asked, Split

Model = TypeVar("Model")

CANDIDATES = 60
_MOST_ROWS = 300_000
_MOST_FEATURES = 30
_LAST = -1e6
"""The score of what nobody proposed; below every candidate's."""


def candidates(parts: Sequence[Floats], asked: Asked) -> Ints:
    """Shape (m, c): the products with the best mean reciprocal place over the parts."""
    merit = np.zeros(asked.rest.shape)
    for part in parts:
        merit += 1.0 / (10.0 + _places(part, asked))
    return measure.top(merit, asked, CANDIDATES)


def _places(scores: Floats, asked: Asked) -> Floats:
    order = np.argsort(np.where(asked.allowed, -scores, np.inf), axis=1, kind="stable")
    place = np.empty(order.shape)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(order.shape[1], dtype=float), order.shape), axis=1)
    return place


def rows(parts: Sequence[Floats], asked: Asked, chosen: Ints, profile: Singles, popular: Floats) -> Singles:
    """Shape (m * c, width)."""
    count = chosen.shape[1]
    columns = []
    for part in parts:
        told = np.take_along_axis(part, chosen, axis=1)
        best = told.max(axis=1, keepdims=True)
        columns += [told, told - best, np.take_along_axis(_places(part, asked), chosen, axis=1)]
    columns += [popular[chosen], np.broadcast_to(asked.rest.sum(axis=1, keepdims=True), chosen.shape)]
    columns.append(chosen.astype(float))
    made = [column.reshape(-1, 1) for column in columns]
    return np.hstack([*made, np.repeat(profile, count, axis=0)]).astype(np.float32)


class Reranker:
    """Learns and answers for one bench; the forest, and boosting on the same rows."""

    def __init__(self, bench: Bench, parts: Sequence[Answer]) -> None:
        self._bench = bench
        self._parts = parts
        self._columns = self._strongest()

    def forest(self) -> Answer:
        """The random forest."""

        def learn(x: Singles, y: Flags) -> RandomForestClassifier:
            made = RandomForestClassifier(
                100,
                min_samples_leaf=20,
                max_features=0.4,
                random_state=self._bench.seed % 2**32,
                n_jobs=self._bench.threads,
            ).fit(x, y)
            return made.set_params(n_jobs=1)

        return self._answer(learn, lambda model, x: np.asarray(model.predict_proba(x)[:, -1]))

    def boosted(self) -> Answer:
        """LightGBM."""
        recipe = {
            "objective": "binary", "learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 50, "verbosity": -1,
            "num_threads": self._bench.threads, "seed": self._bench.seed % 2**31, "deterministic": True,
            "force_row_wise": True,
        }  # fmt: skip

        def learn(x: Singles, y: Flags) -> lightgbm.Booster:
            return lightgbm.train(recipe, lightgbm.Dataset(x, y.astype(np.int32), params={"verbosity": -1}), 150)

        return self._answer(learn, lambda model, x: np.asarray(model.predict(x)))

    def _answer(self, learn: Callable[[Singles, Flags], Model], told: Callable[[Model, Singles], Floats]) -> Answer:
        started = time.perf_counter()
        inner, outer = self._bench.inner, self._bench.split
        asked, parts = inner.asked, [part.inner for part in self._parts]
        picked = np.random.default_rng(self._bench.seed).permutation(len(asked.row))
        picked = np.sort(picked[: max(1, _MOST_ROWS // CANDIDATES)])
        small = Asked(asked.row[picked], asked.rest[picked], asked.allowed[picked], asked.relevant[picked])
        x, chosen = self._rows([part[picked] for part in parts], small, inner)
        free = np.take_along_axis(small.allowed, chosen, axis=1).reshape(-1)
        y = np.take_along_axis(small.relevant, chosen, axis=1).reshape(-1)
        if not y[free].any() or y[free].all():
            return self._parts[0]
        model = learn(x[free], y[free])
        fitted = time.perf_counter()
        x, chosen = self._rows([part.scores for part in self._parts], outer.asked, outer)
        scores = np.full(outer.asked.rest.shape, _LAST)
        scores += 1e-3 * self._parts[0].scores
        np.put_along_axis(scores, chosen, told(model, x).reshape(chosen.shape), axis=1)
        spent = fitted - started + sum(part.fit_seconds for part in self._parts)
        seconds = time.perf_counter() - fitted + sum(part.score_seconds for part in self._parts)
        return Answer(scores, np.zeros_like(asked.rest, dtype=float), spent, seconds)

    def _rows(self, parts: Sequence[Floats], asked: Asked, split: Split) -> tuple[Singles, Ints]:
        chosen = candidates(parts, asked)
        popular = split.owned[split.learn].mean(axis=0)
        return rows(parts, asked, chosen, self._bench.profile[asked.row][:, self._columns], popular), chosen

    def _strongest(self) -> Ints:
        """The profile columns that tell most of ownership (largest squared correlations), by number."""
        split = self._bench.inner
        known = self._bench.profile[split.learn].astype(np.float64)
        known = np.where(np.isnan(known), np.nanmean(np.where(np.isnan(known), 0.0, known), axis=0), known)
        owned = split.owned[split.learn].astype(np.float64)
        left, right = known - known.mean(axis=0), owned - owned.mean(axis=0)
        scale = np.sqrt(np.maximum((left**2).sum(axis=0), 1e-12)[:, None] * np.maximum((right**2).sum(axis=0), 1e-12))
        merit = ((left.T @ right / scale) ** 2).sum(axis=1)
        return np.sort(np.argsort(-merit, kind="stable")[:_MOST_FEATURES])
