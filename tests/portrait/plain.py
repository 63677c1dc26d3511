"""Rules of the tag catalogue read word by word for one customer: slow, and as plain as the grammar itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.place import Places, kilometres, selected
from services.portrait.domain.tag import Event

CLASSES = ("res.house.dorm", "off.biz.tower", "spo.fit.gym", "spo.ball.golf", "fun.av.ktv")
TO_DATE = date(2026, 9, 12)
DAYS = 12
WORKDAYS = np.array([(TO_DATE - timedelta(days=DAYS - 1 - day)).weekday() < 5 for day in range(DAYS)])
CUSTOMERS = 5
PLACES = Places(
    place_id=[f"P{number}" for number in range(6)],
    name=[f"place {number}" for number in range(6)],
    town=["a", "b", "a", "c", "b", "a"],
    class_code=[CLASSES[number % 5] for number in range(6)],
    lon=np.linspace(113.0, 113.5, 6),
    lat=np.linspace(22.8, 23.1, 6),
)
EVENTS = [
    Event("concert", TO_DATE),
    Event("cba", TO_DATE - timedelta(days=4)),
    Event("concert", TO_DATE - timedelta(days=9)),
]


def document(tags: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "format": "lct/1",
        "parameters": {"often": 3},
        "place_classes": dict.fromkeys(CLASSES),
        "city_event_types": {"concert": {"lead": 60}, "cba": {}, "any_event": {"union": ["concert", "cba"]}},
        "tags": tags,
    }


def flag(rule: Any, code: str = "T1", **rest: Any) -> dict[str, Any]:
    return {"code": code, "zh": "标签", "family": "family", "kind": "flag", "rule": rule, **rest}


@dataclass(frozen=True)
class City:
    """Facts of five customers, as rows."""

    rows: list[tuple[int, int, int, int, int, int, int]]
    """customer, place, day, slot, secs, visits, longest; one each."""
    anchors: Mapping[str, list[int]]
    attended: Mapping[tuple[int, int], int]
    age: list[float]
    gender: list[str]
    arpu: list[float]
    active: list[bool]


class Plain:
    """Reads a rule node for one customer, word by word."""

    def __init__(self, city: City, customer: int) -> None:
        self.city, self.customer = city, customer

    def holds(self, node: dict[str, Any]) -> bool:
        ((kind, body),) = node.items()
        if kind == "all":
            return all(self.holds(each) for each in body)
        if kind == "any":
            return any(self.holds(each) for each in body)
        if kind == "not":
            return not self.holds(body)
        if kind == "at_least":
            return sum(self.holds(each) for each in body["of"]) >= int(body["n"])
        return bool(getattr(self, kind)(body))

    def tag(self, body: Any) -> bool:
        age = self.city.age[self.customer]
        value = "young" if age < 20 else "grown" if age >= 18 else ""
        return value != "" if body == "E" else value in body["E"]

    def anchor(self, body: dict[str, Any]) -> bool:
        def place(role: str) -> int:
            return self.city.anchors[role][self.customer]

        if "same_town" in body or "distance_km" in body:
            here, there = (place(role) for role in body.get("same_town") or body["distance_km"])
            if min(here, there) < 0:
                return False
            if "same_town" in body:
                return PLACES.town[here] == PLACES.town[there]
            ends = [np.array(column[at]) for at in (here, there) for column in (PLACES.lon, PLACES.lat)]
            return bool(kilometres(*ends) >= body["ge"])
        here = place(body["role"])
        if "exists" in body:
            return (here >= 0) is bool(body["exists"])
        if "class" in body:
            return here >= 0 and selected(PLACES.class_code[here], body["class"])
        return here >= 0 and PLACES.town[here] in list(body["town_in"])

    def attend(self, body: dict[str, Any]) -> bool:
        kinds = ["concert", "cba"] if body["type"] == ["any_event"] else body["type"]
        count = 0
        for number, event in enumerate(EVENTS):
            secs = self.city.attended.get((self.customer, number))
            recent = (TO_DATE - event.date).days < int(body["window"][:-1])
            count += secs is not None and event.type in kinds and recent and secs >= body["overlap_ge"] * 60
        return count >= int(body["events_ge"])

    def stat(self, body: dict[str, str]) -> bool:
        return all(self._compare(name, text) for name, text in body.items())

    def _compare(self, name: str, text: str) -> bool:
        words = {"gender": self.city.gender}
        if name in words:
            value = words[name][self.customer]
            if text == "null":
                return value == ""
            operator, operand = text.split(" ", 1)
            if value == "":
                return False
            return {"eq": value == operand, "ne": value != operand, "in": value in operand.split("|")}[operator]
        column = {"age": self.city.age, "arpu_3m_avg": self.city.arpu}[name]
        number = column[self.customer]
        if text == "null":
            return math.isnan(number)
        operator, operand = text.split(" ", 1)
        if operator == "between":
            low, high = operand.split("..")
            return float(low) <= number <= float(high)
        if operand.startswith("p"):
            base = [each for each, on in zip(column, self.city.active, strict=True) if on and not math.isnan(each)]
            bound = float(np.percentile(base, int(operand[1:]))) if base else math.nan
        elif "*" in operand:
            bound = float(operand.split(" * ")[0]) * self.city.arpu[self.customer]
        else:
            bound = float(operand)
        if math.isnan(number) or math.isnan(bound):
            return False
        return compared(operator, number, bound)

    def dwell(self, body: dict[str, Any]) -> bool:
        slots = SLOTS if body.get("slots", "all") == "all" else body["slots"]
        window = min(int(body.get("window", "30d")[:-1]), DAYS)
        seen = [
            row
            for row in self.city.rows
            if row[0] == self.customer
            and (body.get("daytype", "all") == "all" or WORKDAYS[row[2]] == (body["daytype"] == "workday"))
            and row[2] >= DAYS - window
        ]
        in_slots = [row for row in seen if SLOTS[row[3]] in slots]
        found = [row for row in in_slots if self._at(row[1], body) and row[6] >= body.get("min_visit", 0) * 60]
        days, secs = {row[2] for row in found}, sum(row[4] for row in found)
        first = (TO_DATE - timedelta(days=DAYS - 1)).weekday()
        measured = {
            "days": len(days),
            "weeks": len({(first + day) // 7 for day in days}),
            "visits": sum(row[5] for row in found),
            "minutes": secs / 60,
            "places": len({row[1] for row in found}),
            "minutes_per_day": secs / 60 / max(len(days), 1),
            "days_share": len(days) / max(len({row[2] for row in seen}), 1),
            "minutes_share": secs / max(sum(row[4] for row in in_slots), 1),
            "grade": max(
                [self._grade(found, place, len({row[2] for row in seen})) for place in {r[1] for r in found}], default=0
            ),
        }
        limits = [(key.rpartition("_"), bound) for key, bound in body.items() if key.rpartition("_")[0] in measured]
        return all(
            compared(operator, measured[metric], 3 if bound == "${often}" else bound)
            for (metric, _, operator), bound in limits
        )

    def _grade(self, found: Sequence[tuple[int, ...]], place: int, observed: int) -> int:
        days = {row[2] for row in found if row[1] == place}
        minutes = sum(row[4] for row in found if row[1] == place) / 60 / len(days)
        share = len(days) / observed
        return 3 if share >= 0.5 and minutes >= 15 else 2 if share >= 0.2 else 1

    def _at(self, place: int, body: dict[str, Any]) -> bool:
        anchors = {role: places[self.customer] for role, places in self.city.anchors.items()}
        wanted = body["place"]
        if isinstance(wanted, str) and wanted in anchors:
            chosen = place == anchors[wanted]
        else:
            chosen = selected(PLACES.class_code[place], ["*"] if wanted == "any" else wanted)
        for word in body.get("except", []):
            chosen &= place != anchors[word] if word in anchors else not selected(PLACES.class_code[place], [word])
        return chosen


def compared(operator: str, value: float, bound: float) -> bool:
    return {
        "ge": value >= bound, "gt": value > bound, "le": value <= bound, "lt": value < bound, "eq": value == bound,
        "ne": value != bound,
    }[operator]  # fmt: skip
