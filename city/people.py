"""Who lives in the city: roles, homes, works, tastes and habits of every customer."""

from dataclasses import dataclass

import numpy as np

from city.dice import Dice, Flags, Floats, Ints
from city.tables import TASTES, Days, column, numbers, rows
from city.world import Chooser, World

ROLES = tuple(column("roles", "role"))
HOBBIES = tuple(column("leisure", "hobby"))
ACTIVE, SILENT, LEFT = 0, 1, 2
STATUS = ("active", "silent", "left")
NOWHERE = -2  # the work place of people without one


@dataclass(frozen=True)
class People:
    """One array entry per customer; places are indices of the world, days count from the start.

    `home_after` replaces `home` from `move_day` on (people who do not move: the number of days). `tastes` is latent,
    shape (people, tastes); `hobby` and `favourites` have shape (people, hobbies) and (people, hobbies, 2).
    """

    msisdn: Ints
    role: Ints
    birth_year: Ints
    female: Flags
    status: Ints
    tastes: Floats
    home: Ints
    home_after: Ints
    move_day: Ints
    work: Ints
    six_days: Flags
    seven_days: Flags
    parent: Flags
    school: Ints
    exerciser: Flags
    morning_park: Ints
    traveller: Flags
    concert: Flags
    hobby: Flags
    favourites: Ints
    outgoing: Floats
    quiet: Flags
    liveliness: Floats

    def __len__(self) -> int:
        """How many customers there are."""
        return len(self.msisdn)

    def is_role(self, *names: str) -> Flags:
        """Who has one of the roles."""
        return np.isin(self.role, [ROLES.index(name) for name in names])


def numbers_of(dice: Dice, who: Ints) -> Ints:
    """Distinct fictitious 11-digit numbers: an affine walk over 13000000000..19999999999, whose step is coprime."""
    offset = int(dice.bits("msisdn", 0)[0] % np.uint64(7_000_000_000))
    return 13_000_000_000 + (who * 2_847_193_807 + offset) % 7_000_000_000


