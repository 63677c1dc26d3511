"""Rows become visits and dwell: the compiled kernel against a plain reading of its rules."""

import random
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.place import NOWHERE
from services.portrait.domain.track import DwellDays, Rows, Rules, Visits, follow, joined, lived, stays

MINUTE = 60_000
RULES = Rules(gap_minutes=120, silent_minutes=200, pingpong_minutes=5)
DAYS = 2
BORDERS = np.array(
    [(day * 24 + hour) * 60 * MINUTE for day in range(DAYS) for hour in (0, 6, 9, 12, 14, 18, 21)]
    + [DAYS * 24 * 60 * MINUTE],
    dtype=np.int64,
)


@dataclass(frozen=True)
class Row:
    customer: int
    time: int
    place: int
    line: int


# Short and long pauses, so that flickers, gaps and silences all occur.
pauses = st.sampled_from([0, 1, 2, 4, 5, 6, 30, 119, 120, 121, 199, 200, 201, 400])
tracks = st.lists(st.tuples(pauses, st.integers(-1, 3)), max_size=25)


@st.composite
def signalling(draw: st.DrawFn) -> list[Row]:
    rows = []
    for customer, track in enumerate(draw(st.lists(tracks, min_size=1, max_size=4))):
        time = draw(st.integers(-60, 2000)) * MINUTE
        for line, (pause, place) in enumerate(track):
            time += pause * MINUTE
            rows.append(Row(customer, time, place, line))
    return rows


def day(row: Row) -> int:
    """Which day of the window a row is of; all before it, and all after it, count as one."""
    return bisect_right(BORDERS[::7].tolist(), row.time)


def arrays(rows: list[Row]) -> Rows:
    return Rows(
        np.array([row.customer for row in rows], dtype=np.int32),
        np.array([row.time for row in rows], dtype=np.int64),
        np.array([row.place for row in rows], dtype=np.int32),
        np.array([row.line for row in rows], dtype=np.int32),
    )


