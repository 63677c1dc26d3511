"""From columns of any kind to numbers, the same way every time: numbers as they are, categories one column a word.

Nothing is imputed: missing is NaN in a number and a word of its own nowhere (all its columns are 0), so that a customer
of whom a category is not known, or whose word was never seen, is simply none of those known.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.recommend.domain.product import Flags, Floats, Singles

MOST_WORDS = 30
_NUMERIC = 0.9
"""A column of texts is numeric when this share of what is known can be read as a number."""
_NAMELIKE = 0.5
_EMPTY = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?"})
LEAK = 0.95


@dataclass(frozen=True)
class Encoded:
    """`values` (n, f) float32 with NaN for missing; `dropped` and `warnings` say what was done, by column."""

    names: tuple[str, ...]
    values: Singles
    dropped: Mapping[str, str]
    warnings: tuple[str, ...]


def encode(columns: Mapping[str, Sequence[Any]]) -> Encoded:
    """Columns of equal length: numbers, truth values, texts or None."""
    names: list[str] = []
    made: list[Floats] = []
    dropped: dict[str, str] = {}
    warnings: list[str] = []
    for name, column in columns.items():
        numbers = _numbers(column)
        if numbers is not None:
            values, bad = numbers
            if bad:
                warnings.append(f"{name}: {bad} values are no numbers and count as missing")
            names.append(name)
            made.append(values)
            continue
        words = [_word(each) for each in column]
        count = Counter(word for word in words if word is not None)
        if len(count) > max(MOST_WORDS, _NAMELIKE * len(words)):
            dropped[name] = f"{len(count)} different texts: a name and no category"
            continue
        kept = sorted(word for word, _ in sorted(count.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS])
        if len(count) > MOST_WORDS:
            warnings.append(f"{name}: the {MOST_WORDS} most frequent of {len(count)} texts are told apart")
        if len(kept) == 2 and all(word is not None for word in words):
            kept = kept[1:]  # the other one is what is left
        for word in kept:
            names.append(f"{name}={word}")
            made.append(np.array([float(each == word) for each in words]))
    found: Singles = np.column_stack(made).astype(np.float32) if made else np.zeros((_rows(columns), 0), np.float32)
    found = np.where(np.isfinite(found), found, np.float32(np.nan))
    return Encoded(tuple(names), found, dropped, tuple(warnings))


def _rows(columns: Mapping[str, Sequence[Any]]) -> int:
    return len(next(iter(columns.values()), ()))


def _word(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    text = str(value).strip()
    return None if text.lower() in _EMPTY - {"none"} else text


def _numbers(column: Sequence[Any]) -> tuple[Floats, int] | None:
    """The column as numbers and how many values were none, or None when it is no column of numbers."""
    values = np.full(len(column), np.nan)
    known = bad = 0
    for place, value in enumerate(column):
        if value is None or (isinstance(value, str) and value.strip().lower() in _EMPTY):
            continue
        known += 1
        try:
            values[place] = float(value)
        except (TypeError, ValueError):
            bad += 1
    if known and bad > (1.0 - _NUMERIC) * known:
        return None
    return values, bad


def leaks(names: Sequence[str], values: Singles, owned: Flags) -> dict[str, str]:
    """Columns that are made of the holdings: ownership explains what the other columns leave open of them.

    A bill, for instance, is the sum of the prices of what is owned, so that it tells what was hidden. Partial R² of
    ownership in a linear model of the column, given the other columns, above LEAK.
    """
    told = values.astype(np.float64)
    mean = np.nanmean(np.where(np.isnan(told).all(axis=0), 0.0, told), axis=0)
    filled = np.where(np.isnan(told), mean, told)
    spread = filled.std(axis=0)
    filled = (filled - mean) / np.where(spread > 0, spread, 1.0)
    ones = np.ones((len(filled), 1))
    holdings = owned.astype(np.float64)
    found: dict[str, str] = {}
    for place, name in enumerate(names):
        column = filled[:, place]
        if len(np.unique(column)) < 20:
            continue  # a category or a count has no room for a sum of prices
        others = np.hstack([np.delete(filled, place, axis=1), ones])
        alone = _left_over(others, column)
        both = _left_over(np.hstack([others, holdings]), column)
        if alone > 1e-9 and 1.0 - both / alone > LEAK:
            found[name] = f"leaks: ownership explains {1.0 - both / alone:.0%} of what the other columns leave open"
    return found


def _left_over(design: Floats, column: Floats) -> float:
    bend = design.T @ design + 1e-6 * len(design) * np.eye(design.shape[1])
    return float(((column - design @ np.linalg.solve(bend, design.T @ column)) ** 2).mean())
