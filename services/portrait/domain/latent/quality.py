"""How good a classifier is, on customers it did not learn from."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def auc(score: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve as the Mann–Whitney statistic, ties one half; NaN when one side is empty."""
    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes or not no:
        return float("nan")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def log_loss(probability: Floats, truth: Ints) -> float:
    """Mean negative log-likelihood of the true class, nats."""
    return float(-np.log(np.maximum(probability[np.arange(len(truth)), truth], 1e-12)).mean())


def calibration_error(probability: Floats, truth: Ints, bins: int = 10) -> float:
    """Expected calibration error of the likeliest class over equal bins (Guo et al. 2017), 0 to 1."""
    sure, right = probability.max(axis=1), probability.argmax(axis=1) == truth
    bin_of = np.minimum((sure * bins).astype(np.int64), bins - 1)
    gaps = [abs(float(sure[bin_of == each].sum()) - float(right[bin_of == each].sum())) for each in range(bins)]
    return sum(gaps) / max(len(truth), 1)


def macro_f1(predicted: Ints, truth: Ints, classes: int) -> float:
    """Mean F1 over the classes that occur."""
    told = []
    for each in range(classes):
        hit = int(((predicted == each) & (truth == each)).sum())
        said, there = int((predicted == each).sum()), int((truth == each).sum())
        if there:
            told.append(2 * hit / (said + there))
    return float(np.mean(told)) if told else 0.0


def measured(probability: Floats, truth: Ints, classes: Sequence[str]) -> dict[str, float]:
    """All figures by name; `auc` is of the last class for two classes, else the mean of one against the rest."""
    predicted = probability.argmax(axis=1)
    told = {
        "macro_f1": macro_f1(predicted, truth, len(classes)),
        "accuracy": float((predicted == truth).mean()),
        "log_loss": log_loss(probability, truth),
        "calibration_error": calibration_error(probability, truth),
    }
    chosen = [len(classes) - 1] if len(classes) == 2 else list(range(len(classes)))
    areas = [auc(probability[:, each], truth == each) for each in chosen]
    told["auc"] = float(np.mean([area for area in areas if not np.isnan(area)] or [float("nan")]))
    for number, name in enumerate(classes):
        hit = int(((predicted == number) & (truth == number)).sum())
        told[f"precision_{name}"] = hit / max(int((predicted == number).sum()), 1)
        told[f"recall_{name}"] = hit / max(int((truth == number).sum()), 1)
    return {name: value for name, value in told.items() if not np.isnan(value)}
