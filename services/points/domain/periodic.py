"""What a period adds to the lines of its events: tiers, then caps. Both look at sums, so no order of events matters.

    tier   S = the month's lines of its tables for an employee (>= 0); the step that his count or amount reached gives
           fixed + S × (bps - 10,000) / 10,000, floored
    cap    S = the lines in scope for an employee or field in the window, with the period lines before it that fall in
           the window; what is above `most` is taken off, so that S becomes min(S, most)

A field's cap is taken from those who share the field in proportion to what each has in the window, by the remainder
rule with `unassigned` last. An employee's cap does not bind `unassigned`. A tier counts in the caps of its component
that name no table and sum an employee's month.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from services.points.domain.field import split
from services.points.domain.rule_set import WHOLE_BPS, Cap, Per, RuleSet, Tier, Window
from services.points.domain.scoring import Ints, Longs

Bytes: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Lines:
    """Lines of events: staff code (-1: unassigned), customer code, business day, table number, milli-points."""

    staff: Ints
    customer: Ints
    day: Ints
    table: Ints
    amount: Longs


@dataclass(frozen=True)
class Frame:
    """What the codes range over. `month_of[d]` is the number of day d's month; `staff_ids` by code."""

    staff_ids: Sequence[str]
    customers: int
    month_of: Ints
    months: int


@dataclass(frozen=True)
class PeriodLines:
    """Lines that the period adds. `rule` counts tiers, then caps; customer and day are -1 where a rule has none."""

    rule: Ints
    staff: Ints
    customer: Ints
    day: Ints
    month: Ints
    amount: Longs

    def __len__(self) -> int:
        return len(self.rule)


def settle(rules: RuleSet, lines: Lines, frame: Frame, reached: Longs) -> PeriodLines:
    """The period's lines. `reached` holds count or amount by (tier, employee, month), refunds taken off."""
    done: list[PeriodLines] = []
    for number, tier in enumerate(rules.tiers):
        done.append(_tier(number, tier, rules, lines, frame, reached[number]))
    for number, cap in enumerate(rules.caps, len(rules.tiers)):
        sums = _sums(cap, rules, lines, frame, done)
        done.append(_field(number, cap, rules, lines, frame, done, sums) if cap.per is Per.FIELD
                    else _employee(number, cap, frame, sums))  # fmt: skip
    return _joined(done)


def _tier(number: int, tier: Tier, rules: RuleSet, lines: Lines, frame: Frame, reached: Longs) -> PeriodLines:
    sums = np.zeros(len(frame.staff_ids) * frame.months, np.int64)
    _add_by_staff(sums, lines.staff, lines.day, lines.table, lines.amount, _in(rules, frozenset(tier.on)),
                  frame.month_of, frame.months)  # fmt: skip
    given = np.zeros_like(sums)
    for step in tier.steps:  # ascending, so the highest step reached stands
        there = reached >= step.begin
        whole = np.maximum(sums[there], 0)
        more = step.bps - WHOLE_BPS
        given[there] = step.fixed + whole // WHOLE_BPS * more + whole % WHOLE_BPS * more // WHOLE_BPS
    return _by_staff(number, np.flatnonzero(given), given, frame.months, -1, frame)


def _sums(cap: Cap, rules: RuleSet, lines: Lines, frame: Frame, done: Sequence[PeriodLines]) -> Longs:
    """Sum by (employee or customer, window)."""
    windows = frame.months if cap.window is Window.MONTH else len(frame.month_of)
    who = len(frame.staff_ids) if cap.per is Per.EMPLOYEE else frame.customers
    sums = np.zeros(who * windows, np.int64)
    window_of = frame.month_of if cap.window is Window.MONTH else np.arange(windows, dtype=np.int32)
    key = lines.staff if cap.per is Per.EMPLOYEE else lines.customer
    scope = rules.scope(cap)
    _add_by_staff(sums, key, lines.day, lines.table, lines.amount, _in(rules, scope), window_of, windows)
    for earlier in _within(cap, rules, done):
        owner = earlier.staff if cap.per is Per.EMPLOYEE else earlier.customer
        window = earlier.month if cap.window is Window.MONTH else earlier.day
        there = owner >= 0
        np.add.at(sums, owner[there].astype(np.int64) * windows + window[there], earlier.amount[there])
    return sums


def counts_in(cap: Cap, rule: Tier | Cap, rules: RuleSet) -> bool:
    """Whether a cap counts the lines of an earlier tier or cap: in its scope, and falling within its window."""
    month = cap.window is Window.MONTH
    if isinstance(rule, Tier):
        return rule.rule_id in rules.scope(cap) and month and cap.per is Per.EMPLOYEE
    if not rules.scope(rule) <= rules.scope(cap) or (not month and rule.window is Window.MONTH):
        return False
    return cap.per is Per.EMPLOYEE or rule.per is Per.FIELD


