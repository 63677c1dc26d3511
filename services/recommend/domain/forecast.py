"""Openings a day, forecast by the method that would have been nearest on the days that have passed (R002-058)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from services.recommend.domain.product import Floats

FEWEST = 28
"""Days that must be known."""
_FIRST, _ORIGINS = 14, 8
_LEVEL, _TREND = 0.3, 0.05


@dataclass(frozen=True)
class Backtest:
    """The mean absolute error of a method over the days that it forecast, from what was known before each origin."""

    method: str
    mean_error: float
    days: int
    chosen: bool


@dataclass(frozen=True)
class Forecast:
    """Days ahead: what is expected, and the 80 % interval by the errors of the back-test."""

    expected: Floats
    low: Floats
    high: Floats
    backtests: tuple[Backtest, ...]


def naive(known: Floats, days: int) -> Floats:
    """The last day again."""
    return np.full(days, known[-1])


def weekly(known: Floats, days: int) -> Floats:
    """The same day a week before."""
    return np.resize(known[-7:], days)


def mean(known: Floats, days: int) -> Floats:
    """The mean of four weeks."""
    return np.full(days, known[-28:].mean())


def smoothed(known: Floats, days: int) -> Floats:
    """Level and damped trend, both smoothed exponentially (Holt 1957)."""
    level, trend = known[0], 0.0
    for value in known[1:]:
        before = level
        level = _LEVEL * value + (1 - _LEVEL) * (level + trend)
        trend = _TREND * (level - before) + (1 - _TREND) * trend
    return np.asarray(np.maximum(level + trend * np.cumsum(0.9 ** np.arange(1, days + 1)), 0.0))


METHODS: Mapping[str, Callable[[Floats, int], Floats]] = {
    "naive": naive,
    "weekly": weekly,
    "mean": mean,
    "smoothed": smoothed,
}


def forecast(known: Floats, days: int) -> Forecast | None:
    """From openings by day, the oldest first; None when fewer than FEWEST days are known."""
    if len(known) < FEWEST:
        return None
    ahead = min(days, 7)
    origins = [len(known) - ahead - number for number in range(_ORIGINS) if len(known) - ahead - number >= _FIRST]
    errors = {
        name: np.concatenate([known[at : at + ahead] - method(known[:at], ahead) for at in origins])
        for name, method in METHODS.items()
    }
    order = sorted(METHODS, key=lambda name: (float(np.abs(errors[name]).mean()), tuple(METHODS).index(name)))
    best = order[0]
    expected = METHODS[best](known, days)
    low, high = np.quantile(errors[best], [0.1, 0.9])
    told = tuple(Backtest(name, float(np.abs(errors[name]).mean()), len(errors[name]), name == best) for name in order)
    return Forecast(expected, np.maximum(expected + min(low, 0.0), 0.0), expected + max(high, 0.0), told)
