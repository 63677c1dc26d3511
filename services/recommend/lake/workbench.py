"""The folder through which the worker and the training program hand files to each other.

In: profile.npy (n, f), owned.npy (n, p), task.json. Out: graph.onnx, trees.bin, and last report.json, by which a
folder is known as done. All are renamed into place.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.recommend.domain.product import Catalogue, Flags, Product, Singles, Terms

GRAPH, TREES, REPORT = "graph.onnx", "trees.bin", "report.json"
_PROFILE, _OWNED, _TASK = "profile.npy", "owned.npy", "task.json"


@dataclass(frozen=True)
class Task:
    """What to learn: customers by key, `profile` (n, f), `owned` (n, p); more than `most_customers` are sampled.

    `excluded` are features that shall not teach.
    """

    features: tuple[str, ...]
    profile: Singles
    owned: Flags
    catalogue: Catalogue
    seed: int
    trees: int
    threads: int
    most_customers: int
    algorithm: str = "rf_cf"
    excluded: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The checksum over the training data, hex; the recipe (seed, trees) is not part of it."""
        told = hashlib.sha256(json.dumps([self.features, [asdict(each) for each in self.catalogue.products]]).encode())
        told.update(np.ascontiguousarray(self.profile).tobytes())
        told.update(np.packbits(self.owned).tobytes())
        return told.hexdigest()


def write_input(folder: Path, task: Task) -> None:
    """Lay out the folder; task.json comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((_PROFILE, task.profile), (_OWNED, task.owned)):
        with (folder / f"{name}.tmp").open("wb") as file:
            np.save(file, array, allow_pickle=False)
        os.replace(folder / f"{name}.tmp", folder / name)
    plain = {
        "features": list(task.features),
        "products": [asdict(product) for product in task.catalogue.products],
        "seed": task.seed,
        "trees": task.trees,
        "threads": task.threads,
        "most_customers": task.most_customers,
        "algorithm": task.algorithm,
        "excluded": list(task.excluded),
    }
    write_json(folder / _TASK, plain)


def read_input(folder: Path) -> Task:
    """What write_input wrote."""
    plain = json.loads((folder / _TASK).read_text())
    return Task(
        tuple(plain["features"]),
        np.load(folder / _PROFILE, allow_pickle=False),
        np.load(folder / _OWNED, allow_pickle=False),
        Catalogue.of([_product(each) for each in plain["products"]]),
        plain["seed"],
        plain["trees"],
        plain["threads"],
        plain["most_customers"],
        plain["algorithm"],
        tuple(plain.get("excluded", ())),
    )


def _product(plain: Mapping[str, Any]) -> Product:
    terms = plain.get("terms")
    return Product(**{**plain, "terms": Terms.of(terms) if terms is not None else None})


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a training that is done, or None."""
    path = folder / REPORT
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def write_json(path: Path, plain: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    write_bytes(path, json.dumps(plain, ensure_ascii=False, indent=1, sort_keys=True).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
