"""The city and its map: dwell areas, peaks and troughs, what the map lacks, classes given by hand, one's own track."""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime

from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.idempotency import RequestKey
from services.portrait.domain.crowd import LEAST_CUSTOMERS, waves
from services.portrait.domain.wide import Book, Item
from services.portrait.lake import city as tables
from services.portrait.lake.city import VisitLine
from services.portrait.refusals import customer_not_found, place_class_unknown, run_not_found
from services.portrait.store.city import Area, City, CityRows, PlaceVersion, Task
from services.portrait.store.runs import Runs
from services.portrait.usecases.bucket import Outcome, Work
from services.portrait.usecases.shelf import Shelf

_MOST = 2**31 - 1


def rows_of(work: Work, outcomes: Sequence[Outcome]) -> CityRows:
    """What a run's buckets say of the city together."""
    areas = list(tables.summed_areas([each.files["areas"] for each in outcomes]))
    crowd = list(tables.summed_crowd([each.files["crowd"] for each in outcomes]))
    secs = {str(row[2]): int(str(row[7])) for row in areas if not row[0] and not row[1]}
    tasks = tables.tasks_of(work.base.cells, work.base.places, work.catalogue.class_names, secs)
    return CityRows(areas, crowd, tasks)


class CityDesk:
    """What is asked of the city, its map, and where one customer was."""

    def __init__(
        self,
        db: Database,
        runs: Runs,
        city: City,
        shelf: Shelf,
        items: Sequence[Item],
        clock: Clock,
        book: Book | None = None,
    ) -> None:
        self._db = db
        self._runs = runs
        self._city = city
        self._shelf = shelf
        self._items = items
        self.book = book or Book("", {})
        self._clock = clock

    async def track(
        self, customer_key: int, purpose: str, caller: str, span: tuple[datetime | None, datetime | None]
    ) -> tuple[list[VisitLine], str]:
        """A customer's visits that touch the span, in order of time, and the run; the look is audited first.

        Raises run_not_found, customer_not_found.
        """
        async with self._db.begin() as tx:
            current = await self._runs.current(tx)
            if current is None:
                raise run_not_found("")
            org_id = await self._runs.org_of(tx, current[0], customer_key)
            if org_id is None:
                raise customer_not_found(customer_key)
            await self._runs.put_audit(
                tx, now=self._clock(), caller=caller, customer_key=customer_key, org_id=org_id, purpose=purpose
            )
            files = await self._runs.files(tx, current[0], "visits")
            await tx.commit()
        mine = next((file for file in files if file.bucket == customer_key % len(files)), None) if files else None
        lines = await asyncio.to_thread(tables.visits_of, mine, customer_key) if mine else []
        begin, end = (int(each.timestamp() * 1000) if each else None for each in span)
        seen = [line for line in lines if (begin is None or line.end > begin) and (end is None or line.start < end)]
        return seen, current[1].run_id

    async def areas(self, chosen: tuple[str, str, str, str], after: int, size: int) -> tuple[list[Area], str]:
        """Main dwell areas of (day_type, slot, class selector, town), most time first, and the run.

        Raises run_not_found.
        """
        async with self._db.read() as read:
            current = await self._runs.current(read)
            if current is None:
                raise run_not_found("")
            found = await self._city.areas(read, current[0], chosen, LEAST_CUSTOMERS, after, size)
        return found, current[1].run_id

    async def crowd(self, selector: str, day_type: str) -> list[tuple[float, bool, bool]]:
        """For each hour how many people are there at once, and whether that is a peak or a trough.

        Raises run_not_found.
        """
        async with self._db.read() as read:
            current = await self._runs.current(read)
            if current is None:
                raise run_not_found("")
            rows = await self._city.crowd(read, current[0], selector, day_type)
        secs, days = [0] * 24, dict.fromkeys(("workday", "weekend"), 0)
        for kind, hour, each, count in rows:
            secs[hour] += each
            days[kind] = max(days[kind], count)
        people = [each / 3600 / max(sum(days.values()), 1) for each in secs]
        return [(each, *wave) for each, wave in zip(people, waves(people), strict=True)]

    async def classes(self, after: str, size: int) -> tuple[list[tuple[str, tuple[str, ...], int]], str]:
        """A page of the class tree by code: code, names, places of the current run; and the run, "" before one."""
        async with self._db.read() as read:
            current = await self._runs.current(read)
            places = await self._city.places_by_class(read, current[0]) if current is not None else {}
        known = self._shelf.latest.class_names
        page = [(code, known[code], places.get(code, 0)) for code in sorted(known) if code > after][:size]
        return page, current[1].run_id if current is not None else ""

    async def tasks(self, after: int, size: int) -> tuple[list[Task], str]:
        """A page of what the map lacks, by traffic, and the run. Raises run_not_found."""
        async with self._db.read() as read:
            current = await self._runs.current(read)
            if current is None:
                raise run_not_found("")
            return await self._city.tasks(read, current[0], after, size), current[1].run_id

    async def classify(
        self, place_id: str, class_code: str, from_date: date, author: str, note: str, key: RequestKey
    ) -> PlaceVersion:
        """Give a place a class from a day on. Raises place_class_unknown, request_id_reused."""
        if class_code not in self._shelf.latest.class_names:
            raise place_class_unknown(class_code)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            latest = await self._city.versions(tx, place_id, _MOST, 1)
            if earlier is not None:
                return (await self._city.versions(tx, place_id, int(earlier["version"]) + 1, 1))[0]
            version = latest[0].version + 1 if latest else 1
            made = PlaceVersion(place_id, version, class_code, from_date, author, note, self._clock())
            await self._city.put_version(tx, made)
            await idempotency.answer(tx, key, {"version": version})
            await tx.commit()
        return made

    async def versions(self, place_id: str, before: int | None, size: int) -> list[PlaceVersion]:
        """A page of the classes given to a place, the latest first."""
        async with self._db.read() as read:
            return await self._city.versions(read, place_id, before or _MOST, size)

    def features(self, kind: str, after: str, size: int) -> list[Item]:
        """A page of the feature catalogue by name, of one type or of all."""
        return [item for item in self._items if kind in ("", item.type) and item.name > after][:size]
