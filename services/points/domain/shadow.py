"""The same rules as SQL: statements made from a rule set, for DuckDB to run beside the kernel (`lake` runs them).

They read two tables and leave two. All texts are bound as literals with quotes doubled; nothing else of a definition
stands in them but whole numbers.

    event   i, type, product, category, channel, staff_role, customer_type, staff_id, customer_key, cell_key, grid_key,
            amount_fen, time (microseconds), day (ordinal), period_id, known, refund, origin (i or null), doubt (text,
            '' for none)
    field   customer_key (or a place's key), staff_id, role, share_bps, begin, until (microseconds), known_from,
            known_to
    line    i, rule_id, role, staff_id, period_id, amount
    period_line  period_id, rule_id, customer_key (0: none), day (null: none), staff_id, amount
"""

from collections.abc import Iterator

from services.points.domain.periodic import counts_in
from services.points.domain.rule_set import (
    EVENT_TYPES,
    SET_COLUMNS,
    WHOLE_BPS,
    Cap,
    Cells,
    Hit,
    Per,
    RuleSet,
    Split,
    Table,
    Tier,
    Window,
    in_days,
)
from services.points.domain.shares import MAKER


def statements(rules: RuleSet) -> Iterator[str]:
    """The statements in order; each makes or fills one temporary table."""
    yield _ready(rules)
    yield _rules(rules)
    yield "CREATE TEMP TABLE gift AS " + " UNION ALL ".join(_gifts(rules, table) for table in rules.tables)
    yield "DELETE FROM gift WHERE points = 0"
    yield from _parts(rules)
    yield _shared()
    yield _REFUND
    yield _BACK
    yield "CREATE TEMP TABLE period_line (period_id TEXT, rule_id TEXT, customer_key BIGINT, day INTEGER," \
          " staff_id TEXT, amount BIGINT)"  # fmt: skip
    for tier in rules.tiers:
        yield _tier(tier, rules)
    for cap in rules.caps:
        yield _sums(cap, rules)
        yield _cap(cap)


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def condition(cells: Cells) -> str:
    """What the cells accept, over the columns of `event`."""
    names = {name: name for name in SET_COLUMNS}
    found = [f"{names[name]} IN ({', '.join(map(literal, sorted(v))) or 'NULL'})" for name, v in cells.sets.items()]
    for name, span in cells.spans.items():
        column = "day" if name == "date" else name
        if span.low is not None:
            found.append(f"{column} >= {span.low}")
        if span.high is not None:
            found.append(f"{column} <= {span.high}")
    return "(" + (" AND ".join(found) or "true") + ")"


def _ready(rules: RuleSet) -> str:
    types = ", ".join(map(literal, sorted(EVENT_TYPES)))
    factors = "".join(
        f", CAST(CASE {' '.join(f'WHEN {condition(row)} THEN {row.bps}' for row in each.rows)} ELSE {WHOLE_BPS} END"
        f" AS BIGINT) AS f{number}"
        for number, each in enumerate(rules.multipliers)
    )
    return (
        f"CREATE TEMP TABLE ready AS SELECT *{factors} FROM event WHERE NOT refund AND doubt = ''"
        f" AND type IN ({types}) AND amount_fen BETWEEN 0 AND {rules.most_amount_fen}"
    )


def _rules(rules: RuleSet) -> str:
    rows = ", ".join(
        f"({number}, {literal(row.rule_id)}, {literal(table.name)}, {literal(table.to)}, {row.fixed}, {row.num},"
        f" {row.den})"
        for number, (table, row) in enumerate((t, r) for t in rules.tables for r in t.rows)
    )
    return (
        "CREATE TEMP TABLE rule AS SELECT n, rule_id, tbl, receiver, CAST(fixed AS BIGINT) AS fixed,"
        " CAST(num AS BIGINT) AS num, CAST(den AS BIGINT) AS den"
        f" FROM (VALUES {rows}) AS v(n, rule_id, tbl, receiver, fixed, num, den)"
    )


