"""Fit an algorithm, tune and calibrate on inner customers, measure on held-out ones.

The full form (`rf_cf`) is a product of odds: next-product forest × log-linear collaborative filter × boosting, each
raised to a weight that inner customers chose; a part that does not help them beyond chance is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from services.recommend.domain import acceptance, baseline, evaluation, neighbourhood, rf_cf
from services.recommend.domain.acceptance import Calibration
from services.recommend.domain.log_linear import LogLinear
from services.recommend.domain.network import Network
from services.recommend.domain.product import Catalogue, Flags, Floats, Ints, Singles
from services.recommend.domain.rf_cf import Questions
from services.recommend.training import boosting, linear, neural
from services.recommend.training.boosting import Boosting
from services.recommend.training.forests import MOST_ROWS, Forests, grow, joined
from services.recommend.training.pairwise import PAIRWISE, pairwise

LEAVES = (80, 40, 20, 10, 5)
"""Minimum leaf sizes that are tried, the smoothest forest first."""
NEURAL = "neural"
ALGORITHMS = ("rf_cf", "forest", "log_linear", "lightgbm", "rf_x_lightgbm", NEURAL, *PAIRWISE)
"""What a training may be asked for; each becomes the same kind of graph."""
SIZES = (1, 3, 5, 10, 20, 50, 100, 200)
_TUNING_TREES, _TUNING_ROWS = 24, 15_000
_MOST_TUNED = 5_000
"""Customers to tune on, and to measure on."""
_MOST_NEIGHBOURS, _MOST_ASKED = 10_000, 1_000
"""Customers of the accuracy-against-K curve; more are sampled."""
_FOLDS = 5
_PENALTY = 10.0
_MOST_TREES = 1200
"""Of all products' boosters together, so that one row through the graph stays within 0.2 ms."""
_MOST_DEALT = 5_000
"""Questions by which the worth of each kind of input is told."""
_RATE = 0.2
"""Learning rate of the boosters: half the trees of 0.1, and on ibm-telco the same ranking."""
_BASELINES = {
    "popularity": baseline.popularity,
    "item_knn": baseline.item_knn,
    "ease": baseline.ease,
    "user_knn": baseline.user_knn,
}


@dataclass(frozen=True)
class Data:
    """Customers by key: `profile` (n, f) float32 with NaN for missing, `owned` (n, p).

    `circles` (f,) says which columns tell circles; None where nobody knows.
    """

    profile: Singles
    owned: Flags
    catalogue: Catalogue
    circles: Flags | None = None


@dataclass(frozen=True)
class Ensemble:
    """The parts and their weights (2, 3): row 1 for who owns something; columns forest, log-linear, boosting."""

    forests: Forests
    linear: LogLinear | Network
    boosting: Boosting | None
    weights: Floats

    def parts(self, profile: Singles, rest: Flags) -> list[Floats]:
        """Log-odds (n, p) of each part."""
        third = np.zeros(rest.shape) if self.boosting is None else self.boosting.odds(profile, rest)
        return [self.forests.odds(profile, rest), self.linear.odds(profile, rest), third]

    def odds(self, profile: Singles, rest: Flags) -> Floats:
        """The reference for the graph, in float64."""
        return mixed(self.parts(profile, rest), self.weights, _owns(rest))


def mixed(parts: list[Floats], weights: Floats, owns: Flags) -> Floats:
    """The weighted sum of log-odds, (n, p); the row of weights goes by `owns` (n,)."""
    side = weights[owns.astype(np.int64)]
    return np.asarray(sum(part * side[:, number : number + 1] for number, part in enumerate(parts)))


@dataclass(frozen=True)
class Fitted:
    """A model before it is exported, with the held-out figures of the same recipe and what a report says beside."""

    ensemble: Ensemble
    calibration: Calibration
    metrics: dict[str, float]
    curve: list[list[float]]


@dataclass(frozen=True)
class Pairs:
    """Every customer of a part with every product once: log-odds by part, whether it is held, whether the pair counts.

    A held product is scored with it hidden; what could not be opened either way is not asked.
    """

    customer: Ints
    parts: list[Floats]
    held: Flags
    asked: Flags
    owns: Flags

    def odds(self, weights: Floats) -> Floats:
        """The weighted sum."""
        return mixed(self.parts, weights, self.owns)


