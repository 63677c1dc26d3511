"""The lines of a run as Parquet, one double entry a row: what `account` gains, `contra_account` gives.

kind              EVENT, REFUND, TIER, CAP or ADJUSTMENT
source, source_event_id, occur_time   the event; null for TIER and CAP, which belong to the period
period_id         the month, for instance 2026-09
rule_id, component
account, contra_account   staff:<id> or unassigned; budget:<component>
staff_id          empty for unassigned
role              in which he shares the field; empty for the employee who made the business
milli_points      signed
origin_event_id   of a REFUND, what it takes back
customer_key      of the event, or of a field's cap; 0 for none
business_date     of the event, or of a daily cap
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.points.domain.batch import Result, canonical_order, distinct
from services.points.domain.event import ADJUSTMENT
from services.points.domain.proof import Proof, tokens
from services.points.domain.rule_set import RuleSet
from services.points.domain.scoring import Ints, Longs
from services.points.domain.shares import Shares
from services.points.lake.events import BadInput, ReadEvents
from services.points.lake.shadow import PeriodRow

SLICE = 1 << 18
"""Lines in one row group."""

_CODED = ("kind", "source", "period_id", "rule_id", "component", "account", "contra_account", "staff_id", "role")


@dataclass(frozen=True)
class Lines:
    """Lines of events in canonical order: places of events, and codes of rules, roles and employees (-1: nobody).

    `components` are by rule; `own` of tiers and caps, by line of `period`.
    """

    event: Ints
    rule: Ints
    role: Ints
    staff: Ints
    amount: Longs
    rule_ids: Sequence[str]
    roles: Sequence[str]
    staff_ids: Sequence[str]
    period: Sequence[PeriodRow]
    components: Sequence[str]
    own: Sequence[str]


def of_rules(rules: RuleSet, period: Sequence[PeriodRow]) -> tuple[list[str], list[str]]:
    """Components of the rules in order, and of a period's lines."""
    own = {tier.rule_id: tier.component for tier in rules.tiers} | {cap.rule_id: cap.component for cap in rules.caps}
    return [table.component for table in rules.tables for _ in table.rows], [own[row[1]] for row in period]


def joined(parts: Sequence[Lines]) -> Lines:
    """Lines of several versions of rules over the same events as one: what says the same of an event is one line."""
    roles = sorted({name for part in parts for name in part.roles})
    staff_ids = sorted({name for part in parts for name in part.staff_ids})
    rule_ids = [name for part in parts for name in part.rule_ids]
    components = [name for part in parts for name in part.components]
    role_of, staff_of = ({name: n for n, name in enumerate(names)} for names in (roles, staff_ids))
    first = np.cumsum([0, *(len(part.rule_ids) for part in parts)])
    event = np.concatenate([part.event for part in parts])
    rule = np.concatenate([part.rule + begin for part, begin in zip(parts, first[:-1], strict=True)]).astype(np.int32)
    role = np.concatenate([np.array([role_of[n] for n in part.roles] or [0], np.int32)[part.role] for part in parts])
    staff = np.concatenate([
        np.array([*(staff_of[n] for n in part.staff_ids), -1], np.int32)[part.staff] for part in parts
    ])  # fmt: skip
    amount = np.concatenate([part.amount for part in parts])
    rank_of = {name: n for n, name in enumerate(sorted(set(rule_ids)))}
    rank = np.array([rank_of[name] for name in rule_ids] or [0], np.int32)[rule]
    order = np.lexsort((staff, role, rank, event))
    keys = np.stack([event, rank, role, staff])[:, order]
    begins = np.flatnonzero(np.diff(keys, prepend=keys[:, :1] - 1).any(axis=0)) if len(order) else order
    sums = np.add.reduceat(amount[order], begins) if len(order) else amount
    kept = order[begins][sums != 0]
    period: dict[tuple[tuple[str, str, int, int | None, str], str], int] = {}
    for part in parts:
        for row, component in zip(part.period, part.own, strict=True):
            period[row[:5], component] = period.get((row[:5], component), 0) + row[5]
    own = [(of, component, points) for (of, component), points in period.items() if points]
    rows: list[PeriodRow] = [(*of, points) for of, _, points in own]
    return Lines(event[kept], rule[kept], role[kept], staff[kept], sums[sums != 0], rule_ids, roles, staff_ids,
                 rows, components, [component for _, component, _ in own])  # fmt: skip


