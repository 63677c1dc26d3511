"""Lives: where every customer of a block really is on every day, the noise-free truth behind the signalling."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from city.dice import Dice, Flags, Floats, Ints
from city.people import HOBBIES, LEFT, NOWHERE, ROLES, People
from city.tables import Days, numbers
from city.world import AWAY, CityEvent, World

MIDNIGHT = 86_400
SHORTEST = 300  # seconds; a stay that the day leaves less time for does not happen
SHORTEST_HOME = 600

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Stays:
    """Stays in order of customer, day and start; `who` is the customer's index, seconds count from local midnight.

    A stay never crosses midnight: one that goes on is two stays. Place AWAY means out of town.
    """

    who: Ints
    day: Ints
    start: Ints
    end: Ints
    place: Ints

    def __len__(self) -> int:
        """How many stays there are."""
        return len(self.who)

    def only(self, chosen: Flags | Ints | slice) -> "Stays":
        """Some of the stays."""
        return Stays(self.who[chosen], self.day[chosen], self.start[chosen], self.end[chosen], self.place[chosen])


class Diary:
    """Collects the intended stays of a block of customers before they are made to fit into the days."""

    def __init__(self, who: Ints, days: Days) -> None:
        self.who = np.repeat(who, days.count)
        self.day = np.tile(np.arange(days.count), len(who))
        self._parts: list[tuple[Ints, Ints, Ints, Ints]] = []

    def add(self, at: Ints, start_minute: Floats, minutes: Floats, place: Ints) -> None:
        """Adds stays at the person-days `at`, from a minute of the day on."""
        start = (start_minute * 60).astype(np.int64)
        end = np.minimum(start + (minutes * 60).astype(np.int64), MIDNIGHT)
        self._parts.append((at, start, end, np.broadcast_to(place, at.shape)))

    def sorted(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Person-day, start, end and place, by person-day and start."""
        at, start, end, place = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.argsort(at * MIDNIGHT + start, kind="stable")
        return at[order], start[order], end[order], place[order]


@dataclass(frozen=True)
class Scene:
    """What the habits of a block look at: everything is per person-day, in the order of the diary."""

    world: World
    people: People
    dice: Dice
    days: Days
    events: list[CityEvent]
    diary: Diary
    working: Flags
    worked_yesterday: Flags
    gone: Flags
    trip: Ints

    def roll(self, stream: str, at: Ints, *keys: Ints | int) -> Floats:
        """A uniform draw for each of the person-days `at`."""
        return self.dice.uniform(stream, self.diary.who[at], self.diary.day[at], *keys)

    def of(self, values: npt.NDArray[T]) -> npt.NDArray[T]:
        """A property of the people, spread over their days."""
        return np.asarray(values[self.diary.who])


def plan(world: World, people: People, dice: Dice, days: Days, events: list[CityEvent], who: Ints) -> Stays:
    """The stays of the customers `who` (who left has none)."""
    diary = Diary(who[people.status[who] != LEFT], days)
    if not len(diary.who):
        nothing = np.zeros(0, dtype=np.int64)
        return Stays(nothing, nothing, nothing, nothing, nothing)
    scene = _scene(world, people, dice, days, events, diary)
    for habit in HABITS:
        habit(scene)
    at, start, end, place = _fit(world, *diary.sorted())
    home = np.where(diary.day >= people.move_day[diary.who], people.home_after[diary.who], people.home[diary.who])
    at, start, end, place = _with_home(world, home, at, start, end, place)
    return Stays(diary.who[at], diary.day[at], start, end, place)


def _scene(world: World, people: People, dice: Dice, days: Days, events: list[CityEvent], diary: Diary) -> Scene:
    rest, holiday = days.rest(), days.holiday()
    role = people.role[diary.who]

    def works(day: Ints) -> Flags:
        """Whether people work on a day of theirs; -1 is the day before the start."""
        turn = (day + days.start.toordinal() + diary.who) % 7
        six = people.six_days[diary.who] & (turn != 0)
        allowed = ~holiday[day + 1] | (numbers("roles", "holiday_work")[role] > 0)
        regular = np.where(people.six_days[diary.who], six, ~rest[day + 1])
        present = dice.uniform("absent", diary.who, day) >= 0.03
        turns_up = people.seven_days[diary.who] | (regular & allowed & present)
        return np.asarray((people.work[diary.who] != NOWHERE) & turns_up)

    # A business trip starts in most weeks of a traveller and takes two days; some leave town for a whole holiday.
    week, weekday = (diary.day + days.start.weekday()) // 7, days.weekday(diary.day)
    first = np.floor(dice.uniform("trip.day", diary.who, week) * 4).astype(np.int64)
    going = people.traveller[diary.who] & (dice.uniform("trip", diary.who, week) < 0.7)
    trip = np.where(going & (weekday == first), 1, np.where(going & (weekday == first + 1), 2, 0))
    gone = holiday[diary.day + 1] & (dice.uniform("leaves", diary.who) < 0.05)
    trip = np.where(gone, 0, trip)
    free = gone | (trip > 0)
    return Scene(
        world, people, dice, days, events, diary, works(diary.day) & ~free, works(diary.day - 1) & ~free, gone, trip
    )


