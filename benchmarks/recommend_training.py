"""What a training costs on a million customers, and how many pairs of customers its neighbourhood compared.

The training program itself, as the service starts it, in a process of its own; ROWS says how many customers. More than
TRAINING_CUSTOMERS (200,000) are sampled by the program.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import matrix
from services.recommend.config import Config
from services.recommend.domain.product import Catalogue, Product
from services.recommend.lake import workbench

CUSTOMERS, PRODUCTS, FEATURES, SEED = int(os.environ.get("ROWS", "1000000")), 20, 40, 5
_MOST_CORE_MINUTES = 10


def laid(folder: Path) -> None:
    """Lays out what the program reads."""
    catalogue = Catalogue.of([Product(f"P{n:02d}", f"P{n:02d}", "", 1000, 8000) for n in range(PRODUCTS)])
    names = tuple(f"feature_{number:02d}" for number in range(FEATURES))
    shape = {"features": FEATURES, "products": PRODUCTS}
    profile, owned = matrix.people(np.random.default_rng([SEED, 1]), CUSTOMERS, **shape)
    trees, most = Config.training_trees, Config.training_customers
    workbench.write_input(folder, workbench.Task(names, profile, owned, catalogue, SEED, trees, 2, most))


def measure(console: Console) -> dict[str, Any]:
    """Measures core-minutes, memory and the pairs, of the program alone."""
    folder = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    try:
        laid(folder)
        console.print(f"{CUSTOMERS} customers laid out")
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [sys.executable, "-m", "services.recommend.training", str(folder)]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environ) as trained:  # it ends when its input does
            status = trained.wait()
        assert not status, f"the training program ended with status {status}"
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        report = workbench.read_report(folder)
        assert report is not None
        told = report["metrics"]
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {
            "data": f"{CUSTOMERS} customers × {FEATURES} features × {PRODUCTS} products",
            "customers_learned_from": report["customers"],
            "core_minutes": round(spent / 60, 2),
            "most_core_minutes": _MOST_CORE_MINUTES,
            "wall_seconds": round(wall),
            "peak_mb": round(after.ru_maxrss / 1024),
            "pairs_compared": int(told["pairs_compared"]),
            "pairs_of_plain_cf": int(told["pairs_plain"]),
            "pairs_ratio": round(told["pairs_compared"] / told["pairs_plain"], 4),
            "ndcg@5": round(told["ndcg@5"], 4),
            "user_knn_ndcg@5": round(told["user_knn_ndcg@5"], 4),
            "graph_bytes": report["bytes"],
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
