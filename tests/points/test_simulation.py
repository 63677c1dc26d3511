"""A seeded life of the service beside an auditor who keeps the same books in plain dicts, his own way."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from services.kit.db import Database
from services.points.domain.event import Event
from services.points.domain.field import Row
from services.points.domain.rule_set import RuleSet
from services.points.domain.rule_text import parse
from services.points.domain.scoring import Facts
from tests.fixtures.counts import seeds
from tests.fixtures.postgres import Fresh
from tests.points import reference
from tests.points.desk import Desk, forget
from tests.points.made import NOON, PRODUCTS, RULES, STAFF, ZONE, event, owned, refund


class Auditor:
    """Scores by reading the rules aloud; knows nothing of kernels, batches or SQL."""

    def __init__(self) -> None:
        self.products: dict[str, str] = {}
        self.staff: dict[str, str] = {}
        self.fields: dict[int, list[Row]] | None = None
        self.rules: list[tuple[str, date, RuleSet]] = []
        self.seen: dict[str, Event] = {}
        self.waiting: dict[str, str] = {}
        self.books: dict[str, list[Line]] = {}
        self.refunded: dict[str, int] = {}  # origin → fen taken back
        self.scored_by: dict[str, list[tuple[date, RuleSet]]] = {}
        self.ended: dict[str, str] = {}  # origin → the month in which the last of it was taken back

    def tell(self, events: Iterable[Event]) -> None:
        new = [each for each in events if each.source_event_id not in self.seen]
        for each in new:
            self.seen.setdefault(each.source_event_id, each)
            self.waiting.setdefault(each.source_event_id, "NEW")
        self.look(dict.fromkeys(each.source_event_id for each in new))

    def look(self, names: Iterable[str] | None = None) -> None:
        """Try what waits, in order of arrival; then refunds by time, whose origin may have been scored just now.

        One that succeeds leaves less to the others, so they are tried until none does.
        """
        for name in list(self.waiting if names is None else names):
            if self.seen[name].type != "REFUND":
                self.try_plain(name)
        left = -1
        while left != len(self.waiting):
            left = len(self.waiting)
            refunds = [self.seen[name] for name in self.waiting if self.seen[name].type == "REFUND"]
            for each in sorted(refunds, key=lambda each: (each.occur_time, each.source_event_id)):
                self.try_refund(each)

    def try_plain(self, name: str) -> None:
        one = self.seen[name]
        day = one.occur_time.astimezone(ZONE).date()
        named = {each[0] for each in self.rules if each[1] <= day}
        latest = {n: max(((b, r) for m, b, r in self.rules if m == n and b <= day), key=first) for n in named}
        if one.amount_fen is not None and one.amount_fen < 0:
            self.waiting[name] = "NEGATIVE_AMOUNT"
        elif self.fields is None or not self.products or not self.staff:
            self.waiting[name] = "REFERENCE_MISSING"
        elif not latest:
            self.waiting[name] = "NO_RULES_IN_FORCE"
        elif one.product_id and one.product_id not in self.products:
            self.waiting[name] = "UNKNOWN_PRODUCT"
        elif one.staff_id and one.staff_id not in self.staff:
            self.waiting[name] = "UNKNOWN_STAFF"
        else:
            lines = [line for n in sorted(latest) for line in self.lines(one, latest[n], day)]
            if any(line.account == "staff:S4" and "S4" not in self.staff for line in lines):
                self.waiting[name] = "UNKNOWN_STAFF"
                return
            self.books[name] = lines
            self.scored_by[name] = [latest[n] for n in sorted(latest)]
            del self.waiting[name]

    def try_refund(self, one: Event) -> None:
        origin = one.origin_event_id
        if origin not in self.seen:
            self.waiting[one.source_event_id] = "UNKNOWN_ORIGIN"
        elif self.seen[origin].type == "REFUND":
            self.waiting[one.source_event_id] = "ORIGIN_IS_REFUND"
        elif origin in self.waiting:
            self.waiting[one.source_event_id] = "ORIGIN_NOT_SCORED"
        else:
            self.take_back(one, max(1, self.seen[origin].amount_fen or 0))

    def take_back(self, one: Event, whole: int) -> None:
        """Part by part: what an account keeps of a line is its exact part, rounded against the line."""
        name, origin = one.source_event_id, one.origin_event_id
        before, asked = self.refunded.get(origin, 0), one.amount_fen or 0
        if asked < 0:
            self.waiting[name] = "NEGATIVE_AMOUNT"
        elif before == whole:
            self.waiting[name] = "ORIGIN_REFUNDED"
        elif before and before + asked > whole:
            self.waiting[name] = "REFUND_TOO_LARGE"
        else:
            after = whole if asked == 0 else min(whole, before + asked)
            period = f"{one.occur_time.astimezone(ZONE):%Y-%m}"
            day = one.occur_time.astimezone(ZONE).date()
            self.books[name] = [
                replace(line, period=period, day=day, amount=part)
                for line in self.books[origin]
                if (part := int(Fraction(line.amount * before, whole)) - int(Fraction(line.amount * after, whole)))
            ]
            self.refunded[origin] = after
            if after == whole:
                self.ended[origin] = period
            del self.waiting[name]

    def lines(self, one: Event, version: tuple[date, RuleSet], day: date) -> list["Line"]:
        amount = one.amount_fen or 0
        facts = Facts(
            one.type, one.product_id, self.products.get(one.product_id, ""), one.channel,
            self.staff.get(one.staff_id, ""), amount, day.toordinal(),
        )  # fmt: skip
        found = []
        for rule_id, given in reference.score(version[1], facts):
            table, _ = version[1].find(rule_id)
            shares = {f"staff:{one.staff_id}" if one.staff_id else "unassigned": 10_000}
            if table.to == "owners":
                shares = self.shares(one.customer_key, one.occur_time)
            for account, part in divide(given, shares):
                found.append(Line(f"{day:%Y-%m}", day, account, part, version[0], table.component, one.customer_key))
        return [line for line in found if line.amount]

    def shares(self, customer: int, time: datetime) -> dict[str, int]:
        rows = (self.fields or {}).get(customer, [])
        held = [r for r in rows if r.valid_from <= time and (r.valid_to is None or time < r.valid_to)]
        shares = {f"staff:{r.staff_id}": r.share_bps for r in sorted(held, key=lambda r: (-r.share_bps, r.staff_id))}
        left = 10_000 - sum(shares.values())
        return shares | ({"unassigned": left} if left else {})

    def balances(self) -> dict[tuple[str, str], int]:
        """By period and account: what events gave, then the accelerator, the daily cap and the month's cap."""
        every = [line for lines in self.books.values() for line in lines]
        every += self.accelerated(every)
        every += capped(every, "development", DAILY, lambda line: (line.version, line.account, line.day))
        every += capped(every, "development", MONTHLY, lambda line: (line.version, line.account, line.period))
        sums: dict[tuple[str, str], int] = {}
        for line in every:
            for account, amount in ((line.account, line.amount), (f"budget:{line.component}", -line.amount)):
                sums[line.period, account] = sums.get((line.period, account), 0) + amount
        return {key: amount for key, amount in sums.items() if amount}

    def accelerated(self, every: list["Line"]) -> list["Line"]:
        """Whoever made four NEW in a month, those taken back off, gets half of his development lines again."""
        count: dict[tuple[str, str, date], int] = {}
        for name, versions in self.scored_by.items():
            one = self.seen[name]
            for begin, _ in versions if one.type == "NEW" and one.staff_id else []:
                month = f"{one.occur_time.astimezone(ZONE):%Y-%m}"
                for period, sign in ((month, 1), (self.ended.get(name, ""), -1)):
                    key = (period, f"staff:{one.staff_id}", begin)
                    count[key] = count.get(key, 0) + sign
        found = []
        for (period, account, begin), made in count.items():
            mine = [x for x in every if (x.period, x.account, x.version) == (period, account, begin)]
            total = sum(line.amount for line in mine if line.component == "development")
            if period and made >= 4 and total > 1:
                found.append(Line(period, None, account, total // 2, begin, "development", 0))
        return found


@dataclass(frozen=True)
class Line:
    """What an account has of an event or, without a day, of the month."""

    period: str
    day: date | None
    account: str
    amount: int
    version: date
    component: str
    customer: int


DAILY, MONTHLY = 40_000, 90_000
CAPPED = (
    RULES
    + """
tiers:
  - {id: FOUR, component: development, of: count, type: [NEW], tables: [sales, bonus], steps: [{from: 4, bps: 15000}]}
caps:
  - {id: DAY, component: development, per: employee, window: day, most: 40000}
  - {id: MONTH, component: development, per: employee, window: month, most: 90000}
"""
)


def first(version: tuple[date, RuleSet]) -> date:
    """From when a version scores."""
    return version[0]


def capped(every: list[Line], component: str, most: int, key: Callable[[Line], tuple[Any, ...]]) -> list[Line]:
    """What is above the cap, by whoever has it; nobody's points have none, nor has a line that has no such window."""
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in every:
        if line.component == component and line.account != "unassigned" and key(line)[2]:
            groups.setdefault(key(line), []).append(line)
    sums = {name: sum(line.amount for line in lines) for name, lines in groups.items()}
    return [replace(groups[name][0], amount=most - total, customer=0) for name, total in sums.items() if total > most]


def divide(amount: int, shares: dict[str, int]) -> list[tuple[str, int]]:
    """By exact fractions: everybody his whole milli-points, and what is left one each in the order given."""
    parts = {account: int(Fraction(amount * share, 10_000)) for account, share in shares.items()}
    for account in list(parts)[: amount - sum(parts.values())]:
        parts[account] += 1
    return list(parts.items())


class Life:
    """What happens, drawn from a seed; every step is done by both."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk = desk
        self.auditor = Auditor()
        self.chance = random.Random(seed)
        self.events: list[Event] = []
        self.versions = 0

    async def step(self) -> None:
        kinds = [
            self.batch,
            self.batch,
            self.batch,
            self.single,
            self.single,
            self.again,
            self.fields,
            self.names,
            self.rules,
        ]
        await self.chance.choice(kinds)()
        await self.desk.settle()
        self.desk.clock.advance(minutes=self.chance.randint(1, 60))

    def draw(self) -> Event:
        number = len(self.events) + 1
        when = self.desk.clock() - timedelta(hours=self.chance.randint(0, 24 * 20))
        times = {"occur_time": when, "receive_time": self.desk.clock()}
        if self.events and self.chance.random() < 0.25:
            amount = self.chance.choice([0, 0, 33, 2500, 388_888, 10**6])
            drawn = refund(number, self.chance.randint(1, number + 2), amount_fen=amount, **times)
        else:
            drawn = event(
                number,
                type=self.chance.choice(["NEW", "RENEW", "RETAIN", "UPGRADE", "CHURN", "ACTIVATE"]),
                customer_key=self.chance.choice([0, 1, 2, 3]),
                product_id=self.chance.choice([*PRODUCTS, "P4", ""]),
                staff_id=self.chance.choice([*STAFF, "S4", ""]),
                channel=self.chance.choice(["store", "call"]),
                amount_fen=self.chance.choice([0, 1, 99, 4999, 5000, 777_777, -1]),
                **times,
            )
        self.events.append(drawn)
        return drawn

    async def batch(self) -> None:
        drawn = [self.draw() for _ in range(self.chance.randint(1, 12))]
        drawn += self.chance.sample(drawn, self.chance.randint(0, len(drawn)))
        await self.desk.take(*drawn)
        self.auditor.tell(drawn)

    async def single(self) -> None:
        drawn = self.draw()
        await self.desk.scoring.score(drawn)
        self.auditor.tell([drawn])

    async def again(self) -> None:
        if self.events:
            drawn = self.chance.choice(self.events)
            before = await self.desk.scoring.score(drawn)
            assert await self.desk.scoring.score(drawn) == before

    async def fields(self) -> None:
        rows = []
        for customer in (1, 2, 3):
            turn = self.chance.randint(2, 28)
            first, second = self.chance.sample([*STAFF, "S4"], 2)
            share = self.chance.choice([10_000, 7000, 3333])
            rows.append(owned(customer, first, share, until=turn))
            rows.append(owned(customer, second, share, since=turn))
            if share < 10_000 and self.chance.random() < 0.5:
                third = self.chance.choice([s for s in (*STAFF, "S4") if s not in (first, second)])
                rows.append(owned(customer, third, (10_000 - share) // 2, "support"))
        self.desk.told.fields_rows = rows
        await self.desk.learn("fields")
        self.auditor.fields = {customer: [r for r in rows if r.customer_key == customer] for customer in (1, 2, 3)}
        await self.learned()

    async def names(self) -> None:
        known = self.desk.told.rows
        if self.chance.random() < 0.3:
            known["products"] = {**known["products"], "P4": ("P4", "P4", "宽带")}
            known["staff"] = {**known["staff"], "S4": ("S4", "G9", "store")}
        await self.desk.learn("organisations", "staff", "products")
        self.auditor.products = {name: row[2] for name, row in known["products"].items()}
        self.auditor.staff = {name: row[2] for name, row in known["staff"].items()}
        await self.learned()

    async def rules(self) -> None:
        """The first version reaches back, the later ones begin tomorrow."""
        if self.versions > 3:
            return
        today = self.desk.clock().astimezone(ZONE).date()
        begin = today + timedelta(days=self.versions) if self.versions else date(2026, 8, 25)
        text = CAPPED.replace("fixed: 1000,", f"fixed: {1000 + self.versions},")
        await self.desk.publish(text, begin)
        self.auditor.rules.append(("main", begin, parse(text)))
        self.versions += 1
        await self.learned()

    async def learned(self) -> None:
        if self.auditor.fields is not None and self.auditor.products and self.auditor.staff:
            self.auditor.look()

    async def audit(self) -> None:
        """Both hold the same: balances by period and account, and who waits for what."""
        sums: dict[tuple[str, str], int] = {}
        for entry in (await self.desk.ledger()).values():
            key = entry.period_id, entry.account
            sums[key] = sums.get(key, 0) + entry.milli_points
        assert {key: amount for key, amount in sums.items() if amount} == self.auditor.balances()
        assert sum(sums.values()) == 0
        assert await self.desk.waiting() == self.auditor.waiting


@pytest.mark.parametrize("seed", seeds(4, 40))
async def test_the_ledger_is_what_an_independent_auditor_keeps(db: Database, database: Fresh, seed: int) -> None:
    forget(database)
    life = Life(Desk(db), seed)
    life.desk.clock.now = NOON
    for number in range(60):
        await life.step()
        if number % 10 == 9:
            await life.audit()
    assert life.auditor.books, f"seed {seed} scored nothing, so nothing was proved"
