"""The figures that the project is measured by, on ibm-telco as an analyst would run it; made when all proofs are."""

import csv
import json
from pathlib import Path

import pytest

from services.recommend import offline
from tests.fixtures.counts import FULL
from tests.recommend.telco import ADD_ONS
from tools.tidy import ROOT

TELCO = ROOT.parent / "shared" / "data" / "ibm-telco"
BILLS = {"Monthly Charge", "Total Charges", "Total Revenue", "Total Extra Data Charges"}
"""What a customer pays is made of what he owns: it would tell what was hidden."""
NO_FEATURES = {"Customer ID", "Count", "Quarter", "Country", "State", "Lat Long", "City", "Zip Code", "Churn Score",
               "Churn Label", "Churn Category", "Churn Reason", "Customer Status", *ADD_ONS, *BILLS}  # fmt: skip


def files(folder: Path) -> tuple[Path, Path]:
    """The add-ons as interactions; demographics, location, contract, use and satisfaction as features."""
    tables = []
    for name in ("services", "demographics", "location", "status"):
        with (TELCO / f"Telco_customer_churn_{name}.csv").open(encoding="utf-8") as file:
            tables.append({row["Customer ID"]: row for row in csv.DictReader(file)})
    ids = list(tables[0])
    owned, customers = folder / "owned.csv", folder / "customers.csv"
    with owned.open("w", encoding="utf-8") as file:
        pairs = [(each, name) for each in ids for name in ADD_ONS if tables[0][each][name] == "Yes"]
        csv.writer(file).writerows([("customer_id", "product_id"), *pairs])
    columns = [(table, name) for table in tables for name in next(iter(table.values())) if name not in NO_FEATURES]
    with customers.open("w", encoding="utf-8") as file:
        rows = [(each, *(table[each][name] for table, name in columns)) for each in ids]
        csv.writer(file).writerows([("customer_id", *(name for _, name in columns)), *rows])
    return owned, customers


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not FULL, reason="some minutes of training; made when all proofs are")
@pytest.mark.skipif(not TELCO.is_dir(), reason="no ibm-telco files at ../shared/data beside the checkout")
def test_on_ibm_telco_rf_cf_is_the_best_and_passes_user_knn_with_five_neighbours(tmp_path: Path) -> None:
    """R000-037, R000-041, R000-042."""
    owned, customers = files(tmp_path)
    out = tmp_path / "report.json"
    words = ["--interactions", str(owned), "--customers", str(customers), "--out", str(out)]
    assert offline.evaluate(words) == 0
    found = json.loads(out.read_text())["protocols"]
    models = found["leave_one_out"]["models"]
    assert models["rf_cf"]["ndcg@5"] >= 0.832
    assert models["rf_cf"]["hit@1"] >= 0.645
    assert max(models, key=lambda name: models[name]["ndcg@5"]) == "rf_cf"
    five = next(each for each in models["rf_cf"]["curve_minus_best_user_knn"] if each[0] == 5)
    assert five[2] > 0.0
    assert found["cold_start"]["models"]["rf_cf"]["ndcg@5"] >= 0.815
