"""Kernel, SQL and the plain interpreter say the same, to the bit, on any rules, fields and events."""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.points.domain import batch, posting
from services.points.domain.field import Assignment, Row, place_key, told
from services.points.domain.interpreter import read as interpret
from services.points.domain.posting import Employee, Reference, Rules
from services.points.domain.rule_set import RuleSet, checksum
from services.points.domain.rule_sheet import dump as dump_sheet
from services.points.domain.rule_sheet import parse as parse_sheet
from services.points.domain.rule_text import dump, parse
from services.points.domain.scoring import Compiled
from services.points.domain.settling import Line, wanted
from services.points.domain.shares import compile_shares
from services.points.lake.entries import Lines, from_result
from services.points.lake.events import ReadEvents, arrange
from services.points.lake.fields import Fields
from services.points.lake.shadow import shadow
from services.points.lake.told import told_rows
from tests.fixtures.counts import FULL
from tests.points.made import CHANNELS, TYPES, ZONE, rule_sets

START = datetime(2026, 8, 28, tzinfo=UTC)
STAFF = ["", "S1", "S2", "S3", "张三"]


def table_of(seed: int, count: int = 60) -> pa.Table:
    """Events over five weeks; refunds, halves of refunds, doubles, and some that cannot be scored."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        row = {
            "source": chance.choice(["boss", "shop"]),
            "source_event_id": f"E{number}",
            "type": chance.choice([*TYPES, "NEW", "NEW", "SOLD"]),
            "customer_key": chance.choice([0, 1, 2, 3]),
            "cell_id": chance.choice(["", "", "C1", "C2"]),
            "grid_id": chance.choice(["", "G1", "G9", None]),
            "product_id": chance.choice(["P1", "P2", "P3", None]),
            "category": chance.choice(["宽带", "流量", "电视"]),
            "channel": chance.choice([*CHANNELS, None]),
            "staff_id": chance.choice(STAFF),
            "staff_role": chance.choice(["manager", "store", "caller"]),
            "customer_type": chance.choice(["person", "family", "firm", ""]),
            "amount_fen": chance.choice([0, 1, 99, 4999, 5000, 777_777, 10**6, 10**6 + 1, -1, None]),
            "origin_event_id": "",
            "occur_time": START + timedelta(minutes=chance.randrange(0, 35 * 1440, 360)),
            "known_revision": chance.choice([1, 2, 3]),
        }
        if rows and chance.random() < 0.3:
            origin = chance.choice(rows)
            whole = origin["amount_fen"] or 0
            row |= {"type": "REFUND", "source": origin["source"], "origin_event_id": origin["source_event_id"],
                    "amount_fen": chance.choice([0, whole, max(0, whole // 2), max(0, whole // 3), 10**7])}  # fmt: skip
            row["origin_event_id"] = chance.choice([row["origin_event_id"]] * 5 + ["E999"])
        rows.append(row)
    rows += [dict(row) for row in chance.sample(rows, 5)]
    rows += [{**chance.choice(rows), "amount_fen": 3} for _ in range(2)]
    chance.shuffle(rows)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


SCHEMA = pa.schema(
    [(n, pa.string()) for n in ("source", "source_event_id", "type", "product_id", "category", "channel", "staff_id",
                                "staff_role", "customer_type", "origin_event_id", "cell_id", "grid_id")]
    + [("customer_key", pa.int64()), ("amount_fen", pa.int64()), ("known_revision", pa.int64())]
    + [("occur_time", pa.timestamp("us", tz="UTC"))]
)  # fmt: skip


def fields_of(seed: int) -> Fields:
    """Holders of customers, a cell and a grid who change; some rows were known for a while only."""
    chance = random.Random(seed)
    held: dict[int, list[tuple[Assignment, int, int]]] = {}
    for begin, end in ((1, 2), (2, 2**62)):
        rows = []
        for subject, place in ((1, ""), (2, ""), (3, ""), (place_key("cell", "C1"), "cell C1"),
                               (place_key("grid", "G1"), "grid G1")):  # fmt: skip
            for _ in range(chance.randint(0, 3)):
                first = START + timedelta(days=chance.randint(-5, 20))
                until = chance.choice([None, first + timedelta(days=chance.randint(1, 20))])
                share = chance.choice([0, 1, 3333, 5000, 7001, 10_000])
                role = chance.choice(["owner", "support", "owner"])
                rows.append(Row(subject, chance.choice(STAFF[1:]), role, share, first, until, "F", len(rows), place))
        for number, row in enumerate(told(rows)[0]):
            held.setdefault(row.customer_key, []).append((Assignment(number + 1, row, START, None), begin, end))
    return Fields(held)


def by_kernel(rules: RuleSet, read: ReadEvents, fields: Fields, threads: int = 1) -> tuple[Any, Any, Any]:
    compiled = Compiled(rules)
    shares = compile_shares(rules, fields.held)
    result = batch.run(compiled, shares, read.events, threads)
    waits = {i: reason.value for i, code in enumerate(result.doubt.tolist()) if (reason := batch.REASONS[code])}
    lines = from_result(result, rules, shares)
    return rows_of(lines), list(lines.period), waits


def rows_of(lines: Lines) -> list[tuple[int, str, str, str, int]]:
    columns = (lines.event, lines.rule, lines.role, lines.staff, lines.amount)
    return [
        (event, lines.rule_ids[rule], lines.roles[role], lines.staff_ids[staff] if staff >= 0 else "", amount)
        for event, rule, role, staff, amount in zip(*(each.tolist() for each in columns), strict=True)
    ]


def by_reference(rules: RuleSet, read: ReadEvents, fields: Fields) -> tuple[Any, Any, Any]:
    told_events, place = told_rows(read)
    reading = interpret(rules, told_events, fields.held, ZONE)
    lines = sorted(
        (place[one.source, one.source_event_id], one.rule_id, one.role, one.staff_id, one.milli_points)
        for one in reading.lines
    )
    period = [
        (p.period_id, p.rule_id, p.customer_key, p.day.toordinal() if p.day else None, p.staff_id, p.milli_points)
        for p in reading.period
    ]
    ordered = sorted(period, key=lambda row: (row[:3], row[3] is None, row[3] or 0, row[4:]))
    waits = {place[key]: reason.value for key, reason in reading.waits.items()}
    reused = np.flatnonzero(read.events.doubt == batch.REASONS.index(batch.Reason.EVENT_ID_REUSED)).tolist()
    return lines, ordered, waits | dict.fromkeys(reused, "EVENT_ID_REUSED")


def by_sql(rules: RuleSet, read: ReadEvents, fields: Fields) -> tuple[Any, Any]:
    found = shadow(rules, read.events, fields.table())
    lines = [(i, rule, role, staff, amount) for i, rule, role, staff, _, amount in found.lines]
    return lines, sorted(found.period, key=lambda row: (row[:3], row[3] is None, row[3] or 0, row[4:]))


@settings(deadline=None, max_examples=400 if FULL else 25, suppress_health_check=list(HealthCheck))
@given(rule_sets(), st.integers(0, 10**6))
def test_kernel_sql_and_reference_agree_bit_for_bit(rules: RuleSet, seed: int) -> None:
    read, fields = arrange(table_of(seed), ZONE, "events"), fields_of(seed)
    kernel = by_kernel(rules, read, fields)
    assert kernel == by_reference(rules, read, fields)
    assert kernel[:2] == by_sql(rules, read, fields)


def online(rules: RuleSet, read: ReadEvents, fields: Fields) -> list[tuple[int, str, str, str, int]]:
    """Lines of events that are no refunds, each scored alone, as ScoreEvent does, with what was known then."""
    told_events, place = told_rows(read)
    scored = {"v1": Rules("v1", checksum(rules), Compiled(rules))}
    lines = []
    for one in told_events:
        known = {s: [each for each, begin, end in held if begin <= one.known < end] for s, held in fields.held.items()}
        staff = {name: Employee("G1", one.staff_role) for name in STAFF if name}
        reference = Reference(True, ZONE, {one.event.product_id: one.category}, staff, known,
                              [("main", date(2020, 1, 1), "v1")], scored)  # fmt: skip
        for outcome in posting.score([one.event] if one.event.type != "REFUND" else [], reference):
            lines += [(place[one.event.key], e.rule_id, e.role, e.staff_id, e.milli_points) for e in outcome.entries
                      if not e.account.startswith("budget:")]  # fmt: skip
    return sorted(lines)


@settings(deadline=None, max_examples=300 if FULL else 15, suppress_health_check=list(HealthCheck))
@given(rule_sets(), st.integers(0, 10**6))
def test_online_and_batch_agree_bit_for_bit(rules: RuleSet, seed: int) -> None:
    read, fields = arrange(table_of(seed), ZONE, "events"), fields_of(seed)
    staff = [bool(read.events.staff.values[code]) for code in read.events.staff.codes]  # online, nobody has no role
    made = [somebody and not refund for somebody, refund in zip(staff, read.events.refund, strict=True)]
    batched = sorted(line for line in by_kernel(rules, read, fields)[0] if made[line[0]])
    assert [line for line in online(rules, read, fields) if made[line[0]]] == batched


_GIVEN = st.lists(st.tuples(st.sampled_from(["S1", "S2", ""]), st.integers(1, 3), st.integers(1, 3),
                            st.integers(0, 10**6)), min_size=1, max_size=20)  # fmt: skip


@settings(deadline=None, max_examples=500 if FULL else 60)
@given(_GIVEN, st.integers(0, 2 * 10**6), st.sampled_from(["employee", "field"]), st.sampled_from(["day", "month"]))
def test_a_capped_total_is_the_smaller_of_sum_and_cap(
    given_lines: list[tuple[str, int, int, int]], most: int, per: str, window: str
) -> None:
    rules = parse(
        "tables: {a: {component: stock, to: owners, rows: [{id: A, fixed: 1}]}}\n"
        f"caps: [{{id: C, component: stock, per: {per}, window: {window}, most: {most}}}]"
    )
    lines = [Line(who, customer, date(2026, 9, day), "A", points) for who, customer, day, points in given_lines]
    added = wanted(rules, lines, [], {"S1", "S2"}, {1, 2, 3})

    def sums(rows: Iterable[tuple[str, int, date | None, int]]) -> dict[tuple[object, ...], int]:
        found: dict[tuple[object, ...], int] = {}
        for who, customer, day, points in rows:
            key = (who if per == "employee" else customer, day if window == "day" else None)
            found[key] = found.get(key, 0) + points
        return found

    before = sums((line.staff_id, line.customer_key, line.day, line.milli_points) for line in lines)
    after = sums([*((line.staff_id, line.customer_key, line.day, line.milli_points) for line in lines),
                  *((who, customer, day, points) for (_, customer, day, who), points in added.items())])  # fmt: skip
    assert after == {key: total if key[0] == "" else min(total, most) for key, total in before.items()}


@settings(deadline=None, max_examples=200 if FULL else 12, suppress_health_check=list(HealthCheck))
@given(rule_sets(), st.integers(0, 10**6))
def test_threads_and_order_change_nothing(rules: RuleSet, seed: int) -> None:
    table = table_of(seed)
    fields = fields_of(seed)
    order = np.random.default_rng(seed).permutation(table.num_rows)
    read, shuffled = arrange(table, ZONE, "events"), arrange(table.take(pa.array(order)), ZONE, "events")
    assert read.ids.equals(shuffled.ids)
    assert by_kernel(rules, read, fields) == by_kernel(rules, shuffled, fields, threads=2)


@settings(deadline=None, max_examples=300 if FULL else 25, suppress_health_check=list(HealthCheck))
@given(rule_sets(most_rows=5))
def test_yaml_and_excel_round_trip(rules: RuleSet) -> None:
    """R000-016: the same rules as text and as a workbook, with one checksum."""
    assert parse(dump(rules)) == rules
    assert parse_sheet(dump_sheet(rules)) == rules
    assert checksum(parse(dump(parse_sheet(dump_sheet(rules))))) == checksum(rules)


def net(lines: Sequence[tuple[int, str, str, str, int]]) -> dict[tuple[str, str, str], int]:
    sums: dict[tuple[str, str, str], int] = {}
    for _, rule, role, staff, amount in lines:
        sums[rule, role, staff] = sums.get((rule, role, staff), 0) + amount
    return {key: amount for key, amount in sums.items() if amount}


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_halves_of_a_refund_net_to_zero(parts: int) -> None:
    """An event and its refunds, in any number of parts, leave nothing behind."""
    rules = parse(
        "tables: {a: {component: stock, to: owners, rows: [{id: A, fixed: 1001, num: 7, den: 3}]}}\n"
        "caps: [{id: C, component: stock, per: employee, window: month, most: 100}]"
    )
    rows = [dict.fromkeys(SCHEMA.names, "") | {"customer_key": 1, "amount_fen": 1000, "known_revision": 2}]
    rows[0] |= {"source": "boss", "source_event_id": "E", "type": "RENEW", "occur_time": START}
    cuts = [1000 * n // parts for n in range(parts + 1)]
    for n in range(parts):
        rows.append({**rows[0], "source_event_id": f"R{n}", "type": "REFUND", "origin_event_id": "E",
                     "amount_fen": cuts[n + 1] - cuts[n], "occur_time": START + timedelta(hours=n + 1)})  # fmt: skip
    read = arrange(pa.Table.from_pylist(rows, schema=SCHEMA), ZONE, "events")
    lines, period, waits = by_kernel(rules, read, fields_of(3))
    assert not waits
    assert lines
    assert net(lines) == {}
    assert period == []
