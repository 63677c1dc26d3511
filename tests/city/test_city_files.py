"""The operator files: what a landing folder gets."""

import hashlib
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from city.__main__ import main
from city.files import PREFIX, CityError, Dirt, FeedFile
from city.generate import found
from city.tables import TASTES
from tests.city.made import Made, make

COLUMNS = {
    "ORG": 4, "STAFF": 5, "CELL": 7, "PLACE": 6, "CELLPLACE": 4, "PRODUCT": 7, "CUST": 10, "BILL": 6, "ORDER": 5,
    "CONSENT": 5, "CITYEVT": 6, "FIELD": 6, "SIGNAL": 5, "BIZEVT": 9, "PLACECLASS": 6, "MAPLAYER": 9, "VGOP": 5,
    "PRODACT": 7, "COMPLAINT": 10, "TERMCHG": 6, "RECHARGE": 6, "CALL": 9, "DATA": 11, "WEBLOG": 8, "APPLOG": 9,
    "CLASSLINE": 3, "PLAN": 5, "TERMINAL": 3, "AGREE": 5,
}  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "city", *arguments], capture_output=True, text=True, check=False)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_same_arguments_give_the_same_bytes(city: Made, tmp_path: Path) -> None:
    again = make(tmp_path)
    assert contents(again.files) == contents(city.files)
    assert contents(again.truth) == contents(city.truth)


def test_another_seed_gives_another_city(city: Made, tmp_path: Path) -> None:
    other = make(tmp_path, customers=50, days=1, seed=8)
    assert other.rows("CUST_20260901_001.TXT")[0] != city.rows("CUST_20260901_001.TXT")[0]


def test_every_file_has_a_control_file_that_agrees(city: Made) -> None:
    texts = sorted(city.files.glob("*.TXT"))
    assert len(texts) == len(city.manifest["files"]) == 45 + city.order.days
    for path in texts:
        data = path.read_bytes()
        rows, digest = data.count(b"\n"), hashlib.md5(data).hexdigest()
        assert path.with_suffix(".CHK").read_text("ascii") == f"{path.name}|{rows}|{digest}|{len(data)}\n"
    assert {path.suffix for path in city.files.iterdir()} == {".TXT", ".CHK"}


def test_rows_have_the_columns_of_their_feed_unless_planted_otherwise(city: Made) -> None:
    for prefix, columns in COLUMNS.items():
        for name in city.names(prefix):
            assert city.clean(name), f"{name} is empty"
            assert {len(row) for row in city.clean(name)} == {columns}, name


def test_names_are_chinese_in_gb18030_and_not_in_utf8(city: Made) -> None:
    data = (city.files / "PLACE_20260901_001.TXT").read_bytes()
    assert re.search("[一-龥]", data.decode("gb18030"))
    with pytest.raises(UnicodeDecodeError):
        data.decode("utf-8")


def test_dirty_rows_stand_exactly_where_the_manifest_says(city: Made) -> None:
    planted = {name: file["dirty"] for name, file in city.manifest["files"].items() if file["dirty"]}
    assert sum(map(len, planted.values())) == 30
    assert all(file["rejects"] == len(file["dirty"]) for file in city.manifest["files"].values())
    for name, dirty in planted.items():
        rows, columns = city.rows(name), COLUMNS[name.split("_")[0]]
        for row in dirty:
            good, bad = rows[0], rows[row["line"] - 1]
            broken = [number for number in range(columns) if good[number] != bad[number]]
            if row["reason"] == "wrong_column_count":
                assert (len(bad), broken) == (columns + 1, [])
            else:
                assert len(bad) == columns
                assert len(broken) == 1
                assert bad[broken[0]] == "" or row["reason"] != "empty_required"


def test_clean_rows_hold_none_of_what_was_planted_as_dirt(city: Made) -> None:
    for name in city.names("SIGNAL"):
        rows = city.clean(name)
        assert all(len(row[0]) == 11 and row[2] in "12345" and len(row[4]) == 9 for row in rows)
        assert {row[1][:8] for row in rows} == {name.split("_")[1]}
        assert all(row[1][8:] < "240000" for row in rows)


def test_numbers_are_plausible_and_unique(city: Made) -> None:
    numbers = [row[0] for row in city.clean("CUST_20260901_001.TXT")]
    assert len(set(numbers)) == len(numbers) == 300
    assert all(re.fullmatch(r"1[3-9]\d{9}", number) for number in numbers)


def test_a_file_that_fails_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    def fail() -> None:
        with FeedFile(tmp_path, "orders", date(2026, 9, 1)) as file:
            file.write(b"a|b\n", 1)
            raise CityError("no more")

    with pytest.raises(CityError):
        fail()
    assert not list(tmp_path.iterdir())


def test_dirt_comes_at_the_end_of_a_file_that_is_too_short(tmp_path: Path) -> None:
    with FeedFile(tmp_path, "orders", date(2026, 9, 1), 1, [Dirt("x", 0, b"")] * 2) as file:
        file.write(b"a|b\nc|d\n", 2)
        delivered = file.deliver()
    assert [row.line for row in delivered.dirty] == [3, 4]
    assert (tmp_path / delivered.name).read_bytes() == b"a|b\nc|d\n|b\n|b\n"


def test_prefixes_are_unique() -> None:
    assert len(set(PREFIX.values())) == len(PREFIX) == 30


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--customers", "0", "--days", "400", "--out", "x"), "--customers must be 1..2000000, not 0; --days"),
        (("--customers", "10", "--out", "x", "--truth", "x/truth"), "--truth must not lie in --out"),
        (("--customers", "ten", "--out", "x"), "invalid int value: 'ten'"),
        (("--customers", "10"), "required: --out"),
        (("answer", "--handover", "nowhere", "--truth", "x", "--out", "y"), "no OCRM_CONTACT_"),
    ],
)
def test_wrong_arguments_are_told_with_exit_code_2(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert told in capsys.readouterr().err


def test_the_command_line_writes_a_city_and_says_what_it_wrote(tmp_path: Path) -> None:
    done = run("--customers", "20", "--days", "1", "--out", str(tmp_path / "files"))
    assert done.returncode == 0, done.stderr
    assert "signalling" in done.stdout
    assert (tmp_path / "files-truth" / "manifest.json").exists()


def test_calls_to_the_lines_of_trades_follow_the_tastes_and_stand_beside_the_other_calls(tmp_path: Path) -> None:
    """R002-052: what is called says what a customer likes; the other calls are in files of their own."""
    city = make(tmp_path, customers=1500, days=3)
    classes = {row[0]: row[1] for row in city.clean("CLASSLINE_20260901_001.TXT")}
    assert {"food", "health", "finance", "travel", "rival", "service", "education"} <= set(classes.values())
    beside = [name for name in city.names("CALL") if name.endswith("_002.TXT")]
    assert len(beside) == 3
    called = [row for name in beside for row in city.clean(name)]
    assert {row[3] for row in called} <= set(classes)
    people = found(city.order).people
    taste = dict(zip(map(str, people.msisdn.tolist()), people.tastes[:, TASTES.index("shop")].tolist(), strict=True))
    shoppers = [taste[row[0]] for row in called if classes[row[3]] in ("courier", "shopping")]
    assert sum(shoppers) / len(shoppers) > sum(taste.values()) / len(taste) + 0.2
