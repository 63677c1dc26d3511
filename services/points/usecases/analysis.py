"""Analysis, statements and appraisal: what the ledger and the events say, summed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from services.kit.db import Database
from services.points.domain.rule_set import COMPONENTS, in_force
from services.points.store import Store
from services.points.store.analysis import Cell, Sum
from services.points.usecases import months
from services.points.usecases.scoring import Scoring


@dataclass(frozen=True)
class Appraisal:
    """An employee's monthly sheet. `parts` hold (component, milli-points, weight in bps, score)."""

    staff_id: str
    period_id: str
    parts: Sequence[tuple[str, int, int, int]]
    customers: int
    churned: int
    churn_bps: int
    reconciled: bool

    @property
    def score(self) -> int:
        """The sum of the parts' scores."""
        return sum(score for _, _, _, score in self.parts)


@dataclass(frozen=True)
class Analysis:
    """Reads; changes nothing."""

    db: Database
    zone: ZoneInfo
    store: Store
    scoring: Scoring

    async def cells(
        self, span: tuple[str, str], dimensions: Sequence[str], filters: Mapping[str, str], place: int, size: int
    ) -> list[Cell]:
        """Every level of the roll-up, from a place on."""
        async with self.db.read() as read:
            return await self.store.analysis.cells(read, span, dimensions, filters, place, size)

    async def unit(self, org_id: str, span: tuple[str, str]) -> tuple[list[Cell], int]:
        """A unit's cells by month, the total first, and its employees with points."""
        async with self.db.read() as read:
            return await self.store.analysis.unit(read, org_id, span)

    async def statement(self, staff_id: str, period_id: str) -> tuple[list[Sum], int]:
        """What an employee has by rule, and his account's balance."""
        async with self.db.read() as read:
            sums = await self.store.analysis.statement(read, staff_id, period_id)
            return sums, await self.store.analysis.balance(read, staff_id, period_id)

    async def appraisal(self, staff_id: str, period_id: str) -> Appraisal:
        """Both components with their weights. Who loses his field's customers loses as much of the stock score."""
        async with self.db.read() as read:
            sums = await self.store.analysis.statement(read, staff_id, period_id)
            balance = await self.store.analysis.balance(read, staff_id, period_id)
            customers, churned = await self.store.analysis.field(read, staff_id, period_id)
            weights = await self._weights(read, period_id)
        churn = 10_000 * churned // customers if customers else 0
        parts = []
        for component in sorted(COMPONENTS):
            points = sum(each.milli_points for each in sums if each.component == component)
            kept = 10_000 - (churn if component == "stock" else 0)
            score = abs(points) * weights[component] // 10_000 * kept // 10_000
            parts.append((component, points, weights[component], score if points >= 0 else -score))
        whole = sum(points for _, points, _, _ in parts)
        return Appraisal(staff_id, period_id, parts, customers, churned, churn, whole == balance)

    async def _weights(self, read: object, period_id: str) -> Mapping[str, int]:
        """Those of the rules in force at the month's end; both the same when none says any."""
        effective, rules = await self.scoring.effective(read)  # type: ignore[arg-type]
        for rule_set_id in in_force(effective, months.bounds(period_id)[1]):
            weights = rules[rule_set_id].compiled.rule_set.weights
            if weights:
                return weights
        return dict.fromkeys(COMPONENTS, 5_000)
