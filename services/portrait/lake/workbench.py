"""The folder through which the worker and the training program hand files to each other.

In: values.npy (n, f) float32 with NaN for missing, label.npy (n,), task.json. Out: graph.onnx, and last report.json,
by which a folder is known as done. All are renamed into place.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

GRAPH, REPORT = "graph.onnx", "report.json"
_VALUES, _LABEL, _TASK = "values.npy", "label.npy", "task.json"


@dataclass(frozen=True)
class Task:
    """What to learn: `label` (n,) are places in `classes`; `algorithm` "" lets the rule choose, from `large` rows on
    for large data; `why` says why it is overridden."""

    features: tuple[str, ...]
    classes: tuple[str, ...]
    values: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64]
    seed: int
    large: int
    algorithm: str = ""
    why: str = ""


def write_input(folder: Path, task: Task) -> None:
    """Lay out the folder; task.json comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((_VALUES, task.values), (_LABEL, task.label)):
        with (folder / f"{name}.tmp").open("wb") as file:
            np.save(file, array, allow_pickle=False)
        os.replace(folder / f"{name}.tmp", folder / name)
    told = {
        "features": list(task.features),
        "classes": list(task.classes),
        "seed": task.seed,
        "large": task.large,
        "algorithm": task.algorithm,
        "why": task.why,
    }
    write_json(folder / _TASK, told)


def read_input(folder: Path) -> Task:
    """What write_input wrote."""
    told = json.loads((folder / _TASK).read_text(encoding="utf-8"))
    values = np.load(folder / _VALUES, allow_pickle=False)
    label = np.load(folder / _LABEL, allow_pickle=False)
    features, classes = tuple(told.pop("features")), tuple(told.pop("classes"))
    return Task(features, classes, values, label, **told)


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a training that is done, or None."""
    path = folder / REPORT
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return found


def write_json(path: Path, told: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    write_bytes(path, json.dumps(told, ensure_ascii=False, indent=1, sort_keys=True).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
