"""A seeded life of the service beside an auditor who keeps the same books in plain dicts, his own way."""

import random
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from fractions import Fraction

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
        self.books: dict[str, list[tuple[str, str, int]]] = {}  # event → (period, account, milli-points)
        self.refunded: set[str] = set()

    def tell(self, events: Iterable[Event]) -> None:
        new = [each for each in events if each.source_event_id not in self.seen]
        for each in new:
            self.seen.setdefault(each.source_event_id, each)
            self.waiting.setdefault(each.source_event_id, "NEW")
        self.look(dict.fromkeys(each.source_event_id for each in new))

    def look(self, names: Iterable[str] | None = None) -> None:
        """Try what waits, in order of arrival; then refunds by time, whose origin may have been scored just now."""
        for name in list(self.waiting if names is None else names):
            if self.seen[name].type != "REFUND":
                self.try_plain(name)
        refunds = [self.seen[name] for name in self.waiting if self.seen[name].type == "REFUND"]
        for each in sorted(refunds, key=lambda each: (each.occur_time, each.source_event_id)):
            self.try_refund(each)

    def try_plain(self, name: str) -> None:
        one = self.seen[name]
        day = one.occur_time.astimezone(ZONE).date()
        named = {each[0] for each in self.rules if each[1] <= day}
        latest = {n: max((b, r) for m, b, r in self.rules if m == n and b <= day) for n in named} if named else {}
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
            lines = [line for n in sorted(latest) for line in self.lines(one, latest[n][1], day)]
            if any(account == "staff:S4" and "S4" not in self.staff for account, _ in lines):
                self.waiting[name] = "UNKNOWN_STAFF"
                return
            self.books[name] = [(f"{day:%Y-%m}", account, amount) for account, amount in lines]
            del self.waiting[name]

    def try_refund(self, one: Event) -> None:
        origin = one.origin_event_id
        if origin not in self.seen:
            self.waiting[one.source_event_id] = "UNKNOWN_ORIGIN"
        elif self.seen[origin].type == "REFUND":
            self.waiting[one.source_event_id] = "ORIGIN_IS_REFUND"
        elif origin in self.waiting:
            self.waiting[one.source_event_id] = "ORIGIN_NOT_SCORED"
        elif origin in self.refunded:
            self.waiting[one.source_event_id] = "ORIGIN_REFUNDED"
        else:
            period = f"{one.occur_time.astimezone(ZONE):%Y-%m}"
            self.books[one.source_event_id] = [(period, account, -amount) for _, account, amount in self.books[origin]]
            self.refunded.add(origin)
            del self.waiting[one.source_event_id]

    def lines(self, one: Event, rules: RuleSet, day: date) -> list[tuple[str, int]]:
        amount = one.amount_fen or 0
        facts = Facts(
            one.type, one.product_id, self.products.get(one.product_id, ""), one.channel,
            self.staff.get(one.staff_id, ""), amount, day.toordinal(),
        )  # fmt: skip
        found: list[tuple[str, int]] = []
        for rule_id, given in reference.score(rules, facts):
            if not given:
                continue
            table, _ = rules.find(rule_id)
            shares = {f"staff:{one.staff_id}" if one.staff_id else "unassigned": 10_000}
            if table.to.value == "owners":
                shares = self.shares(one.customer_key, one.occur_time)
            found += [(account, part) for account, part in divide(given, shares) if part]
            found.append((f"budget:{table.component}", -given))
        return found

    def shares(self, customer: int, time: datetime) -> dict[str, int]:
        rows = (self.fields or {}).get(customer, [])
        held = [r for r in rows if r.valid_from <= time and (r.valid_to is None or time < r.valid_to)]
        shares = {f"staff:{r.staff_id}": r.share_bps for r in sorted(held, key=lambda r: (-r.share_bps, r.staff_id))}
        left = 10_000 - sum(shares.values())
        return shares | ({"unassigned": left} if left else {})

    def balances(self) -> dict[tuple[str, str], int]:
        sums: dict[tuple[str, str], int] = {}
        for lines in self.books.values():
            for period, account, amount in lines:
                sums[period, account] = sums.get((period, account), 0) + amount
        return {key: amount for key, amount in sums.items() if amount}


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
            drawn = refund(number, self.chance.randint(1, number + 2), **times)
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
        text = RULES.replace("fixed: 1000,", f"fixed: {1000 + self.versions},")
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
