"""What the tests of points are made of: values with defaults, and strategies over them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from services.points.domain import field
from services.points.domain.event import Event
from services.points.domain.rule_set import (
    COMPONENTS,
    EVENT_TYPES,
    SET_COLUMNS,
    Cap,
    Factor,
    Hit,
    Multiplier,
    Per,
    Row,
    RuleSet,
    Span,
    Split,
    Step,
    Table,
    Tier,
    To,
    Window,
)
from services.points.domain.scoring import Facts

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 9, 10, 4, 0, tzinfo=UTC)
PRODUCTS = {"P1": "宽带", "P2": "流量", "P3": "电视"}
STAFF = {"S1": ("G1", "manager"), "S2": ("G1", "store"), "S3": ("G2", "caller")}
CHANNELS = ("store", "call", "app")

RULES = """
description: 测试
most_amount_fen: 1000000
tables:
  sales:
    component: development
    to: staff
    hit: first
    rows:
      - {id: BROADBAND, type: [NEW], category: [宽带], channel: [store], fixed: 20000, num: 5, den: 3}
      - {id: NEW, type: [NEW], fixed: 1000, num: 1, den: 7}
      - {id: UPGRADE, type: [UPGRADE], fixed: 700}
  bonus:
    component: development
    to: staff
    hit: collect
    rows:
      - {id: AUTUMN, type: [NEW], date: {from: 2026-09-01, to: 2026-09-30}, fixed: 333}
      - {id: LARGE, amount_fen: {from: 5000}, fixed: 11, num: 1, den: 100}
  keeping:
    component: stock
    to: owners
    rows:
      - {id: RENEW, type: [RENEW, RETAIN], fixed: 1001, num: 2, den: 3}
      - {id: CHURN, type: [CHURN], fixed: 100}