def _absences(scene: Scene) -> None:
    at = np.flatnonzero(scene.gone)
    scene.diary.add(at, np.zeros(len(at)), np.full(len(at), 1440.0), np.array(AWAY))
    stations = scene.world.of_class("tra.rail.station")
    station = stations[scene.diary.who % len(stations)]
    out, back = np.flatnonzero(scene.trip == 1), np.flatnonzero(scene.trip == 2)
    leave = 430 + 60 * scene.roll("trip.leave", out)
    scene.diary.add(out, leave, np.full(len(out), 45.0), station[out])
    scene.diary.add(out, leave + 45, 1440 - leave - 45, np.array(AWAY))
    arrive = 960 + 150 * scene.roll("trip.arrive", back)
    scene.diary.add(back, np.zeros(len(back)), arrive, np.array(AWAY))
    scene.diary.add(back, arrive, np.full(len(back), 40.0), station[back])


def _work(scene: Scene) -> None:
    role = scene.of(scene.people.role)
    night = role == ROLES.index("night")
    work = scene.of(scene.people.work)
    overtime = (
        np.isin(role, [ROLES.index("office"), ROLES.index("tech")])
        & (scene.dice.uniform("overtime", scene.diary.who) < 0.15)
        & (scene.dice.uniform("overtime.day", scene.diary.who, scene.diary.day) < 0.6)
    )
    begin = numbers("roles", "start_minute")[role] + np.where(_late_shift(scene), 150, 0)
    habit = 25 * scene.dice.uniform("punctual", scene.diary.who)
    hours = numbers("roles", "hours")[role] + np.where(overtime, 2.2, 0.0)
    at = np.flatnonzero(scene.working & ~night)
    start = begin[at] + habit[at] + 12 * scene.roll("work.start", at)
    minutes = 60 * hours[at] + 25 * scene.roll("work.length", at) - 10
    lunch = scene.roll("lunch", at) < numbers("roles", "lunch_out")[role[at]]
    scene.diary.add(at[~lunch], start[~lunch], minutes[~lunch], work[at[~lunch]])
    out, noon = at[lunch], 720 + 15 * scene.roll("lunch.start", at[lunch])
    scene.diary.add(out, start[lunch], noon - start[lunch], work[out])
    dining = scene.world.nearest("food.food.street")[scene.world.place_town[work[out]]]
    scene.diary.add(out, noon + 8, 32 + 18 * scene.roll("lunch.length", out), dining)
    back = noon + 75
    scene.diary.add(out, back, start[lunch] + minutes[lunch] - back, work[out])
    at = np.flatnonzero(scene.working & night)
    scene.diary.add(at, begin[at] + 20 * scene.roll("night.start", at), np.full(len(at), 600.0), work[at])
    at = np.flatnonzero(scene.worked_yesterday & night)
    scene.diary.add(at, np.zeros(len(at)), 375 + 30 * scene.roll("night.end", at), work[at])


def _late_shift(scene: Scene) -> Flags:
    """Every other person in retail works until ten in the evening."""
    return np.asarray((scene.of(scene.people.role) == ROLES.index("retail")) & (scene.diary.who % 2 == 0))


def _school_run(scene: Scene) -> None:
    school_day = ~scene.days.rest(0)[scene.diary.day] & ~scene.gone & (scene.trip == 0)
    at = np.flatnonzero(school_day & scene.of(scene.people.parent))
    takes = scene.roll("school.takes", at) < 0.85
    morning = at[takes]
    school = scene.people.school[scene.diary.who]
    scene.diary.add(morning, 440 + 20 * scene.roll("school.am", morning), np.full(len(morning), 13.0), school[morning])
    idle = scene.of(scene.people.work) == NOWHERE
    fetch = at[idle[at] & (scene.roll("school.fetches", at) < 0.85)]
    scene.diary.add(fetch, 985 + 15 * scene.roll("school.pm", fetch), np.full(len(fetch), 22.0), school[fetch])


