"""One city from one seed: operator files into one folder, the truth into another, in bounded memory.

Customers are taken in blocks of BLOCK, every block for all days; a day's rows are appended to that day's file. Packing
and drawing happen here, hashing and writing on a second thread.
"""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from city import agreements, commerce, lines, mapping, organisation, tags, truth, usage
from city.accounts import MONTHS, Accounts, open_accounts, statistics
from city.dice import Dice, Flags, Ints
from city.dirt import DIRT
from city.dwell import Dwell
from city.files import CityError, Delivered, FeedFile, deliver
from city.lives import Stays, plan
from city.people import People, populate
from city.products import Holdings, hold
from city.radio import Signals, signals
from city.tables import Days
from city.world import AWAY, CityEvent, World, build, events

BLOCK = 1000
MOST_CUSTOMERS, MOST_DAYS = 2_000_000, 366
_BACKLOG = 24  # packed day-blocks that may wait for the disk
_ROW = np.dtype([("msisdn", "V12"), ("date", "V8"), ("time", "V7"), ("behaviour", "V2"), ("cell", "V16")])

Advance = Callable[[str, int, int], None]  # stage, done, total


@dataclass(frozen=True)
class Order:
    """What to generate, and where to."""

    customers: int
    days: int
    seed: int
    start: date
    out: Path
    truth: Path
    wrong_map: float = 0.0
    """Share of the rows of the cell → place map that name another place."""
    shared_cells: float = 0.0
    """Share of the places whose people are partly served by the nearest other place's cell."""

    def check(self) -> None:
        """Raises CityError naming everything that is wrong."""
        wrong = []
        if not 1 <= self.customers <= MOST_CUSTOMERS:
            wrong.append(f"--customers must be 1..{MOST_CUSTOMERS}, not {self.customers}")
        if not 1 <= self.days <= MOST_DAYS:
            wrong.append(f"--days must be 1..{MOST_DAYS}, not {self.days}")
        if not 0 <= self.seed < 2**63:
            wrong.append(f"--seed must be 0..2**63-1, not {self.seed}")
        for name, share in (("--wrong-map", self.wrong_map), ("--shared-cells", self.shared_cells)):
            if not 0 <= share < 1:
                wrong.append(f"{name} must lie in 0..1, not {share}")
        if not 2000 <= self.start.year <= 2099:
            wrong.append(f"--start must lie in 2000..2099, not {self.start}")
        if self.truth.resolve() == self.out.resolve() or self.out.resolve() in self.truth.resolve().parents:
            wrong.append("--truth must not lie in --out: services read that folder")
        if wrong:
            raise CityError("; ".join(wrong))


@dataclass(frozen=True)
class City:
    """Everything that was drawn before the days are lived."""

    world: World
    people: People
    accounts: Accounts
    holdings: Holdings
    organisation: organisation.Organisation
    consent: commerce.Consents
    month: commerce.Month
    events: list[CityEvent]
    days: Days
    dice: Dice
    wrong_map: float = 0.0


def found(order: Order) -> City:
    """Draws a city's people, accounts, holdings and dealings."""
    dice, days = Dice(order.seed), Days(order.start, order.days)
    world = build(dice)
    if order.shared_cells:
        world = replace(world, alias=mapping.served_by(world, dice, order.shared_cells))
    people = populate(world, dice, days, order.customers)
    accounts = open_accounts(people, dice, days)
    holdings = hold(people, accounts, dice, days)
    return City(
        world,
        people,
        accounts,
        holdings,
        organisation.organise(world, people, dice),
        commerce.consents(people, dice),
        commerce.month_of(people, holdings, dice, days),
        events(world, dice, days),
        days,
        dice,
        order.wrong_map,
    )


def generate(order: Order, advance: Advance) -> list[Delivered]:
    """Writes all files; what stands under its final name is complete."""
    order.check()
    order.out.mkdir(parents=True, exist_ok=True)
    advance("people", 0, 1)
    city = found(order)
    advance("people", 1, 1)
    delivered = [*_reference(city, order.out), *_dealings(city, order.out, advance)]
    parts = (city.world, city.people, city.accounts, city.holdings, city.dice, city.days)
    delivered += usage.write(*parts, order.out)
    delivered += lines.write(city.world, city.people, city.dice, city.days, order.out)
    delivered += agreements.write(city.people, city.accounts, city.dice, city.days, order.out)
    with truth.TruthFolder(order.truth, city.world, city.days) as folder:
        delivered += _live(city, order.out, folder, advance)
        folder.finish(_manifest(order, city, delivered))
    return delivered


