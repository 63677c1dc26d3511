"""The matrix from Parquet to Parquet against the same graph run alone on the same rows, by CPU time, in one process.

ROWS says how many customers (default 200,000); ROWS=1000000 is the size that memory is promised for.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console

from services.recommend.domain.ownership import State
from services.recommend.domain.product import Catalogue, Product
from services.recommend.domain.registry import Model
from services.recommend.domain.snapshot import File
from services.recommend.lake import Lake, workbench
from services.recommend.model import Graph
from services.recommend.training import program
from services.recommend.usecases.scoring import bucket

CUSTOMERS, PRODUCTS, FEATURES, TAUGHT, SEED = int(os.environ.get("ROWS", "200000")), 50, 40, 1_500, 5
BUCKETS = max(CUSTOMERS // 31_250, 4)
AT_ONCE = 2_000
"""Rows that the graph is given at once, as by the job: where it is quickest, since they stay in the cache."""
ALONE = 4
"""Buckets over which the graph is run alone as well; its cost per row is that of the others."""


def people(
    rng: np.random.Generator, customers: int, features: int = FEATURES, products: int = PRODUCTS
) -> tuple[Any, Any]:
    """Profiles and holdings of customers whose tastes go by four hidden traits."""
    taste = rng.normal(size=(customers, 4)).astype(np.float32)
    weights = np.random.default_rng(SEED)
    profile = taste @ weights.normal(size=(4, features)).astype(np.float32)
    profile += rng.normal(size=profile.shape).astype(np.float32)
    wish = taste @ weights.normal(size=(4, products)).astype(np.float32) - 1.8
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


def sources(folder: Path, names: tuple[str, ...]) -> tuple[list[File], list[File]]:
    """The features in buckets, as portrait publishes them, and as many files of orders: one order for each holding."""
    files, orders = [], []
    for bucket_ in range(BUCKETS):
        keys = np.arange(bucket_ or BUCKETS, CUSTOMERS + 1, BUCKETS)
        profile, owned = people(np.random.default_rng([SEED, 2, bucket_]), len(keys))
        columns = {name: profile[:, place] for place, name in enumerate(names)}
        table = pa.table({"customer_key": keys, "org_id": ["4419"] * len(keys), **columns})
        files.append(kept(folder / f"features-{bucket_}.parquet", table, bucket_))
        row, column = np.nonzero(owned)
        table = pa.table(
            {
                "customer_key": keys[row],
                "product_id": pa.array([f"P{place:02d}" for place in range(PRODUCTS)]).take(pa.array(column)),
                "order_id": pc.binary_join_element_wise("o", pa.array(np.arange(len(row))).cast(pa.string()), ""),
                "time": pa.array(np.full(len(row), 1_750_000_000_000), pa.timestamp("ms", tz="UTC")),
                "action": pa.repeat("open", len(row)),
            }
        )
        orders.append(kept(folder / f"orders-{bucket_}.parquet", table, -1))
    return files, orders


def kept(path: Path, table: pa.Table, number: int) -> File:
    """A file, and its line of the manifest."""
    pq.write_table(table, path, compression="zstd")
    return File(path.as_uri(), len(table), hashlib.sha256(path.read_bytes()).hexdigest(), number)


def raw(graph: Graph, lake: Lake, files: list[File], held: Sequence[State], catalogue: Catalogue) -> float:
    """CPU seconds of the graph alone for a row, over the same rows and holdings, read beforehand."""
    spent, rows = 0.0, 0
    for file in files:
        features = lake.features([file])
        profile, owned = features.values, held[file.bucket].of(features.customer_key).owned
        eligible = catalogue.eligible(owned)
        for start in range(0, len(profile), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            before = time.process_time()
            graph.rank(profile[part], owned[part], eligible[part])
            spent += time.process_time() - before
        rows += len(profile)
    return spent / rows


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
        console.print(f"{CUSTOMERS} customers in {BUCKETS} files, {sum(file.rows for file in orders)} orders")
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time()
        held = lake.states(orders, catalogue, {}, BUCKETS)
        settled = time.process_time() - started
        written = [bucket(lake, "bench", graph, model, catalogue, held, file, 0)[0] for file in files]
        whole = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        alone = CUSTOMERS * raw(graph, lake, files[:: BUCKETS // ALONE], held, catalogue)
        return {
            "data": f"{CUSTOMERS} customers × {PRODUCTS} products, {FEATURES} features, {len(content)} bytes of graph",
            "cells": sum(file.rows for file in written),
            "cpu_seconds": round(whole, 2),
            "of_which_orders": round(settled, 2),
            "graph_alone_cpu_seconds": round(alone, 2),
            "ratio_to_graph_alone": round(alone / whole, 3),
            "floor": 0.9,
            "customers_per_core_second": round(CUSTOMERS / whole),
            "training_cpu_seconds": round(training, 1),
            "peak_mb": round(peak),
            "peak_mb_before": round(before),
            "most_mb": 3072,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
