"""What the tests of ingest are made of: contracts by keyword, files with their control files."""

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, settings

from services.ingest.domain import definition
from services.ingest.domain.feed import Feed

FEEDS = Path(definition.__file__).parent.parent / "feeds"
DAY = date(2026, 9, 1)
ZONE = "Asia/Shanghai"

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties on a machine that is busy with others."""


def shipped(feed_id: str) -> Feed:
    """A feed that comes with the platform."""
    return definition.read((FEEDS / f"{feed_id}.yaml").read_text(encoding="utf-8"))


def text_of(*columns: dict[str, Any], **keys: Any) -> str:
    """A definition as YAML."""
    plain = {
        "feed": "tests",
        "title": "A feed of the tests",
        "file_name": "TEST_{period}_{sequence}.TXT",
        "purpose": "tests",
        "legal_basis": "nobody is concerned",
        "columns": list(columns) or [{"name": "word", "type": "string"}],
    }
    return yaml.safe_dump(plain | keys, allow_unicode=True)


def feed_of(*columns: dict[str, Any], **keys: Any) -> Feed:
    """A feed."""
    return definition.read(text_of(*columns, **keys))


def control_of(name: str, data: bytes, **wrong: Any) -> bytes:
    """The right control line of a file, but for what is said to be wrong."""
    rows = data.count(b"\n") + bool(data and not data.endswith(b"\n"))
    said = {"file_name": name, "rows": rows, "md5": hashlib.md5(data).hexdigest(), "size": len(data)} | wrong
    return "{file_name}|{rows}|{md5}|{size}\n".format(**said).encode()


def drop(landing: Path, name: str, data: bytes, control: bytes | None = None) -> None:
    """Put a file into a landing folder, and after it its control file; `control` b"" leaves that out."""
    (landing / f".{name}").write_bytes(data)
    (landing / f".{name}").rename(landing / name)
    if control is None:
        control = control_of(name, data)
    if control:
        (landing / name).with_suffix(".CHK").write_bytes(control)


EVERY_REASON = (
    "UNDECODABLE",
    "COLUMN_COUNT",
    "LINE_BROKEN",
    "REQUIRED_MISSING",
    "TYPE_WRONG",
    "CODE_UNKNOWN",
    "OUT_OF_RANGE",
    "PATTERN_WRONG",
    "TOO_LONG",
    "OUT_OF_PERIOD",
    "NOT_AFTER",
    "DUPLICATE",
    "CLEAR_NUMBER",
    "EVENT_ID_REUSED",
)
