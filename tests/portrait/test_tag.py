"""The tag engine (parser, plan, one compiled pass, verdict) against a plain reading of the rules, and in SQL."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.anchor import Anchors
from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.dwell import Attendance
from services.portrait.domain.tag import Facts, answers, judge, parse, percentiles_of, plan
from services.portrait.domain.track import DwellDays
from tests.fixtures.counts import seeds
from tests.portrait.plain import CUSTOMERS, DAYS, EVENTS, PLACES, TO_DATE, WORKDAYS, City, Plain, document, flag
from tests.portrait.shadow import Scan


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
            ["days", "weeks", "visits", "minutes", "places", "minutes_per_day", "days_share", "minutes_share", "grade"]
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


def bearers(city: City, catalogue_document: dict[str, Any]) -> dict[tuple[str, str], list[int]]:
    """Who bears what, by the engine: parser, plan, one compiled pass, verdict; its questions answered in SQL, too."""
    catalogue = parse(catalogue_document)
    columns = list(zip(*sorted(city.rows), strict=True)) if city.rows else [()] * 7
    dwell = DwellDays(*(np.array(column, dtype=np.int32) for column in columns))
    nothing = np.zeros(CUSTOMERS, dtype=np.int64)
    anchors = {
        role: Anchors(np.array(places, dtype=np.int32), nothing.astype(np.int32), nothing, nothing.astype(np.float64))
        for role, places in city.anchors.items()
    }
    asked = plan(catalogue, DAYS)
    leaves, landmarks = answers(asked, dwell, WORKDAYS, anchors, PLACES, CUSTOMERS)
    with Scan(dwell, WORKDAYS, asked, PLACES) as scan:
        told, shown = scan.answers(anchors, CUSTOMERS)
    for leaf, facts_ in told.items():
        for name in ("day_bits", "secs", "visits", "places"):
            assert getattr(leaves[leaf], name).tolist() == getattr(facts_, name).tolist(), (leaf, name)
    assert {each: at.tolist() for each, at in landmarks.items()} == {each: at.tolist() for each, at in shown.items()}
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


@pytest.mark.timeout(900)  # a thousand examples on a busy machine
@given(cities(), st.lists(dwells(), min_size=4, max_size=12), st.lists(rules, min_size=1, max_size=5))
@settings(max_examples=len(seeds(16, 1000)), deadline=None)
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


def judged(rule: dict[str, Any], **columns: list[Any]) -> list[tuple[int, tuple[str, ...]]]:
    """Who of a few customers, known by their columns alone, bears the tag of the rule, and what it is a hint of."""
    catalogue = parse(document([flag(rule, hint=["20元短信套餐"])]))
    known = {name: np.array(values) for name, values in columns.items()}
    none = np.zeros(0, dtype=np.int32)
    attended = Attendance(none, none, none.astype(np.int64))
    people = len(next(iter(columns.values())))
    facts = Facts(people, DAYS, TO_DATE, {}, {}, {}, attended, EVENTS, known, {}, PLACES)
    return [(who, each.tag.hint) for each in judge(catalogue, facts) for who in each.bearers.tolist()]


def test_who_uses_more_than_his_bundle_holds_is_listed_with_the_bundle_meant_for_him() -> None:
    """R002-022: more than 300 messages a month, and the bundle of 20 yuan not held."""
    rule = {"all": [{"stat": {"sms_mo_1m": "gt 300"}}, {"not": {"stat": {"plan_code": "eq SMS20"}}}]}
    found = judged(rule, sms_mo_1m=[301.0, 900.0, 450.0, 300.0], plan_code=["", "SMS20", "SMS10", ""])
    assert found == [(0, ("20元短信套餐",)), (2, ("20元短信套餐",))]


def test_who_opened_a_service_and_was_not_heard_for_so_many_days_is_silent() -> None:
    """R002-053: the rule of silence, to the day; whoever never opened it is not meant."""
    rule = {"all": [{"stat": {"product_music": "eq true"}}, {"stat": {"silent_days": "ge 30"}}]}
    found = judged(rule, product_music=[1.0, 1.0, 0.0, 1.0], silent_days=[29.0, 30.0, 90.0, 61.0])
    assert [who for who, _ in found] == [1, 3]


def test_who_was_at_the_event_long_enough_bears_its_tag() -> None:
    """R001-050: presence at the place within the window of the event, for the least time that the rule states."""
    nobody = dict.fromkeys(("home", "work", "study"), [-1] * CUSTOMERS)
    attended = {(0, 0): 3600, (1, 0): 3599, (2, 1): 9000}  # 0 and 2 are concerts, 1 a match
    city = City([], nobody, attended, [1.0] * 5, [""] * 5, [1.0] * 5, [True] * 5)
    fan = flag({"attend": {"type": ["concert"], "events_ge": 1, "overlap_ge": 60, "window": "365d"}})
    assert bearers(city, document([fan])) == {("T1", ""): [0]}


def test_a_landmark_is_the_place_with_most_time_and_the_smaller_id_of_two() -> None:
    """R001-046: the key building of a tag is the place of its classes where a customer dwelt most."""
    rows = [(0, 2, 0, 2, 600, 1, 600), (0, 3, 1, 2, 600, 1, 600), (0, 2, 2, 2, 60, 1, 60), (1, 3, 0, 2, 60, 1, 60)]
    rows.append((1, 2, 0, 2, 60, 1, 60))
    gym = flag({"dwell": {"place": ["spo.*"], "days_ge": 1}}, landmark="spo.*")
    nobody = [-1] * CUSTOMERS
    city = City(rows, dict.fromkeys(("home", "work", "study"), nobody), {}, [1.0] * 5, [""] * 5, [1.0] * 5, [True] * 5)
    catalogue = parse(document([gym]))
    columns = zip(*rows, strict=True)
    dwell = DwellDays(*(np.array(c, dtype=np.int32) for c in columns))
    none = Anchors(np.array(nobody, np.int32), np.zeros(5, np.int32), np.zeros(5, np.int64), np.zeros(5))
    _, landmarks = answers(plan(catalogue, DAYS), dwell, WORKDAYS, {"home": none}, PLACES, CUSTOMERS)
    assert [each.tolist() for each in landmarks.values()] == [[2, 2, -1, -1, -1]]
    assert bearers(city, document([gym])) == {("T1", ""): [0, 1]}
