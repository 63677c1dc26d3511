"""Tags as data: what the parser refuses, and the compiled engine against a plain reading of the rules."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.anchor import Anchors
from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.dwell import Attendance
from services.portrait.domain.place import Places, kilometres, selected
from services.portrait.domain.tag import CatalogueInvalid, Event, Facts, judge, parse, percentiles_of, plan
from services.portrait.domain.track import DwellDays
from services.portrait.lake import Scan

SHIPPED = Path("services/portrait/catalogue/tags.yaml")
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


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("tag", "path"),
    [
        (flag({"sql": "drop"}), "T1.rule.sql"),
        (flag({"all": []}), "T1.rule.all"),
        (flag({"all": [{"tag": "T1"}, {"maybe": 1}]}), "T1.rule.all[1].maybe"),
        (flag({"dwell": {"place": ["spo.*"]}}), "T1.rule.dwell"),
        (flag({"dwell": {"place": ["zoo.*"], "days_ge": 1}}), "T1.rule.dwell.place"),
        (flag({"dwell": {"place": ["*"], "grade_ge": 2}}), "T1.rule.dwell.grade_ge"),
        (flag({"dwell": {"place": ["*"], "days_ge": "${seldom}"}}), "T1.rule.dwell.days_ge"),
        (flag({"dwell": {"place": ["*"], "days_ge": True}}), "T1.rule.dwell.days_ge"),
        (flag({"dwell": {"place": ["*"], "days_ge": 1, "slots": ["dawn"]}}), "T1.rule.dwell.slots"),
        (flag({"dwell": {"place": ["*"], "days_ge": 1, "window": "90d"}}), "T1.rule.dwell.window"),
        (flag({"anchor": {"role": "club"}}), "T1.rule.anchor.role"),
        (flag({"anchor": {"role": "home", "changed_within": "60d"}}), "T1.rule.anchor.changed_within"),
        (flag({"stat": {"shoe_size": "ge 3"}}), "T1.rule.stat.shoe_size"),
        (flag({"stat": {"age": "about 3"}}), "T1.rule.stat.age"),
        (flag({"stat": {"gender": "ge 3"}}), "T1.rule.stat.gender"),
        (flag({"attend": {"type": ["rave"]}}), "T1.rule.attend.type"),
        (flag({"at_least": {"n": 3, "of": [{"tag": "T1"}]}}), "T1.rule.at_least.n"),
        (flag({"tag": "T9"}), "T1"),
        (flag({"tag": "T1"}), "T1"),
        (flag({"tag": "T1"}, kind="score"), "T1.kind"),
        (flag({"tag": "T1"}, colour="red"), "T1.colour"),
        (flag({"stat": {"age": "ge 3"}}, ttl="soon"), "T1.ttl"),
        ({"code": "T1", "zh": "标", "family": "f", "kind": "value", "from": "top_town(place: [spo.*])"}, "T1.from"),
        ({"code": "T1", "zh": "标", "family": "f", "kind": "enum"}, "T1.cases"),
    ],
)
def test_what_is_not_known_is_refused_with_its_path(tag: dict[str, Any], path: str) -> None:
    with pytest.raises(CatalogueInvalid) as refused:
        parse(document([tag]))
    assert refused.value.path == path


def test_tags_that_look_at_each_other_in_a_circle_are_refused() -> None:
    circle = [flag({"tag": "B"}, "A"), flag({"not": {"tag": "A"}}, "B")]
    with pytest.raises(CatalogueInvalid, match="circle"):
        parse(document(circle))


def test_a_code_is_defined_once() -> None:
    with pytest.raises(CatalogueInvalid, match="twice"):
        parse(document([flag({"stat": {"age": "ge 3"}}), flag({"stat": {"age": "ge 4"}})]))


def test_the_shipped_catalogue_is_sound_and_needs_far_fewer_questions_than_rules() -> None:
    catalogue = parse(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    assert len(catalogue.tags) >= 70
    assert len({tag.family for tag in catalogue.tags}) >= 3
    assert {"RG04", "HU01", "PR19", "BE01", "BK07", "VA01", "CO01"} <= {tag.code for tag in catalogue.tags}
    asked = plan(catalogue, 30)
    assert len(asked.filters) < 30
    assert len(asked.leaves) < 60


# --------------------------------------------------------------------- the compiled engine against a plain reading


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


@st.composite
def cities(draw: st.DrawFn) -> City:
    keys = st.tuples(
        st.integers(0, CUSTOMERS - 1), st.integers(0, 5), st.integers(0, DAYS - 1), st.integers(0, len(SLOTS) - 1)
    )
    rows = []
    for key in draw(st.lists(keys, unique=True, min_size=10, max_size=80)):
        longest = draw(st.sampled_from([60, 1800, 1799, 3600, 7200]))
        rows.append((*key, longest + draw(st.sampled_from([0, 600])), draw(st.integers(1, 3)), longest))
    place = st.integers(-1, 5)
    return City(
        rows=rows,
        anchors={
            role: draw(st.lists(place, min_size=CUSTOMERS, max_size=CUSTOMERS)) for role in ("home", "work", "study")
        },
        attended=draw(
            st.dictionaries(
                st.tuples(st.integers(0, CUSTOMERS - 1), st.integers(0, 2)),
                st.sampled_from([60, 3599, 3600, 9000]),
                max_size=8,
            )
        ),
        age=draw(_column(st.sampled_from([math.nan, 17.0, 18.0, 24.0, 60.0]))),
        gender=draw(_column(st.sampled_from(["", "M", "F"]))),
        arpu=draw(_column(st.sampled_from([math.nan, 0.0, 10.0, 20.0, 55.5]))),
        active=draw(_column(st.booleans())),
    )


def _column(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=CUSTOMERS, max_size=CUSTOMERS)


roles = st.sampled_from(["home", "work", "study"])
selectors = st.lists(
    st.sampled_from(["*", "spo.*", "res.*", "off.biz.tower", "fun.av.ktv", "spo.fit.gym"]), min_size=1, max_size=2
)
metrics = st.dictionaries(
    st.tuples(
        st.sampled_from(
            ["days", "weeks", "visits", "minutes", "places", "minutes_per_day", "days_share", "minutes_share"]
        ),
        st.sampled_from(["ge", "gt", "le", "lt", "eq"]),
    ).map("_".join),
    st.sampled_from([0, 0.25, 0.5, 1, 1, 1, 2, 2, 30, 60, "${often}"]),
    min_size=1,
    max_size=2,
)


@st.composite
def dwells(draw: st.DrawFn) -> dict[str, Any]:
    body: dict[str, Any] = {"place": draw(st.one_of(roles, st.just("any"), selectors)), **draw(metrics)}
    optional = {
        "except": st.lists(st.sampled_from(["home", "work", "spo.fit.gym"]), min_size=1, max_size=2, unique=True),
        "daytype": st.sampled_from(["workday", "weekend", "all"]),
        "slots": st.one_of(st.just("all"), st.lists(st.sampled_from(SLOTS), min_size=1, max_size=3, unique=True)),
        "min_visit": st.sampled_from([0, 1, 30, 60]),
        "window": st.sampled_from(["1d", "5d", "30d", "62d"]),
    }
    for name, strategy in optional.items():
        if draw(st.booleans()):
            body[name] = draw(strategy)
    return {"dwell": body}


anchored = st.one_of(
    st.fixed_dictionaries({"role": roles, "exists": st.booleans()}),
    st.fixed_dictionaries({"role": roles, "class": selectors}),
    st.fixed_dictionaries({"role": roles, "town_in": st.lists(st.sampled_from(["a", "b"]), min_size=1)}),
    st.fixed_dictionaries({"same_town": st.lists(roles, min_size=2, max_size=2)}),
    st.fixed_dictionaries({"distance_km": st.lists(roles, min_size=2, max_size=2), "ge": st.sampled_from([0, 11, 25])}),
).map(lambda body: {"anchor": body})
attends = st.fixed_dictionaries(
    {
        "type": st.lists(st.sampled_from(["concert", "cba", "any_event"]), min_size=1, max_size=1),
        "events_ge": st.integers(0, 2),
        "overlap_ge": st.sampled_from([0, 60]),
        "window": st.sampled_from(["1d", "5d", "365d"]),
    }
).map(lambda body: {"attend": body})
stats = st.dictionaries(
    st.just("age"),
    st.sampled_from(["ge 18", "between 18..24", "null", "ne 17", "lt p50", "gt 0.5 * arpu_3m_avg"]),
    min_size=1,
).map(lambda body: {"stat": body}) | st.sampled_from(
    [{"stat": {"gender": text}} for text in ("eq M", "ne M", "in M|F", "null")]
    + [{"stat": {"arpu_3m_avg": text}} for text in ("ge p80", "le 10", "eq 0")]
)
rules = st.recursive(
    st.one_of(dwells(), anchored, attends, stats, st.sampled_from([{"tag": "E"}, {"tag": {"E": ["young"]}}])),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"all": each}),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"any": each}),
        inner.map(lambda each: {"not": each}),
        st.lists(inner, min_size=2, max_size=3).map(lambda each: {"at_least": {"n": 2, "of": each}}),
    ),
    max_leaves=5,
)
ENUM = {
    "code": "E",
    "zh": "年龄",
    "family": "f",
    "kind": "enum",
    "cases": [
        {"value": "young", "when": {"stat": {"age": "lt 20"}}},
        {"value": "grown", "when": {"stat": {"age": "ge 18"}}},
    ],
}


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
        return _compared(operator, number, bound)

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
        }
        limits = [(key.rpartition("_"), bound) for key, bound in body.items() if key.rpartition("_")[0] in measured]
        return all(
            _compared(operator, measured[metric], 3 if bound == "${often}" else bound)
            for (metric, _, operator), bound in limits
        )

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


def _compared(operator: str, value: float, bound: float) -> bool:
    return {
        "ge": value >= bound, "gt": value > bound, "le": value <= bound, "lt": value < bound, "eq": value == bound,
        "ne": value != bound,
    }[operator]  # fmt: skip


def bearers(city: City, catalogue_document: dict[str, Any]) -> dict[tuple[str, str], list[int]]:
    """Who bears what, by the engine: parser, plan, one DuckDB pass, verdict."""
    catalogue = parse(catalogue_document)
    columns = list(zip(*city.rows, strict=True)) if city.rows else [()] * 7
    dwell = DwellDays(*(np.array(column, dtype=np.int32) for column in columns))
    nothing = np.zeros(CUSTOMERS, dtype=np.int64)
    anchors = {
        role: Anchors(np.array(places, dtype=np.int32), nothing.astype(np.int32), nothing, nothing.astype(np.float64))
        for role, places in city.anchors.items()
    }
    with Scan(dwell, WORKDAYS, plan(catalogue, DAYS), PLACES) as scan:
        leaves, landmarks = scan.answers(anchors, CUSTOMERS)
    pairs = list(city.attended)
    stats = {"age": np.array(city.age), "arpu_3m_avg": np.array(city.arpu), "gender": np.array(city.gender)}
    active = np.array(city.active)
    percentiles = {}
    for name, rank in percentiles_of(catalogue):
        base = stats[name][active & ~np.isnan(stats[name])]
        percentiles[name, rank] = float(np.percentile(base, rank)) if len(base) else math.nan
    facts = Facts(
        customers=CUSTOMERS,
        days=DAYS,
        to_date=TO_DATE,
        dwell=leaves,
        landmarks=landmarks,
        anchors=anchors,
        attendance=Attendance(
            np.array([customer for customer, _ in pairs], dtype=np.int32),
            np.array([event for _, event in pairs], dtype=np.int32),
            np.array(list(city.attended.values()), dtype=np.int64),
        ),
        events=EVENTS,
        columns=stats,
        percentiles=percentiles,
        places=PLACES,
    )
    return {(each.tag.code, each.value): each.bearers.tolist() for each in judge(catalogue, facts)}


@given(cities(), st.lists(dwells(), min_size=4, max_size=12), st.lists(rules, min_size=1, max_size=5))
@settings(max_examples=16, deadline=None)
def test_the_engine_says_what_a_plain_reading_of_the_rules_says(
    city: City, simple: list[dict[str, Any]], composed: list[dict[str, Any]]
) -> None:
    asked = simple + composed
    found = bearers(city, document([ENUM, *(flag(rule, f"T{number}") for number, rule in enumerate(asked))]))
    for number, rule in enumerate(asked):
        expected = [customer for customer in range(CUSTOMERS) if Plain(city, customer).holds(rule)]
        assert found.get((f"T{number}", ""), []) == expected, rule


@given(cities())
@settings(max_examples=15, deadline=None)
def test_a_customer_has_at_most_one_value_of_an_enum_and_it_is_the_first(city: City) -> None:
    found = bearers(city, document([ENUM]))
    expected: dict[str, list[int]] = {"young": [], "grown": []}
    for customer, age in enumerate(city.age):
        if age < 20 or age >= 18:
            expected["young" if age < 20 else "grown"].append(customer)
    assert found == {("E", value): who for value, who in expected.items() if who}


def test_a_landmark_is_the_place_with_most_time_and_the_smaller_id_of_two() -> None:
    rows = [(0, 2, 0, 2, 600, 1, 600), (0, 3, 1, 2, 600, 1, 600), (0, 2, 2, 2, 60, 1, 60), (1, 3, 0, 2, 60, 1, 60)]
    rows.append((1, 2, 0, 2, 60, 1, 60))
    gym = flag({"dwell": {"place": ["spo.*"], "days_ge": 1}}, landmark="spo.*")
    nobody = [-1] * CUSTOMERS
    city = City(rows, dict.fromkeys(("home", "work", "study"), nobody), {}, [1.0] * 5, [""] * 5, [1.0] * 5, [True] * 5)
    catalogue = parse(document([gym]))
    columns = zip(*rows, strict=True)
    with Scan(
        DwellDays(*(np.array(c, dtype=np.int32) for c in columns)), WORKDAYS, plan(catalogue, DAYS), PLACES
    ) as scan:
        none = Anchors(np.array(nobody, np.int32), np.zeros(5, np.int32), np.zeros(5, np.int64), np.zeros(5))
        _, landmarks = scan.answers({"home": none}, CUSTOMERS)
    assert [each.tolist() for each in landmarks.values()] == [[2, 2, -1, -1, -1]]
    assert bearers(city, document([gym])) == {("T1", ""): [0, 1]}
