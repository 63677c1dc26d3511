"""What a training costs on a million customers, how many pairs of customers its neighbourhood compared, and what an
answer costs beside plain collaborative filtering over the same customers (R000-040).

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
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from benchmarks import matrix
from services.recommend.config import Config
from services.recommend.domain.product import Catalogue, Product
from services.recommend.lake import workbench
from services.recommend.model import Graph

CUSTOMERS, PRODUCTS, FEATURES, SEED = int(os.environ.get("ROWS", "1000000")), 20, 40, 5
_MOST_CORE_MINUTES = 10
_ASKED, _CHUNK, _NEIGHBOURS, _TIMES = 500, 50, 20, 5


def laid(folder: Path) -> None:
    """Lays out what the program reads."""
    catalogue = Catalogue.of([Product(f"P{n:02d}", f"P{n:02d}", "", 1000, 8000) for n in range(PRODUCTS)])
    names = tuple(f"feature_{number:02d}" for number in range(FEATURES))
    shape = {"features": FEATURES, "products": PRODUCTS}
    profile, owned = matrix.people(np.random.default_rng([SEED, 1]), CUSTOMERS, **shape)
    trees, most = Config.training_trees, Config.training_customers
    workbench.write_input(folder, workbench.Task(names, profile, owned, catalogue, SEED, trees, 2, most))


def plain_cf(owned: Any, rest: Any) -> Any:
    """Gives the votes of the nearest customers by the cosine of what they own, as a textbook has it."""
    known = owned.astype(np.float32)
    known /= np.maximum(np.sqrt(known.sum(axis=1, keepdims=True)), 1.0)
    votes = np.zeros(rest.shape, dtype=np.float32)
    for start in range(0, len(rest), _CHUNK):
        part = slice(start, start + _CHUNK)
        alike = rest[part].astype(np.float32) @ known.T
        near = np.argpartition(-alike, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
        votes[part] = owned[near].sum(axis=1)
    return votes


def answered(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Measures CPU time of an answer, and the memory that answering takes, of the graph and of plain CF."""
    task = workbench.read_input(folder)
    rows = np.random.default_rng(SEED).permutation(len(task.owned))[:_ASKED]
    place = {name: number for number, name in enumerate(task.features)}
    profile = np.ascontiguousarray(task.profile[rows][:, [place[name] for name in report["features"]]])
    rest = task.owned[rows]
    found: dict[str, Any] = {}
    process = psutil.Process()
    with Resident(process) as by_graph:
        graph = Graph((folder / workbench.GRAPH).read_bytes(), report["sha256"])
        started = time.process_time()
        for _ in range(_TIMES):
            graph.rank(profile, rest, task.catalogue.eligible(rest))
        spent = (time.process_time() - started) / _TIMES
    with Resident(process) as by_neighbours:
        started = time.process_time()
        plain_cf(task.owned, rest)
        plain = time.process_time() - started
    found["graph_us_per_answer"], found["plain_cf_us_per_answer"] = (
        round(1e6 * each / _ASKED, 1) for each in (spent, plain)
    )
    found["graph_mb_to_answer"], found["plain_cf_mb_to_answer"] = by_graph.most_mb, by_neighbours.most_mb
    found["answer_ratio"] = round(spent / plain, 5)
    return found


class Resident:
    """The most memory that the process takes beyond what it has, in MB, while this is open."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._follow, daemon=True)
        self.most_mb = 0.0

    def __enter__(self) -> Resident:
        self._before = self._process.memory_info().rss
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _follow(self) -> None:
        while True:
            grown = (self._process.memory_info().rss - self._before) / 2**20
            self.most_mb = max(self.most_mb, round(grown, 1))
            if self._over.wait(0.01):
                return


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
        told, answers = report["metrics"], answered(folder, report)
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
            **answers,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
