"""ibm-telco as training data: who takes which of nine add-on services. Charges are left out: they tell what is held."""

import csv
from pathlib import Path

import numpy as np

from services.recommend.domain.product import Catalogue, Product
from services.recommend.training.fit import Data

ADD_ONS = (
    "Multiple Lines",
    "Online Security",
    "Online Backup",
    "Device Protection Plan",
    "Premium Tech Support",
    "Streaming TV",
    "Streaming Movies",
    "Streaming Music",
    "Unlimited Data",
)
_NUMBERS = {
    "services": (
        "Tenure in Months",
        "Number of Referrals",
        "Avg Monthly Long Distance Charges",
        "Avg Monthly GB Download",
    ),
    "demographics": ("Age", "Number of Dependents"),
    "location": ("Latitude", "Longitude"),
}
_WORDS = {
    "services": (
        "Offer",
        "Phone Service",
        "Internet Service",
        "Internet Type",
        "Contract",
        "Paperless Billing",
        "Payment Method",
    ),
    "demographics": ("Gender", "Senior Citizen", "Married"),
}


def load(folder: Path) -> Data:
    """7,043 customers by id, columns of numbers and one column per word."""
    tables = {}
    for name in ("services", "demographics", "location"):
        with (folder / f"Telco_customer_churn_{name}.csv").open(encoding="utf-8") as file:
            tables[name] = {row["Customer ID"]: row for row in csv.DictReader(file)}
    ids = sorted(tables["services"])
    columns = [
        [float(tables[name][each][field]) for each in ids] for name, fields in _NUMBERS.items() for field in fields
    ]
    for name, fields in _WORDS.items():
        for field in fields:
            told = [tables[name][each][field] for each in ids]
            columns += [[float(word == value) for word in told] for value in sorted(set(told))]
    owned = np.array([[tables["services"][each][name] == "Yes" for name in ADD_ONS] for each in ids])
    catalogue = Catalogue.of([Product(name, name, "", 0, 0) for name in ADD_ONS])
    return Data(np.array(columns, dtype=np.float32).T, owned, catalogue)
