"""Acceptance models: selection of variables, LR, SVM, forest or boosting by what held-out customers say, calibration.

The rule of choice (R004-022, R004-023): few customers and a non-linear relation, SVM; many, logistic regression on
non-linear features; the forest and boosting compete with either. The best log loss on the tuning part wins, the
simplest within one standard error of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightgbm
import numpy as np
from scipy.special import expit, logit
from sklearn.ensemble import RandomForestClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.svm import SVC

from services.recommend.domain import propensity
from services.recommend.domain.log_linear import basis_of
from services.recommend.domain.product import Flags, Floats, Ints, Singles
from services.recommend.domain.propensity import Uplift, Variable
from services.recommend.refusals import training_data_unfit
from services.recommend.training import surrogate
from services.recommend.training.linear import logistic

SVM_CUSTOMERS = 2000
"""Up to so many customers SVM competes; beyond, logistic regression on non-linear features is as good and quick."""
FEWEST = 30
TREES = ("forest", "boosting")
_SMOOTH = ((0, 10.0), (2, 10.0), (5, 3.0))
"""Knots and ridge penalties that the regression is tried with, the plainest first."""
_KNOTS = 2
_CLIP = 1e-6

Score = Callable[[Singles], Floats]
Learn = Callable[[Singles, Flags], Score]


@dataclass(frozen=True)
class Acceptance:
    """A model of one product: `score` gives calibrated probabilities; `report` is plain data for the registry.

    `held` (t,) is what it said of the customers `test` (t,) while it had not seen them.
    """

    score: Score
    algorithm: str
    report: dict[str, Any]
    test: Ints
    held: Floats


def fit(
    names: Sequence[str],
    values: Singles,
    accepted: Flags,
    *,
    seed: int,
    threads: int = 1,
    algorithm: str = "",
    time: Floats | None = None,
) -> Acceptance:
    """Learn who accepts: `values` (n, f) with NaN for missing. `algorithm` overrides the choice.

    Held out is a fifth: by chance, or the latest by `time` (n,) where that is given.

    Raises training_data_unfit for one class or too few cases of one.
    """
    yes = int(accepted.sum())
    if yes in (0, len(accepted)):
        raise training_data_unfit("one class: everybody answered alike")
    if min(yes, len(accepted) - yes) < FEWEST:
        raise training_data_unfit(f"fewer than {FEWEST} customers of one answer")
    part = _parts(len(accepted), seed, time)
    learn, tune = part > 1, part == 1
    variables = _selected(names, values[learn], accepted[learn])
    place = {name: number for number, name in enumerate(names)}
    few = np.array(sorted(place[each.name] for each in variables if each.kept), dtype=np.int64)
    if not len(few):
        raise training_data_unfit("no variable tells who accepts")
    many = np.array(sorted(place[each.name] for each in variables if each.usable), dtype=np.int64)
    learners = _learners(seed, threads, len(accepted))
    if algorithm:
        if algorithm not in learners:
            raise training_data_unfit(f"algorithm {algorithm}: there are {', '.join(learners)}")
        learners = {algorithm: learners[algorithm]}
    told, losses = _candidates(values, (few, many), accepted, learn, tune, learners)
    chosen, why = (algorithm, "asked for") if algorithm else _chosen(losses)
    used = many if chosen in TREES else few
    calibrate = _calibrator(told[chosen](values[tune][:, used]), accepted[tune])
    test = np.flatnonzero(part == 0)
    held = calibrate(told[chosen](values[test][:, used]))
    served = learners[chosen](values[part != 1][:, used], accepted[part != 1])
    again = _calibrator(served(values[tune][:, used]), accepted[tune])

    def score(asked: Singles) -> Floats:
        return again(served(asked[:, used]))

    report = {
        "algorithm": chosen,
        "reason": why,
        "losses": {name: float(loss.mean()) for name, loss in losses.items()},
        "metrics": propensity.quality(held, accepted[test]),
        "deciles": [vars(each) for each in propensity.deciles(held, accepted[test])],
        "reliability": propensity.reliability(held, accepted[test]),
        "variables": [vars(each) for each in variables],
        "drivers": _drivers(variables, names, values[learn], accepted[learn], few),
        "tree": surrogate.told([names[place] for place in used.tolist()], values[test][:, used], held),
    }
    return Acceptance(score, chosen, report, test, held)


def _selected(names: Sequence[str], values: Singles, accepted: Flags) -> list[Variable]:
    """Every candidate with its verdict; what tells little by itself is kept when it does beside those that are kept.

    A variable that others hide shows only beside them. Again and again, until no other is sure.
    """
    variables = propensity.select(names, values.astype(np.float64), accepted)
    place = {name: number for number, name in enumerate(names)}
    while True:
        chosen = [place[each.name] for each in variables if each.kept]
        weak = [number for number, each in enumerate(variables) if each.weak]
        if not chosen or not weak:
            return variables
        design = basis_of(values[:, chosen], _KNOTS).of(values[:, chosen])
        weights, bias = logistic(design, accepted, _SMOOTH[-1][1])
        columns = [values[:, [place[variables[number].name]]] for number in weak]
        blocks = [basis_of(column, 0).of(column) for column in columns]
        told = propensity.beside(design, expit(design @ weights + bias), accepted, blocks)
        sure = {
            number: p_value for number, p_value in zip(weak, told, strict=True) if p_value <= propensity.SURE_BESIDE
        }
        if not sure:
            return variables
        for number, p_value in sure.items():
            why = f"kept: beside the others a p-value of {p_value:.1g}"
            variables[number] = replace(variables[number], kept=True, reason=why)


def _parts(customers: int, seed: int, time: Floats | None) -> Ints:
    """Which fifth each belongs to: 0 to test, 1 to tune, the rest to learn from."""
    rng = np.random.default_rng(seed)
    if time is None:
        return np.asarray(rng.permutation(customers) % 5)
    order = np.argsort(time, kind="stable")
    first = customers - customers // 5
    part = np.zeros(customers, dtype=np.int64)
    part[order[:first]] = 1 + rng.permutation(first) % 4
    return part


def _candidates(
    values: Singles, used: tuple[Ints, Ints], accepted: Flags, learn: Flags, tune: Flags, learners: dict[str, Learn]
) -> tuple[dict[str, Score], dict[str, Floats]]:
    """Each candidate and its loss on the tuning customers; trees are given what is merely redundant as well."""
    told, losses = {}, {}
    for name, learner in learners.items():
        mine = values[:, used[name in TREES]]
        told[name] = learner(mine[learn], accepted[learn])
        raw = told[name](mine[tune])
        chance = np.clip(_calibrator(raw, accepted[tune])(raw), _CLIP, 1 - _CLIP)
        losses[name] = -np.log(np.where(accepted[tune], chance, 1.0 - chance))
    return told, losses


def _learners(seed: int, threads: int, customers: int) -> dict[str, Learn]:
    """The candidates, the simplest first."""

    def regression(x: Singles, y: Flags) -> Score:
        knots, penalty = _smoothness(x, y, seed)
        basis = basis_of(x, knots)
        weights, bias = logistic(basis.of(x), y, penalty)
        return lambda asked: np.asarray(expit(basis.of(asked) @ weights + bias))

    def support(x: Singles, y: Flags) -> Score:
        basis = basis_of(x, 0)
        machine = SVC(C=1.0, gamma="scale", random_state=seed % 2**32).fit(basis.of(x), y)
        return lambda asked: np.asarray(expit(machine.decision_function(basis.of(asked))))

    def forest(x: Singles, y: Flags) -> Score:
        made = RandomForestClassifier(
            200, min_samples_leaf=25, max_features=0.4, random_state=seed % 2**32, n_jobs=threads
        ).fit(x, y)
        made.set_params(n_jobs=1)
        return lambda asked: np.asarray(made.predict_proba(asked)[:, 1])

    def boosting(x: Singles, y: Flags) -> Score:
        recipe = {
            "objective": "binary", "learning_rate": 0.04, "num_leaves": 12, "min_data_in_leaf": 50, "lambda_l2": 20.0,
            "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1, "verbosity": -1, "seed": seed % 2**31,
            "deterministic": True, "force_row_wise": True, "num_threads": threads,
        }  # fmt: skip
        made = lightgbm.train(recipe, lightgbm.Dataset(x, y.astype(np.int32), params={"verbosity": -1}), 150)
        return lambda asked: np.asarray(made.predict(asked))

    found: dict[str, Learn] = {"logistic_regression": regression}
    if customers <= SVM_CUSTOMERS:
        found["svm"] = support
    return found | {"forest": forest, "boosting": boosting}


def _smoothness(x: Singles, y: Flags, seed: int) -> tuple[int, float]:
    """Knots of the smooth features and ridge, by the loss on a quarter.

    A straight relation is not paid for with hinges that only fit chance.
    """
    aside = np.random.default_rng(seed).permutation(len(y)) % 4 == 0
    losses = []
    for knots, penalty in _SMOOTH:
        basis = basis_of(x[~aside], knots)
        weights, bias = logistic(basis.of(x[~aside]), y[~aside], penalty)
        told = basis.of(x[aside]) @ weights + bias
        losses.append(np.logaddexp(0.0, told) - y[aside] * told)
    return _SMOOTH[int(np.argmin([float(loss.mean()) for loss in losses]))]


def _chosen(losses: dict[str, Floats]) -> tuple[str, str]:
    best = min(losses, key=lambda name: float(losses[name].mean()))
    for name, loss in losses.items():
        worse = loss - losses[best]
        if worse.mean() <= worse.std() / np.sqrt(len(worse)):
            if name == best:
                return name, f"the lowest log loss on the tuning customers ({loss.mean():.4f})"
            return name, f"the simplest within a standard error of {best} ({loss.mean():.4f})"
    return best, "the lowest log loss"


def _calibrator(raw: Floats, accepted: Flags) -> Callable[[Floats], Floats]:
    """Platt's sigmoid on the log-odds; isotonic steps where there are cases enough for them, mixed half and half."""
    odds = logit(np.clip(raw, _CLIP, 1 - _CLIP))
    weights, bias = logistic(odds[:, None], accepted, 1.0)

    def smooth(told: Floats) -> Floats:
        return np.asarray(expit(weights[0] * logit(np.clip(told, _CLIP, 1 - _CLIP)) + bias))

    if min(int(accepted.sum()), int((~accepted).sum())) < 200:
        return smooth
    steps = IsotonicRegression(out_of_bounds="clip").fit(raw, accepted.astype(np.float64))
    return lambda told: np.asarray(0.5 * smooth(told) + 0.5 * steps.predict(told))