def _mornings(scene: Scene) -> None:
    """Seniors exercise in the park; people without work run errands and, some of them, look for work."""
    here = ~scene.gone & (scene.trip == 0)
    at = np.flatnonzero(here & scene.of(scene.people.exerciser))
    at = at[scene.roll("exercise", at) < 0.92]
    park = scene.people.morning_park[scene.diary.who]
    start, minutes = 365 + 25 * scene.roll("exercise.start", at), 75 + 30 * scene.roll("exercise.length", at)
    scene.diary.add(at, start, minutes, park[at])
    role = scene.of(scene.people.role)
    at = np.flatnonzero(here & np.isin(role, [ROLES.index(name) for name in ("homemaker", "senior", "idle")]))
    roll = scene.roll("errand", at)
    town = scene.world.place_town[scene.people.home[scene.diary.who]]
    choices = (
        (0.0, 0.35, ("biz.retail.super",), 35.0),
        (0.35, 0.40, ("med.hosp.hospital",), 80.0),
        (0.40, 0.43, ("biz.fin.bank",), 25.0),
    )
    for low, high, classes, length in choices:
        mine = at[(roll >= low) & (roll < high)]
        near = scene.world.nearest(*classes)[town[mine]]
        scene.diary.add(mine, 570 + 50 * scene.roll("errand.start", mine), np.full(len(mine), length), near)
    seeking = at[(role[at] == ROLES.index("idle")) & (roll > 0.8) & ~scene.days.rest(0)[scene.diary.day[at]]]
    market = scene.world.of_class("svc.job.market")
    scene.diary.add(
        seeking,
        590 + 30 * scene.roll("seek", seeking),
        np.full(len(seeking), 100.0),
        market[scene.diary.who[seeking] % len(market)],
    )


def _rounds(scene: Scene) -> None:
    """Runners (couriers, sales people, drivers) stop at a dozen places a day."""
    running = (scene.of(scene.people.role) == ROLES.index("runner")) & ~scene.gone
    at = np.flatnonzero(running)
    at = at[(scene.days.weekday(scene.diary.day[at]) != scene.diary.who[at] % 7)]
    home_town = scene.world.place_town[scene.people.home[scene.diary.who]]
    order = scene.world.by_distance()[:, :160]
    for stop in range(13):
        place = order[home_town[at], np.floor(scene.roll("round.place", at, stop) ** 1.3 * 160).astype(np.int64)]
        keep = ~np.char.startswith(np.array(scene.world.classes)[scene.world.place_class[place]], "edu.school")
        start = 545 + 41 * stop + 10 * scene.roll("round.start", at, stop)
        minutes = 8 + 9 * scene.roll("round.length", at, stop)
        scene.diary.add(at[keep], start[keep], minutes[keep], place[keep])


def _leisure(scene: Scene) -> None:
    """At most one outing in each free part of the day, to a hobby or to what everybody does now and then."""
    here = ~scene.gone & (scene.trip == 0)
    resting = ~scene.working & here
    night = scene.of(scene.people.role) == ROLES.index("night")
    rest_day = scene.days.rest(0)[scene.diary.day]
    runner = scene.of(scene.people.role) == ROLES.index("runner")
    daytime = resting & ~runner & ~(night & scene.worked_yesterday)
    slots = (
        ("am", daytime & rest_day & ~scene.of(scene.people.exerciser), 580.0, 690.0, 0.8),
        ("pm", daytime, 860.0, 1080.0, 1.3),
        ("eve", here & ~(scene.working & (night | _late_shift(scene))), 1135.0, 1425.0, 1.0),
    )
    calm = np.where(scene.of(scene.people.exerciser) | scene.people.is_role("pupil")[scene.diary.who], 0.5, 1.0)
    for number, (slot, possible, opens, closes, lively) in enumerate(slots):
        at = np.flatnonzero(possible & ~_at_event(scene, slot))
        hobbies = scene.people.hobby[scene.diary.who[at]].sum(axis=1)
        odds = np.minimum(scene.people.outgoing[scene.diary.who[at]] + 0.17 * hobbies, 0.62) * lively * calm[at]
        at = at[scene.roll("out", at, number) < np.where(rest_day[at], 1.25, 1.0) * odds]
        _outing(scene, at, number, opens, closes)


