"""Home, work and study against a plain reading of their rules."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.anchor import AnchorRule, PlaceTime, find
from services.portrait.domain.place import Places, selected
from services.portrait.domain.tag import judge, parse
from tests.portrait.plain import CUSTOMERS, document, flag
from tests.portrait.test_lifetime import facts

PLACES = Places(
    [f"P{number}" for number in range(5)],
    ["n"] * 5,
    ["t"] * 5,
    ["res.house", "res.dorm", "off.tower", "svc.hotel", "fun.ktv"],
    np.zeros(5),
    np.zeros(5),
)
RULES = (
    AnchorRule("home", ("res.*", "svc.hotel"), 2, 60, fallback=("*",), fallback_days_ge=2),
    AnchorRule("work", ("off.*", "svc.hotel"), 2, 30, apart_from=("home",)),
)
spent = st.tuples(st.integers(1, 4), st.sampled_from([600, 3600, 7200, 14_400]), st.booleans())
crowds = st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 4)), spent, max_size=16)


def place_time(crowd: dict[tuple[int, int], tuple[int, int, bool]]) -> PlaceTime:
    rows = [(*key, *value) for key, value in sorted(crowd.items())]
    columns = [np.array([row[at] for row in rows], dtype=np.int64) for at in range(5)]
    customer, place, days, secs, night = columns
    return PlaceTime(
        customer.astype(np.int32),
        place.astype(np.int32),
        days.astype(np.int32),
        secs,
        (days * night).astype(np.int32),
        secs * night,
    )


def plain(crowd: dict[tuple[int, int], tuple[int, int, bool]]) -> dict[str, list[int]]:
    by_customer: dict[int, dict[int, tuple[int, int, bool]]] = defaultdict(dict)
    for (customer, place), value in crowd.items():
        by_customer[customer][place] = value
    found: dict[str, list[int]] = {"home": [], "work": []}
    for customer in range(4):
        for rule in RULES:
            home = found["home"][customer] if rule.apart_from else None
            fits = [
                (-secs, place)
                for place, (days, secs, _) in by_customer[customer].items()
                if selected(PLACES.class_code[place], rule.candidates)
                and place != home
                and days >= rule.days_ge
                and secs >= rule.minutes_per_day_ge * 60 * days
            ]
            if not fits and rule.fallback:
                fits = [
                    (-secs, place)
                    for place, (days, secs, night) in by_customer[customer].items()
                    if night and days >= rule.fallback_days_ge
                ]
            found[rule.role].append(min(fits)[1] if fits else -1)
    return found


@given(crowds)
@settings(max_examples=400, deadline=None)
def test_anchors_are_found_as_the_rules_say(crowd: dict[tuple[int, int], tuple[int, int, bool]]) -> None:
    found = find(RULES, place_time(crowd), PLACES, 4)
    assert {role: anchors.place.tolist() for role, anchors in found.items()} == plain(crowd)
    for anchors in found.values():
        assert ((anchors.confidence >= 0) & (anchors.confidence <= 1)).all()
        assert (anchors.confidence[~anchors.exists] == 0).all()


def test_who_sleeps_by_day_lives_where_he_sleeps() -> None:
    crowd = {(0, 0): (20, 20 * 28_800, False), (0, 2): (20, 20 * 28_000, True)}  # home by day, the office by night
    found = find(RULES, place_time(crowd), PLACES, 1)
    assert (found["home"].place[0], found["work"].place[0]) == (0, 2)


def test_a_rival_place_lowers_the_confidence() -> None:
    alone = find(RULES, place_time({(0, 0): (10, 90_000, True)}), PLACES, 1)["home"].confidence[0]
    rivalled = find(RULES, place_time({(0, 0): (10, 90_000, True), (0, 1): (10, 80_000, True)}), PLACES, 1)["home"]
    assert alone == 1.0
    assert 0.5 < rivalled.confidence[0] < 0.6


def test_whose_cell_is_residential_at_night_lives_there_by_a_rule_that_is_cited() -> None:
    """R000-033: a derivation by reasoning: who stays where people live, night after night, bears the tag."""
    nights = {(0, 0): (8, 8 * 28_800, True), (0, 2): (8, 8 * 28_000, False), (1, 4): (8, 8 * 28_800, True)}
    found = find(RULES, place_time(nights), PLACES, CUSTOMERS)
    rule = parse(document([flag({"anchor": {"role": "home", "class": ["res.house.dorm"]}})]))
    (verdict,) = judge(rule, replace(facts([1] * CUSTOMERS), anchors=found))
    assert verdict.bearers.tolist() == [0]
    assert (verdict.tag.code, verdict.evidence.to_pylist()) == ("T1", ["home=place 0"])
