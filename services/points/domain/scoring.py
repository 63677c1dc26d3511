"""The kernel: a rule set as bitsets, run over arrays of events; one event is an array of length one.

For each column every value has a bitset of the rules that accept it, and a range column is cut at the ends of its
ranges so that an event's value falls into one piece, which has a bitset too. The rules that match an event are the AND
over the columns, 64 rules a word. What a rule gives is integer arithmetic whose bounds were proved (`rule_set`).
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from services.points.domain.rule_set import SET_COLUMNS, SPAN_COLUMNS, Hit, Row, RuleSet, Table

Longs: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint64]

COLUMNS = (*SET_COLUMNS, *SPAN_COLUMNS)
_OTHER = "\0"  # stands for every value that no rule names; no cell may hold it


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule may look at. `amount_fen` >= 0 and admissible; `day` is the business day's proleptic ordinal."""

    type: str
    product: str
    category: str
    channel: str
    staff_role: str
    amount_fen: int
    day: int


@dataclass(frozen=True, slots=True)
class Given:
    """One rule that matched one event."""

    event: int
    rule: int
    milli_points: int


class Compiled:
    """A rule set ready to score. `rules[i]` is the (table, row) of rule number i; safe to share between threads."""

    def __init__(self, rule_set: RuleSet) -> None:
        self.rule_set = rule_set
        self.rules: tuple[tuple[Table, Row], ...] = tuple((t, row) for t in rule_set.tables for row in t.rows)
        self._codes: list[dict[str, int]] = []  # per set column: value → row of the bitsets; OTHER → any other value
        self._cuts: list[tuple[int, list[int]]] = []  # per range column: first row, and the values that begin a piece
        blocks: list[Words] = []
        first = 0
        for name in SET_COLUMNS:
            values = sorted({value for _, row in self.rules for value in row.sets.get(name, ())})
            self._codes.append({value: first + number for number, value in enumerate([*values, _OTHER])})
            blocks.append(self._set_bits(name, values))
            first += len(values) + 1
        for name in SPAN_COLUMNS:
            cuts = sorted({cut for _, row in self.rules for cut in _cuts(row, name)})
            self._cuts.append((first, cuts))
            blocks.append(self._span_bits(name, cuts))
            first += len(cuts) + 1
        self._arrays = self._pack(blocks)

    def score(self, events: Sequence[Facts]) -> list[Given]:
        """What the rules give, by event and then by rule number; a rule that gives zero is there too."""
        codes, amounts = self.encode(events)
        event, rule, given = self.run(codes, amounts)
        return [Given(*each) for each in zip(event.tolist(), rule.tolist(), given.tolist(), strict=True)]

    def encode(self, events: Sequence[Facts]) -> tuple[Longs, Longs]:
        """Rows into the bitsets, shape (events, columns), and amounts in fen, shape (events,)."""
        codes = np.empty((len(events), len(COLUMNS)), np.int64)
        texts = ([e.type for e in events], [e.product for e in events], [e.category for e in events],
                 [e.channel for e in events], [e.staff_role for e in events])  # fmt: skip
        for column, values in enumerate(texts):
            known = self._codes[column]
            other = known[_OTHER]
            codes[:, column] = [known.get(value, other) for value in values]
        for column, numbers in enumerate(([e.amount_fen for e in events], [e.day for e in events]), len(texts)):
            first, cuts = self._cuts[column - len(texts)]
            codes[:, column] = [first + bisect.bisect_right(cuts, number) for number in numbers]
        return codes, np.array([e.amount_fen for e in events], np.int64)

    def run(self, codes: Longs, amounts: Longs) -> tuple[Longs, Longs, Longs]:
        """Hits as (event, rule, milli-points), each int64 of shape (hits,), ordered by event and rule."""
        capacity = len(amounts) * max(1, len(self.rule_set.tables))
        while True:
            event, rule, given = (np.empty(capacity, np.int64) for _ in range(3))
            hits = _kernel(codes, amounts, *self._arrays, event, rule, given)
            if hits <= capacity:
                return event[:hits], rule[:hits], given[:hits]
            capacity = hits

    def _set_bits(self, name: str, values: Sequence[str]) -> Words:
        """One bitset of rules for each value and, last, one for any other, shape (values + 1, words)."""
        rows = {value: number for number, value in enumerate(values)}
        accepts = np.zeros((len(values) + 1, len(self.rules)), np.bool_)
        for number, (_, rule) in enumerate(self.rules):
            wanted = rule.sets.get(name)
            accepts[slice(None) if wanted is None else [rows[value] for value in wanted], number] = True
        return _pack_bits(accepts)

    def _span_bits(self, name: str, cuts: Sequence[int]) -> Words:
        """One bitset of rules for each piece: before the first cut, and from each cut on, shape (cuts + 1, words)."""
        pieces = np.array([cuts[0] - 1 if cuts else 0, *cuts], np.int64)  # one value of a piece speaks for all of it
        accepts = np.ones((len(pieces), len(self.rules)), np.bool_)
        for number, (_, rule) in enumerate(self.rules):
            span = rule.spans.get(name)
            if span is not None and span.low is not None:
                accepts[:, number] &= pieces >= span.low
            if span is not None and span.high is not None:
                accepts[:, number] &= pieces <= span.high
        return _pack_bits(accepts)

    def _pack(self, blocks: Sequence[Words]) -> tuple[Words, Longs, Longs, Longs, Longs]:
        """All bitsets, and by rule: fixed, num, den, and where a FIRST table ends (0: COLLECT goes on)."""
        ends: list[int] = []
        for table in self.rule_set.tables:
            end = len(ends) + len(table.rows) if table.hit is Hit.FIRST else 0
            ends += [end] * len(table.rows)
        rows = [row for _, row in self.rules]
        numbers = ([row.fixed for row in rows], [row.num for row in rows], [row.den for row in rows], ends)
        fixed, num, den, end_of = (np.array(each, np.int64) for each in numbers)
        bits = np.concatenate(blocks)
        return bits, fixed, num, den, end_of


