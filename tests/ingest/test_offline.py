"""What a supplier is told before he sends."""

import re
from pathlib import Path

import pytest

from services.ingest import offline
from tests.ingest.made import FEEDS, drop, text_of

ORDERS = "".join(f"T{row}|1390000000{row}|P01|open|20260901120000\n" for row in range(9))


def check(folder: Path, data: str, name: str = "ORDER_20260901_001.TXT", control: bytes | None = None) -> int:
    drop(folder, name, data.encode("gb18030"), control)
    return offline.check(["--feed", str(FEEDS / "orders.yaml"), str(folder / name)])


def test_a_good_file_is_said_to_be_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, ORDERS) == 0
    assert "9 rows good, 0 bad" in capsys.readouterr().out


def test_a_bad_row_is_named_by_line_and_rule_and_never_by_its_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, ORDERS + "T9|13900000009|P01|13900000009|20260901120000\n") == 1
    said = capsys.readouterr().out
    assert re.search(r"│ 10 +│ action +│ CODE_UNKNOWN +│ action is not one of open, cancel +│", said)
    assert "9 rows good, 1 bad" in said
    assert "13900000009" not in said


@pytest.mark.parametrize(
    ("data", "name", "control", "reason"),
    [
        (ORDERS, "ORDERS.TXT", None, "NAME_UNKNOWN"),
        (ORDERS, "ORDER_20260901_001.TXT", b"", "CONTROL_FILE_MISSING"),
        (ORDERS, "ORDER_20260901_001.TXT", b"x", "CONTROL_FILE_INVALID"),
        ("", "ORDER_20260901_001.TXT", None, "EMPTY_FILE"),
        ("a|b\n", "ORDER_20260901_001.TXT", None, "COLUMNS_MISSING"),
    ],
)
def test_what_would_be_quarantined_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str, name: str, control: bytes | None, reason: str
) -> None:
    assert check(tmp_path, data, name, control) == 1
    assert reason in capsys.readouterr().out


def test_a_definition_that_cannot_be_used_is_a_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "feed.yaml").write_text(text_of(delimiter="??"))
    assert offline.check(["--feed", str(tmp_path / "feed.yaml"), "x"]) == 2
    assert "delimiter" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--feed", "nowhere.yaml", "x"], "nowhere.yaml: No such file"),
        (["--feed", str(FEEDS / "orders.yaml"), "nowhere.TXT"], "nowhere.TXT: No such file"),
        (["--feed", str(FEEDS / "orders.yaml"), "--timezone", "Mars/Sea", str(FEEDS / "orders.yaml")], "Mars/Sea"),
        (["--feed", str(FEEDS / "orders.yaml"), str(FEEDS)], "is no file"),
    ],
)
def test_wrong_usage_is_told_in_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert offline.check(words) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.err.count("\n") == 1
    assert not said.out
