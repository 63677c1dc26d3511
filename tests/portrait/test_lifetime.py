"""How a tag outlives the run that gave it: kept by looser bounds, carried until it expires, refuted by an anchor."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from services.portrait.domain.anchor import Anchors, ties
from services.portrait.domain.calendar import Window
from services.portrait.domain.dwell import Attendance
from services.portrait.domain.tag import Earlier, Facts, judge, parse, place_time
from services.portrait.domain.tag.verdict import Verdict
from services.portrait.domain.track import DwellDays
from tests.portrait.plain import CUSTOMERS, DAYS, PLACES, TO_DATE, document, flag

TODAY = (TO_DATE - type(TO_DATE)(1970, 1, 1)).days
NOBODY = np.full(CUSTOMERS, -1, dtype=np.int32)
ZERO = np.zeros(CUSTOMERS, dtype=np.int64)


def facts(age: list[float], home: list[int] | None = None, moved: list[int] | None = None) -> Facts:
    place = np.array(home, dtype=np.int32) if home is not None else NOBODY
    none = np.empty(0, dtype=np.int32)
    dwell = DwellDays(none, none, none, none, none, none, none)
    return Facts(
        customers=CUSTOMERS, days=DAYS, to_date=TO_DATE, dwell={}, landmarks={},
        anchors={"home": Anchors(place, ZERO.astype(np.int32), ZERO, np.full(CUSTOMERS, 0.9))},
        attendance=Attendance(none, none, none.astype(np.int64)), events=[],
        columns={"age": np.array(age, dtype=float)}, percentiles={}, places=PLACES,
        place_time=place_time(dwell, CUSTOMERS),
        moved_days={"home": np.array(moved)} if moved is not None else {},
    )  # fmt: skip


def before(bearers: list[int], expires_in: int = 30) -> dict[tuple[str, str], Earlier]:
    count = len(bearers)
    days = np.full(count, TODAY - 40), np.full(count, TODAY + expires_in)
    told = Earlier(np.array(bearers), *days, np.full(count, 0.7), ["as of then"] * count, np.full(count, 2, np.int32))
    return {("T1", ""): told}


def one(tag: dict[str, Any], known: Facts, earlier: Any = None) -> Verdict:
    found = judge(parse(document([tag])), known, earlier)
    return found[0] if found else replace(_nobody(), tag=parse(document([tag])).tags[0])


def _nobody() -> Verdict:
    none = np.empty(0, dtype=np.int64)
    tag = parse(document([flag({"stat": {"age": "ge 1"}})])).tags[0]
    return Verdict(tag, "", none, [], none.astype(np.int32), none.astype(float), none, none)


ADULT = flag({"stat": {"age": "ge 20"}}, hysteresis=0.8, ttl="75d")


def test_a_bearer_keeps_a_flag_down_to_the_looser_bound_and_since_when_he_has_it() -> None:
    known = facts([20, 16, 15.9, 16, 50])
    found = one(ADULT, known, before([0, 1, 2], expires_in=1))
    assert found.bearers.tolist() == [0, 1, 2, 4]  # 2 is carried: it is not confirmed, but has not expired
    assert (found.expire_day - TODAY).tolist() == [75, 75, 1, 75]
    assert (found.from_day - TODAY).tolist() == [-40, -40, -40, 0]
    assert found.evidence.to_pylist()[2] == "as of then"


def test_what_has_expired_is_lost_and_keeps_nothing() -> None:
    known = facts([16, 15, 16, 16, 50])
    assert one(ADULT, known, before([0, 1], expires_in=0)).bearers.tolist() == [4]


def test_below_a_not_the_bound_is_looser_the_other_way() -> None:
    young = flag({"not": {"stat": {"age": "ge 20"}}}, hysteresis=0.8)
    known = facts([24, 26, 19, 24, 30])
    assert one(young, known, before([0, 1], expires_in=1)).bearers.tolist() == [0, 1, 2]  # 24 < 20 / 0.8; 1 is carried
    assert one(young, known).bearers.tolist() == [2]


def test_an_anchor_that_says_otherwise_refutes_what_would_be_carried() -> None:
    lives = flag({"anchor": {"role": "home", "class": ["res.house.dorm"]}}, hysteresis=0.8)
    home = [1, -1, 0, 1, -1]  # place 0 is a dorm
    found = one(lives, facts([1] * 5, home), before([0, 1, 2]))
    assert found.bearers.tolist() == [1, 2]
    assert found.score.tolist() == pytest.approx([0.7, 0.9])  # as sure as it was; as sure as the anchor


def test_a_new_value_takes_the_place_of_an_old_one() -> None:
    band = {"code": "T1", "zh": "t", "family": "f", "kind": "enum", "cases": [
        {"value": "a", "when": {"stat": {"age": "lt 20"}}}, {"value": "b", "when": {"stat": {"age": "ge 20"}}},
    ]}  # fmt: skip
    earlier = {("T1", "a"): before([0, 1])["T1", ""]}
    found = judge(parse(document([band])), facts([30, np.nan, 10, 10, 30]), earlier)
    assert {each.value: each.bearers.tolist() for each in found} == {"a": [1, 2, 3], "b": [0, 4]}


def test_a_score_is_the_weighted_share_of_what_holds() -> None:
    keen = flag({}, kind="score", least=0.5, hysteresis=0.8)
    del keen["rule"]
    keen["score"] = [{"when": {"stat": {"age": "ge 18"}}, "weight": 3}, {"when": {"stat": {"age": "ge 60"}}}]
    keen["score"].append({"when": {"stat": {"age": "lt 10"}}, "weight": 2})
    found = one(keen, facts([18, 60, 5, 12, np.nan]))
    assert found.bearers.tolist() == [0, 1]
    assert found.score.tolist() == pytest.approx([0.5, 4 / 6])


def test_who_moved_lately_is_told_by_the_run_before() -> None:
    """LC03: an anchor that came to another place within so many days."""
    window = Window(TO_DATE - timedelta(days=DAYS - 1), TO_DATE, "Asia/Shanghai")
    home = {"home": Anchors(np.array([1, 1, 2, -1, 3], np.int32), ZERO.astype(np.int32), ZERO, np.ones(CUSTOMERS))}
    was = {"home": np.array(["P1", "P0", "", "P1", "P3"], dtype=object)}
    since, moved = {"home": np.full(5, TODAY - 90)}, {"home": np.array([-1, -1, -1, -1, TODAY - 70])}
    tie = ties(home, PLACES.place_id, window, was, since, moved)["home"]
    assert (tie.moved_day - TODAY)[[1, 4]].tolist() == [0, -70]
    assert tie.moved_day[[0, 2, 3]].tolist() == [-1, -1, -1]
    assert (tie.since_day - TODAY).tolist() == [-90, 0, -(DAYS - 1), -(DAYS - 1), -90]
    days = np.where(tie.moved_day >= 0, TODAY - tie.moved_day, -1)
    rule = flag({"anchor": {"role": "home", "changed_within": "60d", "confidence_ge": 0.7}})
    known = facts([1] * 5, home["home"].place.tolist(), days.tolist())
    assert one(rule, known).bearers.tolist() == [1]
