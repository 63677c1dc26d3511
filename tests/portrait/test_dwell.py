"""Grades, attendance, radius and checksum."""

from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.dwell import Checksum, CityEvent, attendance, checksum, grade, radius
from services.portrait.domain.place import Places
from services.portrait.domain.tag import parse
from services.portrait.domain.track import DwellDays, Visits
from tests.portrait.plain import document

PLACES = Places(
    ["P1", "P2", "P3"],
    ["a", "b", "c"],
    ["t", "t", "u"],
    ["res.x"] * 3,
    np.array([113.0, 113.1, 113.2]),
    np.full(3, 23.0),
)


def test_often_is_half_of_the_days_and_a_quarter_of_an_hour_a_day() -> None:
    """R001-034: the bounds are parameters of the catalogue, and what lies on a bound grades as stated."""
    assert grade(np.array(5), np.array(5 * 900), np.array(10)) == 3
    assert grade(np.array(5), np.array(5 * 900 - 1), np.array(10)) == 2
    assert grade(np.array(2), np.array(99999), np.array(10)) == 2
    assert grade(np.array(1), np.array(99999), np.array(10)) == 1
    bounds = {"often": {"days_share_ge": 0.6, "minutes_per_day_ge": 10}, "sometimes": {"days_share_ge": 0.1}}
    stated = parse({**document([]), "grading": bounds}).grading
    told = (stated.often_share, stated.often_minutes, stated.sometimes_share)
    assert [int(grade(np.array(days), np.array(days * 600), np.array(20), *told)) for days in (12, 11, 2, 1)] == [
        3,
        2,
        2,
        1,
    ]


visit_lists = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 50), st.integers(1, 30)), max_size=20
)


@given(visit_lists, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(1, 40)), max_size=4))
@settings(max_examples=200, deadline=None)
def test_attendance_is_the_overlap_of_visits_at_the_place(
    visits: list[tuple[int, int, int, int]], events: list[tuple[int, int, int]]
) -> None:
    columns = [
        [customer, place, start * 60_000, (start + length) * 60_000] for customer, place, start, length in visits
    ]
    customer_, place_, start_, end_ = (np.array([row[at] for row in columns], dtype=np.int64) for at in range(4))
    found = Visits(customer_.astype(np.int32), place_.astype(np.int32), start_, end_)
    held = [
        CityEvent(f"E{number}", "concert", place, start * 60_000, (start + length) * 60_000)
        for number, (place, start, length) in enumerate(events)
    ]
    rows = attendance(found, held, 4)
    told = {(int(c), int(e)): int(s) for c, e, s in zip(rows.customer, rows.event, rows.secs, strict=True)}
    expected: dict[tuple[int, int], int] = {}
    for customer, place, start, end in columns:
        for number, event in enumerate(held):
            overlap = min(end, event.end) - max(start, event.start)
            if place == event.place and overlap > 0:
                expected[customer, number] = expected.get((customer, number), 0) + overlap // 1000
    assert told == expected


def dwell_of(rows: list[tuple[int, ...]]) -> DwellDays:
    columns = zip(*rows, strict=True) if rows else [()] * 7
    return DwellDays(*(np.array(column, dtype=np.int32) for column in columns))


dwell_rows = st.lists(st.tuples(*([st.integers(0, 2)] * 2 + [st.integers(0, 9)] * 5)), unique=True, max_size=12)
KEYS = np.array([7, 8, 15])


@given(dwell_rows, st.randoms(use_true_random=False), st.integers(0, 12))
@settings(max_examples=200, deadline=None)
def test_the_checksum_knows_neither_order_nor_buckets(rows: list[tuple[int, ...]], shuffle: object, cut: int) -> None:
    mixed = list(rows)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    parts = [checksum(dwell_of(part), KEYS, PLACES) for part in (mixed[:cut], mixed[cut:])]
    assert parts[0] + parts[1] == checksum(dwell_of(rows), KEYS, PLACES)


@given(dwell_rows.filter(bool), st.integers(0, 6), st.integers(0, 11))
@settings(max_examples=200, deadline=None)
def test_the_checksum_sees_every_field(rows: list[tuple[int, ...]], field: int, at: int) -> None:
    before = checksum(dwell_of(rows), KEYS, PLACES)
    row = list(rows[at % len(rows)])
    row[field] = (row[field] + 1) % 3 if field < 2 else row[field] + 1
    changed = [tuple(row) if number == at % len(rows) else each for number, each in enumerate(rows)]
    after = checksum(dwell_of(changed), KEYS, PLACES)
    assert before.sha256() != after.sha256()
    assert [each.name for each in fields(Checksum)] == ["rows", "secs", "first", "second"]


def test_the_radius_is_weighted_by_time() -> None:
    still = (0, 0, 0, 0, 100, 1, 100)
    there, back = (1, 0, 0, 0, 100, 1, 100), (1, 2, 0, 1, 100, 1, 100)
    found = radius(dwell_of([still, there, back]), PLACES, 3)
    assert found[0] == 0
    assert 10.1 < found[1] < 10.4  # 0.1 degrees of longitude at 23° north from the middle
    assert np.isnan(found[2])
