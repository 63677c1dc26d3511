"""Each need-preference and dynamic-behaviour tag by the shipped rules: a month that earns it, and one that does not."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from services.portrait.domain.anchor import Anchors
from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.dwell import Attendance
from services.portrait.domain.place import Places
from services.portrait.domain.tag import Event, Facts, answers, judge, parse, percentiles_of, plan
from services.portrait.domain.track import DwellDays

SHIPPED = Path("services/portrait/catalogue/tags.yaml")
DAYS, TO_DATE = 30, date(2026, 9, 30)
DATES = [TO_DATE - timedelta(days=DAYS - 1 - day) for day in range(DAYS)]
WORKDAYS = np.array([day.weekday() < 5 for day in DATES])
WORKING, RESTING = np.flatnonzero(WORKDAYS).tolist(), np.flatnonzero(~WORKDAYS).tolist()
CLASSES = (
    "res.house.community", "off.biz.tower", "spo.ball.basketball", "spo.ball.football", "spo.fit.gym", "spo.ball.golf",
    "fun.av.cinema", "fun.av.ktv", "fun.night.bar", "fun.net.cafe", "biz.retail.mall", "food.food.street",
    "svc.job.market", "edu.train.centre", "cul.read.library", "cul.show.museum", "lei.green.park", "biz.market.home",
    "biz.market.digital", "biz.retail.super", "tra.rail.station",
)  # fmt: skip
HOME, WORK = 0, 1
EVENTS = ("cba", "concert", "flower", "jobfair")
Stay = tuple[str, Sequence[int], str, int]
"""Class of a place, days, slot, minutes."""


def at(place: str, days: Sequence[int], slot: str = "eve", minutes: int = 120) -> Stay:
    return place, days, slot, minutes


OFFICE = [at("off.biz.tower", WORKING, slot, 180) for slot in ("am", "pm")]
MONTHS: dict[str, list[Stay]] = {
    "PR01": [at("spo.ball.basketball", [1, 8, 15])],
    "PR02": [at("spo.ball.football", [1, 8, 15])],
    "PR03": [at("spo.fit.gym", [1, 8, 15])],
    "PR04": [at("spo.ball.golf", [1, 8])],
    "PR05": [at("fun.av.cinema", [1, 8, 15])],
    "PR06": [at("fun.av.ktv", [1, 8, 15])],
    "PR07": [at("fun.night.bar", [1, 8, 15], "night")],
    "PR08": [at("fun.net.cafe", [1, 8, 15])],
    "PR09": [at("biz.retail.mall", [1, 8, 15])],
    "PR10": [at("food.food.street", [1, 8, 15, 22], "noon", 60)],
    "PR11": [at("svc.job.market", [1, 8, 15], "am")],
    "PR12": [at("edu.train.centre", [1, 8, 15])],
    "PR13": [at("cul.read.library", [1, 8, 15])],
    "PR14": [at("cul.show.museum", [1, 8], "pm")],
    "PR15": [at("lei.green.park", [1, 8, 15])],
    "PR16": [at("biz.market.home", [1, 8], "pm")],
    "PR17": [at("biz.market.digital", [1, 8], "pm")],
    "BE01": OFFICE,
    "BE02": [at("off.biz.tower", WORKING[:6], "late", 180)],
    "BE03": [*OFFICE, at("spo.fit.gym", WORKING[:4]), at("biz.retail.mall", RESTING[:2], "pm")],
    "BE04": [at("spo.fit.gym", [1, 8, 15]), at("fun.av.ktv", [2, 9, 16]), at("biz.retail.mall", [3, 10, 17])],
    "BE05": [at("spo.fit.gym", [1, 6, 11, 16, 21])],
    "BE06": [*OFFICE, at("tra.rail.station", [1, 8, 15], "early", 45)],
    "BE07": [at("fun.net.cafe", range(12), "night")],
    "BE08": [at("lei.green.park", range(8), "early", 60)],
    "BE09": [*OFFICE, at("off.biz.tower", WORKING[:8], "eve", 150)],
    "BE10": [at("biz.retail.mall", RESTING[:5], "pm")],
    "BE11": [],
    "BE12": [],
    "BE14": [at("tra.rail.station", [1, 8, 15, 22], "early", 45)],
}
ATTENDED = {"PR18": ["cba"], "PR19": ["concert"], "PR20": ["flower"], "BE13": ["cba", "flower"]}
ERRANDS = [("biz.retail.super", range(DAYS), slot, 29) for slot in ("early", "am", "noon", "pm", "eve")]
"""Time out of the house that earns nothing: no visit of it is long enough."""
CODES = [*MONTHS, *ATTENDED]


def told(stays: Sequence[Stay], customer: int) -> dict[tuple[int, ...], int]:
    """Seconds by customer, place, day and slot."""
    return {
        (customer, CLASSES.index(place), day, SLOTS.index(slot)): minutes * 60
        for place, days, slot, minutes in stays
        for day in days
    }


@pytest.fixture(scope="module")
def found() -> dict[str, set[int]]:
    """Who bears which tag: customer n lives the month of CODES[n], the last one runs errands and works nowhere."""
    document: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    document["tags"] = [tag for tag in document["tags"] if tag["code"][:2] in ("PR", "BE") or tag["code"] == "HU14"]
    catalogue = parse(document)
    count = len(CODES) + 1
    nights = [at("res.house.community", range(DAYS), slot, 180) for slot in ("late", "night")]
    spent: dict[tuple[int, ...], int] = {}
    for customer, code in enumerate([*CODES, ""]):
        spent |= told([*nights, *(ERRANDS if code != "BE11" else []), *MONTHS.get(code, [])], customer)
    rows = sorted((*key, secs, 1, secs) for key, secs in spent.items())
    dwell = DwellDays(*(np.array(column, dtype=np.int32) for column in zip(*rows, strict=True)))
    places = Places(
        [f"P{n:02d}" for n in range(len(CLASSES))], list(CLASSES), ["莞城"] * len(CLASSES), list(CLASSES),
        np.linspace(113.0, 113.2, len(CLASSES)), np.full(len(CLASSES), 23.0),
    )  # fmt: skip
    zero, no_work = np.zeros(count, dtype=np.int64), {"PR11", "BE12", ""}

    def anchored(numbers: list[int]) -> Anchors:
        return Anchors(np.array(numbers, np.int32), zero.astype(np.int32), zero, np.ones(count))

    works = [-1 if code in no_work else WORK for code in [*CODES, ""]]
    works[CODES.index("BE12")] = len(CLASSES) - 1  # some twenty kilometres away
    nobody = [-1] * count
    anchors = {"home": anchored([HOME] * count), "work": anchored(works), "study": anchored(nobody)}
    asked = plan(catalogue, DAYS)
    leaves, landmarks = answers(asked, dwell, WORKDAYS, anchors, places, count)
    there = [(CODES.index(code), EVENTS.index(kind)) for code, kinds in ATTENDED.items() for kind in kinds]
    attendance = Attendance(
        np.array([who for who, _ in there], np.int32), np.array([event for _, event in there], np.int32),
        np.full(len(there), 3600, np.int64),
    )  # fmt: skip
    unknown = np.full(count, np.nan)
    columns = dict.fromkeys(("terminal_5g", "dou_mb_1m", "mou_roam_share"), unknown)
    facts = Facts(
        customers=count, days=DAYS, to_date=TO_DATE, dwell=leaves, landmarks=landmarks, anchors=anchors,
        attendance=attendance, events=[Event(kind, TO_DATE - timedelta(days=9)) for kind in EVENTS], columns=columns,
        percentiles=dict.fromkeys(percentiles_of(catalogue), np.nan), places=places,
    )  # fmt: skip
    return {each.tag.code: set(each.bearers.tolist()) for each in judge(catalogue, facts)}


@pytest.mark.parametrize("code", CODES)
def test_who_lives_so_bears_the_tag_and_who_does_not_does_not(found: dict[str, set[int]], code: str) -> None:
    """R001-041, R001-042: every tag of both circles has a customer who gets it and one who does not."""
    assert CODES.index(code) in found[code]
    assert len(CODES) not in found[code]


def test_no_tag_of_the_two_circles_is_left_out() -> None:
    """R001-041, R001-042: the months above are of all of them."""
    tags = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["tags"]
    assert sorted(CODES) == sorted(tag["code"] for tag in tags if tag["family"] in ("需求偏好圈", "动态行为圈"))
