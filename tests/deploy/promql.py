"""As much of Prometheus as the alerts use: instant vectors, rate, increase, sum and max by, quantiles, comparisons.

Where promtool is installed a test holds this evaluator to it. Scrapes come at whole minutes; extrapolation to the edges
of a window follows Prometheus' own rule closely enough for thresholds (a counter is never extrapolated below zero).
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

_STALE = 300.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TOKEN = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|\d+\.?\d*[smhd](?![a-z])|\d+\.?\d*|[A-Za-z_:][A-Za-z0-9_:]*|[=!<>]=|=~|!~|.)'
)
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass
class Store:
    """Samples by series: labels with `__name__` → [(time, value)]."""

    series: dict[Labels, list[tuple[float, float]]] = field(default_factory=dict)

    def scrape(self, at: float, text: str, **labels: str) -> None:
        """Takes the text of one /metrics; `text` "" is a target that does not answer."""
        self.add(at, {"__name__": "up", **labels}, 1.0 if text else 0.0)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.add(at, {"__name__": sample.name, **sample.labels, **labels}, sample.value)

    def add(self, at: float, labels: Mapping[str, str], value: float) -> None:
        """Takes one sample."""
        self.series.setdefault(frozenset(labels.items()), []).append((at, value))

    def within(
        self, name: str, matches: list[tuple[str, str, str]], begin: float, end: float
    ) -> Iterator[tuple[Labels, list[tuple[float, float]]]]:
        """Series that match, with their samples in (begin, end]."""
        for labels, samples in self.series.items():
            known = dict(labels)
            if known["__name__"] == name and all(_fits(known.get(key, ""), op, value) for key, op, value in matches):
                window = [each for each in samples if begin < each[0] <= end]
                if window:
                    yield labels - {("__name__", name)}, window


def evaluate(store: Store, expression: str, at: float) -> Vector:
    """The value of an expression at a time; of a comparison what of the left side fulfils it."""
    reader = _Reader(store, at, [token for token in _TOKEN.findall(expression) if token.strip()])
    found = reader.comparison()
    assert reader.done(), f"not understood from {reader.rest()}"
    return found if isinstance(found, dict) else {frozenset(): found}


def _fits(value: str, op: str, wanted: str) -> bool:
    if op in ("=~", "!~"):
        return (re.fullmatch(wanted, value) is not None) is (op == "=~")
    return (value == wanted) is (op == "=")


class _Reader:
    """Recursive descent over the tokens, evaluated on the way."""

    def __init__(self, store: Store, at: float, tokens: list[str]) -> None:
        self._store, self._at, self._tokens, self._place = store, at, tokens, 0

    def done(self) -> bool:
        return self._place == len(self._tokens)

    def rest(self) -> str:
        return " ".join(self._tokens[self._place :])

    def comparison(self) -> Vector | float:
        left = self._sum()
        if self._peek() in _COMPARE:
            holds, right = _COMPARE[self._next()], self._sum()
            assert isinstance(left, dict)
            assert isinstance(right, float)
            return {labels: value for labels, value in left.items() if holds(value, right)}
        return left

    def _sum(self) -> Vector | float:
        left = self._product()
        while self._peek() in ("-", "+"):
            op = operator.sub if self._next() == "-" else operator.add
            left = _joined(left, self._product(), op)
        return left

    def _product(self) -> Vector | float:
        left = self._atom()
        while self._peek() == "/":
            self._next()
            left = _joined(left, self._atom(), _divided)
        return left

    def _atom(self) -> Vector | float:
        word = self._next()
        if word == "(":
            inner = self.comparison()
            self._expect(")")
            return inner
        if re.fullmatch(r"\d+\.?\d*", word):
            return float(word)
        if word == "time":
            self._expect("(", ")")
            return self._at
        if word in ("sum", "max"):
            return self._grouped(sum if word == "sum" else max)
        if word in ("rate", "increase"):
            return self._risen(per_second=word == "rate")
        if word == "histogram_quantile":
            self._expect("(")
            share = float(self._next())
            self._expect(",")
            buckets = self.comparison()
            self._expect(")")
            assert isinstance(buckets, dict)
            return _quantile(share, buckets)
        found = self._store.within(word, self._matchers(), self._at - _STALE, self._at)
        return {labels: samples[-1][1] for labels, samples in found}

    def _grouped(self, by: Callable[[list[float]], float]) -> Vector:
        self._expect("by", "(")
        names = set()
        while self._peek() != ")":
            names.add(self._next())
            if self._peek() == ",":
                self._next()
        self._expect(")", "(")
        inner = self.comparison()
        self._expect(")")
        assert isinstance(inner, dict)
        groups: dict[Labels, list[float]] = {}
        for labels, value in inner.items():
            groups.setdefault(frozenset(each for each in labels if each[0] in names), []).append(value)
        return {labels: by(values) for labels, values in groups.items()}

    def _risen(self, *, per_second: bool) -> Vector:
        self._expect("(")
        name, matches = self._next(), self._matchers()
        self._expect("[")
        length = self._next()
        self._expect("]", ")")
        seconds = float(length[:-1]) * _UNITS[length[-1]]
        found = {}
        for labels, samples in self._store.within(name, matches, self._at - seconds, self._at):
            if len(samples) >= 2:
                rise = _rise(samples, self._at - seconds, self._at)
                found[labels] = rise / seconds if per_second else rise
        return found

    def _matchers(self) -> list[tuple[str, str, str]]:
        found = []
        if self._peek() == "{":
            self._next()
            while self._peek() != "}":
                key, op, value = self._next(), self._next(), self._next()
                found.append((key, op, value[1:-1]))
                if self._peek() == ",":
                    self._next()
            self._next()
        return found

    def _peek(self) -> str:
        return self._tokens[self._place].strip() if self._place < len(self._tokens) else ""

    def _next(self) -> str:
        word = self._peek()
        assert word, "the expression ends too soon"
        self._place += 1
        return word

    def _expect(self, *words: str) -> None:
        for word in words:
            found = self._next()
            assert found == word, f"{word} expected, {found} found, before {self.rest()}"


def _rise(samples: list[tuple[float, float]], begin: float, end: float) -> float:
    """The increase over the window, resets and edges as Prometheus takes them."""
    rise = sum(b if b < a else b - a for (_, a), (_, b) in pairwise(samples))
    first, last = samples[0], samples[-1]
    covered = last[0] - first[0]
    usual = covered / (len(samples) - 1)
    before, after = first[0] - begin, end - last[0]
    if rise > 0 and first[1] >= 0:
        before = min(before, covered * first[1] / rise)
    before = before if before < usual * 1.1 else usual / 2
    after = after if after < usual * 1.1 else usual / 2
    return rise * (covered + before + after) / covered


def _quantile(share: float, buckets: Vector) -> Vector:
    """Linear within the bucket, as Prometheus does; the last finite bound where it lies beyond."""
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in buckets.items():
        bound = dict(labels)["le"]
        key = frozenset(each for each in labels if each[0] != "le")
        groups.setdefault(key, []).append((math.inf if bound == "+Inf" else float(bound), value))
    found = {}
    for key, pairs in groups.items():
        pairs.sort()
        total = pairs[-1][1]
        if total <= 0:
            continue
        low, below = 0.0, 0.0
        for bound, value in pairs:
            if value >= share * total:
                here = low if math.isinf(bound) else low + (bound - low) * (share * total - below) / (value - below)
                found[key] = here
                break
            low, below = bound, value
    return found


def _joined(left: Vector | float, right: Vector | float, op: Callable[[float, float], float]) -> Vector | float:
    if isinstance(left, dict) and isinstance(right, dict):
        return {labels: op(value, right[labels]) for labels, value in left.items() if labels in right}
    if isinstance(left, dict):
        return {labels: op(value, right) for labels, value in left.items()} if isinstance(right, float) else left
    if isinstance(right, dict):
        return {labels: op(left, value) for labels, value in right.items()}
    return op(left, right)


def _divided(left: float, right: float) -> float:
    return left / right if right else math.nan
