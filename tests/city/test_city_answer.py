"""The answer to a hand-over: planted acceptance, and the same answer again."""

import csv
import hashlib
from pathlib import Path

import pytest

from city.answer import Answer, answer
from city.files import CityError
from tests.city.made import Made


def hand_over(folder: Path, rows: list[tuple[str, str, str]], sequence: int = 1) -> Path:
    """Writes a hand-over of (msisdn, product, channel) rows."""
    folder.mkdir(exist_ok=True)
    name = f"OCRM_CONTACT_20261001_{sequence:03d}"
    text = "".join(
        f"K{sequence}-{number}|{msisdn}|CMP1|OFF1|{product}|{channel}|尊敬的客户|20261001100000|token|LC01=成长;HU05\n"
        for number, (msisdn, product, channel) in enumerate(rows)
    )
    data = text.encode("gb18030")
    (folder / f"{name}.TXT").write_bytes(data)
    digest = hashlib.md5(data).hexdigest()
    (folder / f"{name}.CHK").write_text(f"{name}.TXT|{len(rows)}|{digest}|{len(data)}|{len(rows)}\n")
    return folder


def pairs(city: Made) -> list[tuple[str, str, float]]:
    with (city.truth / "acceptance.csv").open(encoding="utf-8", newline="") as file:
        return [(row["msisdn"], row["product_id"], float(row["probability"])) for row in csv.DictReader(file)]


def rows(folder: Path, name: str) -> list[list[str]]:
    return [line.split("|") for line in (folder / name).read_bytes().decode("gb18030").split("\n")[:-1]]


def opened(folder: Path, sequence: int = 501) -> set[tuple[str, str]]:
    return {(row[1], row[2]) for row in rows(folder, f"ORDER_20261001_{sequence:03d}.TXT")}


def test_the_same_hand_over_gets_the_same_files(city: Made, tmp_path: Path) -> None:
    handed = hand_over(tmp_path / "handed", [(msisdn, product, "sms") for msisdn, product, _ in pairs(city)[::7]])
    found = []
    for turn in ("one", "two"):
        answer(Answer(handed, city.truth, tmp_path / turn))
        found.append({path.name: path.read_bytes() for path in (tmp_path / turn).iterdir()})
    assert found[0] == found[1]
    stems = {f"FEEDBACK_20261001_001{end}" for end in (".TXT", ".CHK")}
    stems |= {f"{feed}_20261001_501{end}" for feed in ("ORDER", "BIZEVT") for end in (".TXT", ".CHK")}
    assert set(found[0]) == stems


def test_contacts_open_more_than_the_held_out_and_as_planted(city: Made, tmp_path: Path) -> None:
    every = pairs(city)
    contacted = [pair for number, pair in enumerate(every) if number % 2]
    handed = hand_over(tmp_path / "handed", [(msisdn, product, "app") for msisdn, product, _ in contacted])
    answer(Answer(handed, city.truth, tmp_path / "out"))
    done = opened(tmp_path / "out")
    planted = sum(chance for _, _, chance in contacted)
    got = sum((msisdn, product) in done for msisdn, product, _ in contacted)
    # Reached (0.80) and persuaded, or on their own (0.20): within five standard deviations.
    assert abs(got - (0.80 + 0.20) * planted) < 5 * planted**0.5 + 0.05 * planted
    alone = [pair for number, pair in enumerate(every) if not number % 2]
    own = sum((msisdn, product) in done for msisdn, product, _ in alone)
    expected = 0.2 * sum(chance for _, _, chance in alone)
    assert abs(own - expected) < 5 * expected**0.5


def test_who_opens_without_a_contact_does_not_depend_on_who_is_contacted(city: Made, tmp_path: Path) -> None:
    every = pairs(city)
    nobody = hand_over(tmp_path / "a", [("13000000000", "P01", "sms")])
    some = hand_over(tmp_path / "b", [(msisdn, product, "call") for msisdn, product, _ in every[:500]])
    answer(Answer(nobody, city.truth, tmp_path / "one"))
    answer(Answer(some, city.truth, tmp_path / "two"))
    assert opened(tmp_path / "one") <= opened(tmp_path / "two")
    more = opened(tmp_path / "two") - opened(tmp_path / "one")
    assert more <= {(msisdn, product) for msisdn, product, _ in every[:500]}
    assert more


def test_feedback_orders_and_events_tell_one_story(city: Made, tmp_path: Path) -> None:
    asked = [(msisdn, product, "call") for msisdn, product, _ in pairs(city)[:400]]
    out = tmp_path / "out"
    answer(Answer(hand_over(tmp_path / "handed", asked), city.truth, out))
    feedback = rows(out, "FEEDBACK_20261001_001.TXT")
    assert [row[0] for row in feedback] == [f"K1-{number}" for number in range(400)]
    done = opened(out)
    for (msisdn, product, _), row in zip(asked, feedback, strict=True):
        assert (row[3] == "Y") <= ((msisdn, product) in done)
        assert (row[4] > row[1]) if row[3] == "Y" else row[4] == ""
        assert row[2] == "responded" or row[3] == "N"
    assert {row[2] for row in feedback} == {"responded", "refused", "unreached"}
    events = rows(out, "BIZEVT_20261001_501.TXT")
    assert {(row[3], row[4]) for row in events} == done
    assert all(row[2] == "NEW" and row[5].startswith("S") and int(row[7]) > 0 for row in events)


def test_nobody_opens_twice_over_two_hand_overs(city: Made, tmp_path: Path) -> None:
    asked = [(msisdn, product, "sms") for msisdn, product, _ in pairs(city)[:300]]
    hand_over(tmp_path / "handed", asked)
    handed = hand_over(tmp_path / "handed", asked, sequence=2)
    answer(Answer(handed, city.truth, tmp_path / "out"))
    assert not opened(tmp_path / "out") & opened(tmp_path / "out", 502)


def test_a_hand_over_that_disagrees_with_its_control_file_is_refused(city: Made, tmp_path: Path) -> None:
    handed = hand_over(tmp_path / "handed", [("13000000000", "P01", "sms")])
    with (handed / "OCRM_CONTACT_20261001_001.TXT").open("ab") as file:
        file.write(b"one more|row\n")
    with pytest.raises(CityError, match=r"CHK says .* the file is"):
        answer(Answer(handed, city.truth, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_hand_over_with_an_unknown_product_names_the_line(city: Made, tmp_path: Path) -> None:
    handed = hand_over(tmp_path / "handed", [("13000000000", "P01", "sms"), ("13000000000", "P99", "sms")])
    with pytest.raises(CityError, match="line 2"):
        answer(Answer(handed, city.truth, tmp_path / "out"))


def test_without_a_truth_folder_there_is_no_answer(tmp_path: Path) -> None:
    handed = hand_over(tmp_path / "handed", [("13000000000", "P01", "sms")])
    with pytest.raises(CityError, match="is not a truth folder"):
        answer(Answer(handed, tmp_path, tmp_path / "out"))
