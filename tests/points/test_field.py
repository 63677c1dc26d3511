"""Responsibility fields: shares, remainders, and what changes when a file comes again."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.points.domain.field import WHOLE_BPS, Assignment, Row, changes, parts_at, split, told
from tests.points.made import NOON, ZONE, owned


@st.composite
def shares(draw: st.DrawFn) -> list[int]:
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE_BPS), max_size=6)))
    return sorted((high - low for low, high in zip([0, *cuts], [*cuts, WHOLE_BPS], strict=True)), reverse=True)


@given(st.integers(0, 10**12), shares())
def test_splits_sum_exactly(amount: int, parts: list[int]) -> None:
    assert sum(split(amount, parts)) == amount


@given(st.integers(0, 10**12), shares())
def test_no_part_is_a_milli_point_from_its_exact_share(amount: int, parts: list[int]) -> None:
    for part, got in zip(parts, split(amount, parts), strict=True):
        assert abs(got * WHOLE_BPS - amount * part) < WHOLE_BPS


def test_the_remainder_goes_to_the_largest_shares_first() -> None:
    assert split(100, [3334, 3333, 3333]) == [34, 33, 33]
    assert split(11, [5000, 5000]) == [6, 5]
    assert split(1900, [8100, 1899, 1]) == [1539, 361, 0]  # a share that divides needs none of it


def known(*rows: Row) -> list[Assignment]:
    return [Assignment(number, row, NOON, None) for number, row in enumerate(rows, 1)]


def test_what_nobody_owns_belongs_to_unassigned() -> None:
    parts = parts_at(known(owned(7, "S2", 3000, "support"), owned(7, "S1", 5000)), NOON)
    assert parts is not None
    assert [(part.staff_id, part.share_bps) for part in parts] == [("S1", 5000), ("S2", 3000), ("", 2000)]
    assert parts_at([], NOON) is not None
    assert [part.share_bps for part in parts_at([], NOON) or []] == [WHOLE_BPS]


def test_a_transfer_splits_at_the_instant() -> None:
    rows = known(owned(7, "S1", 10000, since=1, until=15), owned(7, "S2", 10000, since=15))
    instant = datetime(2026, 9, 15, tzinfo=ZONE)
    before, after = parts_at(rows, instant - timedelta(microseconds=1)), parts_at(rows, instant)
    assert before is not None
    assert after is not None
    assert [part.staff_id for part in before] == ["S1"]
    assert [part.staff_id for part in after] == ["S2"]


def test_shares_beyond_the_whole_have_no_parts() -> None:
    assert parts_at(known(owned(7, "S1", 9000), owned(7, "S2", 2000, "support")), NOON) is None


def test_rows_of_one_subject_that_overlap_are_refused_with_the_other_line() -> None:
    rows = [owned(7, "S1", 5000, since=1, until=20), owned(7, "S1", 5000, since=10), owned(7, "S2", 5000, since=10)]
    standing, refused = told(rows)
    assert standing == [rows[0], rows[2]]
    assert refused == [(rows[1], "it overlaps line 71 of delivery F1")]


def test_a_later_file_ends_what_an_earlier_left_open() -> None:
    standing, refused = told([owned(7, "S1", 10000), owned(7, "S1", 10000, until=9), owned(7, "S2", 10000, since=9)])
    assert [(row.staff_id, row.valid_to is None) for row in standing] == [("S1", False), ("S2", True)]
    assert refused == []


def test_a_row_that_ends_before_it_begins_or_has_no_share_is_refused() -> None:
    _, refused = told([owned(7, "S1", 100, since=9, until=9), owned(8, "S1", 10_001), owned(9, "S1", -1)])
    assert len(refused) == 3


_ROWS = st.builds(
    owned, st.integers(1, 3), st.sampled_from(["S1", "S2"]), st.sampled_from([5000, 10000]),
    since=st.integers(1, 12), until=st.sampled_from([0, 13, 14]),
)  # fmt: skip


@given(st.lists(_ROWS), st.lists(_ROWS))
def test_after_the_changes_what_is_known_is_what_was_told(first: list[Row], second: list[Row]) -> None:
    known_rows = dict(enumerate(told(first)[0]))
    wanted = told(second)[0]
    closed, opened = changes(known_rows, wanted)
    now = [row for number, row in known_rows.items() if number not in closed] + opened

    def order(row: Row) -> tuple[object, ...]:
        return (*row.subject, row.valid_from)

    assert all(a.same(b) for a, b in zip(sorted(now, key=order), wanted, strict=True))
    unchanged = [row for row in known_rows.values() if any(row.same(other) for other in wanted)]
    assert len(closed) == len(known_rows) - len(unchanged)