def warm() -> None:
    """Compile the kernel to machine code, which takes a second or two; call it before serving."""
    empty, words = np.zeros(0, np.int64), np.zeros((1, 1), np.uint64)
    _kernel(np.zeros((0, len(COLUMNS)), np.int64), empty, words, empty, empty, empty, empty, empty, empty, empty)


def _pack_bits(accepts: npt.NDArray[np.bool_]) -> Words:
    """Rules 0 to 63 in the first word, the lowest bit first; the last word is filled with zeros."""
    words = -(-accepts.shape[1] // 64)
    padded = np.zeros((accepts.shape[0], words * 64), np.bool_)
    padded[:, : accepts.shape[1]] = accepts
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def _cuts(row: Row, name: str) -> list[int]:
    """The values at which acceptance may change: a range's begin, and the first value after its end."""
    span = row.spans.get(name)
    if span is None:
        return []
    return [value for value in (span.low, None if span.high is None else span.high + 1) if value is not None]


@numba.njit(nogil=True)
def _kernel(
    codes: Longs,
    amounts: Longs,
    bits: Words,
    fixed: Longs,
    num: Longs,
    den: Longs,
    end_of: Longs,
    out_event: Longs,
    out_rule: Longs,
    out_given: Longs,
) -> int:
    """Number of hits; those that fit are written. Rules of one table are neighbours, so FIRST skips to its end."""
    events, columns = codes.shape
    words = bits.shape[1]
    capacity = out_event.shape[0]
    one, everything = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
    hits = 0
    for i in range(events):
        skip = 0
        for w in range(words):
            base = w * 64
            if skip >= base + 64:
                continue
            match = bits[codes[i, 0], w]
            for c in range(1, columns):
                match &= bits[codes[i, c], w]
            if skip > base:
                match &= everything << np.uint64(skip - base)
            while match != np.uint64(0):
                low = match & (~match + one)
                rule = base + _trailing(low)
                if hits < capacity:
                    out_event[hits] = i
                    out_rule[hits] = rule
                    out_given[hits] = fixed[rule] + amounts[i] * num[rule] // den[rule]
                hits += 1
                match ^= low
                if end_of[rule] > 0:
                    skip = end_of[rule]
                    if skip >= base + 64:
                        match = np.uint64(0)
                    else:
                        match &= everything << np.uint64(skip - base)
    return hits


@numba.njit(nogil=True)
def _trailing(low: np.uint64) -> int:
    """Position of the only bit that is set, by halving."""
    position = 0
    if low & np.uint64(0xFFFFFFFF) == np.uint64(0):
        position += 32
        low >>= np.uint64(32)
    if low & np.uint64(0xFFFF) == np.uint64(0):
        position += 16
        low >>= np.uint64(16)
    if low & np.uint64(0xFF) == np.uint64(0):
        position += 8
        low >>= np.uint64(8)
    if low & np.uint64(0xF) == np.uint64(0):
        position += 4
        low >>= np.uint64(4)
    if low & np.uint64(0x3) == np.uint64(0):
        position += 2
        low >>= np.uint64(2)
    if low & np.uint64(0x1) == np.uint64(0):
        position += 1
    return position