"""


def event(number: int = 1, **values: Any) -> Event:
    """A NEW broadband in the store."""
    ours: dict[str, Any] = {
        "event_id": f"ev-{number}",
        "source": "boss",
        "source_event_id": f"E{number}",
        "type": "NEW",
        "customer_key": 7,
        "product_id": "P1",
        "staff_id": "S1",
        "channel": "store",
        "amount_fen": 3900,
        "origin_event_id": "",
        "occur_time": NOON,
        "receive_time": NOON + timedelta(hours=6),
        "delivery_id": "D1",
        "line": number,
    }
    return Event(**(ours | values))


def refund(number: int, origin: int, **values: Any) -> Event:
    """A REFUND of the event with the number `origin`."""
    return event(number, **({"type": "REFUND", "origin_event_id": f"E{origin}"} | values))


def owned(customer: int, staff: str, share: int, role: str = "owner", since: int = 1, until: int = 0) -> field.Row:
    """A row of a field, from a day of September to another (0: open)."""
    begin = datetime(2026, 9, since, tzinfo=ZONE)
    end = datetime(2026, 9, until, tzinfo=ZONE) if until else None
    return field.Row(customer, staff, role, share, begin, end, "F1", customer * 10 + since)


def placed(kind: str, name: str, staff: str, share: int = 10_000, since: int = 1, until: int = 0) -> field.Row:
    """A row of a cell's or grid's field, from a day of September to another (0: open)."""
    row = owned(field.place_key(kind, name), staff, share, since=since, until=until)
    return replace(row, place=f"{kind} {name}", line=since, delivery_id="F2")


def rows(*shares: tuple[int, str, int]) -> Sequence[field.Row]:
    """Open rows of (customer, staff, share)."""
    return [
        owned(customer, staff, share, "owner" if place == 0 else "support")
        for place, (customer, staff, share) in enumerate(shares)
    ]


TYPES = sorted(EVENT_TYPES)
_TEXTS = {
    "type": st.sampled_from(TYPES),
    "product": st.sampled_from(["P1", "P2", "P3", "P9", ""]),
    "category": st.sampled_from(["宽带", "流量", "电视", ""]),
    "channel": st.sampled_from(["store", "call", "app", ""]),
    "staff_role": st.sampled_from(["manager", "store", "caller", ""]),
    "customer_type": st.sampled_from(["person", "family", "firm", ""]),
}
AMOUNTS = st.one_of(st.integers(0, 20), st.integers(0, 10**6), st.sampled_from([0, 4999, 5000, 5001, 10**6]))
_FIRST_DAY = date(2026, 8, 25).toordinal()
DAYS = st.integers(_FIRST_DAY, _FIRST_DAY + 50)


@st.composite
def spans(draw: st.DrawFn, values: st.SearchStrategy[int]) -> Span:
    """A range with at least one end."""
    low, high = sorted((draw(values), draw(values)))
    return draw(st.sampled_from([Span(low, high), Span(low, None), Span(None, high)]))


@st.composite
def rule_rows(draw: st.DrawFn, rule_id: str) -> Row:
    """A row with any cells; most have few, so that something matches."""
    columns = draw(st.sets(st.sampled_from(SET_COLUMNS), max_size=2))
    sets = {name: frozenset(draw(st.sets(_TEXTS[name].filter(bool), min_size=1, max_size=3))) for name in columns}
    ranges = {}
    if draw(st.integers(0, 3)) == 0:
        ranges["amount_fen"] = draw(spans(AMOUNTS))
    if draw(st.integers(0, 3)) == 0:
        ranges["date"] = draw(spans(DAYS))
    num, den = draw(st.integers(0, 1000)), draw(st.integers(1, 1000))
    return Row(rule_id, sets, ranges, draw(st.integers(0, 10**6)), num, den)


@st.composite
def rule_sets(draw: st.DrawFn, most_rows: int = 150) -> RuleSet:
    """Rule sets of a few tables; now and then a long table of drawn rows repeated, beyond a word of 64 rules."""
    splits = draw(st.sampled_from([(), SPLITS]))
    tables = []
    for number in range(draw(st.integers(1, 3))):
        drawn = [draw(rule_rows(f"T{number}R{place}")) for place in range(draw(st.integers(1, 5)))]
        long = most_rows if draw(st.integers(0, 4)) == 0 else 0
        more = [replace(drawn[n % len(drawn)], rule_id=f"T{number}L{n}", fixed=n) for n in range(long)]
        hit, to = draw(st.sampled_from(Hit)), draw(st.sampled_from([*To, *(each.name for each in splits)]))
        component = draw(st.sampled_from(["development", "stock"]))
        valid = draw(st.sampled_from([None, None, Span(_FIRST_DAY + 10, _FIRST_DAY + 30)]))
        tables.append(Table(f"t{number}", component, hit, to, tuple(drawn + more), valid))
    kinds = {component: tuple(t.name for t in tables if t.component == component) for component in COMPONENTS}
    used = sorted(component for component, names in kinds.items() if names)
    return RuleSet(
        "",
        10**6,
        tuple(tables),
        multipliers=tuple(draw(multipliers(n, [t.name for t in tables])) for n in range(draw(st.integers(0, 2)))),
        tiers=tuple(draw(tiers(n, kinds, used)) for n in range(draw(st.integers(0, 2)))),
        caps=tuple(draw(caps(kinds, used))),
        splits=splits,
        weights=draw(st.sampled_from([{}, {"development": 6000, "stock": 4000}])),
    )


SPLITS = (
    Split("shared", (("staff", 6667), ("owner", 2222), ("support", 1111))),
    Split("owner_first", (("owner", 10_000),)),
)


@st.composite
def multipliers(draw: st.DrawFn, number: int, tables: Sequence[str]) -> Multiplier:
    """Factors of at most 1.5 on some tables, or on all."""
    rows = []
    for place in range(draw(st.integers(1, 3))):
        drawn = draw(rule_rows(f"M{number}R{place}"))
        rows.append(Factor(drawn.rule_id, drawn.sets, drawn.spans, draw(st.integers(0, 15_000))))
    on = draw(st.sampled_from([(), (tables[0],)]))
    return Multiplier(f"m{number}", on, tuple(rows))


@st.composite
def tiers(draw: st.DrawFn, number: int, kinds: Mapping[str, tuple[str, ...]], used: Sequence[str]) -> Tier:
    """An accelerator that a few events reach."""
    component = draw(st.sampled_from(used))
    of = draw(st.sampled_from(["count", "amount_fen"]))
    drawn = draw(rule_rows(f"TIER{number}"))
    begin = draw(st.integers(1, 4)) * (1 if of == "count" else 5000)
    steps = (Step(begin, draw(st.integers(10_000, 15_000)), 0), Step(begin * 3, 20_000, draw(st.integers(0, 9999))))
    return Tier(drawn.rule_id, component, of, drawn.sets, drawn.spans, kinds[component], steps)


@st.composite
def caps(draw: st.DrawFn, kinds: Mapping[str, tuple[str, ...]], used: Sequence[str]) -> Sequence[Cap]:
    """Caps narrow before wide, over all of a component or its first table."""
    windows = [
        (Per.FIELD, Window.DAY),
        (Per.FIELD, Window.MONTH),
        (Per.EMPLOYEE, Window.DAY),
        (Per.EMPLOYEE, Window.MONTH),
    ]
    component = draw(st.sampled_from(used))
    found = []
    for number, (per, window) in enumerate(windows):
        if draw(st.booleans()):
            on = kinds[component][:1] if number < 2 else ()
            most = draw(st.sampled_from([0, 777, 10_000, 10**6, 10**9]))
            found.append(Cap(f"CAP{number}", component, per, window, on, most))
    return found


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """What a rule may look at."""
    texts = {name: draw(_TEXTS[name]) for name in SET_COLUMNS}
    return Facts(**texts, amount_fen=draw(AMOUNTS), day=draw(DAYS))
