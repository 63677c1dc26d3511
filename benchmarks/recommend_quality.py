"""The figures by which recommend is measured on public data at ../shared/data; QUALITY names some of the parts.

bank: acceptance on bank-additional, five random folds, duration left out. hillstrom: uplift of visits, randomised.
coil: `evaluate` on coil2000, where the profile adds nothing. telco: `evaluate` on ibm-telco with all that is known of a
customer but his bills, which tell what he holds, and what other models said of him. telco_bare: without churn and
satisfaction as well. A part that is measured alone stands in the day's result beside the others.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import record
from services.recommend.domain import encoding, propensity
from services.recommend.training import propensity as training

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
PARTS = ("hillstrom", "bank", "coil", "telco", "telco_bare")
FOLDS, SEED = 5, 1
_COIL_ASKED = ("--protocols", "leave_one_out")
_TOLD = ("ndcg@5", "hit@1", "best_k")
_TELCO_LEFT_OUT = {
    "Customer ID", "Count", "Quarter", "Monthly Charge", "Total Charges", "Total Revenue", "Total Extra Data Charges",
    "Total Refunds", "Total Long Distance Charges", "Referred a Friend", "Country",
    "State", "Lat Long", "City", "Zip Code",
    "CLTV", "Churn Score", "Churn Value", "Churn Reason",
}  # fmt: skip
_ADD_ONS = ("Multiple Lines", "Online Security", "Online Backup", "Device Protection Plan", "Premium Tech Support",
            "Streaming TV", "Streaming Movies", "Streaming Music", "Unlimited Data")  # fmt: skip


def table(path: Path, mark: str = ",") -> dict[str, list[Any]]:
    """A CSV file by column."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=mark))
    return {name: [row[name] for row in rows] for name in rows[0]}


def bank() -> dict[str, Any]:
    """Gives AUC and expected calibration error over the folds."""
    told = table(DATA / "bank-additional" / "bank-additional-full.csv", ";")
    accepted = np.array([each == "yes" for each in told.pop("y")])
    del told["duration"]
    made = encoding.encode(told)
    fold = np.random.default_rng(SEED).permutation(len(accepted)) % FOLDS
    found, chosen = [], []
    for number in range(FOLDS):
        learn, test = fold != number, fold == number
        model = training.fit(list(made.names), made.values[learn], accepted[learn], seed=SEED, threads=2)
        found.append(propensity.quality(model.score(made.values[test]), accepted[test]))
        chosen.append(model.algorithm)
    means = {name: round(float(np.mean([each[name] for each in found])), 4) for name in found[0]}
    return {"contacts": len(accepted), **means, "algorithms": chosen, "floor_auc": 0.79, "most_ece": 0.02}


def hillstrom() -> dict[str, Any]:
    """Gives Qini and AUUC of visits with their intervals."""
    told = table(DATA / "hillstrom" / "hillstrom.csv")
    treated = np.array([each != "No E-Mail" for each in told.pop("treatment")])
    visit = np.array([each == "1" for each in told.pop("visit")])
    for name in ("conversion", "spend"):
        del told[name]
    _, found = training.fit_uplift(encoding.encode(told).values, treated, visit, seed=SEED)
    plain = {name: value for name, value in vars(found).items() if name != "curve"}
    return {"customers": len(visit), **{name: round(value, 6) for name, value in plain.items()}}


def coil(folder: Path) -> tuple[Path, Path]:
    """Lays out coil2000: 22 policies as products, the 43 columns of the area's people as features."""
    place = DATA / "coil2000"
    first = [line.split() for line in (place / "ticdata2000.txt").read_text().splitlines()]
    later = [line.split() for line in (place / "ticeval2000.txt").read_text().splitlines()]
    answers = (place / "tictgts2000.txt").read_text().split()
    rows = first + [[*row, answer] for row, answer in zip(later, answers, strict=True)]
    owned = [(who, f"P{column:02d}") for who, row in enumerate(rows) for column in range(64, 86) if row[column] != "0"]
    features = [(who, *row[:43]) for who, row in enumerate(rows)]
    return laid(folder, owned, [f"M{number:02d}" for number in range(43)], features)


