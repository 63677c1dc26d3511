"""The training program: choose, fit, export, prove, write.

FOLDER holds what `workbench.write_input` wrote; the outputs come under temporary names and are renamed, report.json
last: a folder with a report is done, anything else is begun again.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from services.portrait.lake import workbench
from services.portrait.model import Graph
from services.portrait.training import export
from services.portrait.training.fit import FEWEST, fit

_MOST_APART = 1e-6
_PROVED_ROWS = 10_000


def main(folder: Path) -> int:
    """Learn what the folder asks for."""
    task = workbench.read_input(folder)
    count = np.bincount(task.label, minlength=len(task.classes))
    few = [name for name, customers in zip(task.classes, count.tolist(), strict=True) if customers < FEWEST]
    if len(task.classes) < 2:
        report: dict[str, Any] = {"refusal": "one class only"}
    elif few:
        report = {"refusal": f"fewer than {FEWEST} customers of {', '.join(few)}"}
    else:
        report = _learnt(folder, task)
    workbench.write_json(folder / workbench.REPORT, report)
    return 0


def _learnt(folder: Path, task: workbench.Task) -> dict[str, Any]:
    _say("fitting")
    fitted = fit(
        task.features, task.classes, task.values, task.label,
        seed=task.seed, asked=task.algorithm, why=task.why, large=task.large,
    )  # fmt: skip
    _say("exporting")
    content = export.graph(fitted.machine)
    sha256 = hashlib.sha256(content).hexdigest()
    _say("proving")
    rows = task.values[:_PROVED_ROWS]
    served = Graph(content, sha256).probabilities(rows)
    apart = float(np.abs(served - fitted.machine.probabilities(rows)).max())
    if apart > _MOST_APART:
        raise AssertionError(f"the graph is {apart:g} apart from what was learnt")
    workbench.write_bytes(folder / workbench.GRAPH, content)
    return {
        "sha256": sha256,
        "algorithm": fitted.choice.algorithm,
        "reason": fitted.choice.reason,
        "features": list(task.features),
        "classes": list(task.classes),
        "rows": len(task.label),
        "metrics": {**fitted.metrics, "parity": apart},
    }


def _say(step: str) -> None:
    print(step, flush=True)
