"""The city as a whole by run: dwell areas, crowds, what the map lacks; and classes given to places by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on, insert

from services.kit.db import Read, Write
from services.portrait.tables import crowd, dwell_area, place_task, place_version

_VERSION = tuple(column.name for column in place_version.c)
_AREA = ("day_type", "slot", "place_id", "place_name", "place_class", "town", "customers", "secs")
_CROWD = ("place_class", "day_type", "hour", "secs", "days")
_TASK = ("kind", "place_id", "cell_id", "traffic", "read_as", "kilometres")

Rows = Sequence[tuple[object, ...]]


@dataclass(frozen=True)
class CityRows:
    """What a run says of the city: rows without their run."""

    areas: Rows = field(default_factory=tuple)
    """day_type, slot, place_id, place_name, place_class, town, customers, secs."""
    crowd: Rows = field(default_factory=tuple)
    """place_class, day_type, hour, secs, days."""
    tasks: Rows = field(default_factory=tuple)
    """kind, place_id, cell_id, traffic, read_as, kilometres."""


@dataclass(frozen=True)
class PlaceVersion:
    """A class that was given to a place."""

    place_id: str
    version: int
    class_code: str
    from_date: date
    author: str
    note: str
    create_time: datetime


@dataclass(frozen=True)
class Area:
    """Where people are."""

    place_id: str
    place_name: str
    place_class: str
    town: str
    customers: int
    secs: int


@dataclass(frozen=True)
class Task:
    """What the map lacks."""

    kind: str
    place_id: str
    cell_id: int
    traffic: int
    read_as: str
    kilometres: float


class City:
    """Rows under the number of a run."""

    async def put(self, tx: Write, run_no: int, rows: CityRows) -> None:
        """Keep what a run says of the city."""
        for table, names, each in (
            ("dwell_area", _AREA, rows.areas), ("crowd", _CROWD, rows.crowd), ("place_task", _TASK, rows.tasks),
        ):  # fmt: skip
            await tx.copy(table, ("run_no", *names), ((run_no, *row) for row in each))

    async def areas(
        self, read: Read, run_no: int, chosen: tuple[str, str, str, str], least: int, after: int, size: int
    ) -> list[Area]:
        """Areas of a kind of day, slot, class selector and town, by time; those of fewer than `least` are left out."""
        day_type, slot, selector, town = chosen
        stmt = select(
            dwell_area.c.place_id, dwell_area.c.place_name, dwell_area.c.place_class, dwell_area.c.town,
            dwell_area.c.customers, dwell_area.c.secs,
        ).where(
            dwell_area.c.run_no == run_no, dwell_area.c.day_type == day_type, dwell_area.c.slot == slot,
            dwell_area.c.customers >= least,
        )  # fmt: skip
        if town:
            stmt = stmt.where(dwell_area.c.town == town)
        if selector not in ("", "*"):
            stem = selector.removesuffix(".*")
            below = dwell_area.c.place_class.startswith(f"{stem}.", autoescape=True)
            stmt = stmt.where(or_(dwell_area.c.place_class == stem, below))
        stmt = stmt.order_by(dwell_area.c.secs.desc(), dwell_area.c.place_id).offset(after).limit(size)
        return [Area(*tuple(row)) for row in await read.rows(stmt)]

    async def crowd(self, read: Read, run_no: int, selector: str, day_type: str) -> list[tuple[str, int, int, int]]:
        """(day_type, hour, secs, days) of the classes of a selector."""
        sums = func.sum(crowd.c.secs).label("total"), func.max(crowd.c.days).label("most")
        stmt = select(crowd.c.day_type, crowd.c.hour, *sums).where(crowd.c.run_no == run_no)
        if day_type:
            stmt = stmt.where(crowd.c.day_type == day_type)
        if selector != "*":
            stem = selector.removesuffix(".*")
            below = crowd.c.place_class.startswith(f"{stem}.", autoescape=True)
            stmt = stmt.where(or_(crowd.c.place_class == stem, below))
        rows = await read.rows(stmt.group_by(crowd.c.day_type, crowd.c.hour))
        return [(row.day_type, int(row.hour), int(row.total), int(row.most)) for row in rows]

    async def places_by_class(self, read: Read, run_no: int) -> dict[str, int]:
        """How many places with any dwell each class has."""
        whole = (dwell_area.c.run_no == run_no) & (dwell_area.c.day_type == "") & (dwell_area.c.slot == "")
        stmt = (
            select(dwell_area.c.place_class, func.count().label("places"))
            .where(whole)
            .group_by(dwell_area.c.place_class)
        )
        return {row.place_class: int(row.places) for row in await read.rows(stmt)}

    async def tasks(self, read: Read, run_no: int, after: int, size: int) -> list[Task]:
        """What the map lacks, by traffic."""
        columns = [place_task.c[name] for name in _TASK]
        stmt = select(*columns).where(place_task.c.run_no == run_no)
        order = (place_task.c.traffic.desc(), place_task.c.kind, place_task.c.place_id, place_task.c.cell_id)
        return [Task(*tuple(row)) for row in await read.rows(stmt.order_by(*order).offset(after).limit(size))]

    async def classes(self, read: Read, day: date) -> Mapping[str, str]:
        """The class given to each place that counts on a day: of the versions from then or before the highest."""
        stmt = (
            select(place_version.c.place_id, place_version.c.class_code)
            .where(place_version.c.from_date <= day)
            .ext(distinct_on(place_version.c.place_id))
            .order_by(place_version.c.place_id, place_version.c.version.desc())
        )
        return {row.place_id: row.class_code for row in await read.rows(stmt)}

    async def versions(self, read: Read, place_id: str, before: int, size: int) -> list[PlaceVersion]:
        """Versions of a place below a number, the latest first."""
        stmt = select(*place_version.c).where(place_version.c.place_id == place_id, place_version.c.version < before)
        rows = await read.rows(stmt.order_by(place_version.c.version.desc()).limit(size))
        return [PlaceVersion(**{name: getattr(row, name) for name in _VERSION}) for row in rows]

    async def put_version(self, tx: Write, made: PlaceVersion) -> None:
        """Keep a version."""
        await tx.execute(insert(place_version).values({name: getattr(made, name) for name in _VERSION}))
