"""The offline verb: files in, a plan and a report out, by the same auction."""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from services.contact import offline

LIMITS: dict[str, Any] = {
    "channels": {"sms": {"capacity": 200, "cost": 0.05}, "call": {"capacity": 30, "cost": 1.0}},
    "campaigns": {"summer": {"offers": ["o0", "o1"], "min": 40, "max": 90}, "o2": {"max": 50}},
    "exclusive_groups": [["o0", "o3"], ["o3", "o4"]],
    "tiers": {"gold": 2},
}


def files(folder: Path, limits: dict[str, Any] = LIMITS, people: int = 300) -> list[str]:
    dice = np.random.default_rng(3)
    there = np.argwhere(dice.random((people, 6, 3)) < 0.4)
    candidates = pa.table(
        {
            "customer_id": [f"p{row[0]}" for row in there],
            "offer_id": [f"o{row[1]}" for row in there],
            "channel": [("sms", "call", "app")[row[2]] for row in there],
            "value": dice.gamma(2, 2, len(there)),
        }
    )
    customers = pa.table(
        {
            "customer_id": [f"p{index}" for index in range(people)],
            "cap": [None if index % 5 == 0 else index % 3 for index in range(people)],
            "tier": ["gold" if index % 2 else "" for index in range(people)],
        }
    )
    pq.write_table(candidates, folder / "candidates.parquet")
    pa.csv.write_csv(customers, folder / "customers.csv")
    (folder / "limits.yaml").write_text(yaml.safe_dump(limits))
    names = {"candidates": "candidates.parquet", "customers": "customers.csv", "limits": "limits.yaml"}
    names |= {"out": "plan.parquet", "report": "report.json"}
    return [word for name, file in names.items() for word in (f"--{name}", str(folder / file))]


def test_a_plan_over_files_keeps_every_limit_and_proves_its_gap(tmp_path: Path) -> None:
    """R001-082: capacity, minimum, maximum and exclusive groups are read from a file."""
    assert offline.arbitrate(files(tmp_path)) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    plan = pq.read_table(tmp_path / "plan.parquet")
    assert plan.column_names == ["customer_id", "offer_id", "channel", "value"]
    assert report["violations"] == {"cap": 0, "group": 0, "channel": 0, "max": 0, "min": 0}
    assert report["contacts"] == plan.num_rows > 100
    assert report["objective"] == pytest.approx(sum(plan["value"].to_pylist()))
    assert 0 <= report["gap"] < 0.001
    assert report["bound"] >= report["objective"]
    assert {"prices", "wall_seconds", "cpu_seconds", "peak_memory_bytes", "seed"} <= set(report)
    rows = plan.to_pylist()
    assert sum(row["channel"] == "call" for row in rows) <= 30
    assert 40 <= sum(row["offer_id"] in ("o0", "o1") for row in rows) <= 90
    for customer in {row["customer_id"] for row in rows}:
        mine = [row["offer_id"] for row in rows if row["customer_id"] == customer]
        assert len(mine) == len(set(mine))
        assert sum(offer in ("o0", "o3", "o4") for offer in mine) <= 1
        index = int(customer[1:])
        assert len(mine) <= (index % 3 if index % 5 else 2 if index % 2 else 99)


def test_the_list_of_twenty_thousand_customers_is_there_in_less_than_a_minute(tmp_path: Path) -> None:
    """R001-020: customers matched with products and channels and listed, by the seconds that the report states.

    The same verb does ten million in the benchmark of arbitration.
    """
    began = time.perf_counter()
    words = files(tmp_path, {"channels": {"sms": {"capacity": 9_000}}}, 20_000)
    assert offline.arbitrate([*words, "--engine", "greedy"]) == 0
    greedy = json.loads((tmp_path / "report.json").read_text())
    assert offline.arbitrate(words) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert 0 < report["wall_seconds"] < time.perf_counter() - began < 60
    assert (report["customers"], pq.read_table(tmp_path / "plan.parquet").num_rows) == (20_000, report["contacts"])
    assert greedy["objective"] <= report["objective"] <= report["bound"] == pytest.approx(greedy["bound"])


