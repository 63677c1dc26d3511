"""Fitting a latent tag with scikit-learn: the choice of the algorithm, the fit, the calibration, the proof.

A fifth of the rows is kept apart and never learnt from; calibration is a multinomial logistic regression over the
decisions that cross-validation gives (Platt 1999, for several classes), so no row calibrates what it fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from services.portrait.domain.latent import Choice, Machine, choose, measured
from services.portrait.domain.latent.choice import LARGE, LINEAR, SVM
from services.portrait.domain.latent.quality import macro_f1

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_TRIAL_ROWS = 1_500
_LANDMARKS = 128
_FOLDS = 3
FEWEST = 10
"""Customers of a class below which it cannot be learnt."""


@dataclass(frozen=True)
class Fitted:
    """What was learnt, why so, and how good it is on the rows that were kept apart."""

    machine: Machine
    choice: Choice
    metrics: dict[str, float]


def fit(
    features: Sequence[str],
    classes: Sequence[str],
    values: npt.NDArray[np.floating],
    label: Ints,
    *,
    seed: int,
    asked: str = "",
    why: str = "",
    large: int = LARGE,
) -> Fitted:
    """Learn classes (label (n,), each class at least 10 times) from values (n, f)."""
    learn, test = train_test_split(np.arange(len(label)), test_size=0.2, stratify=label, random_state=seed)
    frame = _frame(values[learn])
    points = _scaled(values[learn], frame)
    gain = _gain(points, label[learn], len(classes), seed)
    choice = choose(len(label), gain, asked, why, large)
    parts = _parts(points, label[learn], choice.algorithm, seed)
    machine = Machine(features, classes, *frame, **parts, slope=np.eye(len(classes)), intercept=np.zeros(len(classes)))
    slope, intercept = _calibration(points, label[learn], choice.algorithm, len(classes), seed)
    machine = Machine(**{**vars(machine), "slope": slope, "intercept": intercept})
    metrics = measured(machine.probabilities(values[test]), label[test], classes)
    return Fitted(machine, choice, {**metrics, "kernel_gain": gain, "test_rows": float(len(test))})


def _frame(values: npt.NDArray[np.floating]) -> tuple[Floats, Floats, Floats]:
    """Fill (the median), mean and scale of each column."""
    known = np.where(np.isfinite(values), values.astype(np.float64), np.nan)
    empty = np.isnan(known).all(axis=0)
    fill = np.where(empty, 0.0, np.nanmedian(np.where(empty, 0.0, known), axis=0))
    told = np.where(np.isnan(known), fill, known)
    scale = told.std(axis=0)
    return fill, told.mean(axis=0), np.where(scale > 1e-9, scale, 1.0)


def _scaled(values: npt.NDArray[np.floating], frame: tuple[Floats, Floats, Floats]) -> Floats:
    fill, mean, scale = frame
    told: Floats = (np.where(np.isnan(values), fill, values) - mean) / scale
    return told


def _gain(points: Floats, label: Ints, classes: int, seed: int) -> float:
    """Macro-F1 of a Gaussian kernel over that of a linear model, by cross-validation on at most 1,500 rows."""
    if len(points) > _TRIAL_ROWS:
        few, _ = train_test_split(np.arange(len(points)), train_size=_TRIAL_ROWS, stratify=label, random_state=seed)
        points, label = points[few], label[few]
    told = []
    for algorithm in (SVM, LINEAR):
        decisions = _crossed(points, label, algorithm, classes, seed)
        told.append(macro_f1(decisions.argmax(axis=1), label, classes))
    return told[0] - told[1]


def _crossed(points: Floats, label: Ints, algorithm: str, classes: int, seed: int) -> Floats:
    """Decisions of rows by machines that did not see them, (n, classes)."""
    told = np.zeros((len(points), classes))
    for learn, rest in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(points, label):
        parts = _parts(points[learn], label[learn], algorithm, seed)
        told[rest] = _decided(points[rest], parts)
    return told


def _calibration(points: Floats, label: Ints, algorithm: str, classes: int, seed: int) -> tuple[Floats, Floats]:
    """Slope (c, c) and intercept (c,) from decisions to log-odds."""
    decisions = _crossed(points, label, algorithm, classes, seed)
    found = LogisticRegression(solver="newton-cholesky").fit(decisions, label)
    return _by_class(found)


def _by_class(found: Any) -> tuple[Floats, Floats]:
    """Weights (f, c) and bias (c,) of a logistic regression; of two classes the first has none."""
    weights, bias = found.coef_.T, found.intercept_
    if weights.shape[1] == 1:
        return np.hstack([np.zeros_like(weights), weights]), np.append(0.0, bias)
    return weights, bias


def _parts(points: Floats, label: Ints, algorithm: str, seed: int) -> dict[str, Any]:
    if algorithm == SVM:
        return _machines(points, label)
    gamma, centre = 1.0 / points.shape[1], np.empty((0, points.shape[1]))
    if algorithm != LINEAR:
        draw = np.random.default_rng(seed)
        centre = points[np.sort(draw.choice(len(points), min(_LANDMARKS, len(points)), replace=False))]
    wide = np.hstack([points, _gauss(points, centre, gamma)])
    weights, bias = _by_class(LogisticRegression(solver="newton-cholesky", tol=1e-3).fit(wide, label))
    columns = points.shape[1]
    return {"centre": centre, "gamma": gamma, "linear": weights[:columns], "dual": weights[columns:], "bias": bias}


def _machines(points: Floats, label: Ints) -> dict[str, Any]:
    """One machine for each class against the rest, over the union of their support vectors."""
    classes, gamma = int(label.max()) + 1, 1.0 / points.shape[1]
    dual, bias = np.zeros((len(points), classes)), np.zeros(classes)
    found = OneVsRestClassifier(SVC(C=1.0, kernel="rbf", gamma=gamma, class_weight="balanced")).fit(points, label)
    for number, machine in enumerate(found.estimators_):
        place = 1 if len(found.estimators_) == 1 else number
        dual[machine.support_, place] = machine.dual_coef_[0]
        bias[place] = machine.intercept_[0]
    if len(found.estimators_) == 1:
        dual[:, 0], bias[0] = -dual[:, 1], -bias[1]
    used = np.flatnonzero((dual != 0).any(axis=1))
    none = np.zeros((points.shape[1], classes))
    return {"centre": points[used], "gamma": gamma, "linear": none, "dual": dual[used], "bias": bias}


def _decided(points: Floats, parts: dict[str, Any]) -> Floats:
    gauss = _gauss(points, parts["centre"], parts["gamma"])
    told: Floats = points @ parts["linear"] + gauss @ parts["dual"] + parts["bias"]
    return told


def _gauss(points: Floats, centre: Floats, gamma: float) -> Floats:
    square = (points**2).sum(axis=1)[:, None] + (centre**2).sum(axis=1) - 2 * points @ centre.T
    told: Floats = np.exp(-gamma * np.maximum(square, 0.0))
    return told
