"""The stage: towns, places with coordinates, cells and the city's events."""

from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

import numpy as np

from city.dice import Dice, Floats, Ints
from city.tables import SHANGHAI, Days, column, kilometres, numbers, rows

AWAY = -1  # the place index of somebody who left the city
ROAD_CELLS = 8  # per town; they serve no place
SHARED_SHARE = 0.04  # of the cells serve a second place


@dataclass(frozen=True)
class CityEvent:
    """Something that draws people to one place; `day` counts from the start, minutes are of that day."""

    event_id: str
    type: str
    name: str
    place: int
    day: int
    start: int
    end: int
    lead: int
    lag: int

    def times(self, days: Days) -> tuple[datetime, datetime]:
        """Local start and end."""
        midnight = datetime.combine(days.on(self.day), time(), SHANGHAI)
        return midnight + timedelta(minutes=self.start), midnight + timedelta(minutes=self.end)


@dataclass(frozen=True)
class World:
    """Places and cells are numbered from 0; `place_cells[p] : place_cells[p + 1]` are the cells of place p.

    The cells of roads follow after all the cells of places, ROAD_CELLS per town.
    """

    towns: list[str]
    town_lon: Floats
    town_lat: Floats
    classes: list[str]
    names: list[str]
    place_class: Ints
    place_town: Ints
    lon: Floats
    lat: Floats
    place_cells: Ints
    lac: Ints
    cell: Ints
    cell_lon: Floats
    cell_lat: Floats
    cell_town: Ints
    neighbour: Ints
    shared: dict[int, tuple[int, float]]
    travel: Ints = field(repr=False)
    alias: Ints | None = None
    """The cell that does the work of each cell; None: each its own."""

    @property
    def first_road(self) -> int:
        """The first road cell."""
        return int(self.place_cells[-1])

    def place_id(self, place: int) -> str:
        """The operator's id of a place."""
        return f"PL{place + 1:05d}"

    def of_class(self, *selectors: str) -> Ints:
        """The places of classes that equal a selector or, for one ending in `.*`, begin with it."""
        chosen = [matches(code, selectors) for code in self.classes]
        return np.flatnonzero(np.array(chosen)[self.place_class])

    def by_distance(self, places: Ints | None = None) -> Ints:
        """For each town the places (or some of them), nearest first."""
        places = np.arange(len(self.lon)) if places is None else places
        away = kilometres(self.town_lon[:, None], self.town_lat[:, None], self.lon[places], self.lat[places])
        return places[np.argsort(away, axis=1, kind="stable")]

    def nearest(self, *selectors: str) -> Ints:
        """For each town its nearest place of some classes."""
        return self.by_distance(self.of_class(*selectors))[:, 0]


def matches(code: str, selectors: tuple[str, ...] | list[str]) -> bool:
    """Whether a class code is chosen by one of the selectors (`edu.*`, `spo.fit.gym`, `*`)."""
    return any(
        selector in ("*", code) or (selector.endswith(".*") and code.startswith(selector[:-1]))
        for selector in selectors
    )


class Chooser:
    """Draws a place of some classes near a town: weight exp(-distance / reach_km)."""

    def __init__(self, world: World, selectors: list[str], reach_km: float) -> None:
        self.places = world.of_class(*selectors)
        if not len(self.places):
            raise ValueError(f"no place of the classes {selectors}")
        away = kilometres(
            world.town_lon[:, None], world.town_lat[:, None], world.lon[self.places], world.lat[self.places]
        )
        weights = np.cumsum(np.exp(-(away - away.min(axis=1, keepdims=True)) / reach_km), axis=1)
        self._flat = (weights / weights[:, -1:] * 0.999999 + np.arange(len(world.towns))[:, None]).ravel()

    def pick(self, towns: Ints, dice: Floats) -> Ints:
        """Place indices for people of `towns` with uniform draws `dice`."""
        flat = np.searchsorted(self._flat, towns + dice * 0.999999, side="right")
        return np.asarray(self.places[np.minimum(flat - towns * len(self.places), len(self.places) - 1)])


