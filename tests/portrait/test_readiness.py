"""When a window is complete, and what its run is made of."""

import itertools
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import Refusal
from services.kit.jobs import Cancelled, Running
from services.portrait.domain.calendar import Window, parse_calendar
from services.portrait.domain.readiness import (
    Delivery,
    Inputs,
    ReadinessRule,
    inputs_of,
    missing,
    next_window,
    parse_rule,
)
from services.portrait.domain.run import LakeFile
from services.portrait.usecases.inputs import facts_of

FIRST = date(2026, 9, 1)
RULE = ReadinessRule("signalling", {"customers": 1, "bills": 2}, "window", 3)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def signalling(*days: int) -> list[Delivery]:
    return [Delivery("signalling", day(number), 1, f"s{number}") for number in days]


OTHERS = [
    Delivery("customers", day(0), 1, "c"),
    Delivery("bills", day(-60), 1, "b1"),
    Delivery("bills", day(-30), 1, "b2"),
    Delivery("staff", day(0), 1, "x"),
]


def test_a_window_is_complete_with_every_day_and_every_feed() -> None:
    assert missing(RULE, [*signalling(0, 2), *OTHERS[:2]], day(0), day(2)) == ["signalling 2026-09-02", "bills 1 of 2"]
    assert missing(RULE, [*signalling(0, 1, 2), *OTHERS], day(0), day(2)) == []


def test_the_first_complete_window_is_due_at_once_and_the_next_one_a_window_later() -> None:
    known = [*signalling(0, 1, 2), *OTHERS]
    assert next_window(RULE, known, None) == (day(0), day(2))
    assert next_window(RULE, known, day(2)) is None
    assert next_window(RULE, [*known, *signalling(3, 4)], day(2)) is None
    assert next_window(RULE, [*known, *signalling(3, 4, 5)], day(2)) == (day(3), day(5))


def test_with_what_is_shipped_no_month_goes_by_without_a_run() -> None:
    """R001-159: each run becomes a matrix by itself; here a year of daily deliveries, and when its runs end."""
    rule = parse_rule(yaml.safe_load(Path("services/portrait/readiness.yaml").read_text()), 30)
    known = [Delivery(feed, day(-31 * back), 1, f"{feed}{back}") for feed, most in rule.at_least.items()
             for back in range(most)]  # fmt: skip
    ends: list[date] = []
    for number in range(365):
        known += signalling(number)
        window = next_window(rule, known, ends[-1] if ends else None)
        ends += [window[1]] if window else []
    assert {(later - earlier).days for earlier, later in itertools.pairwise([FIRST, *ends])} <= {29, 30}
    assert len({(each.year, each.month) for each in ends}) >= 11


def test_a_day_that_never_comes_does_not_stop_the_next_windows() -> None:
    known = [*signalling(0, 1, 2, 3, 5, 6, 7), *OTHERS]
    assert next_window(RULE, known, day(2)) == (day(5), day(7))


def test_a_month_later_is_the_same_day_or_the_last_one() -> None:
    rule = ReadinessRule("signalling", {}, "month", 1)
    known = [Delivery("signalling", date(2027, 2, number), 1, f"d{number}") for number in (27, 28)]
    assert next_window(rule, known, date(2027, 1, 31)) == (date(2027, 2, 28), date(2027, 2, 28))


@pytest.mark.parametrize(("every", "days"), [("day", 1), ("week", 7)])
def test_windows_may_overlap(every: str, days: int) -> None:
    rule = ReadinessRule("signalling", {}, every, 5)
    known = [Delivery("signalling", day(number), 1, f"d{number}") for number in range(14)]
    assert next_window(rule, known, day(4)) == (day(days), day(4 + days))


def test_inputs_are_the_windows_days_and_what_was_known_by_its_end() -> None:
    known = [
        *signalling(0, 1, 2, 3),
        *OTHERS,
        Delivery("bills", day(9), 1, "later"),
        Delivery("bills", day(0), 1, "empty", 0),
    ]
    found = inputs_of(RULE, known, day(1), day(3))
    assert found.deliveries == {"signalling": ("s1", "s2", "s3"), "customers": ("c",), "bills": ("b1", "b2")}


@given(st.permutations([*signalling(0, 1, 2), *OTHERS]))
def test_the_key_does_not_depend_on_the_order_of_arrival(known: list[Delivery]) -> None:
    key = inputs_of(RULE, known, day(0), day(2)).key("catalogue")
    assert key == inputs_of(RULE, [*signalling(0, 1, 2), *OTHERS], day(0), day(2)).key("catalogue")


