"""What the registry holds: models, and the matrices that they scored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True)
class Model:
    """One model; `state` is CANDIDATE, CHAMPION or RETIRED, `report` what the training program wrote."""

    model_id: str
    state: str
    algorithm: str
    run_id: str
    sha256: str
    trees_sha256: str
    data_sha256: str
    seed: int
    customers: int
    bytes: int
    features: tuple[str, ...]
    product_ids: tuple[str, ...]
    metrics: Mapping[str, float]
    report: Mapping[str, Any]
    create_time: datetime


@dataclass(frozen=True)
class Matrix:
    """One published version of customers × products; `as_of_date` is the last day of the data behind it."""

    matrix_id: str
    model_id: str
    run_id: str
    as_of_date: date
    customers: int
    cells: int
    create_time: datetime
