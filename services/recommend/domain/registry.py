"""What the registry holds: models, and the matrices that they scored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from services.recommend.domain.snapshot import File

CANDIDATE, SHADOW, CHAMPION, RETIRED = "CANDIDATE", "SHADOW", "CHAMPION", "RETIRED"


@dataclass(frozen=True)
class Model:
    """One model; `state` is CANDIDATE, SHADOW, CHAMPION or RETIRED, `report` what the training program wrote."""

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
    """One published version of customers × products; `as_of_date` is the last day of the data behind it.

    `acceptance` are by product the models whose chances the scores are; `shifts` is the file of what they add.
    """

    matrix_id: str
    model_id: str
    run_id: str
    as_of_date: date
    customers: int
    cells: int
    create_time: datetime
    drift: Mapping[str, float] = field(default_factory=dict)
    acceptance: Mapping[str, str] = field(default_factory=dict)
    shifts: File | None = None
