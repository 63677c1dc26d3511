"""Keeps a result: what was measured, on what, when, and how."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def keep(name: str, figures: Mapping[str, Any]) -> Path:
    """Writes `figures` with the machine and the moment as results/<date>-<name>.json and gives the path."""
    now = datetime.now(UTC)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
    target = RESULTS / f"{now:%Y-%m-%d}-{name}.json"
    target.parent.mkdir(exist_ok=True)
    record = {"name": name, "time": now.isoformat(timespec="seconds"), "machine": machine, "figures": dict(figures)}
    target.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return target


def today(name: str) -> dict[str, Any]:
    """The figures that were kept today under `name`; empty where there are none."""
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json"
    told: dict[str, Any] = json.loads(path.read_text())["figures"] if path.exists() else {}
    return told
