"""The training program: fit, export, prove, write.

FOLDER holds what `workbench.write_input` wrote; the outputs come under temporary names and are renamed, report.json
last: a folder with a report is done, anything else is begun again. The process ends when its standard input closes,
that is, when its parent dies. Exit status: 0 done (a refusal is a report too), 1 failed.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from services.kit.errors import Refusal
from services.recommend.domain import feature
from services.recommend.lake import acceptances, workbench
from services.recommend.model import pack_trees
from services.recommend.refusals import training_data_unfit
from services.recommend.training import acceptances as learned
from services.recommend.training import code, export, parity
from services.recommend.training.fit import Data, fit


def main(folder: Path) -> int:
    """Train what the folder asks for."""
    if (folder / acceptances.TASK).exists():
        return learned.main(folder)
    task = workbench.read_input(folder)
    try:
        report = _train(folder, task)
    except Refusal as refusal:
        report = {"refusal": refusal.metadata.get("why", refusal.message)}
    workbench.write_json(folder / workbench.REPORT, report)
    return 0


def _train(folder: Path, task: workbench.Task) -> dict[str, Any]:
    values = feature.cleaned(task.profile)
    strange = sorted(set(task.excluded) - set(task.features))
    if strange:
        raise training_data_unfit(f"the run has no feature {strange[0]}, which was to be excluded")
    choice = feature.choose(task.features, values, task.owned, task.excluded)
    who = np.arange(len(values))
    if len(who) > task.most_customers:
        who = np.sort(np.random.default_rng(task.seed).permutation(len(who))[: task.most_customers])
    data = Data(
        np.ascontiguousarray(values[np.ix_(who, np.array(choice.kept, dtype=np.int64))]),
        task.owned[who],
        task.catalogue,
        np.array([task.features[number].startswith("tag_") for number in choice.kept], dtype=bool),
    )
    fitted = fit(data, seed=task.seed, trees=task.trees, threads=task.threads, say=_say, algorithm=task.algorithm)
    _say("exporting")
    forest = export.forest_of(fitted.ensemble.forests, len(choice.kept))
    content = export.graph(fitted.ensemble, forest, fitted.calibration, task.catalogue.ids, len(choice.kept))
    _say("proving")
    proof = parity.prove(fitted, forest, content, data, task.seed)
    trees = pack_trees(forest)
    workbench.write_bytes(folder / workbench.GRAPH, content)
    workbench.write_bytes(folder / workbench.TREES, trees)
    found = {"parity_rows": float(proof.rows), "parity_difference": proof.difference, "parity": 1.0}
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "trees_sha256": hashlib.sha256(trees).hexdigest(),
        "bytes": len(content),
        "features": [task.features[number] for number in choice.kept],
        "dropped": choice.dropped,
        "customers": len(who),
        "metrics": {name: value for name, value in {**fitted.metrics, **found}.items() if np.isfinite(value)},
        "algorithm": task.algorithm,
        "code_version": code.version(),
        "curve": fitted.curve,
        "slope": fitted.calibration.slope.tolist(),
        "intercept": fitted.calibration.intercept.tolist(),
    }


def _say(step: str) -> None:
    print(step, flush=True)