@dataclass(frozen=True)
class Recipe:
    """How the parts are fitted; `algorithm` is one of ALGORITHMS."""

    algorithm: str
    seed: int
    trees: int
    threads: int

    @property
    def used(self) -> tuple[bool, bool, bool]:
        """Which parts have a say: forest, log-linear (or neural, or pairwise), boosting."""
        named = {
            "rf_cf": (True, True, True),
            "forest": (True, False, False),
            "lightgbm": (False, False, True),
            "rf_x_lightgbm": (True, False, True),
        }
        return named.get(self.algorithm, (False, True, False))


def fit(
    data: Data, *, seed: int, trees: int, threads: int, say: Callable[[str], None], algorithm: str = "rf_cf"
) -> Fitted:
    """Tune on fold 1 with parts of folds 2–4; measure on fold 0 with folds 1–4; serve what all folds make.

    The served calibration is fitted on fold 0 with the parts of folds 1–4: no customer calibrates a model that saw
    him. The measured one is fitted on fold 1, so that fold 0 stays unseen. Raises training_data_unfit.
    """
    rf_cf.check_fit(data.owned)
    recipe = Recipe(algorithm, seed, trees, threads)
    fold = np.random.default_rng(seed).permutation(len(data.owned)) % _FOLDS
    inner, tune, test = fold >= 2, _at_most(fold == 1, _MOST_TUNED), _at_most(fold == 0, _MOST_TUNED)
    say("tuning")
    leaf, rounds, weights, tuned = _tune(data, recipe, inner, tune)
    say("measuring")
    learned = fold != 0
    measured = replace(_learn(data, learned, recipe, leaf, trees, rounds), weights=weights)
    metrics = _measure(measured, tuned, data, learned, test)
    curve, about = _neighbours(measured.forests, data, learned, test)
    unseen = _pairs(measured, data, test)
    say("fitting")
    served = replace(_learn(data, fold >= 0, recipe, leaf, trees, rounds), weights=weights)
    told = {f"weight_{name}": float(weights[1, n]) for n, name in enumerate(("forest", "log_linear", "boosting"))}
    metrics |= {**told, **about, "min_leaf": float(leaf), "trees": float(trees)}
    return Fitted(served, _calibrate(unseen, weights), metrics, curve)


def _at_most(part: Flags, most: int) -> Flags:
    """The first `most` customers of a part, which is in no order."""
    return part & (np.cumsum(part) <= most)


def _tune(data: Data, recipe: Recipe, inner: Flags, tune: Flags) -> tuple[int, tuple[int, ...], Floats, Calibration]:
    """Leaf size, boosting rounds, weights and calibration, all by the customers `tune`."""
    alone = np.array([[1.0, 0.0, 0.0]] * 2)
    grown = {leaf: _grow(data, inner, recipe, leaf, _TUNING_TREES, _TUNING_ROWS) for leaf in LEAVES}
    first = _learn(data, inner, recipe, LEAVES[0], _TUNING_TREES, (), valid=tune, forests=grown[LEAVES[0]])
    whole = _pairs(first, data, tune)
    found: dict[int, Pairs] = {}
    for leaf, forests in grown.items():
        odds = _forest_odds(forests, data, tune)
        found[leaf] = replace(whole, parts=[odds, *whole.parts[1:]])
    leaf = _smoothest({leaf: _losses(each, alone) for leaf, each in found.items()})
    pairs = found[leaf]
    used = recipe.used if first.boosting is not None else (*recipe.used[:2], False)
    weights = _weights(pairs, used)
    if sum(used) > 2 and not _helps(pairs, weights, without := _weights(pairs, (*used[:2], False))):
        weights = without
    rounds = first.boosting.rounds if first.boosting is not None and weights[:, 2].any() else ()
    return leaf, rounds, weights, _calibrate(pairs, weights)


def _weights(pairs: Pairs, used: tuple[bool, ...]) -> Floats:
    weights = np.zeros((2, 3))
    chosen = [number for number, use in enumerate(used) if use]
    for side in (0, 1):
        asked = pairs.asked & (pairs.owns == bool(side))[:, None]
        if len(chosen) == 1 or not asked.any():
            weights[side, chosen] = 1.0 / len(chosen)
        else:
            weights[side, chosen] = linear.blend([pairs.parts[n][asked] for n in chosen], pairs.held[asked])
    return weights


def _helps(pairs: Pairs, one: Floats, other: Floats) -> bool:
    """Whether the first weights lose less than the second by more than a standard error."""
    gain = _losses(pairs, other) - _losses(pairs, one)
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