def _gifts(rules: RuleSet, table: Table) -> str:
    """(i, rule number, points) of a table, factors included: one row that matches, or each."""
    first = next(n for n, (t, _) in enumerate((t, r) for t in rules.tables for r in t.rows) if t is table)
    whens = [
        f"WHEN {condition(bound)} THEN {first + number}"
        for number, row in enumerate(table.rows)
        if (bound := in_days(row, table.valid)) is not None
    ]
    if table.hit is Hit.FIRST:
        hits = f"SELECT *, CASE {' '.join(whens)} END AS n FROM ready" if whens else "SELECT *, NULL AS n FROM ready"
    else:
        hits = f"SELECT *, unnest([{', '.join(f'CASE {when} END' for when in whens)}]) AS n FROM ready"
        hits = hits if whens else "SELECT *, NULL AS n FROM ready"
    points = "(rule.fixed + h.amount_fen * rule.num // rule.den)"
    for number, each in enumerate(rules.multipliers):
        if not each.on or table.name in each.on:
            points = f"({points} * h.f{number} // {WHOLE_BPS})"
    return f"SELECT h.i, rule.n, {points} AS points FROM ({hits}) AS h JOIN rule ON rule.n = h.n"


def _parts(rules: RuleSet) -> Iterator[str]:
    """Who shares: `part` has the receivers of every event by kind, with their place in the remainder rule's order."""
    holds = "f.share_bps > 0 AND f.begin <= e.time AND e.time < f.until AND f.known_from <= e.known" \
            " AND e.known < f.known_to"  # fmt: skip
    near = " UNION ALL ".join(
        f"SELECT e.i, {rank} AS rank, f.staff_id, f.role, CAST(f.share_bps AS BIGINT) AS share FROM ready e"
        f" JOIN field f ON f.customer_key = e.{subject} AND {holds} WHERE e.{subject} <> 0"
        for rank, subject in enumerate(("customer_key", "cell_key", "grid_key"))
    )
    yield (
        "CREATE TEMP TABLE owner AS SELECT i, staff_id, role, share FROM"
        f" (SELECT *, min(rank) OVER (PARTITION BY i) AS nearest FROM ({near})) WHERE rank = nearest"
    )
    yield (
        "CREATE TEMP TABLE held AS SELECT e.i, coalesce(sum(o.share), 0) AS share FROM ready e"
        " LEFT JOIN owner o USING (i) GROUP BY e.i"
    )
    yield (
        "CREATE TEMP TABLE part AS SELECT i, 'staff' AS receiver, staff_id, '' AS role, CAST(10000 AS BIGINT) AS share,"
        " CAST(1 AS BIGINT) AS place FROM ready"
    )
    yield (
        "INSERT INTO part SELECT i, 'owners', staff_id, role, share, row_number() OVER (PARTITION BY i ORDER BY"
        f" staff_id = '', share DESC, staff_id, role) FROM (SELECT i, staff_id, role, share FROM owner UNION ALL"
        f" SELECT i, '', '', {WHOLE_BPS} - share FROM held WHERE share < {WHOLE_BPS})"
    )
    for split in rules.splits:
        for place, (role, bps) in enumerate(split.roles):
            yield _role(split, place, role, bps)
    yield (
        f"DELETE FROM ready WHERE i IN (SELECT g.i FROM gift g JOIN rule USING (n) JOIN held h USING (i) WHERE"
        f" h.share > {WHOLE_BPS} AND rule.receiver <> 'staff')"
    )


def _role(split: Split, place: int, role: str, bps: int) -> str:
    """A role's receivers in a split: the maker, or its holders by their shares, or nobody."""
    head = (
        f"INSERT INTO part SELECT i, {literal(split.name)}, staff_id, {literal(role)}, share, {place * 1_000} + place"
    )
    if role == MAKER:
        return f"{head} FROM (SELECT i, staff_id, {bps} AS share, 1 AS place FROM ready)"
    holders = (
        "SELECT i, staff_id, share, sum(share) OVER (PARTITION BY i) AS whole, row_number() OVER (PARTITION BY i"
        f" ORDER BY share DESC, staff_id) AS place FROM owner WHERE role = {literal(role)}"
    )
    floors = f"SELECT *, {bps} * share // whole AS low, {bps} * share % whole AS fraction FROM ({holders})"
    ranks = (
        f"SELECT *, {bps} - sum(low) OVER (PARTITION BY i) AS missing, row_number() OVER (PARTITION BY i ORDER BY"
        f" fraction = 0, place) AS turn FROM ({floors})"
    )
    exact = (
        f"SELECT i, staff_id, low + CAST(fraction > 0 AND turn <= missing AS INTEGER) AS share, place FROM ({ranks})"
    )
    nobody = (
        f"SELECT i, '' AS staff_id, {bps} AS share, 1 AS place FROM ready WHERE i NOT IN"
        f" (SELECT i FROM owner WHERE role = {literal(role)})"
    )
    return f"{head} FROM ({exact} UNION ALL {nobody}) WHERE share > 0"


