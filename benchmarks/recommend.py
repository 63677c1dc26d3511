"""Recommend by gRPC, the model run included, against a bare echo of the same answer, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import numpy as np
from rich.console import Console

from benchmarks import matrix
from benchmarks.echo import METHOD
from benchmarks.get_portrait import round_of, summary
from deploy.local import platform
from deploy.local.services import service_pid
from lifecircle.recommend.v1 import RecommendRequest
from services.recommend.domain.product import Catalogue, Product
from services.recommend.lake import Features, Lake, model_path, profiles, workbench
from services.recommend.model import Graph
from services.recommend.training import program

CUSTOMERS, PRODUCTS, FEATURES, TAUGHT, ROUNDS, SEED = 20_000, 20, 60, 3_000, 5, 7
PATH = "/lifecircle.recommend.v1.RecommendService/Recommend"
_LOADED_SECONDS = 30.0
_RUNS, _MOST_ROW_MS = 1_000, 0.2


def publish(lake: Lake, folder: Path) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Trains a model, lays its files and the packed profiles into the lake; gives report, holdings and the pack."""
    catalogue = Catalogue.of([Product(f"P{n:02d}", f"产品{n:02d}", "", 1000, 8000) for n in range(PRODUCTS)])
    names = tuple(f"feature_{number:02d}" for number in range(FEATURES))
    shape = {"features": FEATURES, "products": PRODUCTS}
    profile, owned = matrix.people(np.random.default_rng([SEED, 1]), TAUGHT, **shape)
    workbench.write_input(folder, workbench.Task(names, profile, owned, catalogue, SEED, 30, 2, TAUGHT))
    program.main(folder)
    report = workbench.read_report(folder)
    assert report is not None
    for name in (workbench.GRAPH, workbench.TREES):
        lake.put(model_path("benchmark", name), (folder / name).read_bytes())
    profile, owned = matrix.people(np.random.default_rng([SEED, 2]), CUSTOMERS, **shape)
    orgs = np.array(["44190101"] * CUSTOMERS, dtype=object)
    features = Features(np.arange(1, CUSTOMERS + 1), orgs, names, profile)
    return report, owned, profiles.write(lake, "benchmark", features).plain


async def register(url: str, report: dict[str, Any], owned: Any, pack: dict[str, Any]) -> None:
    """Writes products, ownership, the run and the champion."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "recommend"})
    now, names = datetime.now(UTC), [f"feature_{number:02d}" for number in range(FEATURES)]
    products = [asdict(Product(f"P{n:02d}", f"产品{n:02d}", "", 1000, 8000)) for n in range(PRODUCTS)]
    for each in products:
        del each["terms"]
        row = {**each, "owners": 100, "period": date(2026, 9, 30), "sequence": 1, "update_time": now}
        marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await connection.execute(f"INSERT INTO product ({', '.join(row)}) VALUES ({marks})", *row.values())
    keys, column = np.nonzero(owned)
    rows = [
        (key + 1, f"P{place:02d}", "", True, now, "o")
        for key, place in zip(keys.tolist(), column.tolist(), strict=True)
    ]
    fields = ["customer_key", "product_id", "org_id", "owned", "time", "order_id"]
    await connection.copy_records_to_table("ownership", schema_name="recommend", records=rows, columns=fields)
    await connection.execute(
        "INSERT INTO run (run_id, to_date, customers, files, labels, columns, serves, begun, pack)"
        " VALUES ('benchmark', '2026-09-30', $1, '[]', '{}', $2, true, true, $3)",
        CUSTOMERS,
        json.dumps(names),
        json.dumps(pack),
    )
    await connection.execute(
        "INSERT INTO model (model_id, state, algorithm, run_id, sha256, trees_sha256, data_sha256, seed, customers,"
        " bytes, features, product_ids, metrics, report, create_time, promote_time) VALUES ('benchmark', 'CHAMPION',"
        " 'rf_cf', 'benchmark', $1, $2, '', 1, 1, $3, $4, $5, '{}', '{}', now(), now())",
        report["sha256"],
        report["trees_sha256"],
        report["bytes"],
        json.dumps(report["features"]),
        json.dumps([each["product_id"] for each in products]),
    )
    await connection.execute("ANALYZE ownership")
    await connection.close()


def answered(target: str, token: str) -> int:
    """Waits until the model is loaded; gives the size of an answer in bytes."""
    deadline = time.monotonic() + _LOADED_SECONDS
    with grpc.insecure_channel(target) as channel:
        call: Any = channel.unary_unary(PATH)
        while True:
            try:
                request = RecommendRequest(customer_key=1, most=5).SerializeToString()
                return len(call(request, timeout=10, metadata=(("authorization", f"Bearer {token}"),)))
            except grpc.RpcError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def one_row(lake: Lake, report: dict[str, Any]) -> dict[str, float]:
    """Gives the CPU milliseconds of one customer through the graph, the median of rounds."""
    graph = Graph(lake.get(model_path("benchmark", workbench.GRAPH)), report["sha256"])
    shape = {"features": FEATURES, "products": PRODUCTS}
    profile, owned = matrix.people(np.random.default_rng([SEED, 3]), _RUNS, **shape)
    rows = [(profile[each : each + 1], owned[each : each + 1], ~owned[each : each + 1]) for each in range(_RUNS)]
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for row in rows:
            graph.rank(*row)
        spent.append((time.process_time() - started) / _RUNS * 1e3)
    return {"one_row_cpu_ms": round(statistics.median(spent), 4), "most_one_row_cpu_ms": _MOST_ROW_MS}


def measure(console: Console) -> dict[str, Any]:
    """Measures both in turns and gives the medians and the ratio round by round."""
    state, dice = Path(tempfile.mkdtemp(prefix="lifecircle-bench-")), random.Random(SEED)
    try:
        run, _ = platform.up(state, chosen=("recommend",), port=0, mutual=False)
        lake = Lake(f"file://{run.lake}")
        report, owned, pack = publish(lake, state / "model")
        alone = one_row(lake, report)
        asyncio.run(register(run.database_url, report, owned, pack))
        token = run.keys.token("viewer").read_text().strip()
        served = f"127.0.0.1:{run.replicas['recommend'][0]}"
        size = answered(served, token)
        asked = [
            RecommendRequest(customer_key=dice.randint(1, CUSTOMERS), most=5).SerializeToString().hex()
            for _ in range(5000)
        ]
        command = [sys.executable, "-m", "benchmarks.echo", str(size)]
        rounds: dict[str, list[dict[str, float]]] = {"echo": [], "get_portrait": []}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as echo:
            assert echo.stdout is not None
            bare = f"127.0.0.1:{echo.stdout.readline().strip()}"
            for number in range(ROUNDS):
                console.print(f"round {number + 1} of {ROUNDS}")
                rounds["echo"].append(round_of(bare, METHOD, "", asked, echo.pid))
                rounds["get_portrait"].append(round_of(served, PATH, token, asked, service_pid(run, "recommend")))
            echo.kill()
        told = summary(rounds, size, 0.35)
        told["medians"]["recommend"] = told["medians"].pop("get_portrait")
        told["data"] = (
            f"{CUSTOMERS} customers × {FEATURES} features packed, {PRODUCTS} products, five with reasons, graph of"
            f" {report['bytes']} bytes, 32 calls at once; the answer has {size} bytes"
        )
        return {**told, "goal": 0.5, **alone}
    finally:
        platform.down(state)
        shutil.rmtree(state, ignore_errors=True)
