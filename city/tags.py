"""The planted tag truth: a part of the tag catalogue's rules, written out by hand and read from noise-free stays."""

from collections.abc import Sequence

import numpy as np

from city.accounts import Statistics
from city.dice import Flags, Floats, Ints
from city.dwell import NONE, Dwell
from city.tables import URBAN_TOWNS, kilometres
from city.world import CityEvent

FLAG_TAGS = (
    "RG04",
    "RG05",
    "RG06",
    "RG07",
    "HU01",
    "HU04",
    "HU06",
    "HU09",
    "HU11",
    "HU12",
    "HU13",
    "HU14",
    "HU15",
    "PR01",
    "PR03",
    "PR05",
    "PR06",
    "PR09",
    "PR10",
    "PR15",
    "PR19",
    "BE01",
    "BE02",
    "BE05",
    "BE12",
    "BK07",
    "CA01",
    "CA03",
    "CO01",
)
ENUM_TAGS = ("BK01", "VA01", "TR01")
_ANCHORS = ("home", "work")
COMMUTE_KM = 12.0


def life_circles(dwell: Dwell, events: Sequence[CityEvent]) -> dict[str, Flags]:
    """The life-circle flags of a block of customers."""
    world = dwell.world
    home, work = dwell.home != NONE, dwell.work != NONE
    urban = np.isin(world.place_town, [world.towns.index(name) for name in URBAN_TOWNS])
    together = home & work & (world.place_town[dwell.home] == world.place_town[dwell.work])
    distance = kilometres(world.lon[dwell.home], world.lat[dwell.home], world.lon[dwell.work], world.lat[dwell.work])
    tags = {
        "RG04": home & urban[dwell.home],
        "RG05": home & ~urban[dwell.home],
        "RG06": together,
        "RG07": home & work & ~together,
        "BE12": home & work & (distance >= COMMUTE_KM),
    }
    return tags | _humanity(dwell) | _preference(dwell, events) | _behaviour(dwell)


def _class_of(dwell: Dwell, anchor: Ints, code: str) -> Flags:
    return np.asarray((anchor != NONE) & (dwell.world.place_class[anchor] == dwell.world.classes.index(code)))


def _humanity(dwell: Dwell) -> dict[str, Flags]:
    schools = ("edu.school.kinder", "edu.school.primary")
    working, factory = dwell.leaf("work"), _class_of(dwell, dwell.work, "ind.make.factory")
    office = dwell.leaf("work", daytype="workday", slots=["am", "pm"])
    campus_day = dwell.leaf(["edu.school.university"], slots=["am", "noon", "pm"])
    campus_night = dwell.leaf(["edu.school.university"], slots=["late", "night"])
    stops = dwell.leaf(["*"], apart=["home"], slots=["am", "noon", "pm"], min_visit=5)
    school_run = dwell.leaf(schools, apart=["work"], daytype="workday", slots=["early", "pm"])
    school_day = dwell.leaf(schools, apart=["work"], daytype="workday")
    exercise = dwell.leaf(["lei.green.park"], slots=["early"])
    runner = (stops.places >= 40) & (dwell.work == NONE)
    return {
        "HU01": _class_of(dwell, dwell.work, "off.biz.tower") & (office.days >= 8),
        "HU04": (campus_day.days >= 8) & (campus_night.days >= 8),
        "HU06": factory & (working.days >= 10) & (working.minutes_per_day >= 240),
        "HU09": _class_of(dwell, dwell.home, "res.house.community"),
        "HU11": _class_of(dwell, dwell.home, "res.house.village"),
        "HU12": _class_of(dwell, dwell.home, "res.house.dorm"),
        "HU13": (school_run.days >= 5) & (school_day.minutes_per_day <= 120) & ~runner,
        "HU14": runner,
        "HU15": (exercise.days >= 8) & (dwell.work == NONE),
    }


def _preference(dwell: Dwell, events: Sequence[CityEvent]) -> dict[str, Flags]:
    def fans(*classes: str, days: int = 3, min_visit: float = 30) -> Flags:
        return np.asarray(dwell.leaf(classes, apart=_ANCHORS, min_visit=min_visit).days >= days)

    concerts = [dwell.overlap(event) >= 60 for event in events if event.type == "concert"]
    return {
        "PR01": fans("spo.ball.basketball"),
        "PR03": fans("spo.fit.gym"),
        "PR05": fans("fun.av.cinema"),
        "PR06": fans("fun.av.ktv"),
        "PR09": fans("biz.retail.mall", "biz.retail.street"),
        "PR10": fans("food.food.street", days=4, min_visit=20),
        "PR15": fans("lei.green.park", "lei.tour.scenic"),
        "PR19": np.any(concerts, axis=0) if concerts else np.zeros(dwell.count, dtype=bool),
    }


def _behaviour(dwell: Dwell) -> dict[str, Flags]:
    am = dwell.leaf("work", daytype="workday", slots=["am"])
    pm = dwell.leaf("work", daytype="workday", slots=["pm"])
    late = dwell.leaf("work", slots=["night", "late"], min_visit=60)
    weekend = dwell.leaf("work", daytype="weekend").days / np.maximum(dwell.observed("weekend"), 1)
    return {
        "BE01": (dwell.work != NONE) & (am.days >= 10) & (pm.days >= 10) & (late.days < 5) & (weekend < 0.35),
        "BE02": dwell.leaf("work", slots=["late"], min_visit=120).days >= 6,
        "BE05": dwell.leaf(["spo.*", "lei.green.park"], apart=_ANCHORS, min_visit=30).days >= 5,
    }


def consumption(stats: Statistics, opted_out: Flags) -> tuple[dict[str, Flags], dict[str, list[str]]]:
    """The static flags and the static enum values (empty text: no value) of all customers."""

    def top(values: Floats, percent: float) -> Flags:
        return np.asarray(values >= _percentile(values, stats.active, percent))

    fee = stats.fee_3m
    flags = {
        "BK07": stats.phone_5g & ~stats.plan_5g,
        "CA01": top(stats.voice_1m, 80),
        "CA03": top(stats.data_1m, 80),
        "CO01": opted_out,
    }
    value = [top(fee, 90), top(fee, 70), top(fee, 30), fee > 0, fee <= 0]
    course = [stats.variation_6m >= 0.5, stats.slope_6m >= 0.05, stats.slope_6m <= -0.05, fee >= 0]
    age = stats.age
    bands = [age < 18, (age >= 18) & (age <= 24), (age >= 25) & (age <= 34), (age >= 35) & (age <= 49), age >= 50]
    values = {
        "BK01": np.select(bands, ["<18", "18-24", "25-34", "35-49", "50+"], ""),
        "VA01": np.select(value, ["高端", "中高端", "中端", "低端", "零值"], ""),
        "TR01": np.select(course, ["波动", "增长", "下降", "稳定"], ""),
    }
    return flags, {code: column.tolist() for code, column in values.items()}


def _percentile(values: Floats, active: Flags, percent: float) -> float:
    base = values[active & ~np.isnan(values)]
    return float(np.percentile(base, percent)) if len(base) else float("inf")
