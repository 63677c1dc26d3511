"""What is foreseen of one customer: danger of leaving, early warnings with their lead, life cycle and where it goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

LIFE_CYCLE = "LC01"
"""The tag of life-cycle stages."""
FORESEEN = "foreseen"
"""The kind of file under which a run keeps what was foreseen of its customers."""
LEFT = "离网"
"""Its value for who has left."""


@dataclass(frozen=True)
class Foreseen:
    """An early warning; `since` is the last day of the run that first gave it."""

    kind: str
    score: float
    lead_days: int
    since: date


@dataclass(frozen=True)
class Foresight:
    """Of one customer; `churn` None and `expected` "" without a live model."""

    customer_key: int
    churn: float | None
    warnings: tuple[Foreseen, ...]
    stage: str
    before: str
    expected: str
    sureness: float


@dataclass(frozen=True)
class Lead:
    """How early those were warned of who have left since the run before."""

    left: int
    warned: int
    mean_days: int


def lead_of(stages: Mapping[int, str], before: Mapping[int, str], since: Mapping[int, date], today: date) -> Lead:
    """`stages` and `before` by customer in this run and the one before; `since` when each was first warned of."""
    left = [key for key, stage in stages.items() if stage == LEFT and before.get(key, LEFT) != LEFT]
    days = [(today - since[key]).days for key in left if key in since]
    return Lead(len(left), len(days), sum(days) // len(days) if days else 0)
