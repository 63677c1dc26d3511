"""Points without its process: real use cases over a real database, with the lake and the clock in the test's hands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text

from services.kit.db import Database
from services.kit.idempotency import RequestKey
from services.points.domain import field as fields
from services.points.domain.event import Event
from services.points.domain.ledger import Entry
from services.points.domain.period import Period
from services.points.domain.reference import FEEDS, PLACE_FIELDS, File, Snapshot
from services.points.domain.version import Version
from services.points.store import Store
from services.points.usecases import Analysis, Corrections, Learning, Periods, Reading, RuleBook, Scoring
from tests.fixtures.clock import FakeClock
from tests.fixtures.ids import counting_ids
from tests.fixtures.postgres import Fresh
from tests.points.made import NOON, PRODUCTS, RULES, STAFF, ZONE, rows

TABLES = "rule_set, reference_feed, organisation, staff, product, responsibility_field, responsibility_field_refused, "
TABLES += "business_event, business_event_reused, points_entry, score_run, adjustment, dispute, fraud_case, "
TABLES += "request, consumer_cursor, job, outbox"


class Told:
    """The lake, as a test tells it."""

    def __init__(self) -> None:
        self.rows: dict[str, Mapping[str, Sequence[str]]] = {
            "organisations": {"G1": ("G1", "D1", "grid", "网格一"), "G2": ("G2", "D1", "grid", "网格二")},
            "staff": {name: (name, *values) for name, values in STAFF.items()},
            "products": {name: (name, name, category) for name, category in PRODUCTS.items()},
        }
        self.fields_rows: Sequence[fields.Row] = rows((7, "S1", 6000), (7, "S2", 2500), (8, "S3", 10000))
        self.place_rows: Sequence[fields.Row] = []

    def by_id(self, snapshot: Snapshot) -> Mapping[str, Sequence[str]]:
        return self.rows[snapshot.feed_id]

    def fields(self, snapshot: Snapshot, zone: ZoneInfo) -> Sequence[fields.Row]:
        return self.place_rows if snapshot.feed_id == PLACE_FIELDS else self.fields_rows


@dataclass
class Desk:
    """The use cases, and the steps that tests take with them."""

    db: Database
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON))
    told: Told = field(default_factory=Told)
    store: Store = field(default_factory=Store)

    def __post_init__(self) -> None:
        self.scoring = Scoring(self.db, self.clock, ZONE, self.store)
        self.learning = Learning(self.db, self.clock, ZONE, self.told, self.store)
        self.rules = RuleBook(self.db, self.clock, counting_ids(), ZONE, self.store)
        self.reading = Reading(self.db, self.clock, ZONE, self.store)
        ids = counting_ids()
        self.periods = Periods(self.db, self.clock, ids, ZONE, self.store)
        self.corrections = Corrections(self.db, self.clock, ids, ZONE, self.store, self.scoring)
        self.analysis = Analysis(self.db, ZONE, self.store, self.scoring)
        self._calls = 0
        self._versions: dict[str, int] = {}

    async def publish(
        self, rules: str = RULES, effective: date = date(2026, 1, 1), name: str = "main", *, retroactive: bool = False
    ) -> Version:
        """Draft and publish, by two persons."""
        draft = await self.rules.create(self.key(), name, rules, "author")
        await self.rules.validate(self.key(), draft.rule_set_id)
        await self.rules.simulate(self.key(), draft.rule_set_id, "")
        await self.rules.approve(self.key(), draft.rule_set_id, draft.sha256, "approver")
        return await self.rules.publish(
            self.key(), draft.rule_set_id, draft.sha256, effective, "publisher", retroactive=retroactive
        )

    async def learn(self, *feeds: str) -> None:
        """Take new snapshots of feeds, of all by default."""
        for feed_id in feeds or FEEDS:
            number = self._versions[feed_id] = self._versions.get(feed_id, 0) + 1
            snapshot = Snapshot(feed_id, [File("", f"{feed_id}-{number}", str(number))])
            prepared = await self.learning.prepare(snapshot)
            async with self.db.begin() as tx:
                await self.learning.take(tx, prepared)
                await tx.commit()

    async def take(self, *events: Event) -> None:
        """Take a batch of ingest's log."""
        async with self.db.begin() as tx:
            await self.scoring.take(tx, events)
            await tx.commit()

    async def settle(self) -> None:
        """Try again until nothing is due."""
        while await self.scoring.retry():
            pass

    async def ledger(self) -> dict[str, Entry]:
        """All entries by id."""
        found = await self.reading.entries(staff_id="", event_id="", period_id="", after=0, size=100_000)
        return {posted.entry.entry_id: posted.entry for posted in found}

    async def balances(self) -> dict[str, int]:
        """Milli-points by account."""
        sums: dict[str, int] = {}
        for entry in (await self.ledger()).values():
            sums[entry.account] = sums.get(entry.account, 0) + entry.milli_points
        return sums

    async def waiting(self) -> dict[str, str]:
        """Reason by source event id of what is suspended."""
        return {event.source_event_id: reason for _, event, reason, _ in await self.reading.suspended(0, 10_000)}

    async def period(self, period_id: str = "2026-09") -> Period:
        """A period."""
        return await self.reading.period(period_id)

    def key(self) -> RequestKey:
        """A request id of its own."""
        self._calls += 1
        return RequestKey("tests", "test", str(self._calls), b"")


def forget(database: Fresh) -> None:
    """Empty the schema, as only the administrator can: triggers that keep the ledger are off in a replica's session."""
    database.admin(f"""DO $$ BEGIN
        SET LOCAL session_replication_role = replica; SET LOCAL search_path = points; TRUNCATE {TABLES};
        UPDATE period SET state = 'OPEN', sha256 = '';
    END $$""")


async def count(db: Database, table: str) -> int:
    """Rows of a table."""
    async with db.read() as read:
        return int(await read.value(text(f"SELECT count(*) FROM {table}")))