def build(dice: Dice) -> World:
    """The stage of one seed. Its size is fixed: about 600 places and 2,000 cells in 33 towns."""
    towns, weights = column("towns", "name"), numbers("towns", "weight")
    town_lon, town_lat = numbers("towns", "lon"), numbers("towns", "lat")
    classes, counts = column("classes", "class_code"), numbers("classes", "count").astype(np.int64)
    place_class = np.repeat(np.arange(len(classes)), counts)
    rank = np.arange(len(place_class)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Systematic sampling: a class with more places than towns reaches every town, in proportion to its people.
    spread = (rank + dice.uniform("world.spread", place_class)) / counts[place_class]
    place_town = np.searchsorted(np.cumsum(weights) / weights.sum(), np.minimum(spread, 0.999999), side="right")
    number = np.arange(len(place_class))
    lon = np.round(town_lon[place_town] + 0.018 * np.clip(dice.normal("world.lon", number), -2, 2), 6)
    lat = np.round(town_lat[place_town] + 0.016 * np.clip(dice.normal("world.lat", number), -2, 2), 6)
    away = kilometres(lon[:, None], lat[:, None], lon, lat)
    travel = np.zeros((len(lon) + 1, len(lon) + 1), dtype=np.int64)  # the last row and column belong to AWAY
    travel[:-1, :-1] = np.minimum(240 + 132 * away, 4200)
    np.fill_diagonal(travel, 0)
    cells = _cells(dice, town_lon, town_lat, place_class, place_town, lon, lat, away)
    return World(
        towns,
        town_lon,
        town_lat,
        classes,
        _names(dice, towns, place_class, place_town),
        place_class,
        place_town,
        lon,
        lat,
        *cells,
        travel=travel,
    )


def _names(dice: Dice, towns: list[str], place_class: Ints, place_town: Ints) -> list[str]:
    words = column("words", "word")
    suffixes = [text.split() for text in column("classes", "suffixes")]
    draws = dice.bits("world.name", np.arange(len(place_class)))
    used: dict[str, int] = {}
    names = []
    for kind, town, draw in zip(place_class, place_town, draws.tolist(), strict=True):
        name = towns[town] + words[draw % len(words)] + suffixes[kind][(draw >> 20) % len(suffixes[kind])]
        used[name] = used.get(name, 0) + 1
        names.append(name if used[name] == 1 else f"{name}({used[name]}期)")
    return names


def _cells(
    dice: Dice,
    town_lon: Floats,
    town_lat: Floats,
    place_class: Ints,
    place_town: Ints,
    lon: Floats,
    lat: Floats,
    away: Floats,
) -> tuple[Ints, Ints, Ints, Floats, Floats, Ints, Ints, dict[int, tuple[int, float]]]:
    count = 2 + (dice.bits("world.cells", np.arange(len(lon))) % np.uint64(3)).astype(np.int64)
    edges = np.concatenate([[0], np.cumsum(count)])
    owner = np.repeat(np.arange(len(lon)), count)
    roads = np.repeat(np.arange(len(town_lon)), ROAD_CELLS)
    number = np.arange(len(owner) + len(roads))
    wide = np.where(number < len(owner), 0.0015, 0.02)
    base_lon, base_lat = np.concatenate([lon[owner], town_lon[roads]]), np.concatenate([lat[owner], town_lat[roads]])
    cell_lon = np.round(base_lon + wide * np.clip(dice.normal("cell.lon", number), -2, 2), 6)
    cell_lat = np.round(base_lat + wide * np.clip(dice.normal("cell.lat", number), -2, 2), 6)
    town = np.concatenate([place_town[owner], roads])
    lac = 41001 + town
    # A 28-bit ECI: base station << 8 | sector, nine digits.
    station = 480_000 + np.arange(len(number)) * 7 + (dice.bits("cell.station", number) % np.uint64(7)).astype(np.int64)
    cell = station * 256 + 1 + number % 3
    # Ping-pong goes to a sibling cell or, as often, to a cell of the nearest other place.
    near = np.argmin(away + np.eye(len(lon)) * 1e9, axis=1)
    sibling = edges[owner] + (number[: len(owner)] - edges[owner] + 1) % count[owner]
    foreign = edges[near[owner]]
    coin = dice.uniform("cell.neighbour", number[: len(owner)]) < 0.5
    neighbour = np.concatenate([np.where(coin, sibling, foreign), number[len(owner) :]])
    return edges, lac, cell, cell_lon, cell_lat, town, neighbour, _shared(dice, place_class, owner, away)


def _shared(dice: Dice, place_class: Ints, owner: Ints, away: Floats) -> dict[int, tuple[int, float]]:
    """Cells that serve a second place: the nearest of the same kind (homes with homes, others with others)."""
    home = np.array([row["class_code"].startswith("res.") for row in rows("classes")])[place_class]
    alone = np.isin(place_class, [i for i, row in enumerate(rows("classes")) if row["class_code"] in _OWN_CELLS])
    shared = {}
    for number in np.flatnonzero(dice.uniform("cell.shared", np.arange(len(owner))) < SHARED_SHARE).tolist():
        place = int(owner[number])
        others = np.flatnonzero((home == home[place]) & ~alone & (np.arange(len(home)) != place))
        second = int(others[np.argmin(away[place, others])])
        weight = round(0.6 + 0.3 * float(dice.uniform("cell.weight", number)[0]), 2)
        if not alone[place]:
            shared[number] = (second, weight)
    return shared


_OWN_CELLS = ("spo.match.arena", "cul.show.theatre", "edu.school.university", "tra.air.terminal")


def events(world: World, dice: Dice, days: Days) -> list[CityEvent]:
    """A concert on the evening of the first Saturday, a flower show on the next rest day (else: on the last day)."""
    weekday = days.weekday(np.arange(days.count))
    saturdays = np.flatnonzero(weekday == 5)
    concert_day = int(saturdays[0]) if len(saturdays) else days.count - 1
    later = [day for day in np.flatnonzero(days.rest(0)).tolist() if day > concert_day]
    stages = world.of_class("spo.match.arena", "cul.show.theatre")
    parks = world.of_class("lei.green.park")
    stage = int(stages[int(dice.bits("event.stage", 0)[0]) % len(stages)])
    park = int(parks[int(dice.bits("event.park", 0)[0]) % len(parks)])
    name = f"{world.towns[world.place_town[stage]]}之夜演唱会"
    return [
        CityEvent("EV0001", "concert", name, stage, concert_day, 19 * 60 + 30, 22 * 60, 60, 45),
        CityEvent("EV0002", "flower", "金秋赏花节", park, later[0] if later else days.count - 1, 9 * 60, 17 * 60, 0, 0),
    ]
