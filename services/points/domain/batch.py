"""A whole run over arrays of events: match, share, take back, settle. The period batch and replay go through here.

Events come in the canonical order (time, source, id), each once, with what they refer to resolved; text columns come as
codes into a vocabulary. Nothing depends on how the events were stored, and the sums are of integers, so that the result
is the same to the bit on any machine and with any number of threads.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

from services.points.domain.event import Reason
from services.points.domain.field import CELL, GRID, place_key
from services.points.domain.periodic import Frame, Lines, PeriodLines, settle
from services.points.domain.rule_set import EVENT_TYPES, SET_COLUMNS, Per, To
from services.points.domain.scoring import Compiled, Flags, Ints, Longs
from services.points.domain.shares import Shares, share_out

REASONS = (None, *Reason)
"""Reason by its code; 0 is none."""

_CODE = {reason: code for code, reason in enumerate(REASONS)}
_UNKNOWN_ORIGIN, _ORIGIN_NOT_SCORED = _CODE[Reason.UNKNOWN_ORIGIN], _CODE[Reason.ORIGIN_NOT_SCORED]
_ORIGIN_IS_REFUND, _ORIGIN_REFUNDED = _CODE[Reason.ORIGIN_IS_REFUND], _CODE[Reason.ORIGIN_REFUNDED]
_REFUND_TOO_LARGE, _SHARES = _CODE[Reason.REFUND_TOO_LARGE], _CODE[Reason.SHARES_TOO_LARGE]


@dataclass(frozen=True)
class Coded:
    """A text column: codes into its values."""

    codes: Ints
    values: Sequence[str]


@dataclass(frozen=True)
class Events:
    """Events as arrays of one length, in canonical order.

    `texts` by column of SET_COLUMNS; `staff`, `cells` and `grids` have "" for none; `amounts` in fen, 0 where `doubt`
    says that it cannot be read; `days` are proleptic ordinals of the business days; `times` microseconds since 1970;
    `known` the revision at which each is scored; `refund` marks refunds and `origin` is the place of what a refund
    takes back, -1 unknown.
    `doubt` holds codes of REASONS for what the reader found.
    """

    texts: Mapping[str, Coded]
    staff: Coded
    customers: Longs
    amounts: Longs
    days: Ints
    times: Longs
    known: Longs
    refund: Flags
    origin: Ints
    doubt: Ints
    cells: Coded
    grids: Coded

    def __len__(self) -> int:
        return len(self.amounts)

    def places(self) -> tuple[Longs, Longs]:
        """Keys of the cells and of the grids, 0 for none."""
        cells, grids = (
            np.array([place_key(kind, name) for name in column.values] or [0], np.int64)[column.codes]
            for kind, column in ((CELL, self.cells), (GRID, self.grids))
        )
        return cells, grids

    def take(self, which: "slice | Flags") -> "Events":
        """Some of them; what `origin` says is left as it is."""
        return Events(
            {name: Coded(column.codes[which], column.values) for name, column in self.texts.items()},
            Coded(self.staff.codes[which], self.staff.values), self.customers[which], self.amounts[which],
            self.days[which], self.times[which], self.known[which], self.refund[which], self.origin[which],
            self.doubt[which], Coded(self.cells.codes[which], self.cells.values),
            Coded(self.grids.codes[which], self.grids.values),
        )  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Lines of events, ordered by event, rule and part, with the lines that the period adds.

    `part` is a place in the shares' arrays, -1 for the maker's own; `origin` the event a line takes back, or -1.
    `doubt` holds codes of REASONS by event; `months` are 12 × year + month - 1 by the period lines' month.
    """

    event: Ints
    rule: Ints
    staff: Ints
    part: Ints
    amount: Longs
    origin: Ints
    period: PeriodLines
    doubt: Ints
    staff_ids: Sequence[str]
    customer_keys: Longs
    days: Ints
    months: Ints


