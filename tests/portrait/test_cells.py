"""The map from cells to places: which place, on which day, and what of a cell that serves several."""

from datetime import date

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.calendar import SLOTS, Window
from services.portrait.domain.cells import ALWAYS, FOR_EVER, MapRows, cell_map, index_of, numbers_of, places_of
from services.portrait.domain.place import NOWHERE, Places
from services.portrait.domain.quality import CellRows, Traffic, examine
from services.portrait.domain.shared import KINDS, decide
from services.portrait.lake.mapping import while_there

DAY = 86_400_000
cells = st.integers(0, 2**53)
served = st.tuples(st.integers(-1, 50), st.integers(0, 9), st.integers(0, 30), st.integers(0, 30))


@given(st.dictionaries(cells, st.lists(served, min_size=1, max_size=3), max_size=40), st.lists(cells, max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_cell_is_the_place_that_it_serves_that_day_or_undecided_among_several(
    serves: dict[int, list[tuple[int, int, int, int]]], strangers: list[int]
) -> None:
    flat = [(cell, *each) for cell, rows in serves.items() for each in rows]
    ids = np.array(sorted(serves), dtype=np.int64)
    index = index_of(ids)
    columns = (
        [np.array(column, dtype=np.int64) for column in zip(*flat, strict=True)] if flat else [np.empty(0, int)] * 5
    )
    number = numbers_of(columns[0].astype(np.int64), index)
    rows = MapRows(number, columns[1].astype(np.int32), columns[2].astype(float), columns[3], columns[4])
    known = cell_map(rows, index, len(ids), places=51)
    for day in (0, 7, 30):
        asked = np.array([*serves, *strangers], dtype=np.int64)
        found = places_of(numbers_of(asked, index), np.full(len(asked), day * DAY + 5, np.int64), known).tolist()
        for one, at in zip(asked.tolist(), found, strict=True):
            valid = sorted((-w, p) for p, w, a, b in serves.get(one, ()) if p >= 0 and w > 0 and a <= day <= b)
            if len(valid) < 2:
                assert at == (valid[0][1] if valid else NOWHERE)
            else:
                begin, stop = known.shared.first[at - 51], known.shared.first[at - 50]
                kept = zip(known.shared.weight[begin:stop], known.shared.place[begin:stop], strict=True)
                assert [(-float(weight), int(place)) for weight, place in kept] == valid


def decided(
    rows: list[tuple[int, int]],
    weights: tuple[float, float] = (0.6, 0.4),
    lived_at: tuple[bool, bool] = (False, True),
    hours: np.ndarray | None = None,
) -> list[int]:
    """Rows (minute, place) of one customer from a Friday's noon on; place 2 is a cell that serves the places 0 and 1,
    which are heard at all `hours` alike."""
    time = np.array([minute * 60_000 for minute, _ in rows], dtype=np.int64)
    place = np.array([at for _, at in rows], dtype=np.int32)
    first, candidates = np.array([0, 2], np.int64), np.array([0, 1], np.int32)
    heard = np.ones(len(rows), dtype=np.int32)
    window = Window(date(2026, 9, 4), date(2026, 9, 10), "Asia/Shanghai")
    borders = window.borders() - window.borders()[0] - 12 * 3_600_000
    worked = np.array([True, False, False, True, True, True, True])
    each_alike = np.ones((2, KINDS)) if hours is None else hours
    cells = (first, candidates, np.array(weights), each_alike, np.array(lived_at), borders, worked)
    decide(time, time, heard, place, 5 * 60_000, 2, cells)
    found: list[int] = place.tolist()
    return found


def test_an_undecided_row_is_at_the_heavier_place_when_nothing_else_is_known() -> None:
    assert decided([(0, 2), (30, 2)]) == [0, 0]


def test_a_customer_who_is_heard_at_one_of_the_places_is_there() -> None:
    assert decided([(0, 2), (30, 2), (500, 1)]) == [1, 1, 1]


def test_who_spends_three_nights_in_the_cell_is_where_people_live() -> None:
    nights = [(14 * 60 + 24 * 60 * day, 2) for day in range(3)]
    assert decided(nights) == [1, 1, 1]
    assert decided(nights[:2]) == [0, 0]
    assert decided(nights, lived_at=(True, True)) == [0, 0, 0]
    assert decided([*nights, *((7000 + minute, 0) for minute in range(20))])[:3] == [0, 0, 0], "he works there by night"


def test_when_such_places_are_visited_decides_for_who_is_not_known_at_either() -> None:
    """R001-026: in a cell of an office and of a mall, the hours of working days are the office's."""
    hours = np.full((2, KINDS), 0.05)
    am, eve = SLOTS.index("noon"), SLOTS.index("eve")
    hours[0, [eve, eve + len(SLOTS)]], hours[1, am + len(SLOTS)] = 0.3, 0.3
    day = 24 * 60
    at = [(0, 2), (7 * 60, 2), (day, 2), (day + 7 * 60, 2), (3 * day, 2)]
    between = [row for minute, place in at for row in ((minute, place), (minute + 30, NOWHERE))]
    assert decided(between, hours=hours)[::2] == [1, 0, 0, 0, 1]
    habit = [(5 * day + minute, 0) for minute in range(20)]
    assert decided([*between, *habit], hours=hours)[:10:2] == [0] * 5


def test_a_hop_to_a_cell_of_one_of_the_places_within_minutes_decides_before_habit() -> None:
    rows = [(0, 0), (60, 0), (120, 0), (600, 2), (602, 1), (603, 2), (700, 2)]
    assert decided(rows) == [0, 0, 0, 1, 1, 1, 1]


def test_a_cell_that_is_re_homed_keeps_its_old_place_for_the_old_days() -> None:
    index = index_of(np.array([7], np.int64))
    one = np.ones(2)
    rows = MapRows(
        np.zeros(2, np.int32), np.array([3, 4], np.int32), one, np.array([ALWAYS, 20]), np.array([19, FOR_EVER])
    )
    known = cell_map(rows, index, 1, places=9)
    time = np.array([19 * DAY + 1, 20 * DAY, 25 * DAY], dtype=np.int64)
    assert places_of(np.zeros(3, np.int32), time, known).tolist() == [3, 4, 4]


def test_a_row_of_the_map_counts_only_while_its_cell_is_there() -> None:
    """R001-029: a cell's validity from the feed of cells bounds what it serves."""
    days = (np.full(3, ALWAYS), np.full(3, FOR_EVER))
    rows = (np.array([7, 8, 9]), np.array([0, 1, 2], np.int32), np.ones(3), *days)
    cells = np.array([7, 7, 8])
    told = while_there(rows, cells, np.array([10, 30, ALWAYS]), np.array([20, 40, FOR_EVER]))
    assert told[3].tolist() == [10, ALWAYS, ALWAYS]
    assert told[4].tolist() == [40, FOR_EVER, FOR_EVER]


def test_a_far_row_beside_a_near_one_counts_where_phones_hop_between_the_cell_and_the_far_place() -> None:
    """Three places 4 km apart with two cells each; cell 0, at place 0, is said to serve places 1 and 2 as well."""
    at = np.array([0.0, 0.04, 0.08])
    names = ["P0", "P1", "P2"]
    places = Places(names, names, ["t"] * 3, ["off.biz.tower"] * 3, at, np.zeros(3))
    lon = np.repeat(at, 2) + np.tile([0.0005, 0.001], 3)
    cell, place = np.array([0, 0, 0, *range(1, 6)], np.int32), np.array([0, 1, 2, 0, 1, 1, 2, 2], np.int32)
    rows = CellRows(cell, place, np.full(8, 0.5), lon, np.zeros(6))
    hops = np.array([0], np.int32), np.array([2], np.int32), np.array([4.0])
    found = examine(rows, Traffic(np.ones((6, KINDS)), *hops), places)
    assert found.place.tolist() == [0, 1, NOWHERE, 0, 1, 1, 2, 2]
    assert [(each.cell, each.stated, each.read) for each in found.corrections] == [(0, 2, NOWHERE)]
    assert np.allclose(found.hours.sum(axis=1), 1)
