"""The kernel: a rule set as bitsets, run over arrays of events; one event is an array of length one.

For each column every value has a bitset of the rows that accept it, and a range column is cut at the ends of its
ranges so that an event's value falls into one piece, which has a bitset too. The rows that match an event are the AND
over the columns, 64 rows a word: factors of the multipliers first, then the rules, then what the tiers count. What a
rule gives is integer arithmetic whose bounds were proved (`gate`).
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from services.points.domain.rule_set import SET_COLUMNS, SPAN_COLUMNS, Cells, Hit, Row, RuleSet, Span, Table, in_days

Longs: TypeAlias = npt.NDArray[np.int64]
Ints: TypeAlias = npt.NDArray[np.int32]
Words: TypeAlias = npt.NDArray[np.uint64]
Flags: TypeAlias = npt.NDArray[np.bool_]

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
    customer_type: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """One rule that matched one event."""

    event: int
    rule: int
    milli_points: int


@dataclass(frozen=True, slots=True)
class _Bare:
    """Cells without a rule."""

    sets: Mapping[str, frozenset[str]]
    spans: Mapping[str, Span]


_NEVER = _Bare({"type": frozenset()}, {})
"""The cells of a row that no day is left for."""


class Compiled:
    """A rule set ready to score. `rules[i]` is the (table, row) of rule number i; safe to share between threads."""

    def __init__(self, rule_set: RuleSet) -> None:
        self.rule_set = rule_set
        self.rules: tuple[tuple[Table, Row], ...] = tuple((t, row) for t in rule_set.tables for row in t.rows)
        self.table_of = np.array([n for n, table in enumerate(rule_set.tables) for _ in table.rows], np.int32)
        factors = [row for each in rule_set.multipliers for row in each.rows]
        bound = [in_days(row, table.valid) or _NEVER for table, row in self.rules]
        self._rows: list[Cells] = [*factors, *bound, *rule_set.tiers]
        self.columns = tuple(name for name in (*SET_COLUMNS, *SPAN_COLUMNS) if self._restricts(name)) or ("type",)
        self._codes: dict[str, dict[str, int]] = {}  # set column → value → row of the bitsets; OTHER → any other value
        self._cuts: dict[str, tuple[int, list[int]]] = {}  # range column → first row, the values that begin a piece
        blocks: list[Words] = []
        first = 0
        for name in self.columns:
            if name in SET_COLUMNS:
                values = sorted({value for row in self._rows for value in row.sets.get(name, ())})
                self._codes[name] = {value: first + number for number, value in enumerate([*values, _OTHER])}
                blocks.append(self._set_bits(name, values))
            else:
                cuts = sorted({cut for row in self._rows for cut in _cuts(row, name)})
                self._cuts[name] = (first, cuts)
                blocks.append(self._span_bits(name, cuts))
            first += len(blocks[-1])
        self.bits = np.ascontiguousarray(np.concatenate(blocks))
        # A value of the first column leaves most words empty: which are not, row by row.
        filled = [np.flatnonzero(row).astype(np.int32) for row in blocks[0]]
        self._filled = np.concatenate([np.zeros(0, np.int32), *filled])
        self._begin = np.cumsum([0, *map(len, filled)]).astype(np.int32)
        self._arrays = self._pack()
        self.whens = (len(factors) + len(self.rules), len(rule_set.tiers))

    def score(self, events: Sequence[Facts]) -> list[Given]:
        """What the rules give, by event and then by rule number; a rule that gives zero is there too."""
        codes, amounts = self.encode(events)
        event, rule, given = self.run(codes, amounts)
        return [Given(*each) for each in zip(event.tolist(), rule.tolist(), given.tolist(), strict=True)]

    def encode(self, events: Sequence[Facts]) -> tuple[Ints, Longs]:
        """Rows into the bitsets, shape (columns, events), and amounts in fen, shape (events,)."""
        codes = np.empty((len(self.columns), len(events)), np.int32)
        for number, name in enumerate(self.columns):
            if name in self._codes:
                known = self._codes[name]
                other = known[_OTHER]
                codes[number] = [known.get(getattr(event, name), other) for event in events]
            else:
                first, cuts = self._cuts[name]
                values = [event.day if name == "date" else event.amount_fen for event in events]
                codes[number] = [first + bisect.bisect_right(cuts, value) for value in values]
        return codes, np.array([event.amount_fen for event in events], np.int64)

    def set_codes(self, name: str, values: Sequence[str]) -> Ints:
        """Rows into the bitsets of a set column for some values."""
        known = self._codes[name]
        return np.array([known.get(value, known[_OTHER]) for value in values] or [0], np.int32)

    def span_codes(self, name: str, values: Longs) -> Ints:
        """Rows into the bitsets of a range column for numbers."""
        first, cuts = self._cuts[name]
        if not cuts:
            return np.full(len(values), first, np.int32)
        return (first + np.searchsorted(np.array(cuts, np.int64), values, "right")).astype(np.int32)

    def run(self, codes: Ints, amounts: Longs) -> tuple[Ints, Ints, Longs]:
        """Gifts as (event, rule, milli-points), each of shape (gifts,), ordered by event and rule."""
        capacity = max(16, len(amounts) * 3 // 2)
        while True:
            event, rule = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
            given = np.empty(capacity, np.int64)
            hits = _match(codes, amounts, self.bits, self._filled, self._begin, *self._arrays, event, rule, given)
            if hits <= capacity:
                return event[:hits], rule[:hits], given[:hits]
            capacity = hits

    def counted(self, codes: Ints) -> Flags:
        """Which tiers count which events, shape (tiers, events)."""
        first, tiers = self.whens
        out = np.zeros((tiers, codes.shape[1]), np.bool_)
        if tiers:
            _whens(codes, self.bits, first, out)
        return out

    def _restricts(self, name: str) -> bool:
        return any(name in row.sets or name in row.spans for row in self._rows)

    def _set_bits(self, name: str, values: Sequence[str]) -> Words:
        """One bitset of rows for each value and, last, one for any other, shape (values + 1, words)."""
        places = {value: number for number, value in enumerate(values)}
        accepts = np.zeros((len(values) + 1, len(self._rows)), np.bool_)
        for number, row in enumerate(self._rows):
            wanted = row.sets.get(name)
            accepts[slice(None) if wanted is None else [places[value] for value in wanted], number] = True
        return _pack_bits(accepts)

    def _span_bits(self, name: str, cuts: Sequence[int]) -> Words:
        """One bitset of rows for each piece: before the first cut, and from each cut on, shape (cuts + 1, words)."""
        pieces = np.array([cuts[0] - 1 if cuts else 0, *cuts], np.int64)  # one value of a piece speaks for all of it
        accepts = np.ones((len(pieces), len(self._rows)), np.bool_)
        for number, row in enumerate(self._rows):
            span = row.spans.get(name)
            if span is not None and span.low is not None:
                accepts[:, number] &= pieces >= span.low
            if span is not None and span.high is not None:
                accepts[:, number] &= pieces <= span.high
        return _pack_bits(accepts)

    def _pack(self) -> tuple[Longs, Ints, Longs, Longs, Longs, Longs, Words]:
        """Factors: bps and multiplier. Rules: fixed, num, den, end of a FIRST table (0: COLLECT), multipliers on it."""
        many = self.rule_set.multipliers
        bps = np.array([row.bps for each in many for row in each.rows], np.int64)
        multiplier_of = np.array([number for number, each in enumerate(many) for _ in each.rows], np.int32)
        ends: list[int] = []
        masks: list[int] = []
        for table in self.rule_set.tables:
            end = len(bps) + len(ends) + len(table.rows) if table.hit is Hit.FIRST else 0
            ends += [end] * len(table.rows)
            mask = sum(1 << number for number, each in enumerate(many) if not each.on or table.name in each.on)
            masks += [mask] * len(table.rows)
        rows = [row for _, row in self.rules]
        fixed, num, den, end_of = (
            np.array(each, np.int64) for each in ([r.fixed for r in rows], [r.num for r in rows],
                                                  [r.den for r in rows], ends)
        )  # fmt: skip
        return bps, multiplier_of, fixed, num, den, end_of, np.array(masks, np.uint64)


def warm() -> None:
    """Compile the kernel to machine code, or read it from its cache; call it before serving."""
    ints, longs, words = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros((1, 1), np.uint64)
    codes = np.zeros((1, 0), np.int32)
    _match(codes, longs, words, ints, ints, longs, ints, longs, longs, longs, longs, words[0, :0], ints, ints, longs)
    _whens(codes, words, 0, np.zeros((0, 0), np.bool_))


def _pack_bits(accepts: Flags) -> Words:
    """Rows 0 to 63 in the first word, the lowest bit first; the last word is filled with zeros."""
    words = -(-accepts.shape[1] // 64)
    padded = np.zeros((accepts.shape[0], words * 64), np.bool_)
    padded[:, : accepts.shape[1]] = accepts
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def _cuts(row: Cells, name: str) -> list[int]:
    """The values at which acceptance may change: a range's begin, and the first value after its end."""
    span = row.spans.get(name)
    if span is None:
        return []
    return [value for value in (span.low, None if span.high is None else span.high + 1) if value is not None]