def run(compiled: Compiled, shares: Shares, events: Events, threads: int = 1) -> Result:
    """Score events. `threads` changes nothing but the time it takes."""
    doubt = events.doubt.copy()
    segments = shares.find((events.customers, *events.places()), events.times, events.known)
    _look(compiled, shares, events, segments, doubt)
    ready = np.flatnonzero((doubt == 0) & ~events.refund).astype(np.int32)
    codes = codes_of(compiled, events)
    staff_ids = sorted({*events.staff.values, *shares.staff_ids} - {""})
    place = {name: number for number, name in enumerate(staff_ids)} | {"": -1}
    maker = np.array([place[name] for name in events.staff.values] or [0], np.int32)[events.staff.codes]
    whose = np.array([place[name] for name in shares.staff_ids], np.int32)

    def lines_of(part: Ints) -> tuple[Ints, Ints, Ints, Ints, Longs]:
        gifts = compiled.run(np.ascontiguousarray(codes[:, part]), events.amounts[part])
        return _share(compiled, shares, part, gifts, segments[part], maker[part], whose)

    event, rule, staff, part, amount = _in_threads(lines_of, ready, threads)
    origin = np.full(len(event), -1, np.int32)
    taken, full = _take_back(events, doubt)
    if len(taken):
        back = _reversed(event, amount, taken, len(events))
        event, rule, staff, part, amount, origin = _merged(
            (event, rule, staff, part, amount, origin), back, (rule, staff, part)
        )
    days, day_of = distinct(events.days)
    months = _months(days)
    known_months, month_of = np.unique(months, return_inverse=True)
    keys, customer_of = _customers(compiled, events)
    frame = Frame(staff_ids, max(1, len(keys)), month_of.astype(np.int32), len(known_months))
    reached = _reached(compiled, events, codes, maker, day_of, frame, doubt, full)
    lines = Lines(staff, customer_of[event], day_of.astype(np.int32)[event], compiled.table_of[rule], amount)
    period = settle(compiled.rule_set, lines, frame, reached)
    return Result(event, rule, staff, part, amount, origin, period, doubt, staff_ids, keys, days.astype(np.int32),
                  known_months.astype(np.int32))  # fmt: skip


def _customers(compiled: Compiled, events: Events) -> tuple[Longs, Ints]:
    """Customers in order and each event's, -1 for none; only where a cap asks for them."""
    if not any(cap.per is Per.FIELD for cap in compiled.rule_set.caps):
        return np.zeros(0, np.int64), np.full(len(events), -1, np.int32)
    keys, codes = np.unique(events.customers, return_inverse=True)
    return keys, np.where(events.customers > 0, codes, -1).astype(np.int32)


def codes_of(compiled: Compiled, events: Events) -> Ints:
    """Rows into the kernel's bitsets, shape (columns, events)."""
    codes = np.empty((len(compiled.columns), len(events)), np.int32)
    for number, name in enumerate(compiled.columns):
        if name in SET_COLUMNS:
            column = events.texts[name]
            codes[number] = compiled.set_codes(name, column.values)[column.codes]
        else:
            codes[number] = compiled.span_codes(
                name, events.days.astype(np.int64) if name == "date" else events.amounts
            )
    return codes


def _look(compiled: Compiled, shares: Shares, events: Events, segments: Ints, doubt: Ints) -> None:
    """Doubts about events by themselves, the first that holds; refunds are looked at later."""
    types = events.texts["type"]
    unknown = np.array([name not in EVENT_TYPES for name in types.values] or [False])[types.codes] & ~events.refund
    most = compiled.rule_set.most_amount_fen
    for reason, found in (
        (Reason.UNKNOWN_TYPE, unknown),
        (Reason.NEGATIVE_AMOUNT, events.amounts < 0),
        (Reason.AMOUNT_TOO_LARGE, (events.amounts > most) & ~events.refund),
    ):
        doubt[(doubt == 0) & found] = _CODE[reason]
    shared = [str(table.to) for table in compiled.rule_set.tables if table.to != To.STAFF]
    if shared and shares.bad.any():
        late = (doubt == 0) & ~events.refund & (shares.bad[segments] > 0)
        for i in np.flatnonzero(late).tolist():
            codes = _codes_at(compiled, events, i)
            gifts = compiled.run(codes, events.amounts[i : i + 1])
            if any(amount and compiled.rules[rule][0].to != To.STAFF for _, rule, amount in zip(*gifts, strict=True)):
                doubt[i] = _SHARES


