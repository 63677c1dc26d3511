"""Reports: what campaigns achieved and cost, KPIs with their trend, when and where, who stayed, who complained."""

import dataclasses
from collections.abc import Sequence
from datetime import date, datetime, time, tzinfo

from services.contact.domain.effect import (
    COST,
    Assessment,
    Cohort,
    Complaint,
    Evaluation,
    Quartiles,
    Report,
    TimeSpace,
    cohorts,
    report,
)
from services.contact.domain.kpi import CATALOGUE, Kpi, KpiValue, values
from services.contact.domain.touchpoint import Step, TouchPoint
from services.contact.refusals import campaign_invalid, campaign_not_found, grant_not_found, kpi_not_found
from services.contact.store import Store
from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey

_MOST = 1_000


class Reports:
    """Reads, but for assessments."""

    def __init__(self, db: Database, store: Store, clock: Clock, zone: tzinfo) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._zone = zone

    async def effects(self, campaign_id: str, split: str, after: tuple[str, str] | None, size: int) -> list[Report]:
        """Effect lines by campaign and group, those after them. Raises campaign_not_found."""
        async with self._db.read() as read:
            await self._known(read, campaign_id)
            lines = await self._store.reports.lines(read, split=split, campaign_id=campaign_id, after=after, size=size)
        return [report(line) for line in lines]

    async def assess(self, key: RequestKey, campaign_id: str, org_id: str, assessment: Assessment) -> Assessment:
        """Keep what is reported of a campaign. Raises campaign_not_found, campaign_invalid."""
        if assessment.cost_fen and assessment.kind != COST:
            raise campaign_invalid("assessment.cost_fen", "is for a cost alone")
        made = dataclasses.replace(assessment, report_time=self._clock())
        async with self._db.begin() as tx:
            if await self._store.campaigns.for_update(tx, campaign_id) is None:
                raise campaign_not_found(campaign_id)
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return dataclasses.replace(made, report_time=datetime.fromisoformat(earlier["time"]))
            await self._store.reports.assess(tx, campaign_id, org_id, made)
            await idempotency.answer(tx, key, {"time": self._clock().isoformat()})
            await tx.commit()
        return made

    async def assessments(self, campaign_id: str, after: int, size: int) -> list[Assessment]:
        """What was reported of a campaign, in order. Raises campaign_not_found."""
        async with self._db.read() as read:
            await self._known(read, campaign_id)
            return await self._store.reports.assessments(read, campaign_id, after, size)

    async def quartiles(self, campaign_id: str) -> list[Quartiles]:
        """Openings per customer before and after, contacted and control. Raises campaign_not_found."""
        async with self._db.read() as read:
            await self._known(read, campaign_id)
            return await self._store.reports.quartiles(read, campaign_id)

    def kpis(self, after: str, size: int) -> list[Kpi]:
        """The catalogue, those after the KPI `after`."""
        names = list(CATALOGUE)
        start = names.index(after) + 1 if after in CATALOGUE else 0
        return [CATALOGUE[name] for name in names[start : start + size]]

    async def kpi(self, name: str, split: str) -> list[KpiValue]:
        """A KPI by group and month. Raises kpi_not_found."""
        kpi = CATALOGUE.get(name)
        if kpi is None:
            raise kpi_not_found(name)
        async with self._db.read() as read:
            counts = await self._store.reports.counts(read, name, split, str(self._zone))
        return values(kpi, counts)

    async def time_space(self, campaign_id: str, after: int, size: int) -> list[TimeSpace]:
        """Contacts by weekday, hour, organisation and channel. Raises campaign_not_found."""
        async with self._db.read() as read:
            await self._known(read, campaign_id)
            return await self._store.reports.time_space(read, campaign_id, str(self._zone), after, size)

    async def cohorts(self, product_id: str) -> list[Cohort]:
        """Who opened a product by month, and who kept it, up to now."""
        async with self._db.read() as read:
            spans = await self._store.reports.spans(read, product_id, str(self._zone))
        return cohorts(spans, self._months([month for month, _, _ in spans]))

    async def complaints(
        self, campaign_id: str, linked: bool, after: tuple[datetime, str] | None, size: int
    ) -> list[Complaint]:
        """Complaints, the latest first."""
        async with self._db.read() as read:
            return await self._store.reports.complaints(
                read, campaign_id=campaign_id, linked=linked, after=after, size=size
            )

    async def evaluation(self, campaign_id: str) -> Evaluation:
        """A campaign as a whole, as of now. Raises campaign_not_found."""
        async with self._db.read() as read:
            await self._known(read, campaign_id)
            assessments = await self._store.reports.assessments(read, campaign_id, 0, _MOST)
            seen = await self._store.touch_points.seen(read, campaign_id)
            measures = await self._store.touch_points.measures(read, campaign_id)
            analysis, whole = [
                await self._store.reports.lines(read, split=split, campaign_id=campaign_id, after=None, size=_MOST)
                for split in ("channel", "")
            ]
        effect = report(whole[0]) if whole else None
        return Evaluation(*seen, tuple(assessments), tuple(map(report, analysis)), effect, tuple(measures))

    async def touch_points(self, first: date, last: date, after: str, size: int) -> list[TouchPoint]:
        """How well channels and slots were used on these business days, by name, those after `after`."""
        async with self._db.read() as read:
            return await self._store.touch_points.page(read, first, last, str(self._zone), after=after, size=size)

    async def trace(self, grant: str) -> Sequence[Step]:
        """The loop that a grant went through. Raises grant_not_found."""
        async with self._db.read() as read:
            steps = await self._store.touch_points.steps(read, grant)
        if not steps:
            raise grant_not_found(grant)
        return steps

    def _months(self, seen: Sequence[date]) -> list[tuple[date, datetime]]:
        """The months from the first one seen to this one: (first day, end), the last one's end being now."""
        months: list[tuple[date, datetime]] = []
        now = self._clock()
        month = min(seen, default=None)
        while month is not None:
            following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
            end = datetime.combine(following, time.min, self._zone)
            months.append((month, min(end, now)))
            month = following if end < now else None
        return months

    async def _known(self, read: Read, campaign_id: str) -> None:
        if campaign_id and await self._store.campaigns.get(read, campaign_id) is None:
            raise campaign_not_found(campaign_id)