def telco(folder: Path, status: bool) -> tuple[Path, Path]:
    """Lays out ibm-telco: nine add-ons; services, demographics, place and, with `status`, churn and satisfaction."""

    def told(name: str) -> dict[str, list[Any]]:
        return table(DATA / "ibm-telco" / f"Telco_customer_churn_{name}.csv")

    tables = [told(name) for name in ("services", "demographics", "location", *(["status"] if status else []))]
    ids = tables[0]["Customer ID"]
    owned = [(who, name) for name in _ADD_ONS for who, each in zip(ids, tables[0][name], strict=True) if each == "Yes"]
    people = dict(zip(*(told("population")[name] for name in ("Zip Code", "Population")), strict=True))
    tables[2]["Population"] = [people.get(each, "") for each in tables[2]["Zip Code"]]
    columns: dict[str, dict[str, Any]] = {}
    for each in tables:
        for name in each.keys() - _TELCO_LEFT_OUT - set(_ADD_ONS):
            columns[name] = dict(zip(each["Customer ID"], each[name], strict=True))
    names = sorted(columns)
    return laid(folder, owned, names, [(who, *(columns[name][who] for name in names)) for who in ids])


def laid(folder: Path, owned: list[Any], names: list[str], features: list[Any]) -> tuple[Path, Path]:
    """Writes both files."""
    paths = folder / "owned.csv", folder / "customers.csv"
    heads = (("customer_id", "product_id"), ("customer_id", *names))
    for path, head, rows in zip(paths, heads, (owned, features), strict=True):
        with path.open("w", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows])
    return paths


def evaluated(files: tuple[Path, Path], *more: str) -> dict[str, Any]:
    """Runs the analysts' verb as a process of its own; gives what it found and what it cost."""
    out, command = files[0].with_name("report.json"), [sys.executable, "-m", "services.recommend", "evaluate"]
    words = [
        "--interactions",
        str(files[0]),
        "--customers",
        str(files[1]),
        "--out",
        str(out),
        "--seed",
        str(SEED),
        *more,
    ]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    # One thread of BLAS for each of ours, as in the service's own training: more only wait for one another.
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([*command, *words, *more], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(out.read_text())
    protocols = {
        name: {model: {each: told[each] for each in _TOLD} for model, told in part["models"].items()}
        for name, part in report["protocols"].items()
    }
    return {
        "wall_seconds": round(time.monotonic() - started),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime),
        **report["data"]["counts"],
        "protocols": protocols,
        "curve_minus_best_user_knn": report["protocols"]["leave_one_out"]["models"]["rf_cf"][
            "curve_minus_best_user_knn"
        ],
        "differences": report["protocols"]["leave_one_out"]["differences"],
    }


def measure(console: Console) -> dict[str, Any]:
    """Measures the parts that QUALITY names, all when it names none."""
    asked = os.environ.get("QUALITY", "").split(",") if os.environ.get("QUALITY") else list(PARTS)
    found: dict[str, Any] = {}
    for name in asked:
        console.print(name)
        if name in ("bank", "hillstrom"):
            found[name] = {"bank": bank, "hillstrom": hillstrom}[name]()
        else:
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder)
                files = coil(place) if name == "coil" else telco(place, name == "telco")
                found[name] = evaluated(files, *(_COIL_ASKED if name == "coil" else ()))
        found[name] |= against(found[name], name)
        record.keep("recommend_quality", {**record.today("recommend_quality"), **found})
    return {**record.today("recommend_quality"), **found}


def against(found: dict[str, Any], name: str) -> dict[str, Any]:
    """The floors that a part is held against, and whether it stands on them."""
    if name == "bank":
        return {"holds": found["auc"] >= found["floor_auc"] and found["ece"] <= found["most_ece"]}
    if name == "hillstrom":
        return {"floor_qini_low": 0.0, "holds": found["qini_low"] > 0.0}
    ours = found["protocols"]["leave_one_out"]["rf_cf"]
    if name == "coil":
        floor = round(found["protocols"]["leave_one_out"]["user_knn"]["ndcg@5"] - 0.005, 6)
        return {"floor_ndcg@5": floor, "holds": ours["ndcg@5"] >= floor}
    five = next(each for each in found["curve_minus_best_user_knn"] if each[0] == 5)
    cold = found["protocols"]["cold_start"]["rf_cf"]["ndcg@5"]
    floors = {"ndcg@5": 0.822, "hit@1": 0.631, "cold_start": 0.815, "five_neighbours_low": 0.0}
    told = {"ndcg@5": ours["ndcg@5"], "hit@1": ours["hit@1"], "cold_start": cold, "five_neighbours_low": five[2]}
    return {"floors": floors, "stands": told, "holds": all(told[each] >= floor for each, floor in floors.items())}
