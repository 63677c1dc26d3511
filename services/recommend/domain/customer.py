"""What is known of the customers: the run that answers, and one of them in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.recommend.domain.snapshot import File


@dataclass(frozen=True)
class Served:
    """The run whose profiles answer, the names of its feature columns in order, and the file they are packed in."""

    run_id: str
    columns: tuple[str, ...]
    labels: Mapping[str, str]
    pack: File | None = None


@dataclass(frozen=True)
class Known:
    """One customer: `features` are little-endian float32 in the order of the served run's columns.

    `gone` are the products that he cancelled, with the second since 1970 when.
    """

    run_id: str
    org_id: str
    features: bytes
    owned: tuple[str, ...]
    gone: Mapping[str, float] = field(default_factory=dict)
