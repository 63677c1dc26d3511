"""The matrix from Parquet to Parquet against the same graph run alone on the same rows, by CPU time, in one process."""

from __future__ import annotations

import hashlib
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from services.recommend.domain import ownership
from services.recommend.domain.ownership import Orders
from services.recommend.domain.product import Catalogue, Product
from services.recommend.domain.registry import Model
from services.recommend.domain.snapshot import File
from services.recommend.lake import Lake, workbench
from services.recommend.model import Graph
from services.recommend.training import program
from services.recommend.usecases.scoring import bucket

CUSTOMERS, PRODUCTS, FEATURES, BUCKETS, TAUGHT, SEED = 200_000, 50, 40, 8, 4_000, 5


def people(rng: np.random.Generator, customers: int) -> tuple[Any, Any]:
    """Profiles and holdings of customers whose tastes go by four hidden traits."""
    taste = rng.normal(size=(customers, 4)).astype(np.float32)
    weights = np.random.default_rng(SEED)
    profile = taste @ weights.normal(size=(4, FEATURES)).astype(np.float32)
    profile += rng.normal(size=profile.shape).astype(np.float32)
    wish = taste @ weights.normal(size=(4, PRODUCTS)).astype(np.float32) - 1.8
    return profile, rng.random(wish.shape) < 1 / (1 + np.exp(-wish))


def learned(folder: Path, catalogue: Catalogue, names: tuple[str, ...]) -> tuple[dict[str, Any], bytes]:
    """A model by the training program itself."""
    profile, owned = people(np.random.default_rng([SEED, 1]), TAUGHT)
    task = workbench.Task(names, profile, owned, catalogue, SEED, 30, 2, TAUGHT)
    workbench.write_input(folder, task)
    program.main(folder)
    report = workbench.read_report(folder)
    assert report is not None
    return report, (folder / workbench.GRAPH).read_bytes()


def sources(folder: Path, names: tuple[str, ...]) -> tuple[list[File], Orders]:
    """The features in buckets, as portrait publishes them, and an order for each holding."""
    profile, owned = people(np.random.default_rng([SEED, 2]), CUSTOMERS)
    keys = np.arange(1, CUSTOMERS + 1)
    files = []
    for number in range(BUCKETS):
        mine = keys % BUCKETS == number
        columns = {name: profile[mine, place] for place, name in enumerate(names)}
        table = pa.table({"customer_key": keys[mine], "org_id": ["4419"] * int(mine.sum()), **columns})
        path = folder / f"features-{number}.parquet"
        pq.write_table(table, path, compression="zstd")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        files.append(File(path.as_uri(), len(table), sha256, number))
    row, column = np.nonzero(owned)
    product = np.array([f"P{number:02d}" for number in range(PRODUCTS)], dtype=object)[column]
    order = np.char.add("o", np.arange(len(row)).astype(str)).astype(object)
    time_ = np.full(len(row), 1_750_000_000_000)
    return files, Orders(keys[row], product, order, time_, np.ones(len(row), dtype=bool))


def raw(graph: Graph, lake: Lake, files: list[File]) -> float:
    """CPU seconds of the graph alone, over the same rows, read beforehand."""
    spent = 0.0
    for file in files:
        profile = lake.features([file]).values
        owned = np.zeros((len(profile), PRODUCTS), dtype=bool)
        for start in range(0, len(profile), 20_000):
            part = slice(start, start + 20_000)
            before = time.process_time()
            graph.rank(profile[part], owned[part], ~owned[part])
            spent += time.process_time() - before
    return spent


def measure(console: Console) -> dict[str, Any]:
    """Measures both and gives the ratio, customers per core-second and the peak of memory."""
    folder = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    try:
        catalogue = Catalogue.of([Product(f"P{n:02d}", f"P{n:02d}", "", 1000, 8000) for n in range(PRODUCTS)])
        names = tuple(f"feature_{number:02d}" for number in range(FEATURES))
        started = time.process_time()
        report, content = learned(folder / "model", catalogue, names)
        training = time.process_time() - started
        console.print(f"trained on {TAUGHT} customers, {len(content) / 1e6:.1f} MB")
        files, orders = sources(folder, names)
        lake = Lake((folder / "lake").as_uri())
        graph = Graph(content, report["sha256"])
        model = Model("m", "CHAMPION", "rf_cf", "r", report["sha256"], "", "", 1, TAUGHT, len(content),
                      tuple(report["features"]), catalogue.ids, {}, {}, None)  # type: ignore[arg-type] # fmt: skip
        started = time.process_time()
        held = ownership.state(orders, catalogue)
        written = [bucket(lake, "bench", graph, model, catalogue, held, file, 0)[0] for file in files]
        whole = time.process_time() - started
        alone = raw(graph, lake, files)
        return {
            "data": f"{CUSTOMERS} customers × {PRODUCTS} products, {FEATURES} features, {len(content)} bytes of graph",
            "cells": sum(file.rows for file in written),
            "cpu_seconds": round(whole, 2),
            "graph_alone_cpu_seconds": round(alone, 2),
            "ratio_to_graph_alone": round(alone / whole, 3),
            "floor": 0.9,
            "customers_per_core_second": round(CUSTOMERS / whole),
            "training_cpu_seconds": round(training, 1),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
