"""Judging: equal to the plain reference on any dirt, and every row accounted for."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain import lines
from services.ingest.domain.contract import NUMBER, Judge
from services.ingest.domain.feed import Feed
from services.ingest.domain.reconciliation import Tally
from tests.ingest import reference
from tests.ingest.made import DAY, ZONE, feed_of, patient, shipped

EVERYTHING = feed_of(
    {"name": "who", "type": "msisdn", "required": True},
    {"name": "time", "type": "datetime", "within_period": True},
    {"name": "stamp", "type": "datetime", "layout": "YYYY-MM-DD HH:MM:SS", "after": "time"},
    {"name": "day", "type": "date"},
    {"name": "month", "type": "date", "layout": "YYYYMM"},
    {"name": "number", "type": "int", "least": -5, "most": 1000},
    {"name": "share", "type": "decimal", "most": 1},
    {"name": "code", "type": "code", "required": True, "codes": {"1": 1, "2": 2}},
    {"name": "word", "type": "string", "longest": 6, "pattern": "[^x]*"},
    unique=["who", "word"],
)
GOOD = ["13800000001", "20260901120000", "2026-09-01 12:00:01", "20260901", "202609", "7", "0.5", "1", "中文"]

# Fields that come near to what is allowed, and any dirt beside them.
FIELDS = st.one_of(
    st.sampled_from(
        [
            "", " ", "13800000001", "13800000002", "1380000000", "138000000011", "+8613800000001",
            "20260901000000", "20260901235959", "20260901235960", "20260902000000", "19890416010000",
            "20260230", "20241301", "20240229", "202602", "202613", "18990101", "21000101",
            "2026-09-01 00:00:00", "2026-09-01 12:00:00",
            "2026-9-1 0:0:0", "0", "-5", "-6", "+1", "1e3", "007", "1000", "1001",
            "99999999999999999999", "0.5", ".5", "1.", "1.0", "1.00001", "-0", "1", "2", "3", "x", "中文",
            "汉字\u2028", "é", "abcdefg", '"', "#", "\ufffd", "２",
        ]
    ),
    st.text(st.characters(codec="gb18030", exclude_characters="\n\0"), max_size=8),
)  # fmt: skip
GOOD_ROWS = st.tuples(st.integers(0, 3), st.sampled_from(["", "中", "ab", "|"])).map(
    lambda each: "|".join([f"1380000000{each[0]}", *GOOD[1:-1], each[1]]).encode("gb18030")
)
DIRTY_ROWS = st.lists(FIELDS, min_size=len(GOOD), max_size=len(GOOD)).map(lambda row: "|".join(row).encode("gb18030"))
ONE_WRONG = st.tuples(st.integers(0, len(GOOD) - 1), FIELDS).map(
    lambda each: "|".join([*GOOD[: each[0]], each[1], *GOOD[each[0] + 1 :]]).encode("gb18030")
)
BYTES = st.binary(max_size=30).map(lambda row: row.replace(b"\n", b"").replace(b"\0", b""))
FILES = st.tuples(
    st.lists(st.one_of(GOOD_ROWS, ONE_WRONG, DIRTY_ROWS, BYTES), max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
).map(lambda each: each[1].join(each[0]) + (each[1] if each[2] else b""))


def judged(data: bytes, feed: Feed, period: date, block: int) -> tuple[pl.DataFrame, pl.DataFrame, Tally]:
    """A whole file through the real path, in blocks of so many bytes."""
    judge, tally = Judge(feed, period, ZONE), Tally()
    good, bad = [], []
    blocks = (data[at : at + block] for at in range(0, len(data), block))
    names = [column.name for column in feed.columns]
    for batch in lines.without_head(lines.batches(blocks), header=feed.header):
        split = lines.split(batch, encoding=feed.encoding, delimiter=feed.delimiter, names=names)
        result = judge.judge(split.rows)
        good.append(result.good)
        bad.append(pl.concat([split.broken, result.bad]).sort("line"))
        tally.add(result.good.height, bad[-1])
    none = Judge(feed, period, ZONE).judge(pl.DataFrame(schema={"line": pl.Int32} | dict.fromkeys(names, pl.String)))
    return pl.concat([none.good, *good]), pl.concat([none.bad, *bad]), tally


@settings(patient, max_examples=200)
@given(FILES, st.integers(5, 200))
def test_any_dirt_is_judged_as_the_plain_reference_judges_it(data: bytes, block: int) -> None:
    good, bad, tally = judged(data, EVERYTHING, DAY, block)
    rows, rejects = reference.judge(data, EVERYTHING, DAY, ZONE)
    assert bad.select("line", "column", "reason").rows() == rejects
    assert good.rename({NUMBER: "who"}).to_dicts() == rows if len(rows) else good.is_empty()
    assert tally.loaded + tally.rejected == len(reference.lines_of(data))


def test_the_reference_and_the_rows_of_this_test_are_not_all_bad() -> None:
    rows, rejects = reference.judge("|".join(GOOD).encode("gb18030") + b"\n", EVERYTHING, DAY, ZONE)
    assert len(rows) == 1
    assert not rejects


def test_a_clear_number_within_a_free_text_is_masked() -> None:
    feed = feed_of({"name": "note", "type": "string", "masked": True})
    good, _, _ = judged("请打13912345678，谢谢\n".encode("gb18030"), feed, DAY, 1000)
    assert good["note"].to_list() == ["请打***********，谢谢"]


def test_a_string_without_a_pattern_is_masked_unless_the_contract_says_otherwise() -> None:
    feed = feed_of(
        {"name": "free", "type": "string"},
        {"name": "shaped", "type": "string", "pattern": "[0-9]+"},
        {"name": "kept", "type": "string", "masked": False},
    )
    good, _, _ = judged(b"13912345678 x|13912345678|13912345678\n139123456789|1|1\n", feed, DAY, 1000)
    assert good.rows() == [("*********** x", "13912345678", "13912345678", 1), ("139123456789", "1", "1", 2)]


def test_a_row_whose_event_would_have_a_number_as_its_id_is_rejected() -> None:
    rows = b"T-13912345678|13800000001|P01|open|20260901120000\nT1|13800000001|P01|open|20260901120000\n"
    good, bad, _ = judged(rows, shipped("orders"), DAY, 1000)
    assert good["order_id"].to_list() == ["T1"]
    assert bad.rows() == [(1, "order_id", "CLEAR_NUMBER")]


def test_signalling_becomes_a_cell_id_a_behaviour_and_a_time_in_utc() -> None:
    good, bad, _ = judged(b"13800000001|20260901073000|4|40976|268435455\n", shipped("signalling"), DAY, 1000)
    assert bad.is_empty()
    assert good.columns == [NUMBER, "time", "behaviour", "cell_id", "line"]
    assert good["cell_id"].to_list() == [(40976 << 28) | 268435455]
    assert good["time"].dt.to_string("%FT%TZ").to_list() == ["2026-08-31T23:30:00Z"]
    assert good.schema["behaviour"] == pl.Int8


def test_a_line_may_be_longer_than_a_block_and_a_header_is_no_row() -> None:
    feed = feed_of({"name": "word", "type": "string", "longest": 60000}, header=True, encoding="utf-8")
    good, bad, _ = judged(b"\xef\xbb\xbfword\n" + b"a" * 5000 + b"\nb", feed, DAY, 100)
    assert bad.is_empty()
    assert good["line"].to_list() == [2, 3]


@pytest.mark.parametrize("text", [b"a\r\nb", b"a\nb\r", b"a\nb\n"])
def test_the_bytes_of_a_rejected_line_are_given_as_they_came(text: bytes) -> None:
    assert lines.raw_lines(lines.Batch(text, 7), [8, 7]) == [b"b", b"a"]