def _reference(city: City, out: Path) -> list[Delivered]:
    """Organisations, staff, the map, products and city events: one small file each, as of the start."""
    world, days = city.world, city.days
    number = np.arange(len(world.lon))
    places = pl.DataFrame(
        {
            "place_id": [world.place_id(place) for place in number.tolist()],
            "name": world.names,
            "class_code": pl.Series(world.classes).gather(world.place_class),
            "town": pl.Series(world.towns).gather(world.place_town),
            "lon": world.lon,
            "lat": world.lat,
        }
    )
    cells = pl.DataFrame(
        {
            "lac": world.lac,
            "cell": world.cell,
            "lon": world.cell_lon,
            "lat": world.cell_lat,
            "town": pl.Series(world.towns).gather(world.cell_town),
        }
    ).with_columns(pl.lit(f"{days.start.year - 1}0101").alias("valid_from"), pl.lit("").alias("valid_to"))
    frames = {
        "organisations": organisation.organisations_frame(city.organisation, world),
        "staff": organisation.staff_frame(city.organisation, city.dice, days),
        "cells": cells,
        "places": places,
        "cell_places": _cell_places(world, city.dice, city.wrong_map),
        "products": organisation.products_frame(),
        "city_events": _city_events(city),
    }
    return [deliver(out, feed, days.start, frame, DIRT.get(feed, ())) for feed, frame in frames.items()]


def _cell_places(world: World, dice: Dice, wrong: float) -> pl.DataFrame:
    rows = []
    owner = np.repeat(np.arange(len(world.lon)), np.diff(world.place_cells))
    also = mapping.shared_with(world, world.alias) if world.alias is not None else {}
    for cell, place in enumerate(owner.tolist()):
        second, weight = world.shared.get(cell, (AWAY, 1.0))
        if cell in also:
            second, weight = also[cell], 0.55
        for served, part in ((place, weight), (second, round(1.0 - weight, 2))):
            if part > 0:
                rows.append([int(world.lac[cell]), int(world.cell[cell]), served, part])
    if wrong:
        places = np.array([row[2] for row in rows])
        other = mapping.wrong_places(dice, places, len(world.lon))
        told = np.where(mapping.wrong_rows(dice, len(rows), wrong), other, places)
        rows = [[lac, cell, place, part] for (lac, cell, _, part), place in zip(rows, told.tolist(), strict=True)]
    named = [(lac, cell, world.place_id(int(place)), part) for lac, cell, place, part in rows]
    return pl.DataFrame(named, schema=["lac", "cell", "place_id", "weight"], orient="row")


def _city_events(city: City) -> pl.DataFrame:
    rows = []
    for event in city.events:
        start, end = event.times(city.days)
        times = (f"{start:%Y%m%d%H%M%S}", f"{end:%Y%m%d%H%M%S}")
        rows.append((event.event_id, event.type, event.name, city.world.place_id(event.place), *times))
    return pl.DataFrame(rows, schema=["event_id", "type", "name", "place_id", "start_time", "end_time"], orient="row")


def _dealings(city: City, out: Path, advance: Advance) -> list[Delivered]:
    """Customers, bills, consent, fields, orders and business events, some ten thousand customers at a time."""
    people, days, count = city.people, city.days, len(city.people)
    months = days.bill_months()

    def bills(month: int) -> Callable[[Ints], pl.DataFrame]:
        return lambda who: commerce.bills_frame(people, city.accounts, days, month, who)

    feeds: list[tuple[str, date, Callable[[Ints], pl.DataFrame], bool]] = [
        (
            "customers",
            days.start,
            lambda who: commerce.customers_frame(people, city.accounts, city.organisation, who),
            True,
        ),
        *[("bills", months[month], bills(month), month == MONTHS - 1) for month in range(MONTHS)],
        ("consent", days.last, lambda who: commerce.consent_frame(people, city.consent, city.dice, days, who), True),
        (
            "orders",
            days.start,
            lambda who: commerce.order_history_frame(people, city.accounts, city.holdings, city.dice, days, who),
            False,
        ),
    ]
    delivered = []
    for number, (feed, period, rows, dirty) in enumerate(feeds):
        with FeedFile(out, feed, period, 1, DIRT[feed] if dirty else ()) as file:
            for who in commerce.slices(count):
                file.write_frame(rows(who))
            delivered.append(file.deliver())
        advance("files", number + 1, len(feeds) + 1)
    fields = organisation.fields_frame(city.organisation, people, days)
    events_ = commerce.events_frame(people, city.organisation, city.month, city.dice, days)
    orders = commerce.month_orders_frame(people, city.month, days)
    delivered += [
        deliver(out, "fields", days.start, fields, DIRT["fields"]),
        deliver(out, "orders", days.last, orders, DIRT["orders"], sequence=2),
        deliver(out, "business_events", days.last, events_, DIRT["business_events"]),
    ]
    advance("files", len(feeds) + 1, len(feeds) + 1)
    return delivered