def _codes_at(compiled: Compiled, events: Events, i: int) -> Ints:
    return codes_of(compiled, events.take(slice(i, i + 1)))


def _share(
    compiled: Compiled, shares: Shares, places: Ints, gifts: tuple[Ints, Ints, Longs], segments: Ints, maker: Ints,
    whose: Ints,
) -> tuple[Ints, Ints, Ints, Ints, Longs]:  # fmt: skip
    kinds = [shares.kinds.get(str(table.to), -1) for table, _ in compiled.rules]
    kind_of = np.array(kinds, np.int32)
    capacity = len(gifts[0]) + 16 if max(kinds) < 0 else 2 * len(gifts[0]) + 16
    while True:
        event, rule, staff, part = (np.empty(capacity, np.int32) for _ in range(4))
        amount = np.empty(capacity, np.int64)
        count = share_out(
            *gifts, kind_of, segments, maker, shares.first, shares.staff, shares.share, whose,
            event, rule, staff, part, amount,
        )  # fmt: skip
        if count <= capacity:
            return places[event[:count]], rule[:count], staff[:count], part[:count], amount[:count]
        capacity = count


def _in_threads(
    lines_of: Callable[[Ints], tuple[Ints, Ints, Ints, Ints, Longs]], ready: Ints, threads: int
) -> tuple[Ints, Ints, Ints, Ints, Longs]:
    if threads == 1:
        return lines_of(ready)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(lines_of, np.array_split(ready, threads)))
    event, rule, staff, part, amount = (np.concatenate([each[n] for each in parts]) for n in range(5))
    return event, rule, staff, part, amount


def _take_back(events: Events, doubt: Ints) -> tuple[Longs, Longs]:
    """Refunds that count, in order: (event, origin, taken before, taken after, of) in fen, and by event fen off."""
    rows: list[tuple[int, int, int, int, int]] = []
    off = np.zeros(len(events), np.int64)
    taken: dict[int, int] = {}
    places = np.flatnonzero(events.refund & (doubt == 0))
    for i, o, amount in zip(
        places.tolist(), events.origin[places].tolist(), events.amounts[places].tolist(), strict=True
    ):
        if o < 0:
            doubt[i] = _UNKNOWN_ORIGIN
        elif events.refund[o]:
            doubt[i] = _ORIGIN_IS_REFUND
        elif doubt[o]:
            doubt[i] = _ORIGIN_NOT_SCORED
        else:
            whole, before = int(events.amounts[o]), taken.get(o, 0)
            after = portion(amount, whole, before)
            if after is None:
                doubt[i] = _ORIGIN_REFUNDED if before >= max(1, whole) else _REFUND_TOO_LARGE
                continue
            taken[o] = after
            off[i] = min(after, whole) - min(before, whole)
            rows.append((i, o, before, after, max(1, whole)))
    return np.array(rows, np.int64).reshape(-1, 5), off


def portion(amount: int, whole: int, before: int) -> int | None:
    """How much of an origin's amount is taken back after a refund, `before` having been; None when it is too much.

    A refund without an amount, and the first one of at least the whole, takes all that is left. An origin without an
    amount is taken back as a whole: it counts as one fen.
    """
    left = max(1, whole) - before
    if left <= 0 or (before and amount > left):
        return None
    return max(1, whole) if amount == 0 or amount >= left else before + amount


def _reversed(event: Ints, amount: Longs, taken: Longs, events: int) -> tuple[Ints, Ints, Longs, Ints]:
    """Lines that refunds take back: (event, place of the line taken back, milli-points, origin)."""
    begin = np.searchsorted(event, np.arange(events + 1))
    refunds, origins, before, after, whole = taken.T
    counts = (begin[origins + 1] - begin[origins]).astype(np.int64)
    which = np.repeat(np.arange(len(taken)), counts)
    line = begin[origins][which] + np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    given = amount[line]
    back = -given
    for place in np.flatnonzero((before[which] > 0) | (after[which] < whole[which])).tolist():
        row, one = which[place], int(given[place])
        back[place] = part_taken(one, int(before[row]), int(after[row]), int(whole[row]))
    there = back != 0
    return (refunds[which][there].astype(np.int32), line[there].astype(np.int32), back[there],
            origins[which][there].astype(np.int32))  # fmt: skip