def test_it_is_the_same_to_the_byte_each_time_and_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    words = files(tmp_path)
    offline.arbitrate(words)
    first = (tmp_path / "plan.parquet").read_bytes()
    table = pq.read_table(tmp_path / "candidates.parquet")
    pq.write_table(table.take(np.random.default_rng(1).permutation(table.num_rows)), tmp_path / "candidates.parquet")
    offline.arbitrate(words)
    assert (tmp_path / "plan.parquet").read_bytes() == first


def test_a_minimum_that_cannot_be_met_ends_with_1_and_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    impossible = {**LIMITS, "campaigns": {"o2": {"min": 1_000}}}
    assert offline.arbitrate(files(tmp_path, impossible)) == 1
    assert "min o2" in capsys.readouterr().err
    assert "min o2" in json.loads((tmp_path / "report.json").read_text())["infeasible"]
    assert not (tmp_path / "plan.parquet").exists()


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        ({"channels": {"sms": {"capacity": -1}}}, "capacity"),
        ({"campaigns": {"a": {"offers": ["o1"]}, "b": {"offers": ["o1"]}}}, "two campaigns"),
        ({"chanels": {}}, "chanels"),
    ],
)
def test_wrong_limits_end_with_2_and_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limits: dict[str, Any], word: str
) -> None:
    assert offline.arbitrate(files(tmp_path, limits)) == 2
    assert word in capsys.readouterr().err


def test_candidates_of_unknown_customers_and_values_that_are_no_numbers_end_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = files(tmp_path)
    for column, value, said in (("customer_id", "stranger", "not among"), ("value", float("nan"), "row 1")):
        row = {"customer_id": "p1", "offer_id": "o1", "channel": "sms", "value": 1.0} | {column: value}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "candidates.parquet")
        assert offline.arbitrate(words) == 2
        assert said in capsys.readouterr().err


def test_the_help_of_the_verb_shows_an_example() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "services.contact", "arbitrate", "--help"]
    shown = subprocess.run(command, cwd=root, env=os.environ, capture_output=True, text=True, timeout=60, check=True)
    assert "example:" in shown.stdout
    assert "exclusive_groups" in shown.stdout


def test_days_keep_contacts_apart_and_every_loser_has_a_reason(tmp_path: Path) -> None:
    """R002-049: who lost is told to which offer, and by how much."""
    dice = np.random.default_rng(4)
    there = np.argwhere(dice.random((200, 5, 2, 7)) < 0.5)
    candidates = pa.table(
        {
            "customer_id": there[:, 0],
            "offer_id": [f"o{offer}" for offer in there[:, 1]],
            "channel": [("sms", "call")[channel] for channel in there[:, 2]],
            "day": there[:, 3],
            "value": dice.gamma(2, 2, len(there)),
        }
    )
    pq.write_table(candidates, tmp_path / "candidates.parquet")
    pq.write_table(pa.table({"customer_id": range(200), "cap": [3] * 200}), tmp_path / "customers.parquet")
    told = {"channels": {"sms": {"daily_capacity": 30}, "call": {"daily_capacity": 9}}, "spacing_days": 3}
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump(told))
    words = [f"--{name}={tmp_path / name}.parquet" for name in ("candidates", "customers", "losers")]
    words += [f"--limits={tmp_path}/limits.yaml", f"--out={tmp_path}/plan.parquet", f"--report={tmp_path}/report.json"]
    assert offline.arbitrate(words) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert not any(report["violations"].values())
    assert report["gap"] < 0.02
    plan, losers = (pq.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("plan", "losers"))
    for customer in range(200):
        mine = sorted((row["day"], row["channel"]) for row in plan if row["customer_id"] == customer)
        for (day, channel), (later, other) in itertools.pairwise(mine):
            assert later > day
            assert channel != other or later - day >= 3
    assert len(losers) + len(plan) == len(there)
    assert sum(report["outcomes"].values()) == len(there)
    rivals = [row for row in losers if row["reason"] == "rival"]
    assert rivals
    assert all(row["lost_to"] for row in rivals)
    assert 0 < report["evenness"] <= 1
