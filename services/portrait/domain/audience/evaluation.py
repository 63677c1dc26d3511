"""Who fulfils an expression: Roaring bitmaps over dense customer keys."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap, FrozenBitMap

from services.portrait.domain.audience.expression import (
    AllOf,
    AnyOf,
    AtLeast,
    AudienceInvalid,
    Everybody,
    Expression,
    FeatureBetween,
    Frozen,
    InSegment,
    Listed,
    Not,
    Saved,
    TagIs,
    text,
    walk,
)

MOST_LIST = 10_000_000
_MOST_SAVED = 16  # levels of saved audiences in saved audiences
_MOST_KEY = (1 << 32) - 1


class Source(Protocol):
    """Where bitmaps come from. A bitmap that was given out is never changed."""

    def everybody(self) -> BitMap | FrozenBitMap:
        """Every customer of the run."""

    def tag(self, code: str, value: str) -> BitMap | FrozenBitMap:
        """Who bears a tag ("" as value), or a value of it; empty for one that nobody bears."""

    def feature(self, name: str, least: float | None, most: float | None) -> BitMap | FrozenBitMap:
        """Who has a feature within bounds; raises AudienceInvalid for an unknown name."""

    def saved(self, audience_id: str, version: int) -> Expression:
        """A saved audience; raises AudienceInvalid for an unknown one."""

    def listed(self, kind: str, list_id: str) -> BitMap | FrozenBitMap:
        """A customer list (kind `list`), a frozen audience (`frozen`) or a segment (`segment`); raises AudienceInvalid
        for an unknown one."""


@dataclass(frozen=True)
class PartCount:
    """A part of an expression, and how many fulfil it by itself."""

    text: str
    depth: int
    customers: int


def members(expression: Expression, source: Source) -> BitMap:
    """Everybody of the run who fulfils the expression; a new bitmap, the caller's own."""
    return BitMap(_Evaluation(source).of(expression, 0))


def parts(expression: Expression, source: Source) -> list[PartCount]:
    """Each part with its own count, in the order of the text, the whole first."""
    evaluation = _Evaluation(source)
    return [PartCount(text(part), depth, len(evaluation.of(part, 0))) for _, depth, part in walk(expression)]


def bitmap_of(keys: npt.NDArray[np.integer]) -> BitMap:
    """A bitmap of keys in any order; raises AudienceInvalid for keys that are none."""
    if len(keys) and (keys.min() < 1 or keys.max() > _MOST_KEY):
        raise AudienceInvalid("customer_keys", f"keys lie between 1 and {_MOST_KEY}")
    return BitMap(np.ascontiguousarray(keys, dtype=np.uint32))


class _Evaluation:
    """One look at a source. A saved audience is evaluated once, however many others name it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._saved: dict[tuple[str, int], BitMap | FrozenBitMap] = {}

    def of(self, expression: Expression, depth: int) -> BitMap | FrozenBitMap:
        """Who fulfils it; `depth` counts the saved audiences around it."""
        source = self._source
        match expression:
            case Everybody():
                return source.everybody()
            case TagIs():
                found = [source.tag(expression.code, value) for value in expression.values or ("",)]
                return found[0] if len(found) == 1 else BitMap.union(*map(BitMap, found))
            case FeatureBetween():
                return source.feature(expression.name, expression.least, expression.most)
            case AllOf():
                return self._all(expression.parts, depth)
            case AnyOf():
                united = BitMap(self.of(expression.parts[0], depth))
                for part in expression.parts[1:]:
                    united |= self.of(part, depth)
                return united
            case Not():
                return source.everybody() - self.of(expression.part, depth)
            case AtLeast():
                return _at_least(expression.count, [self.of(part, depth) for part in expression.parts])
            case Saved():
                return self._named(expression, depth + 1)
            case Listed():
                return source.listed("list", expression.list_id) & source.everybody()
            case Frozen():
                return source.listed("frozen", expression.frozen_id) & source.everybody()
            case InSegment():
                return source.listed("segment", expression.segment_id) & source.everybody()

    def _named(self, saved: Saved, depth: int) -> BitMap | FrozenBitMap:
        key = saved.audience_id, saved.version
        if key not in self._saved:
            if depth > _MOST_SAVED:
                raise AudienceInvalid("expression", f"saved audiences name each other more than {_MOST_SAVED} deep")
            self._saved[key] = self.of(self._source.saved(*key), depth)
        return self._saved[key]

    def _all(self, these: tuple[Expression, ...], depth: int) -> BitMap | FrozenBitMap:
        """The smallest first, so that every further step is small; what is negated is taken away, not complemented."""
        wanted = [self.of(part, depth) for part in these if not isinstance(part, Not)]
        unwanted = [self.of(part.part, depth) for part in these if isinstance(part, Not)]
        wanted.sort(key=len)
        if not wanted:
            wanted = [self._source.everybody()]
        found = wanted[0]
        for one in wanted[1:]:
            found = found & one
        for one in unwanted:
            found = found - one
        return found


def _at_least(count: int, these: list[BitMap | FrozenBitMap]) -> BitMap:
    """Who stands in `count` of them or more: layer n holds who was seen n times so far."""
    layers = [BitMap() for _ in range(count)]
    for one in these:
        for layer in range(count - 1, 0, -1):
            layers[layer] |= layers[layer - 1] & one
        layers[0] |= one
    return layers[-1]


def overlaps(these: Iterable[BitMap]) -> Counter[tuple[int, int]]:
    """How many stand in both, for every two."""
    found = list(these)
    return Counter(
        {
            (left, right): found[left].intersection_cardinality(found[right])
            for left in range(len(found))
            for right in range(left + 1, len(found))
        }
    )