def _shared() -> str:
    floors = (
        "SELECT g.i, g.n, p.staff_id, p.role, p.place, g.points, g.points * p.share // 10000 AS low,"
        " g.points * p.share % 10000 AS fraction FROM gift g JOIN ready USING (i) JOIN rule r USING (n)"
        " JOIN part p ON p.i = g.i AND p.receiver = r.receiver"
    )
    ranks = (
        "SELECT *, points - sum(low) OVER (PARTITION BY i, n) AS missing, row_number() OVER (PARTITION BY i, n ORDER BY"
        f" fraction = 0, place) AS turn FROM ({floors})"
    )
    return (
        "CREATE TEMP TABLE line AS SELECT s.i, r.rule_id, s.role, s.staff_id, e.period_id,"
        " CAST(s.low + CAST(s.fraction > 0 AND s.turn <= s.missing AS INTEGER) AS BIGINT) AS amount"
        f" FROM ({ranks}) s JOIN rule r USING (n) JOIN ready e USING (i)"
        " WHERE s.low + CAST(s.fraction > 0 AND s.turn <= s.missing AS INTEGER) > 0"
    )


_REFUND = """
CREATE TEMP TABLE refunded AS
WITH RECURSIVE told AS (
    SELECT r.i, r.origin, r.amount_fen, greatest(1, o.amount_fen) AS whole,
        row_number() OVER (PARTITION BY r.origin ORDER BY r.i) AS turn
    FROM event r JOIN ready o ON o.i = r.origin WHERE r.refund AND r.doubt = '' AND r.amount_fen >= 0
), step AS (
    SELECT i, origin, whole, turn, CAST(0 AS BIGINT) AS before,
        CASE WHEN amount_fen = 0 OR amount_fen > whole THEN whole ELSE amount_fen END AS after
    FROM told WHERE turn = 1
    UNION ALL
    SELECT t.i, t.origin, t.whole, t.turn, s.after,
        CASE WHEN t.amount_fen > t.whole - s.after THEN s.after
             WHEN t.amount_fen = 0 THEN t.whole ELSE s.after + t.amount_fen END
    FROM step s JOIN told t ON t.origin = s.origin AND t.turn = s.turn + 1
)
SELECT i, origin, before, after, whole FROM step WHERE after > before
"""

_BACK = """
INSERT INTO line SELECT * FROM (
    SELECT r.i, l.rule_id, l.role, l.staff_id, e.period_id,
        CAST(CAST(l.amount AS HUGEINT) * r.before // r.whole - CAST(l.amount AS HUGEINT) * r.after // r.whole AS BIGINT)
            AS amount
    FROM refunded r JOIN line l ON l.i = r.origin JOIN event e ON e.i = r.i
) WHERE amount <> 0
"""