def _drivers(
    variables: Sequence[Variable], names: Sequence[str], values: Singles, accepted: Flags, used: Ints
) -> list[dict[str, Any]]:
    """What raises and what lowers acceptance, all else equal: signed weights per standard deviation (R001-078)."""
    basis = basis_of(values[:, used], 0)
    weights, _ = logistic(basis.of(values[:, used]), accepted, 3.0)
    strength = {each.name: each.iv for each in variables}
    made = [
        {"name": names[place], "weight": float(weight), "raises": bool(weight > 0), "iv": strength[names[place]]}
        for place, weight in zip(used.tolist(), weights[: len(used)], strict=True)
    ]
    return sorted(made, key=lambda each: -abs(float(each["weight"])))


def fit_uplift(values: Singles, treated: Flags, accepted: Flags, *, seed: int, folds: int = 5) -> tuple[Floats, Uplift]:
    """Predicted uplift of every customer, out of fold, and what the randomised control says of it (R002-038).

    The transformed outcome y·(t - e) / (e·(1 - e)) has the uplift as its mean (Athey and Imbens 2016); a ridge on it is
    averaged with the difference of two logistic models (Hansotia and Rukstales 2002). Raises training_data_unfit.
    """
    share = float(treated.mean())
    if not 0.02 < share < 0.98 or accepted.sum() < FEWEST:
        raise training_data_unfit("an uplift needs treated and control customers, and some who accepted")
    part = np.random.default_rng(seed).permutation(len(treated)) % folds
    gain = np.zeros(len(treated))
    for number in range(folds):
        learn, test = part != number, part == number
        gain[test] = uplift_of(values[learn], treated[learn], accepted[learn])(values[test])
    return gain, propensity.uplift(gain, treated, accepted, np.random.default_rng([seed, 1]))


def uplift_of(values: Singles, treated: Flags, accepted: Flags) -> Score:
    """A model of what a contact changes: `values` (n, f) to the difference of two chances, -1 to 1."""
    share = float(treated.mean())
    basis = basis_of(values, 3)
    x = basis.of(values)
    two = [logistic(x[treated == side], accepted[treated == side], 100.0) for side in (True, False)]
    outcome = accepted * (treated - share) / (share * (1.0 - share))
    center = x.mean(axis=0)
    bend = (x - center).T @ (x - center) + 0.05 * len(x) * np.eye(x.shape[1])
    slope = np.linalg.solve(bend, (x - center).T @ (outcome - outcome.mean()))

    def score(asked: Singles) -> Floats:
        told = basis.of(asked)
        with_, without = (expit(told @ weights + bias) for weights, bias in two)
        direct = (told - center) @ slope + outcome.mean()
        return np.asarray(np.clip(0.5 * (with_ - without) + 0.5 * direct, -1.0, 1.0))

    return score