def _learn(
    data: Data,
    part: Flags,
    recipe: Recipe,
    leaf: int,
    trees: int,
    rounds: tuple[int, ...],
    valid: Flags | None = None,
    forests: Forests | None = None,
) -> Ensemble:
    who = np.flatnonzero(part)
    profile, owned = data.profile[who], data.owned[who]
    forests = forests or _grow(data, part, recipe, leaf, trees)
    filter_: LogLinear | Network
    if recipe.algorithm == NEURAL:
        filter_ = neural.fit(profile, owned, recipe.seed)
    elif recipe.algorithm in PAIRWISE:
        filter_ = pairwise(recipe.algorithm, owned, data.catalogue, profile.shape[1])
    else:
        filter_ = linear.fit(profile, owned, _PENALTY, recipe.threads, data.catalogue.eligible(owned))
    boosted = None
    if recipe.used[2] and (rounds or valid is not None):
        most = max(_MOST_TREES // owned.shape[1], 10)
        other = None if valid is None else (data.profile[valid], data.owned[valid])
        boosted = boosting.fit(
            profile, owned, seed=recipe.seed, threads=recipe.threads, valid=other, rounds=rounds, most=most, rate=_RATE
        )
    return Ensemble(forests, filter_, boosted, np.array([[1.0, 0.0, 0.0]] * 2))


def _grow(data: Data, part: Flags, recipe: Recipe, leaf: int, trees: int, most_rows: int = MOST_ROWS) -> Forests:
    who = np.flatnonzero(part)
    return grow(
        data.profile[who],
        data.owned[who],
        data.catalogue,
        leaf=leaf,
        trees=trees,
        seed=recipe.seed,
        threads=recipe.threads,
        most_rows=most_rows,
    )


def _owns(rest: Flags) -> Flags:
    return np.asarray(rest.any(axis=1))


def _losses(pairs: Pairs, weights: Floats) -> Floats:
    """Log loss per customer over his pairs, calibrated on the same pairs: the recipe's, not the calibration's."""
    chance = np.clip(_calibrate(pairs, weights).apply(pairs.odds(weights), pairs.owns), 1e-6, 1 - 1e-6)
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


def _questions(data: Data, part: Flags) -> tuple[Ints, Questions]:
    who = np.flatnonzero(part)
    return who, joined(rf_cf.hide_nothing(data.owned[who]), rf_cf.hide_each(data.owned[who], data.catalogue))


def _forest_odds(forests: Forests, data: Data, part: Flags) -> Floats:
    who, asked = _questions(data, part)
    return forests.odds(data.profile[who[asked.row]], asked.rest)


def _pairs(ensemble: Ensemble, data: Data, part: Flags) -> Pairs:
    who, asked = _questions(data, part)
    parts = ensemble.parts(data.profile[who[asked.row]], asked.rest)
    eligible = data.catalogue.eligible(asked.rest)
    hidden = np.zeros_like(eligible)
    kept = np.flatnonzero(asked.hidden < len(data.catalogue))
    hidden[kept, asked.hidden[kept]] = True
    whole = asked.hidden == len(data.catalogue)
    return Pairs(asked.row, parts, hidden, eligible & (hidden | whole[:, None]), _owns(asked.rest))


def _calibrate(pairs: Pairs, weights: Floats) -> Calibration:
    found = acceptance.calibrate(pairs.odds(weights), pairs.held, pairs.asked, pairs.owns)
    return Calibration(np.round(found.slope, linear.DECIMALS), np.round(found.intercept, linear.DECIMALS))


def _measure(ensemble: Ensemble, calibration: Calibration, data: Data, learned: Flags, test: Flags) -> dict[str, float]:
    """Ranking on held-out customers with at least two products; probability over all their pairs; cold start."""
    who = np.flatnonzero(test & (data.owned.sum(axis=1) >= 2))
    asked = rf_cf.hide_each(data.owned[who], data.catalogue)
    allowed = data.catalogue.eligible(asked.rest)
    metrics: dict[str, float] = {"held_out_customers": float(len(who)), "questions": float(len(asked.row))}
    if not len(who):
        return metrics
    owns = _owns(asked.rest)
    parts = ensemble.parts(data.profile[who[asked.row]], asked.rest)
    scores = {"": calibration.apply(mixed(parts, ensemble.weights, owns), owns)}
    scores |= {f"{name}_": score(data.owned[learned], asked.rest) for name, score in _BASELINES.items()}
    scores |= {"forest_only_": parts[0], "cf_only_": parts[1], "both_": parts[0] + parts[1]}
    for name, scored in scores.items():
        metrics |= _ranking(name, scored, allowed, asked)
    gain = _gains(scores[""], allowed, asked) - _gains(scores["popularity_"], allowed, asked)
    metrics["ndcg@5_gain"] = float(gain.mean())
    metrics["ndcg@5_gain_error"] = float(gain.std() / np.sqrt(len(gain)))
    metrics |= _worth_of_inputs(ensemble, data, who, asked, allowed)
    metrics |= _cold_start(ensemble, calibration, data, learned, test)
    pairs = _pairs(ensemble, data, test)
    told = calibration.apply(pairs.odds(ensemble.weights), pairs.owns)
    chance, held = told[pairs.asked], pairs.held[pairs.asked]
    metrics["holding_auc"] = evaluation.auc(chance, held)
    metrics["brier"] = acceptance.brier(chance, held)
    metrics["calibration_error"] = acceptance.calibration_error(chance, held)
    return metrics


def _worth_of_inputs(ensemble: Ensemble, data: Data, who: Ints, asked: Questions, allowed: Flags) -> dict[str, float]:
    """NDCG@5 that is lost when a kind of input is dealt out anew among the questions (Breiman 2001)."""
    part = slice(0, _MOST_DEALT)
    asked, allowed = Questions(asked.row[part], asked.rest[part], asked.hidden[part]), allowed[part]
    profile = data.profile[who[asked.row]]
    other = np.random.default_rng(0).permutation(len(profile))

    def gain(profile: Singles, rest: Flags) -> float:
        return float(_gains(ensemble.odds(profile, rest), allowed, asked).mean())

    whole, all_ = gain(profile, asked.rest), np.ones(profile.shape[1], dtype=bool)
    kinds = {"portrait": all_}
    if data.circles is not None:
        kinds |= {"circles": data.circles, "attributes": ~data.circles}
    told = {"holdings": gain(profile, asked.rest[other])}
    told |= {
        name: gain(np.where(columns, profile[other], profile), asked.rest)
        for name, columns in kinds.items()
        if columns.any()
    }
    return {f"ndcg@5_loss_without_{name}": whole - value for name, value in told.items()}


def _cold_start(
    ensemble: Ensemble, calibration: Calibration, data: Data, learned: Flags, test: Flags
) -> dict[str, float]:
    """Held-out customers who own something, as if nothing were known of it: all that they own is to be found."""
    who = np.flatnonzero(test & _owns(data.owned))
    owned, unknown = data.owned[who], np.zeros(len(who), dtype=np.bool_)
    odds = ensemble.odds(data.profile[who], np.zeros_like(owned))
    told = {"cold_start_": calibration.apply(odds, unknown)}
    told["cold_start_popularity_"] = baseline.popularity(data.owned[learned], owned)
    return {f"{name}ndcg@5": float(evaluation.ndcg_of_all(scores, owned).mean()) for name, scores in told.items()}


def _neighbours(
    forests: Forests, data: Data, learned: Flags, test: Flags
) -> tuple[list[list[float]], dict[str, float]]:
    """Accuracy against K of the forest's neighbourhood, [K, NDCG@5, standard error], and how many pairs it compared."""
    rng = np.random.default_rng(0)
    known = np.sort(rng.permutation(np.flatnonzero(learned))[:_MOST_NEIGHBOURS])
    who = np.flatnonzero(test & (data.owned.sum(axis=1) >= 2))
    who = np.sort(rng.permutation(who)[:_MOST_ASKED])
    asked = rf_cf.hide_each(data.owned[who], data.catalogue)
    if not len(who):
        return [], {}
    situations = forests.situations(data.profile[known], data.owned[known], data.catalogue)
    leaves = forests.leaves(data.profile[who[asked.row]], asked.rest)
    allowed = data.catalogue.eligible(asked.rest)
    found = neighbourhood.votes(situations, leaves, allowed, SIZES, data.owned[known].mean(axis=0))
    curve = []
    for size, scores in zip(SIZES, found.scores, strict=True):
        each = _gains(scores, allowed, asked)
        curve.append([float(size), float(each.mean()), float(each.std() / np.sqrt(len(each)))])
    plain = float(len(known)) * len(asked.row)
    return curve, {"pairs_compared": float(found.pairs), "pairs_plain": plain}


def _ranking(name: str, scores: Floats, allowed: Flags, asked: Questions) -> dict[str, float]:
    rank = evaluation.ranks(scores, allowed, asked.hidden)
    return {
        f"{name}ndcg@5": float(evaluation.ndcg(rank, asked.row).mean()),
        f"{name}hit@1": float(evaluation.hit(rank, asked.row).mean()),
    }


def _gains(scores: Floats, allowed: Flags, asked: Questions) -> Floats:
    return evaluation.ndcg(evaluation.ranks(scores, allowed, asked.hidden), asked.row)
