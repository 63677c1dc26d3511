"""Whether what arrived is what was sent."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain import lines, reconciliation
from services.ingest.domain.delivery import Problem
from services.ingest.domain.feed import Control
from services.ingest.domain.reconciliation import Measured, Stated, Tally
from tests.ingest.made import EVERY_REASON, feed_of, patient

CONTROL = Control(".CHK", "|", ("file_name", "rows", "md5", "bytes"))
MD5 = "0123456789abcdef" * 2
REJECTS = st.lists(st.sampled_from([lines.UNDECODABLE, lines.COLUMN_COUNT, "TYPE_WRONG"]), max_size=60)


def measured(**wrong: object) -> Measured:
    right = {"size": 9, "lines": 3, "md5": MD5, "sha256": "s", "holds_nul": False, "longest_line": 2}
    return Measured(**(right | wrong))  # type: ignore[arg-type]


def test_a_control_file_is_read_as_its_contract_says() -> None:
    stated = reconciliation.read_control(f"A.TXT|3|{MD5.upper()}|9\r\n".encode(), CONTROL)
    assert stated == Stated(rows=3, file_name="A.TXT", bytes=9, md5=MD5)
    assert isinstance(stated, Stated)
    assert reconciliation.compare("A.TXT", measured(), stated, header=False) == []
    assert reconciliation.compare("A.TXT", measured(lines=4), stated, header=True) == []


@patient
@given(st.binary(max_size=60))
def test_no_bytes_whatever_make_reading_a_control_file_fail(content: bytes) -> None:
    said = reconciliation.read_control(content, CONTROL)
    assert isinstance(said, Stated) or said.reason == "CONTROL_FILE_INVALID"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"A.TXT|3|%s|9\nA.TXT|3|%s|9" % (MD5.encode(), MD5.encode()), b"A.TXT|3|%s" % MD5.encode(),
        b"A.TXT|-3|%s|9" % MD5.encode(), b"A.TXT|3|%sz|9" % MD5[:-1].encode(), "Ａ|3|x|9".encode("gb18030"),
        b"A.TXT|" + b"9" * 5000 + b"|x|9",
    ],
)  # fmt: skip
def test_a_control_file_that_says_something_else_is_invalid(content: bytes) -> None:
    said = reconciliation.read_control(content, CONTROL)
    assert isinstance(said, Problem)
    assert said.reason == "CONTROL_FILE_INVALID"


@pytest.mark.parametrize(
    ("wrong", "reasons"),
    [
        ({"size": 8}, ["SIZE_WRONG"]),
        ({"lines": 2}, ["ROW_COUNT_WRONG"]),
        ({"md5": "f" * 32}, ["CHECKSUM_WRONG"]),
        ({"size": 8, "lines": 2, "md5": "f" * 32}, ["SIZE_WRONG", "ROW_COUNT_WRONG", "CHECKSUM_WRONG"]),
    ],
)
def test_every_disagreement_is_told(wrong: dict[str, object], reasons: list[str]) -> None:
    stated = Stated(rows=3, file_name="A.TXT", bytes=9, md5=MD5)
    found = reconciliation.compare("A.TXT", measured(**wrong), stated, header=False)
    assert [problem.reason for problem in found] == reasons


@patient
@given(st.integers(0, 200), REJECTS, st.integers(1, 60))
def test_a_verdict_depends_on_the_counts_alone_and_never_lets_too_many_rejects_pass(
    loaded: int, reasons: list[str], batch: int
) -> None:
    feed = feed_of(rejects={"share": 0.1, "rows": 4})
    tally = Tally()
    tally.add(loaded, pl.DataFrame(schema={"line": pl.Int32, "reason": pl.String}))
    for at in range(0, len(reasons), batch):
        part = reasons[at : at + batch]
        tally.add(0, pl.DataFrame({"line": range(at + 1, at + len(part) + 1), "reason": part}))
    source = loaded + len(reasons)
    assert tally.loaded + tally.rejected == source
    verdict = tally.verdict(feed, source)
    assert (verdict is not None) == (len(reasons) > feed.threshold.allowed(source))
    if verdict is not None:
        expected = "REJECTS_OVER_THRESHOLD"
        if reasons.count(lines.UNDECODABLE) > feed.threshold.allowed(source):
            expected = "ENCODING_BROKEN"
        if 2 * reasons.count(lines.COLUMN_COUNT) > source:
            expected = "COLUMNS_MISSING"
        assert verdict.reason == expected


def test_every_reason_of_a_rejected_row_is_explained_without_its_value() -> None:
    feed = feed_of(
        {"name": "who", "type": "msisdn", "required": True},
        {"name": "count", "type": "int", "least": 1, "most": 5},
        {"name": "floor", "type": "int", "least": 1},
        {"name": "roof", "type": "int", "most": 1},
        {"name": "day", "type": "date"},
        {"name": "code", "type": "code", "codes": ["A", "B"]},
        {"name": "word", "type": "string", "pattern": "x+", "longest": 3},
        unique=["who"],
    )
    for reason in EVERY_REASON:
        for column in feed.columns:
            assert len(reconciliation.explain(feed, column.name, reason)) > 10
    assert reconciliation.explain(feed, "count", "OUT_OF_RANGE") == "count must be at least 1 and at most 5"
    assert reconciliation.explain(feed, "roof", "OUT_OF_RANGE") == "roof must be at most 1"
