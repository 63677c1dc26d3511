"""Cities made for tests, read back from disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from city.generate import Order, generate


@cache
def _rows(path: Path) -> list[list[str]]:
    return [line.split("|") for line in path.read_bytes().decode("gb18030").split("\n")[:-1]]


@dataclass(frozen=True)
class Made:
    """A generated city on disk."""

    order: Order
    files: Path
    truth: Path
    manifest: Mapping[str, Any]

    def rows(self, name: str) -> list[list[str]]:
        """The rows of an operator file, the dirty ones too."""
        return _rows(self.files / name)

    def clean(self, name: str) -> list[list[str]]:
        """The rows of an operator file without the dirty ones."""
        dirty = {row["line"] for row in self.manifest["files"][name]["dirty"]}
        return [row for line, row in enumerate(self.rows(name), 1) if line not in dirty]

    def names(self, prefix: str) -> list[str]:
        """The files of a feed by prefix, in order."""
        return sorted(name for name in self.manifest["files"] if name.startswith(prefix + "_"))


def make(folder: Path, *, customers: int = 300, days: int = 10, seed: int = 7) -> Made:
    """Generates a city below a folder."""
    order = Order(customers, days, seed, date(2026, 9, 1), folder / "files", folder / "truth")
    generate(order, lambda stage, done, total: None)
    return Made(order, order.out, order.truth, json.loads((order.truth / "manifest.json").read_text(encoding="utf-8")))
