"""Who shares an event's gift, as arrays: the receivers of each kind of table at each instant, looked up in one step.

A subject's assignments are constant between the instants at which one begins, ends, becomes known or is replaced. Such
a stretch is a segment; a segment has, for each receiver other than the maker (owners, or a split), its parts in the
order of the remainder rule.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numba
import numpy as np

from services.points.domain.field import WHOLE_BPS, Assignment, Part, parts_at, split
from services.points.domain.rule_set import RuleSet, Split, To
from services.points.domain.scoring import Flags, Ints, Longs

MAKER = "staff"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LONG_AGO = -(2**62)


def receivers(to: str, staff_id: str, held: Iterable[Assignment], time: datetime, rules: RuleSet) -> list[Part] | None:
    """Who shares what a table gives, by share in the remainder rule's order; None when shares exceed 10,000.

    `held` are the subject's assignments as known; the shares of the parts sum to 10,000.
    """
    if to == To.STAFF:
        return [Part(staff_id, "", WHOLE_BPS, 0)]
    owners = parts_at(held, time)
    if owners is None or to == To.OWNERS:
        return owners
    return split_parts(next(each for each in rules.splits if each.name == to), staff_id, owners)


def split_parts(how: Split, maker: str, owners: Sequence[Part]) -> list[Part]:
    """The parts of a split between roles: a role's share goes to its holders by theirs, to `unassigned` without one."""
    parts: list[Part] = []
    for role, bps in how.roles:
        holders = [part for part in owners if part.staff_id and part.role == role]
        if role == MAKER:
            parts.append(Part(maker, MAKER, bps, 0))
        elif not holders:
            parts.append(Part("", role, bps, 0))
        else:
            shares = split(bps, [part.share_bps for part in holders], sum(part.share_bps for part in holders))
            parts += [Part(p.staff_id, role, s, p.assignment_id) for p, s in zip(holders, shares, strict=True) if s]
    return parts


@dataclass(frozen=True)
class Shares:
    """Segments of subjects, and the parts of each segment and kind of receiver.

    `subjects` are sorted; those of number c have the stretches `epoch[c]` to `epoch[c + 1]`, which are known from
    `known[e]` on; a stretch of knowledge has the segments `segment[e]` to `segment[e + 1]`, each from `begin[s]` on, in
    microseconds. The parts of segment s for kind k are `first[k, s]` to `first[k, s + 1]`; `bad[s]` says that its
    shares exceed the whole, `empty[s]` that nobody has one. Segment 0 is everybody else's: nobody owns him. A staff
    code of -1 is nobody, -2 the maker.
    """

    kinds: Mapping[str, int]
    subjects: Longs
    epoch: Ints
    known: Longs
    segment: Ints
    begin: Longs
    bad: Ints
    empty: Flags
    first: Ints
    staff: Ints
    role: Ints
    share: Longs
    assignment: Longs
    staff_ids: Sequence[str]
    roles: Sequence[str]

    def find(self, subjects: Sequence[Longs], times: Longs, known: Longs) -> Ints:
        """The segment of each event: that of the first of its subjects that somebody answers for then."""
        out = np.zeros(len(times), np.int32)
        for keys in subjects if len(self.subjects) else ():
            _find(self.subjects, self.epoch, self.known, self.segment, self.begin, self.empty, keys, times, known, out)
        return out