def _outing(scene: Scene, at: Ints, number: int, opens: float, closes: float) -> None:
    low, high = numbers("leisure", "low_minutes"), numbers("leisure", "high_minutes")
    weights = np.cumsum(scene.people.hobby[scene.diary.who[at]] + numbers("leisure", "everyday"), axis=1)
    kind = (weights < scene.roll("out.kind", at, number)[:, None] * weights[:, -1:]).sum(axis=1)
    second = (scene.roll("out.place", at, number) < 0.2).astype(np.int64)
    place = scene.people.favourites[scene.diary.who[at], kind, second]
    minutes = low[kind] + (high - low)[kind] * scene.roll("out.length", at, number)
    start = np.minimum(opens + 40 * scene.roll("out.start", at, number), closes - minutes)
    scene.diary.add(at, start, minutes, place)


def _at_event(scene: Scene, slot: str) -> Flags:
    busy = np.zeros(len(scene.diary.who), dtype=bool)
    for event in scene.events:
        if (slot == "eve") == (event.type == "concert"):
            busy |= _attends(scene, event)
    return busy


def _attends(scene: Scene, event: CityEvent) -> Flags:
    today = (scene.diary.day == event.day) & ~scene.gone & (scene.trip == 0)
    if event.type == "concert":
        return np.asarray(today & scene.of(scene.people.concert))
    runner = scene.people.is_role("runner", "night")[scene.diary.who]
    chance = np.where(scene.people.hobby[scene.diary.who, HOBBIES.index("park")], 0.4, 0.03)
    return np.asarray(today & ~scene.working & ~runner & (scene.dice.uniform("flower", scene.diary.who) < chance))


def _city_events(scene: Scene) -> None:
    for event in scene.events:
        at = np.flatnonzero(_attends(scene, event))
        if event.type == "concert":
            start = event.start - 45 + 30 * scene.roll("event.early", at)
            end = event.end + 2 + 15 * scene.roll("event.late", at)
        else:
            start = 870 + 60 * scene.roll("event.early", at)
            end = start + 80 + 50 * scene.roll("event.late", at)
        scene.diary.add(at, start, end - start, np.array(event.place))


HABITS: tuple[Callable[[Scene], None], ...] = (
    _absences,
    _work,
    _school_run,
    _mornings,
    _rounds,
    _leisure,
    _city_events,
)


def _fit(world: World, at: Ints, start: Ints, end: Ints, place: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Moves stays later until there is time to travel from the one before; what no longer fits the day is dropped."""
    start, end = start.copy(), end.copy()
    first = np.flatnonzero(np.concatenate([[True], at[1:] != at[:-1]]))
    length = np.diff(np.concatenate([first, [len(at)]]))
    for turn in range(1, int(length.max(initial=0))):
        now = first[length > turn] + turn
        earliest = end[now - 1] + world.travel[place[now - 1], place[now]]
        late = np.maximum(earliest - start[now], 0)
        start[now] += late
        end[now] = np.minimum(end[now] + late, MIDNIGHT)
    fits = end - start >= SHORTEST
    return at[fits], start[fits], end[fits], place[fits]


def _with_home(
    world: World, home: Ints, at: Ints, start: Ints, end: Ints, place: Ints
) -> tuple[Ints, Ints, Ints, Ints]:
    """Fills what is left of the days with home, where the ways there and back leave at least ten minutes."""
    every = np.arange(len(home))
    edge_at = np.concatenate([every, at, every])
    edge_start = np.concatenate([np.full(len(home), -1), start, np.full(len(home), MIDNIGHT)])
    edge_end = np.concatenate([np.zeros(len(home), dtype=np.int64), end, np.full(len(home), MIDNIGHT + 1)])
    edge_place = np.concatenate([home, place, home])
    order = np.argsort(edge_at * (2 * MIDNIGHT) + edge_start + 1, kind="stable")
    edge_at, edge_start, edge_end, edge_place = edge_at[order], edge_start[order], edge_end[order], edge_place[order]
    same = edge_at[1:] == edge_at[:-1]
    mine = home[edge_at[1:]]
    leave = edge_end[:-1] + world.travel[edge_place[:-1], mine]
    arrive = edge_start[1:] - world.travel[mine, edge_place[1:]]
    gap = same & (arrive - leave >= SHORTEST_HOME)
    out_at = np.concatenate([at, edge_at[1:][gap]])
    out_start, out_end = np.concatenate([start, leave[gap]]), np.concatenate([end, arrive[gap]])
    out_place = np.concatenate([place, mine[gap]])
    order = np.argsort(out_at * MIDNIGHT + out_start, kind="stable")
    return out_at[order], out_start[order], out_end[order], out_place[order]