def part_taken(milli_points: int, before: int, after: int, whole: int) -> int:
    """What a refund adds to a line of its origin; over all refunds up to the whole they sum to minus the line."""
    return milli_points * before // whole - milli_points * after // whole


def _merged(
    lines: tuple[Ints, Ints, Ints, Ints, Longs, Ints],
    back: tuple[Ints, Ints, Longs, Ints],
    of: tuple[Ints, Ints, Ints],
) -> tuple[Ints, Ints, Ints, Ints, Longs, Ints]:
    place = back[1]
    more = (back[0], of[0][place], of[1][place], of[2][place], back[2], back[3])
    event = np.concatenate([lines[0], more[0]])
    order = np.argsort(event, kind="stable")
    ints = [np.concatenate([lines[n], more[n]])[order] for n in (0, 1, 2, 3, 5)]
    amount = np.concatenate([lines[4], more[4]])[order]
    return ints[0], ints[1], ints[2], ints[3], amount, ints[4]


def _months(days: Longs) -> Longs:
    """12 × year + month - 1 of proleptic ordinals."""
    return (
        (days.astype(np.int64) - 719_163).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    ) + 1970 * 12


def _reached(
    compiled: Compiled, events: Events, codes: Ints, maker: Ints, day_of: Longs, frame: Frame, doubt: Ints, off: Longs
) -> Longs:
    """Count or amount by (tier, employee, month): what he made, what was taken back off."""
    tiers = compiled.rule_set.tiers
    reached = np.zeros((len(tiers), len(frame.staff_ids) * frame.months), np.int64)
    if not tiers:
        return reached
    counted = compiled.counted(codes)
    month = frame.month_of[day_of]
    plain = np.flatnonzero((doubt == 0) & ~events.refund)
    back = np.flatnonzero((doubt == 0) & events.refund)
    done = _finished(events, back, off)
    for number, tier in enumerate(tiers):
        for places, facts, values in (
            (plain, plain, events.amounts[plain] if tier.of == "amount_fen" else np.ones(len(plain), np.int64)),
            (back, events.origin[back], -off[back] if tier.of == "amount_fen" else -done),
        ):
            there = counted[number][facts] & (maker[facts] >= 0)
            key = maker[facts][there].astype(np.int64) * frame.months + month[places][there]
            np.add.at(reached[number], key, values[there])
    return reached


def _finished(events: Events, back: Longs, off: Longs) -> Longs:
    """1 for the refund with which its origin is taken back as a whole, in order, else 0."""
    left: dict[int, int] = {}
    done = np.zeros(len(back), np.int64)
    for place, (i, o) in enumerate(zip(back.tolist(), events.origin[back].tolist(), strict=True)):
        left[o] = left.get(o, int(events.amounts[o])) - int(off[i])
        done[place] = left[o] <= 0
    return done


def distinct(values: Ints) -> tuple[Longs, Longs]:
    """The distinct values in order and each one's place, of values that lie close together; no sorting."""
    if not len(values):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    least = int(values.min())
    there = np.bincount(values - least) > 0
    return np.flatnonzero(there) + least, (np.cumsum(there) - 1)[values - least]


def canonical_order(result: Result, shares: Shares, rule_ids: Sequence[str]) -> Longs:
    """Places of the lines by (event, rule id, role, employee, place)."""
    ranks = {name: number for number, name in enumerate(sorted(rule_ids))}
    rule = np.array([ranks[name] for name in rule_ids], np.int32)[result.rule]
    role = np.where(result.part < 0, 0, shares.role[result.part] if len(shares.role) else 0)
    order = np.arange(len(result.event))
    _sort_within(result.event, rule, role.astype(np.int32), result.staff, order)
    return order


@numba.njit(nogil=True, cache=True)
def _sort_within(event: Ints, rule: Ints, role: Ints, staff: Ints, order: Longs) -> None:
    """Insertion within each event: it has a handful of lines."""
    for i in range(1, len(order)):
        j, one = i, order[i]
        while j > 0 and event[order[j - 1]] == event[one]:
            other = order[j - 1]
            if (rule[other], role[other], staff[other]) <= (rule[one], role[one], staff[one]):
                break
            order[j] = other
            j -= 1
        order[j] = one