def _tier(tier: Tier, rules: RuleSet) -> str:
    worth = "e.amount_fen" if tier.of == "amount_fen" else "1"
    off = "least(r.after, o.amount_fen) - least(r.before, o.amount_fen)" if tier.of == "amount_fen" else \
          "CAST(r.after = r.whole AS INTEGER)"  # fmt: skip
    there = condition(tier)
    counted = f"SELECT i, staff_id, amount_fen, period_id FROM ready WHERE {there} AND staff_id <> ''"
    reached = (
        f"SELECT period_id, staff_id, sum(value) AS value FROM (SELECT e.period_id, e.staff_id, {worth} AS value FROM"
        f" ({counted}) e UNION ALL SELECT b.period_id, o.staff_id, -({off}) FROM refunded r JOIN ({counted}) o"
        f" ON o.i = r.origin JOIN event b ON b.i = r.i) GROUP BY period_id, staff_id"
    )
    bps = " ".join(f"WHEN value >= {step.begin} THEN {step.bps - WHOLE_BPS}" for step in reversed(tier.steps))
    fixed = " ".join(f"WHEN value >= {step.begin} THEN {step.fixed}" for step in reversed(tier.steps))
    tables = ", ".join(map(literal, tier.on))
    sums = (
        "SELECT l.period_id, l.staff_id, greatest(0, sum(l.amount)) AS points FROM line l JOIN rule USING (rule_id)"
        f" WHERE rule.tbl IN ({tables}) GROUP BY l.period_id, l.staff_id"
    )
    return (
        f"INSERT INTO period_line SELECT * FROM (SELECT period_id, {literal(tier.rule_id)}, 0, CAST(NULL AS INTEGER),"
        f" staff_id, CAST((CASE {fixed} END) + coalesce(points, 0) * (CASE {bps} END) // {WHOLE_BPS} AS BIGINT)"
        f" AS amount"
        f" FROM ({reached}) LEFT JOIN ({sums}) USING (period_id, staff_id) WHERE value >= {tier.steps[0].begin})"
        " WHERE amount <> 0"
    )


def _sums(cap: Cap, rules: RuleSet) -> str:
    """What each holder has, by (period, day, employee or customer), of what the cap counts."""
    scope = ", ".join(map(literal, sorted(rules.scope(cap))))
    who = "l.staff_id" if cap.per is Per.EMPLOYEE else "e.customer_key"
    day = "e.day" if cap.window is Window.DAY else "NULL"
    before: list[Tier | Cap] = [*rules.tiers, *rules.caps[: rules.caps.index(cap)]]
    earlier = [each for each in before if counts_in(cap, each, rules)]
    names = ", ".join(literal(each.rule_id) for each in earlier) or "NULL"
    mine = "staff_id" if cap.per is Per.EMPLOYEE else "customer_key"
    since = "day" if cap.window is Window.DAY else "NULL"
    somebody = "who <> ''" if cap.per is Per.EMPLOYEE else "who <> 0"
    return (
        f"CREATE OR REPLACE TEMP TABLE held_by AS SELECT period_id, CAST(day AS INTEGER) AS day, who, staff_id,"
        f" CAST(sum(amount) AS BIGINT) AS amount FROM ("
        f"SELECT l.period_id, {day} AS day, {who} AS who, l.staff_id, l.amount FROM line l JOIN event e USING (i)"
        f" JOIN rule ON rule.rule_id = l.rule_id WHERE rule.tbl IN ({scope})"
        f" UNION ALL SELECT period_id, {since}, {mine}, staff_id, amount FROM period_line WHERE rule_id IN ({names})"
        f") WHERE {somebody} GROUP BY period_id, day, who, staff_id"
    )


def _cap(cap: Cap) -> str:
    """What is above the cap, taken from the holders in proportion, by the remainder rule; an employee is alone."""
    customer = "who" if cap.per is Per.FIELD else "0"
    sums = "sum(amount) OVER w AS points, sum(greatest(0, amount)) OVER w AS whole"
    over = (
        f"SELECT * FROM (SELECT *, {sums} FROM held_by WINDOW w AS (PARTITION BY period_id, day, who)) WHERE"
        f" points > {cap.most} AND amount > 0"
    )
    floors = (
        f"SELECT *, CAST(points - {cap.most} AS HUGEINT) * amount // whole AS low, CAST(points - {cap.most} AS HUGEINT)"
        f" * amount % whole AS fraction FROM ({over})"
    )
    ranks = (
        f"SELECT *, points - {cap.most} - sum(low) OVER w AS missing, row_number() OVER (PARTITION BY period_id, day,"
        " who ORDER BY fraction = 0, staff_id = '', amount DESC, staff_id) AS turn"
        f" FROM ({floors}) WINDOW w AS (PARTITION BY period_id, day, who)"
    )
    return (
        f"INSERT INTO period_line SELECT * FROM (SELECT period_id, {literal(cap.rule_id)}, {customer}, day, staff_id,"
        f" -CAST(low + CAST(fraction > 0 AND turn <= missing AS INTEGER) AS BIGINT) AS taken FROM ({ranks}))"
        " WHERE taken <> 0"
    )
