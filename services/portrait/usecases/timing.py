"""When and through which channel customers are best contacted: where they are, how busy it is, what they answered."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.portrait.domain import timing
from services.portrait.domain.crowd import waves
from services.portrait.domain.timing import Answers, Channel, Time
from services.portrait.lake.timing import stays_of
from services.portrait.refusals import run_not_found
from services.portrait.store.city import City
from services.portrait.store.projections import Projections
from services.portrait.store.runs import Runs

_BACK = timedelta(days=180)
_FRESH = timedelta(minutes=10)
"""How long everybody's answers are taken as they were: they move slowly, and are a long read."""

_Rows = Sequence[tuple[int, int, str, int, int]]


@dataclass(frozen=True)
class Advice:
    """What is known for one customer."""

    customer_key: int
    org_id: str
    times: Sequence[Time]
    channels: Sequence[Channel]


class TimingDesk:
    """Advice on contacts."""

    def __init__(self, db: Database, runs: Runs, city: City, projections: Projections, zone: str, clock: Clock) -> None:
        self._db = db
        self._runs = runs
        self._city = city
        self._projections = projections
        self._zone = zone
        self._clock = clock
        self._everybody: tuple[datetime, _Rows] = (datetime.min.replace(tzinfo=UTC), ())

    async def advise(self, customer_keys: Sequence[int], most: int) -> list[Advice]:
        """Advice for customers of the current run, in the order asked; unknown ones are left out.

        Raises run_not_found.
        """
        async with self._db.read() as read:
            current = await self._runs.current(read)
            if current is None:
                raise run_not_found("")
            run_no = current[0]
            orgs = await self._runs.orgs_of(read, run_no, customer_keys)
            files = await self._runs.files(read, run_no, "dwell")
            answers = await self._answers(read, list(orgs))
        keys = [key for key in customer_keys if key in orgs]
        stays = await asyncio.to_thread(stays_of, files, keys)
        peaks = await self._peaks(run_no, {stay.place_class for each in stays.values() for stay in each})
        slots, channels = _by(answers, "slot"), _by(answers, "channel")
        return [
            Advice(
                key,
                orgs[key],
                timing.times(stays.get(key, ()), peaks, slots.get(key, {}), slots.get(0, {}), most),
                timing.channels(channels.get(key, {}), channels.get(0, {})),
            )
            for key in keys
        ]

    async def _answers(self, read: Read, keys: Sequence[int]) -> _Rows:
        """Answers of customers, and everybody's under 0."""
        now = self._clock()
        if now - self._everybody[0] > _FRESH:
            self._everybody = now, await self._projections.answers(read, (), now - _BACK, self._zone)
        mine = await self._projections.answers(read, keys, now - _BACK, self._zone) if keys else ()
        return [*mine, *self._everybody[1]]

    async def _peaks(self, run_no: int, classes: set[str]) -> dict[tuple[str, str], frozenset[int]]:
        """The crowded hours of classes of places, by kind of day."""
        found = {}
        async with self._db.read() as read:
            for each in sorted(classes):
                for day_type in ("workday", "weekend"):
                    found[day_type, each] = await self._peak(read, run_no, each, day_type)
        return found

    async def _peak(self, read: Read, run_no: int, place_class: str, day_type: str) -> frozenset[int]:
        people = [0.0] * 24
        for _, hour, secs, days in await self._city.crowd(read, run_no, place_class, day_type):
            people[hour] += secs / 3600 / max(days, 1)
        return frozenset(hour for hour, (peak, _) in enumerate(waves(people)) if peak)


def _by(rows: _Rows, what: str) -> Mapping[int, dict[str, Answers]]:
    """Answers by customer (0: everybody), then by slot or channel, of rows (customer, hour, channel, all, answered)."""
    found: dict[int, dict[str, Answers]] = {}
    for customer, hour, channel, contacts, answered in rows:
        name = timing.slot_of(hour) if what == "slot" else channel
        known = found.setdefault(customer, {}).get(name, Answers())
        found[customer][name] = Answers(known.contacts + contacts, known.answered + answered)
    return found