def naive(rows: list[Row]) -> tuple[list[tuple[int, ...]], dict[tuple[int, ...], list[int]]]:
    """Visits (customer, place, start, end), and dwell pieces in ms by (customer, place, day, slot)."""
    visits: list[tuple[int, ...]] = []
    pieces: dict[tuple[int, ...], list[int]] = {}
    for customer in sorted({row.customer for row in rows}):
        track = sorted(
            (row for row in rows if row.customer == customer), key=lambda row: (row.time, row.line, row.place)
        )
        stays: list[list[Row]] = []
        for row in track:
            if stays and stays[-1][0].place == row.place and day(stays[-1][0]) == day(row):
                stays[-1].append(row)
            else:
                stays.append([row])
        places, flickered = [], False
        for number, stay in enumerate(stays):
            three = stays[max(number - 1, 0) : number + 2]
            one_day = len({day(one[0]) for one in three}) == 1
            between = len(three) == 3 and three[0][0].place == three[2][0].place and one_day
            short = between and stays[number + 1][0].time - stay[0].time < RULES.pingpong_minutes * MINUTE
            flickered = short and not flickered
            places += [stays[number - 1][0].place if flickered else stay[0].place] * len(stay)
        begin = 0
        for at, row in enumerate(track):
            last = at + 1 == len(track)
            pause = None if last else track[at + 1].time - row.time
            if pause is not None and places[at + 1] == places[at] and pause <= RULES.silent_minutes * MINUTE:
                continue
            near = pause is not None and pause <= RULES.gap_minutes * MINUTE
            end = track[at + 1].time if near else row.time
            if places[at] >= 0 and end > track[begin].time:
                visits.append((customer, places[at], track[begin].time, end))
            begin = at + 1
    for customer, place, start, end in visits:
        for border in range(len(BORDERS) - 1):
            piece = min(end, int(BORDERS[border + 1])) - max(start, int(BORDERS[border]))
            if piece > 0:
                pieces.setdefault((customer, place, border // 7, border % 7), []).append(piece)
    return visits, pieces


def told(visits: Visits) -> list[tuple[int, ...]]:
    return list(
        zip(*(column.tolist() for column in (visits.customer, visits.place, visits.start, visits.end)), strict=True)
    )


def summed(dwell: DwellDays) -> dict[tuple[int, ...], tuple[int, int, int]]:
    keys = zip(*(column.tolist() for column in (dwell.customer, dwell.place, dwell.day, dwell.slot)), strict=True)
    sums = zip(*(column.tolist() for column in (dwell.secs, dwell.visits, dwell.longest)), strict=True)
    found = dict(zip(keys, sums, strict=True))
    assert len(found) == len(dwell.place), "a customer, place, day and slot has one row"
    return found


@given(signalling())
@settings(max_examples=400, deadline=None)
def test_the_kernel_reads_tracks_as_the_rules_say(rows: list[Row]) -> None:
    visits, dwell = follow(arrays(rows), 4, BORDERS, RULES)
    expected, pieces = naive(rows)
    assert told(visits) == expected
    assert summed(dwell) == {key: (sum(each) // 1000, len(each), max(each) // 1000) for key, each in pieces.items()}


@given(signalling(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], shuffle: random.Random) -> None:
    mixed = list(rows)
    shuffle.shuffle(mixed)
    before, after = follow(arrays(rows), 4, BORDERS, RULES), follow(arrays(mixed), 4, BORDERS, RULES)
    assert told(before[0]) == told(after[0])
    assert summed(before[1]) == summed(after[1])


@given(signalling())
@settings(max_examples=150, deadline=None)
def test_days_followed_one_by_one_give_the_same_lives(rows: list[Row]) -> None:
    midnights = BORDERS[::7]
    days = [
        stays(arrays([row for row in rows if day(row) == number]), 4, midnights, RULES)
        for number in range(len(midnights) + 1)
    ]
    apart = lived(joined(days, 4), 4, BORDERS, RULES)
    at_once = follow(arrays(rows), 4, BORDERS, RULES)
    assert told(apart[0]) == told(at_once[0])
    assert summed(apart[1]) == summed(at_once[1])


def test_a_long_track_in_any_order_is_sorted_by_time() -> None:
    rows = [Row(0, minute * MINUTE, minute // 300 % 2, minute) for minute in range(2000)]
    mixed = random.Random(7).sample(rows, len(rows))
    assert told(follow(arrays(mixed), 1, BORDERS, RULES)[0]) == told(follow(arrays(rows), 1, BORDERS, RULES)[0])


def test_rows_of_nobody_are_left_out() -> None:
    rows = arrays([Row(0, 0, 1, 0), Row(0, 30 * MINUTE, 1, 1)])
    visits, _ = follow(Rows(np.array([-1, -1], np.int32), rows.time, rows.place, rows.line), 1, BORDERS, RULES)
    assert not len(visits.place)


def test_nobody_has_no_visits() -> None:
    visits, dwell = follow(arrays([]), 0, BORDERS, RULES)
    assert not len(visits.place)
    assert not len(dwell.place)


def test_a_hop_to_a_neighbour_and_back_is_no_visit() -> None:
    rows = [Row(0, 0, 1, 0), Row(0, 60 * MINUTE, 2, 1), Row(0, 63 * MINUTE, 1, 2), Row(0, 90 * MINUTE, 1, 3)]
    assert told(follow(arrays(rows), 1, BORDERS, RULES)[0]) == [(0, 1, 0, 90 * MINUTE)]


def test_a_departure_by_road_ends_the_visit() -> None:
    rows = [Row(0, 0, 1, 0), Row(0, 40 * MINUTE, NOWHERE, 1), Row(0, 60 * MINUTE, 2, 2), Row(0, 80 * MINUTE, 2, 3)]
    assert told(follow(arrays(rows), 1, BORDERS, RULES)[0]) == [
        (0, 1, 0, 40 * MINUTE),
        (0, 2, 60 * MINUTE, 80 * MINUTE),
    ]