def _within(cap: Cap, rules: RuleSet, done: Sequence[PeriodLines]) -> Iterator[PeriodLines]:
    earlier_rules: list[Tier | Cap] = [*rules.tiers, *rules.caps]
    for rule, earlier in zip(earlier_rules, done, strict=False):
        if counts_in(cap, rule, rules):
            yield earlier


def _employee(number: int, cap: Cap, frame: Frame, sums: Longs) -> PeriodLines:
    over = np.flatnonzero(sums > cap.most)
    windows = frame.months if cap.window is Window.MONTH else len(frame.month_of)
    return _by_staff(number, over, cap.most - sums, windows, 0 if cap.window is Window.DAY else -1, frame)


def _by_staff(number: int, places: Longs, amounts: Longs, windows: int, day: int, frame: Frame) -> PeriodLines:
    staff, window = (places // windows).astype(np.int32), (places % windows).astype(np.int32)
    none = np.full(len(places), -1, np.int32)
    days, months = (window, frame.month_of[window]) if day == 0 else (none, window)
    return PeriodLines(np.full(len(places), number, np.int32), staff, none, days, months, amounts[places])


def _field(
    number: int, cap: Cap, rules: RuleSet, lines: Lines, frame: Frame, done: Sequence[PeriodLines], sums: Longs
) -> PeriodLines:
    """Few fields are above their cap, so their holders are gathered one by one."""
    daily = cap.window is Window.DAY
    windows = len(frame.month_of) if daily else frame.months
    held: dict[int, dict[int, int]] = {int(place): {} for place in np.flatnonzero(sums > cap.most)}
    window = lines.day if daily else frame.month_of[lines.day]
    keys = np.maximum(lines.customer, 0).astype(np.int64) * windows + window
    scope = _in(rules, rules.scope(cap))[lines.table].astype(np.bool_)
    mine = scope & (lines.customer >= 0) & (sums[keys] > cap.most)
    parts = [(keys[mine], lines.staff[mine], lines.amount[mine])]
    for earlier in _within(cap, rules, done):
        key = earlier.customer.astype(np.int64) * windows + (earlier.day if daily else earlier.month)
        there = sums[key] > cap.most
        parts.append((key[there], earlier.staff[there], earlier.amount[there]))
    for key, staff, amount in parts:
        for place, code, value in zip(key.tolist(), staff.tolist(), amount.tolist(), strict=True):
            held[place][code] = held[place].get(code, 0) + value
    rows: list[tuple[int, int, int, int, int, int]] = []
    for place, by_staff in held.items():
        day = place % windows if daily else -1
        month = int(frame.month_of[day]) if daily else place % windows
        names = {code: frame.staff_ids[code] if code >= 0 else "" for code in by_staff}
        for name, amount in taken({names[code]: value for code, value in by_staff.items()}, cap.most):
            code = next(code for code, each in names.items() if each == name)
            rows.append((number, code, place // windows, day, month, -amount))
    rule, whose, customer, days, months, given = np.array(rows, np.int64).reshape(-1, 6).T
    ints = [column.astype(np.int32) for column in (rule, whose, customer, days, months)]
    return PeriodLines(ints[0], ints[1], ints[2], ints[3], ints[4], given)


def taken(held: dict[str, int], most: int) -> list[tuple[str, int]]:
    """What a field's cap takes from each holder, those that give something: "" is `unassigned`."""
    weights = sorted(((n, a) for n, a in held.items() if a > 0), key=lambda one: (one[0] == "", -one[1], one[0]))
    whole = sum(amount for _, amount in weights)
    parts = split(sum(held.values()) - most, [amount for _, amount in weights], whole)
    return [(name, part) for (name, _), part in zip(weights, parts, strict=True) if part]


def _in(rules: RuleSet, scope: frozenset[str]) -> Bytes:
    return np.array([table.name in scope for table in rules.tables], np.uint8)


def _joined(parts: Sequence[PeriodLines]) -> PeriodLines:
    if not parts:
        none = np.zeros(0, np.int32)
        return PeriodLines(none, none, none, none, none, np.zeros(0, np.int64))
    return PeriodLines(
        np.concatenate([part.rule for part in parts]),
        np.concatenate([part.staff for part in parts]),
        np.concatenate([part.customer for part in parts]),
        np.concatenate([part.day for part in parts]),
        np.concatenate([part.month for part in parts]),
        np.concatenate([part.amount for part in parts]),
    )


@numba.njit(nogil=True, cache=True)
def _add_by_staff(
    sums: Longs, who: Ints, day: Ints, table: Ints, amount: Longs, scope: Bytes, window_of: Ints, windows: int
) -> None:  # fmt: skip
    for line in range(len(amount)):
        if who[line] >= 0 and scope[table[line]]:
            sums[np.int64(who[line]) * windows + window_of[day[line]]] += amount[line]