@numba.njit(nogil=True, cache=True)
def _match(
    codes: Ints, amounts: Longs, bits: Words, filled: Ints, begin: Ints, bps: Longs,
    multiplier_of: Ints, fixed: Longs, num: Longs, den: Longs, end_of: Longs, masks: Words,
    out_event: Ints, out_rule: Ints, out_given: Longs,
) -> int:  # fmt: skip
    """Number of gifts; those that fit are written. Rules of one table are neighbours, so FIRST skips to its end."""
    columns, events = codes.shape
    factors = bps.shape[0]
    last = factors + fixed.shape[0]
    capacity = out_event.shape[0]
    one, everything = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
    times = np.full(32, 10_000, np.int64)
    hits = 0
    for i in range(events):
        skip = 0
        if factors > 0:
            times[:] = -1
        for k in range(begin[codes[0, i]], begin[codes[0, i] + 1]):
            w = filled[k]
            base = w * 64
            if skip >= base + 64:
                continue
            match = bits[codes[0, i], w]
            for c in range(1, columns):
                match &= bits[codes[c, i], w]
                if match == np.uint64(0):
                    break
            if skip > base:
                match &= everything << np.uint64(skip - base)
            while match != np.uint64(0):
                low = match & (~match + one)
                place = base + _trailing(low)
                match ^= low
                if place >= last:
                    break
                if place < factors:
                    if times[multiplier_of[place]] < 0:
                        times[multiplier_of[place]] = bps[place]
                    continue
                rule = place - factors
                if hits < capacity:
                    given = fixed[rule]
                    if num[rule] > 0:
                        given += amounts[i] * num[rule] // den[rule] if den[rule] > 1 else amounts[i] * num[rule]
                    mask, m = masks[rule], 0
                    while factors > 0 and mask != np.uint64(0):
                        if mask & one and times[m] >= 0:
                            given = given * times[m] // 10_000
                        mask >>= one
                        m += 1
                    out_event[hits] = i
                    out_rule[hits] = rule
                    out_given[hits] = given
                hits += 1
                if end_of[rule] > 0:
                    skip = end_of[rule]
                    if skip >= base + 64:
                        match = np.uint64(0)
                    else:
                        match &= everything << np.uint64(skip - base)
    return hits


@numba.njit(nogil=True, cache=True)
def _whens(codes: Ints, bits: Words, first: int, out: Flags) -> None:
    """Which of the rows from number `first` on accept each event."""
    columns, events = codes.shape
    for t in range(out.shape[0]):
        word, shift = (first + t) // 64, np.uint64((first + t) % 64)
        for i in range(events):
            match = bits[codes[0, i], word]
            for c in range(1, columns):
                match &= bits[codes[c, i], word]
            out[t, i] = (match >> shift) & np.uint64(1) != np.uint64(0)


@numba.njit(nogil=True, cache=True)
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