def test_the_key_changes_with_a_delivery_the_span_and_the_catalogue() -> None:
    def keyed(deliveries: list[Delivery], first: int = 0, catalogue: str = "c") -> str:
        return inputs_of(RULE, deliveries, day(first), day(2)).key(catalogue)

    known = [*signalling(0, 1, 2), *OTHERS]
    corrected = [Delivery("customers", day(0), 1, "c2"), *known[:3], *known[4:]]
    assert len({keyed(known), keyed(corrected), keyed(known, 1), keyed(known, catalogue="d")}) == 4


def test_a_feed_that_no_window_waits_for_changes_the_inputs_when_it_comes_late() -> None:
    rule = ReadinessRule("signalling", {"customers": 1, "bills": 2}, "window", 3, {"web_logs": 30})
    known = [*signalling(0, 1, 2), *OTHERS]
    assert missing(rule, known, day(0), day(2)) == []
    late = [*known, Delivery("web_logs", day(1), 1, "w"), Delivery("web_logs", day(-40), 1, "long ago")]
    assert rule.reads - rule.feeds == {"web_logs"}
    assert inputs_of(rule, late, day(0), day(2)).deliveries["web_logs"] == ("w",)
    assert inputs_of(rule, late, day(0), day(2)).key("c") != inputs_of(rule, known, day(0), day(2)).key("c")


class Overtaken:
    """A job that is cancelled after some looks; never for None."""

    def __init__(self, looks: int | None) -> None:
        self.looks = looks

    async def progress(self, *_: int, **__: Any) -> None:
        if self.looks == 0:
            raise Cancelled
        self.looks = None if self.looks is None else self.looks - 1


async def test_a_job_whose_input_was_superseded_is_overtaken_and_only_without_newer_inputs_fails() -> None:
    inputs = Inputs(day(0), day(2), {"bills": ("b1", "b2"), "web_logs": ("w1",)})
    there = {"bills": ["b1", "b3"], "web_logs": []}

    async def snapshot(feed: str, _: Inputs) -> list[LakeFile]:
        return [LakeFile(f"file:///{each}", 1, "", -1, day(0), each) for each in there[feed]]

    async def facts(looks: int | None) -> Any:
        return await facts_of(cast(Running, Overtaken(looks)), inputs, snapshot, {"bills"}, 1.0)

    with pytest.raises(Cancelled):
        await facts(1)
    with pytest.raises(Refusal, match="bills b2") as refused:
        await facts(None)
    assert refused.value.reason == "FEEDS_INCOMPLETE"
    there["bills"] = ["b1", "b2", "b3"]
    found = await facts(0)
    assert [file.delivery_id for file in found["bills"]] == ["b1", "b2"]
    assert found["web_logs"] == [], "details are read as far as they are there"


def test_inputs_come_back_from_a_spec() -> None:
    found = inputs_of(RULE, [*signalling(0, 1, 2), *OTHERS], day(0), day(2))
    assert Inputs.of_spec(found.to_spec()) == found


def test_the_shipped_rule_is_sound() -> None:
    rule = parse_rule(yaml.safe_load(Path("services/portrait/readiness.yaml").read_text()), 30)
    assert {"signalling", "customers", "cells", "places", "cell_places", "bills", "orders", "city_events"} <= rule.feeds


@pytest.mark.parametrize(
    "document",
    [[], {}, {"daily": 1, "at_least": {}, "every": "month"}, {"daily": "s", "at_least": {"a": 0}, "every": "month"},
     {"daily": "s", "at_least": {"a": 1}, "every": "year"}],
)  # fmt: skip
def test_a_rule_that_cannot_be_used_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r"expected|none of"):
        parse_rule(document, 30)


def test_the_calendar_knows_the_days_made_up_for() -> None:
    calendar = parse_calendar(Path("services/portrait/calendar.csv").read_text(encoding="utf-8"))
    assert calendar.workday(date(2026, 9, 20))  # a Sunday that is worked
    assert not calendar.workday(date(2026, 9, 25))  # the Mid-Autumn Festival, a Friday
    assert not calendar.workday(date(2025, 10, 8))
    assert calendar.workday(date(2026, 9, 24))
    with pytest.raises(ValueError, match="line 2"):
        parse_calendar("date,kind\n2026-01-01,holiday\n")


def test_the_window_is_cut_at_local_slots() -> None:
    window = Window(FIRST, day(1), "Asia/Shanghai")
    borders = window.borders()
    assert len(borders) == 2 * 7 + 1
    assert borders[0] == 1_788_192_000_000  # 2026-08-31T16:00Z
    assert (borders[1] - borders[0], borders[-1] - borders[-2]) == (6 * 3_600_000, 3 * 3_600_000)
    assert window.local_date(int(borders[7])) == day(1)