def compile_shares(rules: RuleSet, fields: Mapping[int, Sequence[tuple[Assignment, int, int]]]) -> Shares:
    """Segments from assignments by subject, each with the revisions [from, to) at which it was known."""
    kinds = {str(To.OWNERS): 0} | {each.name: number for number, each in enumerate(rules.splits, 1)}
    made = _Maker(rules, len(kinds))
    made.add(LONG_AGO, [])
    epochs, known, segments = [0], [], []
    for subject in sorted(fields):
        held = fields[subject]
        for revision in sorted({LONG_AGO, *(begin for _, begin, _ in held), *(end for _, _, end in held)}):
            current = [each for each, begin, end in held if begin <= revision < end]
            known.append(revision)
            segments.append(len(made.begin))
            instants = {each.row.valid_from for each in current} | {each.row.valid_to for each in current}
            made.add(LONG_AGO, [])
            for time in sorted(each for each in instants if each is not None):
                made.add((time - _EPOCH) // _MICROSECOND, current, time)
        epochs.append(len(known))
    segments.append(len(made.begin))
    return made.done(kinds, np.array(sorted(fields), np.int64), epochs, known, segments)


class _Maker:
    """Collects segments."""

    def __init__(self, rules: RuleSet, kinds: int) -> None:
        self.rules = rules
        self.begin: list[int] = []
        self.bad: list[bool] = []
        self.empty: list[bool] = []
        self.parts: list[list[list[Part]]] = [[] for _ in range(kinds)]

    def add(self, begin: int, held: Sequence[Assignment], time: datetime = _EPOCH) -> None:
        owners = parts_at(held, time)
        self.begin.append(begin)
        self.bad.append(owners is None)
        self.empty.append(owners is not None and not any(part.staff_id for part in owners))
        self.parts[0].append(owners or [])
        for number, each in enumerate(self.rules.splits, 1):
            self.parts[number].append([] if owners is None else split_parts(each, "\0", owners))

    def done(
        self,
        kinds: Mapping[str, int],
        subjects: Longs,
        epochs: Sequence[int],
        known: Sequence[int],
        segments: Sequence[int],
    ) -> Shares:
        flat = [part for kind in self.parts for parts in kind for part in parts]
        first = np.zeros((len(self.parts), len(self.begin) + 1), np.int32)
        base = 0
        for number, kind in enumerate(self.parts):
            first[number] = base + np.cumsum([0, *map(len, kind)])
            base = first[number, -1]
        staff_ids = sorted({part.staff_id for part in flat} - {"", "\0"})
        roles = sorted({part.role for part in flat} | {""})
        staff = {"": -1, "\0": -2} | {name: number for number, name in enumerate(staff_ids)}
        role = {name: number for number, name in enumerate(roles)}
        return Shares(
            kinds, subjects, np.array(epochs, np.int32), np.array(known, np.int64), np.array(segments, np.int32),
            np.array(self.begin, np.int64), np.array(self.bad, np.int32),
            np.array(self.empty, np.bool_), first,
            np.array([staff[part.staff_id] for part in flat], np.int32),
            np.array([role[part.role] for part in flat], np.int32),
            np.array([part.share_bps for part in flat], np.int64),
            np.array([part.assignment_id for part in flat], np.int64),
            staff_ids, roles,
        )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _last(values: Longs, low: int, high: int, wanted: int) -> int:
    """The last place in [low, high) whose value is at most `wanted`; values ascend and the first is."""
    while high - low > 1:
        middle = (low + high) // 2
        if values[middle] <= wanted:
            low = middle
        else:
            high = middle
    return low


@numba.njit(nogil=True, cache=True)
def _find(
    keys: Longs, epoch: Ints, known: Longs, segment: Ints, begin: Longs, empty: Flags, subjects: Longs,
    times: Longs, revisions: Longs, out: Ints,
) -> None:  # fmt: skip
    for i in range(len(subjects)):
        if subjects[i] == 0 or not empty[out[i]]:
            continue
        c = _last(keys, 0, len(keys), subjects[i])
        if keys[c] == subjects[i]:
            e = _last(known, epoch[c], epoch[c + 1], revisions[i])
            out[i] = _last(begin, segment[e], segment[e + 1], times[i])


@numba.njit(nogil=True, cache=True)
def share_out(
    gift_event: Ints, gift_rule: Ints, gift: Longs, kind_of: Ints, segment: Ints, maker: Ints, first: Ints,
    staff: Ints, share: Longs, staff_code: Ints, out_event: Ints, out_rule: Ints, out_staff: Ints, out_part: Ints,
    out_amount: Longs,
) -> int:  # fmt: skip
    """Lines of gifts by the remainder rule; gives how many, those that fit are written.

    `kind_of` a rule is -1 for the maker; `staff_code` turns the shares' codes into the run's; `out_part` is -1 for the
    maker's own line.
    """
    capacity = len(out_event)
    lines = 0
    for g in range(len(gift)):
        if gift[g] == 0:
            continue
        event, rule = gift_event[g], gift_rule[g]
        kind = kind_of[rule]
        if kind < 0:
            if lines < capacity:
                out_event[lines], out_rule[lines], out_staff[lines] = event, rule, maker[event]
                out_part[lines], out_amount[lines] = -1, gift[g]
            lines += 1
            continue
        low, high = first[kind, segment[event]], first[kind, segment[event] + 1]
        left = gift[g]
        for p in range(low, high):
            left -= gift[g] * share[p] // 10_000
        for p in range(low, high):
            amount = gift[g] * share[p] // 10_000
            if left > 0 and gift[g] * share[p] % 10_000 > 0:
                amount += 1
                left -= 1
            if amount > 0:
                if lines < capacity:
                    out_event[lines], out_rule[lines], out_part[lines], out_amount[lines] = event, rule, p, amount
                    code = staff[p]
                    out_staff[lines] = maker[event] if code == -2 else (-1 if code < 0 else staff_code[code])
                lines += 1
    return lines