def _live(city: City, out: Path, folder: truth.TruthFolder, advance: Advance) -> list[Delivered]:
    """The days: stays, signalling and truth, block by block."""
    days, count = city.days, len(city.people)
    flags, values = tags.consumption(statistics(city.people, city.accounts, days), city.consent.opted_out)
    packer = _Packer(city.world)
    waiting: deque[Future[None]] = deque()
    with ExitStack() as stack:
        files = [
            stack.enter_context(FeedFile(out, "signalling", days.on(day), 1, DIRT["signalling"] if dirty else ()))
            for day, dirty in ((day, day in (0, days.count - 1)) for day in range(days.count))
        ]
        writer = stack.enter_context(ThreadPoolExecutor(max_workers=1))
        for low in range(0, count, BLOCK):
            who = np.arange(low, min(low + BLOCK, count))
            stays = plan(city.world, city.people, city.dice, days, city.events, who)
            by_day = stays.only(np.argsort(stays.day, kind="stable"))
            borders = np.searchsorted(by_day.day, np.arange(days.count + 1))
            names = packer.numbers(city.people.msisdn[who])
            for day in range(days.count):
                today = by_day.only(slice(int(borders[day]), int(borders[day + 1])))
                seen = signals(city.world, city.people, city.dice, who, day, today)
                rows = packer.pack(names, low, days.on(day), seen)
                waiting.append(writer.submit(files[day].write, rows, len(seen)))
                while len(waiting) > _BACKLOG:
                    waiting.popleft().result()
            _tell(city, folder, who, stays, flags, values)
            advance("days lived", int(who[-1]) + 1, count)
        while waiting:
            waiting.popleft().result()
        return [file.deliver() for file in files]


def _tell(
    city: City,
    folder: truth.TruthFolder,
    who: Ints,
    stays: Stays,
    flags: Mapping[str, Flags],
    values: Mapping[str, list[str]],
) -> None:
    """Writes the truth of one block."""
    dwell = Dwell(city.world, city.days, who, stays)
    folder.add_visits(city.people, stays)
    folder.add("customers", truth.customers_frame(city.world, city.people, city.organisation, city.days, dwell, who))
    acceptance, ownership = truth.pairs_frame(city.people, city.holdings, who)
    folder.add("acceptance", acceptance)
    folder.add("ownership", ownership)
    block = tags.life_circles(dwell, city.events) | {code: flag[who] for code, flag in flags.items()}
    parts = [
        pl.DataFrame({"msisdn": city.people.msisdn[who[flag]]}).with_columns(pl.lit(code).alias("tag"))
        for code, flag in block.items()
    ]
    for code, column in values.items():
        texts = pl.Series([f"{code}={column[customer]}" for customer in who.tolist()])
        parts.append(pl.DataFrame({"msisdn": city.people.msisdn[who], "tag": texts}).filter(~texts.str.ends_with("=")))
    folder.add("tags", pl.concat(parts).sort("msisdn", "tag"))


class _Packer:
    """Signalling rows as bytes of a fixed width: look-up tables of ready text, joined without any formatting."""

    def __init__(self, world: World) -> None:
        clock = b"".join(b"%02d%02d%02d|" % (s // 3600, s // 60 % 60, s % 60) for s in range(86_400))
        self._clock = np.frombuffer(clock, "V7")
        self._behaviour = np.frombuffer(b"".join(b"%d|" % code for code in range(6)), "V2")
        cells = b"".join(b"%05d|%09d\n" % pair for pair in zip(world.lac.tolist(), world.cell.tolist(), strict=True))
        self._cell = np.frombuffer(cells, "V16")

    def numbers(self, msisdn: Ints) -> npt.NDArray[np.void]:
        """The numbers of a block as text with their separator."""
        return np.frombuffer(b"".join(b"%011d|" % number for number in msisdn.tolist()), "V12")

    def pack(self, names: npt.NDArray[np.void], low: int, day: date, seen: Signals) -> memoryview:
        """The rows of a block whose first customer is `low`."""
        rows = np.empty(len(seen), _ROW)
        rows["msisdn"] = names[seen.who - low]
        rows["date"] = np.void(f"{day:%Y%m%d}".encode("ascii"))
        rows["time"] = self._clock[seen.second]
        rows["behaviour"] = self._behaviour[seen.behaviour]
        rows["cell"] = self._cell[seen.cell]
        return memoryview(rows.tobytes())


def _manifest(order: Order, city: City, delivered: list[Delivered]) -> dict[str, object]:
    concert = city.events[0]
    feeds: dict[str, dict[str, int]] = {}
    for file in delivered:
        feed = feeds.setdefault(file.feed, {"files": 0, "rows": 0, "rejects": 0})
        feed["files"] += 1
        feed["rows"] += file.rows
        feed["rejects"] += len(file.dirty)
    return {
        "seed": order.seed,
        "customers": order.customers,
        "start": order.start.isoformat(),
        "days": order.days,
        "last": city.days.last.isoformat(),
        "concert": {"event_id": concert.event_id, "place_id": city.world.place_id(concert.place)},
        "tags": [*tags.FLAG_TAGS, *tags.ENUM_TAGS],
        "feeds": feeds,
        "files": {
            file.name: {
                "rows": file.rows,
                "md5": file.md5,
                "bytes": file.size,
                "rejects": len(file.dirty),
                "dirty": [{"line": row.line, "reason": row.reason} for row in file.dirty],
            }
            for file in delivered
        },
    }
