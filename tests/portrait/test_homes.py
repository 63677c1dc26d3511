"""Homes by the definitions of bandicoot, FlowKit and scikit-mobility: as their own code finds them."""

import json
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.homes import Seen, bandicoot, definitions, flowkit, scikit_mobility

ROOT = Path(__file__).parents[2]
PEERS, SCRIPT = ROOT / ".peers" / "bin" / "python", ROOT / "benchmarks" / "peers" / "mobility.py"
AHEAD = 8 * 3_600_000
with_peers = pytest.mark.skipif(
    not PEERS.exists(), reason="`make peers` has not installed the libraries; the plain readings below run instead"
)

rows = st.lists(st.tuples(st.integers(0, 4 * 96), st.integers(-1, 3)), min_size=1, max_size=40)


def seen(track: list[tuple[int, int]]) -> Seen:
    """Rows of customer 0 at quarters of an hour."""
    time = np.array([quarter * 900_000 for quarter, _ in track], dtype=np.int64)
    place = np.array([place for _, place in track], dtype=np.int32)
    return Seen.of(np.zeros(len(track), np.int32), time, place, np.arange(len(track), dtype=np.int32))


def at(track: list[tuple[int, int]]) -> list[tuple[datetime, int]]:
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    told = [(begin + timedelta(minutes=15 * quarter), place) for quarter, place in track if place >= 0]
    return sorted(told, key=lambda row: row[0])


@given(rows)
@settings(max_examples=150)
def test_bandicoot_counts_half_hours_of_the_night(track: list[tuple[int, int]]) -> None:
    night = [(when, place) for when, place in at(track) if not 7 * 60 < when.hour * 60 + when.minute < 19 * 60]
    chunks = [
        [place for _, place in chunk]
        for _, chunk in groupby(night, key=lambda row: (row[0].date(), row[0].hour, row[0].minute // 30))
    ]
    candidates = [max(places, key=places.count) for places in chunks]
    expected = Counter(candidates).most_common()[0][0] if candidates else -1
    assert bandicoot(seen(track), 1).tolist() == [expected]


@given(rows)
@settings(max_examples=150)
def test_flowkit_counts_last_places_of_days(track: list[tuple[int, int]]) -> None:
    last = {when.date(): place for when, place in at(track)}
    count, latest = Counter(last.values()), {place: day for day, place in sorted(last.items())}
    expected = max(count, key=lambda place: (count[place], latest[place]), default=-1)
    assert flowkit(seen(track), 1).tolist() == [expected]


@given(rows)
@settings(max_examples=150)
def test_scikit_mobility_counts_rows_of_the_night(track: list[tuple[int, int]]) -> None:
    night = [place for when, place in at(track) if when.hour >= 22 or when.hour * 60 + when.minute <= 7 * 60]
    count = Counter(night or [place for _, place in at(track)])
    expected = min(count, key=lambda place: (-count[place], place), default=-1)
    assert scikit_mobility(seen(track), 1).tolist() == [expected]


@with_peers
def test_they_agree_with_the_libraries_on_a_crowd_and_on_their_sample(tmp_path: Path) -> None:
    """Every customer's home is the library's own, also for the sample user that bandicoot ships: 1,482 records at seven
    antennas. Which of several scikit-mobility takes it leaves open; none is even here."""
    dice = np.random.default_rng(5)
    count, customers = 3000, 12
    customer = np.sort(dice.integers(0, customers, count)).astype(np.int32)
    time = dice.integers(0, 21 * 86_400, count).astype(np.int64) * 1000
    place = np.where(dice.random(count) < 0.3, customer, dice.integers(0, 12, count)).astype(np.int32)
    order = np.lexsort((time, customer))
    customer, time, place = customer[order], time[order], place[order]
    lat, lon = 22.0 + np.arange(12) / 100, 113.0 + np.arange(12) / 100
    path = tmp_path / "rows.parquet"
    table = {"customer": customer, "time": time - AHEAD, "place": place, "lat": lat[place], "lon": lon[place]}
    pq.write_table(pa.table(table), path)
    answer = subprocess.run([PEERS, SCRIPT, "homes", path], check=True, capture_output=True, text=True, cwd=ROOT)
    told = json.loads(answer.stdout.splitlines()[-1])
    ours = definitions(Seen.of(customer, time, place, np.arange(count, dtype=np.int32)), customers)
    for tool, name in (("bandicoot", "bandicoot"), ("skmob", "scikit_mobility")):
        theirs = {int(key): home for key, home in told[tool].items()}
        assert theirs == dict(enumerate(ours[name].tolist())), tool
    sample = told["sample"]
    number = {int(each): n for n, each in enumerate(sorted(sample["antennas"], key=sample["antennas"].get))}
    when, where = zip(*sample["rows"], strict=True)
    none, lines = np.zeros(len(when), np.int32), np.arange(len(when), dtype=np.int32)
    known = Seen.of(none, np.array(when, np.int64), np.array([number[each] for each in where], np.int32), lines)
    assert len(when) == 1482
    assert bandicoot(known, 1).tolist() == [number[sample["home"]]]
    assert scikit_mobility(known, 1).tolist() == [number[sample["skmob"]]]