def from_result(result: Result, rules: RuleSet, shares: Shares) -> Lines:
    """The kernel's result as lines."""
    rule_ids = [row.rule_id for table in rules.tables for row in table.rows]
    order = canonical_order(result, shares, rule_ids)
    empty = shares.roles.index("")
    role = np.where(result.part < 0, empty, shares.role[result.part] if len(shares.role) else empty).astype(np.int32)
    period = period_rows(result, rules)
    return Lines(
        result.event[order], result.rule[order], role[order], result.staff[order], result.amount[order], rule_ids,
        shares.roles, result.staff_ids, period, *of_rules(rules, period),
    )  # fmt: skip


def period_rows(result: Result, rules: RuleSet) -> list[PeriodRow]:
    """The period's lines as rows, sorted as the shadow sorts."""
    added = result.period
    names = [*(tier.rule_id for tier in rules.tiers), *(cap.rule_id for cap in rules.caps)]
    keys = result.customer_keys
    columns = (added.month, added.rule, added.customer, added.day, added.staff, added.amount)
    rows = [
        (month_name(int(result.months[month])), names[rule], int(keys[customer]) if customer >= 0 else 0,
         int(result.days[day]) if day >= 0 else None, result.staff_ids[staff] if staff >= 0 else "", amount)
        for month, rule, customer, day, staff, amount in zip(*(c.tolist() for c in columns), strict=True)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row[:3], row[3] is None, row[3] or 0, row[4:]))


def month_name(month: int) -> str:
    """`2026-09` of 12 × year + month - 1."""
    return f"{month // 12:04d}-{month % 12 + 1:02d}"


def write(path: Path, read: ReadEvents, lines: Lines, advance: Callable[[int], None]) -> dict[str, Proof]:
    """Write the lines and give each period's proof. The file appears whole or not at all. Raises BadInput."""
    proofs: dict[str, Proof] = {}
    part = path.with_name(f".{path.name}.part")
    writer = None
    try:
        for table in _tables(read, lines, proofs):
            writer = writer or pq.ParquetWriter(part, table.schema, compression="lz4", use_dictionary=list(_CODED),
                                                write_statistics=False)  # fmt: skip
            writer.write_table(table)
            advance(table.num_rows)
        if writer is not None:
            writer.close()
        part.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: {error}") from error
    return proofs


def _tables(read: ReadEvents, lines: Lines, proofs: dict[str, Proof]) -> Iterator[pa.Table]:
    staff = [*lines.staff_ids, ""]
    texts = {
        "rule": tokens(lines.rule_ids), "role": tokens(lines.roles), "staff": tokens(staff),
        "source": tokens(read.source.values),
    }  # fmt: skip
    types = read.events.texts["type"]
    adjusted = np.array([name == ADJUSTMENT for name in types.values] or [False])[types.codes]
    kinds = np.where(adjusted, 2, read.events.refund).astype(np.int32)
    months = (read.events.days.astype(np.int64) - 719_163).astype("datetime64[D]").astype("datetime64[M]").astype(int)
    for low in range(0, len(lines.event), SLICE):
        part = slice(low, low + SLICE)
        event, rule, amount = lines.event[part], lines.rule[part], lines.amount[part]
        ids = read.ids.take(pa.array(event))
        month = months[event]
        names, codes = distinct(month)
        for number, name in enumerate(names.tolist()):
            proof = proofs.setdefault(month_name(name + 1970 * 12), Proof())
            there = codes == number
            _prove(proof, read, lines, part, ids, there, texts)
        yield pa.table(
            {
                "kind": _coded(kinds[event], ["EVENT", "REFUND", ADJUSTMENT]),
                "source": _coded(read.source.codes[event], read.source.values),
                "source_event_id": ids,
                "occur_time": pa.array(read.events.times[event], pa.timestamp("us", tz="UTC")),
                "period_id": _coded(codes.astype(np.int32), [month_name(name + 1970 * 12) for name in names.tolist()]),
                "rule_id": _coded(rule, lines.rule_ids),
                **_accounts(lines.staff[part], staff, rule, lines.components),
                "role": _coded(lines.role[part], lines.roles),
                "milli_points": amount,
                "origin_event_id": read.origin_ids.take(pa.array(event)),
                "customer_key": read.events.customers[event],
                "business_date": pa.array(read.events.days[event] - 719_163, pa.int32()).cast(pa.date32()),
            }
        )
    yield _period_table(lines.period, lines.own)
    for month_id, rule_id, customer, day, staff_id, points in lines.period:
        told = "" if day is None else date.fromordinal(day).isoformat()
        proofs.setdefault(month_id, Proof()).add_period([(rule_id, customer, told, staff_id, points)])