def populate(world: World, dice: Dice, days: Days, count: int) -> People:
    """Draws `count` customers; customer i of a seed is the same whatever the count."""
    who = np.arange(count)
    role = dice.choice(numbers("roles", "share"), "role", who)
    low, high = numbers("roles", "age_low")[role], numbers("roles", "age_high")[role]
    age = np.floor(low + (high - low + 1) * dice.uniform("age", who)).astype(np.int64)
    female = dice.uniform("sex", who) < 0.48
    tastes = dice.normal("taste", who[:, None], np.arange(len(TASTES)))
    town = dice.choice(numbers("towns", "weight"), "town", who)
    home = _homes(world, dice, role, town, who)
    moves = dice.uniform("moves", who) < (0.015 if days.count >= 10 else 0.0)
    town_after = dice.choice(numbers("towns", "weight"), "town.after", who)
    work, school = _works(world, dice, role, home, who), _near(world, dice, "school", home, who, 1.0)
    workable = np.isin(role, [ROLES.index(name) for name in ("office", "tech", "government", "retail", "factory")])
    parent_odds = np.where(workable & (age > 26) & (age < 46), 0.22, 0.0)
    parent_odds[role == ROLES.index("homemaker")] = 0.75
    hobby, favourites = _hobbies(world, dice, tastes, age, home, who)
    # Every fiftieth is silent and every sixty-seventh has left, so that the smallest city has some of both.
    turn = who + int(dice.bits("status", 0)[0] % np.uint64(1000))
    status = np.select([turn % 67 == 0, turn % 50 == 0], [LEFT, SILENT], ACTIVE)
    office = np.isin(role, [ROLES.index(name) for name in ("office", "tech", "government")])
    free_evenings = ~np.isin(role, [ROLES.index(name) for name in ("night", "retail", "hospital", "pupil")])
    fans = (dice.uniform("concert", who) < 0.05 * np.exp(0.8 * tastes[:, TASTES.index("music")])) & (age < 50)
    return People(
        msisdn=numbers_of(dice, who),
        role=role,
        birth_year=days.start.year - age,
        female=female,
        status=status,
        tastes=tastes,
        home=home,
        home_after=np.where(moves, _homes(world, dice, role, town_after, who + count), home),
        move_day=np.where(moves, days.count // 2, days.count),
        work=work,
        six_days=dice.uniform("six", who) < numbers("roles", "six_days")[role],
        seven_days=dice.uniform("seven", who) < numbers("roles", "seven_days")[role],
        parent=dice.uniform("parent", who) < parent_odds,
        school=school,
        exerciser=(role == ROLES.index("senior")) & (dice.uniform("exerciser", who) < 0.65),
        morning_park=_near(world, dice, "park", home, who, 1.0),
        traveller=office & (dice.uniform("traveller", who) < 0.06),
        concert=fans & free_evenings & (status == ACTIVE),
        hobby=hobby,
        favourites=favourites,
        outgoing=np.where(dice.uniform("homebody", who) < 0.12, 0.03, 0.10 + 0.2 * dice.uniform("outgoing", who)),
        quiet=(dice.uniform("quiet", who) < 0.02) | (status == SILENT),
        liveliness=np.clip(0.86 * np.exp(0.16 * dice.normal("lively", who)), 0.5, 1.0),
    )


def _homes(world: World, dice: Dice, role: Ints, town: Ints, who: Ints) -> Ints:
    """Home places: the class by the role's mix, the place near the town."""
    home = np.zeros(len(who), dtype=np.int64)
    for index, row in enumerate(rows("roles")):
        mix = [part.split(":") for part in row["homes"].split()]
        for kind, (code, _) in enumerate(mix):
            mine = np.flatnonzero(role == index)
            mine = mine[dice.choice([float(share) for _, share in mix], "home.class", who[mine]) == kind]
            home[mine] = Chooser(world, [code], 1.2).pick(town[mine], dice.uniform("home", who[mine]))
    return home


def _works(world: World, dice: Dice, role: Ints, home: Ints, who: Ints) -> Ints:
    """Work places within the role's reach of the home's town, NOWHERE for people without work."""
    work = np.full(len(who), NOWHERE, dtype=np.int64)
    for index, row in enumerate(rows("roles")):
        mine = np.flatnonzero(role == index)
        if row["work_classes"] and len(mine):
            chooser = Chooser(world, row["work_classes"].split(), float(row["commute_km"]))
            work[mine] = chooser.pick(world.place_town[home[mine]], dice.uniform("work", who[mine]))
    return work


def _near(world: World, dice: Dice, what: str, home: Ints, who: Ints, reach_km: float) -> Ints:
    classes = {"school": ["edu.school.kinder", "edu.school.primary"], "park": ["lei.green.park"]}[what]
    return Chooser(world, classes, reach_km).pick(world.place_town[home], dice.uniform("near." + what, who))


def _hobbies(world: World, dice: Dice, tastes: Floats, age: Ints, home: Ints, who: Ints) -> tuple[Flags, Ints]:
    """Hobbies caused by tastes (logistic) and, for every kind of leisure, two places near home."""
    kinds = np.arange(len(HOBBIES))
    rarity = numbers("leisure", "rarity")
    taste = np.array([TASTES.index(name) for name in column("leisure", "taste")])
    of_age = (age[:, None] >= numbers("leisure", "age_low")) & (age[:, None] <= numbers("leisure", "age_high"))
    odds = 1.0 / (1.0 + np.exp(-(rarity + 1.4 * tastes[:, taste])))
    hobby = of_age & (dice.uniform("hobby", who[:, None], kinds) < odds)
    favourites = np.zeros((len(who), len(kinds), 2), dtype=np.int64)
    for kind, row in enumerate(rows("leisure")):
        chooser = Chooser(world, row["classes"].split(), 3.0)
        for turn in range(2):
            draw = dice.uniform("favourite", who, kind, turn)
            favourites[:, kind, turn] = chooser.pick(world.place_town[home], draw)
    return hobby, favourites
