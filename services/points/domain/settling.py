"""The period's own entries for a few employees: what the tiers and caps say now, against what is posted.

The same arithmetic as a whole run's (`periodic`), over the lines of the employees and fields that something touched.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from services.points.domain.ledger import Entry, account_of, transfer
from services.points.domain.periodic import Frame, Lines, settle
from services.points.domain.rule_set import RuleSet, accepts

Key = tuple[str, int, date | None, str]
"""(tier or cap, customer or 0, day of a daily cap, employee)."""


@dataclass(frozen=True, slots=True)
class Line:
    """A posted line of an event, in one month: whose (empty: unassigned), for which customer, on which day."""

    staff_id: str
    customer_key: int
    day: date
    rule_id: str
    milli_points: int


@dataclass(frozen=True, slots=True)
class Made:
    """What an employee made (sign 1) or what was taken back of it (sign -1), with the facts of the event itself."""

    staff_id: str
    texts: Mapping[str, str]
    amount_fen: int
    day: date
    sign: int
    worth_fen: int


def wanted(
    rules: RuleSet, lines: Sequence[Line], made: Iterable[Made], staff: Collection[str], customers: Collection[int]
) -> dict[Key, int]:
    """What the tiers and caps of one month say of these employees and fields.

    `lines` are all of the month for these employees, and for every customer among them.
    """
    staff_ids = sorted({line.staff_id for line in lines if line.staff_id} | {name for name in staff if name})
    keys = sorted({line.customer_key for line in lines if line.customer_key})
    days = sorted({line.day for line in lines}) or [date.min]
    whose = {name: number for number, name in enumerate(staff_ids)} | {"": -1}
    customer = {key: number for number, key in enumerate(keys)} | {0: -1}
    day = {each: number for number, each in enumerate(days)}
    tables = {row.rule_id: number for number, table in enumerate(rules.tables) for row in table.rows}
    frame = Frame(staff_ids, max(1, len(keys)), np.zeros(len(days), np.int32), 1)
    columns = Lines(
        np.array([whose[line.staff_id] for line in lines], np.int32),
        np.array([customer[line.customer_key] for line in lines], np.int32),
        np.array([day[line.day] for line in lines], np.int32),
        np.array([tables[line.rule_id] for line in lines], np.int32),
        np.array([line.milli_points for line in lines], np.int64),
    )
    added = settle(rules, columns, frame, _reached(rules, made, whose))
    names = [*(tier.rule_id for tier in rules.tiers), *(cap.rule_id for cap in rules.caps)]
    found: dict[Key, int] = {}
    for number, who, of, when, amount in zip(
        added.rule.tolist(), added.staff.tolist(), added.customer.tolist(), added.day.tolist(), added.amount.tolist(),
        strict=True,
    ):  # fmt: skip
        key = (
            names[number],
            keys[of] if of >= 0 else 0,
            days[when] if when >= 0 else None,
            staff_ids[who] if who >= 0 else "",
        )
        if (key[1] in customers) if key[1] else (key[3] in staff):
            found[key] = amount
    return found


def _reached(rules: RuleSet, made: Iterable[Made], whose: Mapping[str, int]) -> np.ndarray:
    reached = np.zeros((len(rules.tiers), max(0, len(whose) - 1)), np.int64)
    for each in made:
        numbers = {"amount_fen": each.amount_fen, "date": each.day.toordinal()}
        for number, tier in enumerate(rules.tiers):
            if each.staff_id in whose and accepts(tier, each.texts, numbers):
                reached[number, whose[each.staff_id]] += each.worth_fen if tier.of == "amount_fen" else each.sign
    return reached


def deltas(
    rules: RuleSet, base: Entry, says: Mapping[Key, int], posted: Mapping[Key, int], orgs: Mapping[str, str]
) -> list[Entry]:
    """Entries that bring what is posted to what the rules say; `base` has the event that moved it, month and period."""
    entries: list[Entry] = []
    for key in sorted(says.keys() | posted.keys(), key=str):
        before, now = posted.get(key, 0), says.get(key, 0)
        rule_id, customer, day, staff_id = key
        rule = rules.period_rule(rule_id)
        if before == now or rule is None:
            continue
        kind = "TIER" if rule in rules.tiers else "CAP"
        one = replace(
            base, rule_id=rule_id, component=rule.component, kind=kind, customer_key=customer, business_date=day
        )
        why = f"{customer} {day or base.accrual_id} {before} {now}"
        entries += transfer(one, account_of(staff_id), staff_id, orgs.get(staff_id, ""), now - before, why)
    return entries