def _prove(
    proof: Proof,
    read: ReadEvents,
    lines: Lines,
    part: slice,
    ids: pa.StringArray,
    there: np.ndarray,
    texts: dict[str, Longs],
) -> None:
    mine = ids if there.all() else ids.filter(pa.array(there))
    event = lines.event[part][there]
    lengths = pc.binary_length(mine).to_numpy(zero_copy_only=False)
    _, offsets, data = mine.buffers()
    places = np.frombuffer(offsets, np.int32)[mine.offset : mine.offset + len(mine) + 1]
    proof.add(
        (lengths, memoryview(data)[int(places[0]) : int(places[-1])]), read.events.times[event],
        (texts["source"][read.source.codes[event]], texts["rule"][lines.rule[part][there]],
         texts["role"][lines.role[part][there]], texts["staff"][lines.staff[part][there]]),
        lines.amount[part][there],
    )  # fmt: skip


def _accounts(staff: Ints, names: Sequence[str], rule: Ints, of_rule: Sequence[str]) -> dict[str, pa.Array]:
    """Component, accounts and employee; code -1 is the last name, nobody's."""
    who = np.where(staff < 0, len(names) - 1, staff).astype(np.int32)
    components = sorted(set(of_rule))
    component = np.array([components.index(each) for each in of_rule] or [0], np.int32)[rule]
    return {
        "component": _coded(component, components),
        "account": _coded(who, [f"staff:{name}" if name else "unassigned" for name in names]),
        "contra_account": _coded(component, [f"budget:{name}" for name in components]),
        "staff_id": _coded(who, names),
    }


def _coded(codes: Ints, values: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(values), pa.string()))


def _period_table(rows: Sequence[PeriodRow], components: Sequence[str]) -> pa.Table:
    count = len(rows)
    months, rules, customers, days, staff, points = zip(*rows, strict=True) if rows else ((),) * 6
    text = pa.dictionary(pa.int32(), pa.string())
    columns: dict[str, pa.Array] = {
        "kind": pa.array(["TIER" if each > 0 else "CAP" for each in points], pa.string()).cast(text),
        "source": pa.array([None] * count, text),
        "source_event_id": pa.array([None] * count, pa.string()),
        "occur_time": pa.array([None] * count, pa.timestamp("us", tz="UTC")),
        "period_id": pa.array(months, pa.string()).cast(text),
        "rule_id": pa.array(rules, pa.string()).cast(text),
        "component": pa.array(components, pa.string()).cast(text),
        "account": pa.array([f"staff:{each}" if each else "unassigned" for each in staff], pa.string()).cast(text),
        "contra_account": pa.array([f"budget:{each}" for each in components], pa.string()).cast(text),
        "staff_id": pa.array(staff, pa.string()).cast(text),
        "role": pa.array([""] * count, pa.string()).cast(text),
        "milli_points": pa.array(points, pa.int64()),
        "origin_event_id": pa.array([None] * count, pa.string()),
        "customer_key": pa.array(customers, pa.int64()),
        "business_date": pa.array([None if d is None else date.fromordinal(d) for d in days], pa.date32()),
    }
    return pa.table(columns)
