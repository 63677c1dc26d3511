"""Fit the two forests with scikit-learn, tune and calibrate on inner customers, measure on held-out ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from services.recommend.domain import acceptance, evaluation, rf_cf
from services.recommend.domain.acceptance import Calibration
from services.recommend.domain.product import Catalogue, Flags, Floats, Ints, Singles
from services.recommend.domain.rf_cf import Questions

LEAVES = (80, 40, 20, 10, 5)
"""Minimum leaf sizes that are tried, the smoothest forest first."""
_TUNING_TREES = 24
_FOLDS = 5
_BASELINES = {
    "popularity": evaluation.popularity,
    "item_knn": evaluation.item_knn,
    "ease": evaluation.ease,
    "user_knn": evaluation.user_knn,
}


@dataclass(frozen=True)
class Data:
    """Customers by key: `profile` (n, f) float32 with NaN for missing, `owned` (n, p)."""

    profile: Singles
    owned: Flags
    catalogue: Catalogue


@dataclass(frozen=True)
class Forests:
    """What scikit-learn made: `warm` on [profile | rest] → hidden or NONE, `cold` on the profile → who owns what."""

    warm: RandomForestClassifier
    cold: RandomForestRegressor
    products: int

    def distribution(self, profile: Singles, rest: Flags) -> Floats:
        """The reference for every other form of the forest, in float64, shape (n, p + 1)."""
        shares = np.zeros((len(rest), self.products + 1))
        owns = _owns(rest)
        if owns.any():
            told = self.warm.predict_proba(np.hstack([profile[owns], rest[owns]]))
            shares[np.ix_(owns, self.warm.classes_)] = told
        if not owns.all():
            shares[~owns, :-1] = self.cold.predict(profile[~owns]).reshape(-1, self.products)
            shares[~owns, -1] = 1.0
        return shares


@dataclass(frozen=True)
class Fitted:
    """A model before it is exported, with the held-out figures of the same recipe."""

    forests: Forests
    calibration: Calibration
    metrics: dict[str, float]


@dataclass(frozen=True)
class Pairs:
    """Every customer of a part with every product once: log-odds, whether it is held, whether the pair counts.

    A held product is scored with it hidden; what could not be opened either way is not asked.
    """

    customer: Ints
    odds: Floats
    held: Flags
    asked: Flags
    owns: Flags


def fit(data: Data, *, seed: int, trees: int, threads: int, say: Callable[[str], None]) -> Fitted:
    """Tune on fold 1 with a forest of folds 2–4; measure on fold 0 with folds 1–4; serve what all folds make.

    The served calibration is fitted on fold 0 with the forest of folds 1–4: no customer calibrates a forest that saw
    him. The measured one is fitted on fold 1, so that fold 0 stays unseen. Raises training_data_unfit.
    """
    rf_cf.check_fit(data.owned)
    fold = np.random.default_rng(seed).permutation(len(data.owned)) % _FOLDS
    inner, tune, test = fold >= 2, fold == 1, fold == 0
    say("tuning")
    pairs = {
        leaf: _pairs(_grow(data, inner, leaf=leaf, trees=_TUNING_TREES, seed=seed, threads=threads), data, tune)
        for leaf in LEAVES
    }
    leaf = _smoothest({leaf: _losses(each) for leaf, each in pairs.items()})
    tuned = _calibrate(pairs[leaf])
    say("measuring")
    forests = _grow(data, ~test, leaf=leaf, trees=trees, seed=seed, threads=threads)
    metrics = _measure(forests, tuned, data, ~test, test)
    unseen = _pairs(forests, data, test)
    say("fitting")
    served = _grow(data, fold >= 0, leaf=leaf, trees=trees, seed=seed, threads=threads)
    return Fitted(served, _calibrate(unseen), {**metrics, "min_leaf": float(leaf), "trees": float(trees)})


def _grow(data: Data, part: Flags, *, leaf: int, trees: int, seed: int, threads: int) -> Forests:
    who = np.flatnonzero(part)
    owned, profile = data.owned[who], data.profile[who]
    asked = _joined(rf_cf.hide_each(owned, data.catalogue), rf_cf.hide_nothing(owned))
    recipe: dict[str, Any] = {
        "n_estimators": trees,
        "min_samples_leaf": leaf,
        "max_features": "sqrt",
        "random_state": seed % 2**32,
        "n_jobs": threads,
    }
    warm = RandomForestClassifier(**recipe).fit(np.hstack([profile[asked.row], asked.rest]), asked.hidden)
    cold = RandomForestRegressor(**recipe).fit(profile, owned.astype(np.float64))
    for forest in (warm, cold):  # threads add up in any order, and the order shows in the last bit
        forest.set_params(n_jobs=1)
    return Forests(warm, cold, len(data.catalogue))


def _owns(rest: Flags) -> Flags:
    return np.asarray(rest.any(axis=1))


def _joined(first: Questions, second: Questions) -> Questions:
    return Questions(
        np.concatenate([first.row, second.row]),
        np.concatenate([first.rest, second.rest]),
        np.concatenate([first.hidden, second.hidden]),
    )


def _losses(pairs: Pairs) -> Floats:
    """Log loss per customer over his pairs, calibrated on the same pairs: the recipe's, not the calibration's."""
    chance = np.clip(_calibrate(pairs).apply(pairs.odds, pairs.owns), 1e-6, 1 - 1e-6)
    loss = -np.log(np.where(pairs.held, chance, 1.0 - chance)) * pairs.asked
    return np.asarray(np.bincount(pairs.customer, weights=loss.sum(axis=1)))


def _smoothest(losses: dict[int, Floats]) -> int:
    """The largest leaf whose loss is within one standard error of the best (Breiman et al. 1984).

    Not the best itself: a served customer taught the forest, and small leaves remember him as one who wants nothing.
    """
    best = min(losses, key=lambda leaf: float(losses[leaf].mean()))
    for leaf in LEAVES:
        worse = losses[leaf] - losses[best]
        if worse.mean() <= worse.std() / np.sqrt(len(worse)):
            return leaf
    return best


def _pairs(forests: Forests, data: Data, part: Flags) -> Pairs:
    who = np.flatnonzero(part)
    owned = data.owned[who]
    asked = _joined(rf_cf.hide_nothing(owned), rf_cf.hide_each(owned, data.catalogue))
    odds = acceptance.log_odds(forests.distribution(data.profile[who[asked.row]], asked.rest), _owns(asked.rest))
    eligible = data.catalogue.eligible(asked.rest)
    hidden = np.zeros_like(eligible)
    kept = np.flatnonzero(asked.hidden < len(data.catalogue))
    hidden[kept, asked.hidden[kept]] = True
    whole = asked.hidden == len(data.catalogue)
    return Pairs(asked.row, odds, hidden, eligible & (hidden | whole[:, None]), _owns(asked.rest))


def _calibrate(pairs: Pairs) -> Calibration:
    return acceptance.calibrate(pairs.odds, pairs.held, pairs.asked, pairs.owns)


def _measure(forests: Forests, calibration: Calibration, data: Data, learned: Flags, test: Flags) -> dict[str, float]:
    """Ranking on held-out customers with at least two products; probability over all their pairs; cold start."""
    who = np.flatnonzero(test & (data.owned.sum(axis=1) >= 2))
    asked = rf_cf.hide_each(data.owned[who], data.catalogue)
    allowed = data.catalogue.eligible(asked.rest)
    metrics: dict[str, float] = {"held_out_customers": float(len(who)), "questions": float(len(asked.row))}
    if not len(who):
        return metrics
    owns = _owns(asked.rest)
    odds = acceptance.log_odds(forests.distribution(data.profile[who[asked.row]], asked.rest), owns)
    scores = {"": calibration.apply(odds, owns)}
    scores |= {f"{name}_": score(data.owned[learned], asked.rest) for name, score in _BASELINES.items()}
    for name, scored in scores.items():
        metrics |= _ranking(name, scored, allowed, asked)
    gain = _gains(scores[""], allowed, asked) - _gains(scores["popularity_"], allowed, asked)
    metrics["ndcg@5_gain"] = float(gain.mean())
    metrics["ndcg@5_gain_error"] = float(gain.std() / np.sqrt(len(gain)))
    metrics |= _cold_start(forests, calibration, data, learned, test)
    pairs = _pairs(forests, data, test)
    chance, held = calibration.apply(pairs.odds, pairs.owns)[pairs.asked], pairs.held[pairs.asked]
    metrics["holding_auc"] = evaluation.auc(chance, held)
    metrics["brier"] = acceptance.brier(chance, held)
    metrics["calibration_error"] = acceptance.calibration_error(chance, held)
    return metrics


def _cold_start(
    forests: Forests, calibration: Calibration, data: Data, learned: Flags, test: Flags
) -> dict[str, float]:
    """Held-out customers who own something, as if nothing were known of it: all that they own is to be found."""
    who = np.flatnonzero(test & _owns(data.owned))
    owned, unknown = data.owned[who], np.zeros(len(who), dtype=np.bool_)
    odds = acceptance.log_odds(forests.distribution(data.profile[who], np.zeros_like(owned)), unknown)
    told = {"cold_start_": calibration.apply(odds, unknown)}
    told["cold_start_popularity_"] = evaluation.popularity(data.owned[learned], owned)
    return {f"{name}ndcg@5": float(evaluation.ndcg_of_all(scores, owned).mean()) for name, scores in told.items()}


def _ranking(name: str, scores: Floats, allowed: Flags, asked: Questions) -> dict[str, float]:
    rank = evaluation.ranks(scores, allowed, asked.hidden)
    return {
        f"{name}ndcg@5": float(evaluation.ndcg(rank, asked.row).mean()),
        f"{name}hit@1": float(evaluation.hit(rank, asked.row).mean()),
    }


def _gains(scores: Floats, allowed: Flags, asked: Questions) -> Floats:
    return evaluation.ndcg(evaluation.ranks(scores, allowed, asked.hidden), asked.row)
