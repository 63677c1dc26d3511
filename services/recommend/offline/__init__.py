"""Offline verbs for analysts: files in, a report out, the same code as the service's own training.

    python -m services.recommend evaluate --interactions OWNED.csv --customers CUSTOMERS.csv
                                          [--products PRODUCTS.csv] --out REPORT.json [--seed 1] [--threads 2]
                                          [--protocols leave_one_out temporal cold_start]

OWNED      customer_id, product_id [, time]
CUSTOMERS  customer_id and any features: types are inferred, values may be missing
PRODUCTS   product_id [, name, category, requires_product_id, exclusive_group]

CSV (comma, semicolon, tab or bar; UTF-8 or GB18030) or Parquet. Exit status: 0 done, 2 bad input, with one line.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from services.kit.errors import Refusal
from services.recommend.lake.workbench import write_bytes
from services.recommend.offline.tables import BadInput, Source, read
from services.recommend.offline.world import CUSTOMER, PRODUCT, Read, assemble

_STEPS = 13
_PROTOCOLS = ("leave_one_out", "temporal", "cold_start")
NOTES = {
    "leave_one_out": "5 folds of customers (one when there are more than 60,000 questions): every holding of a held-out"
    " customer with at least two is hidden once and is to be found among what he does not own",
    "temporal": "the last 20 % of the dated holdings, asked of customers who owned something before",
    "cold_start": "5 folds of customers: all holdings of a held-out customer are to be found from his profile alone",
    "tuning": "every choice (K, leaf size, penalties, factors, weights) is made on a fifth of the learning side",
    "measures": "averaged per customer; coverage: share of the products among anybody's first five",
    "rf_cf": "next-product forest × log-linear collaborative filter × boosting, weights from the tuning part;"
    " for cold start the forest, filter and boosting on the profile alone × small networks;"
    " beyond 64 products the forest re-ranks what collaborative filters propose. Its curve is the forest's own"
    " neighbourhood: the K customers who share most leaves vote",
    "curve": "[K, NDCG@5]; curve_interval has its 95 % interval, by bootstrap over customers",
    "pairs": "pairs of customers whose likeness was computed; UserKNN compares each question with all known customers",
    "user_knn": "ownership only; neighbours that hold nothing new are skipped, ties go by popularity",
    "user_knn_profile": "profile and ownership",
}


def evaluate(arguments: Sequence[str]) -> int:
    """Compare the algorithms on the analyst's own data."""
    parser = argparse.ArgumentParser(
        prog="python -m services.recommend evaluate",
        description="Compare RF-CF with twelve other recommenders on the same questions, on your own data.",
        epilog="example: python -m services.recommend evaluate --interactions owned.csv --customers customers.csv"
        " --out report.json",
    )
    parser.add_argument("--interactions", type=Path, required=True, help="customer_id, product_id [, time]")
    parser.add_argument("--customers", type=Path, required=True, help="customer_id and any features")
    parser.add_argument("--products", type=Path, help="product_id [, name, category, requires_product_id, …]")
    parser.add_argument("--out", type=Path, required=True, help="where to write the report (JSON)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same report (default 1)")
    parser.add_argument("--protocols", nargs="+", choices=_PROTOCOLS, default=_PROTOCOLS, help="default: all")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: one per core")
    asked = parser.parse_args(arguments)
    try:
        _writable(asked.out)
        sources = {
            "interactions": read(asked.interactions, [CUSTOMER, PRODUCT]),
            "customers": read(asked.customers, [CUSTOMER]),
        }
        if asked.products:
            sources["products"] = read(asked.products, [PRODUCT])
        found = assemble(sources["interactions"], sources["customers"], sources.get("products"), asked.seed)
        report = _report(found, sources, asked)
    except (BadInput, Refusal) as wrong:
        print(f"evaluate: {wrong.message if isinstance(wrong, Refusal) else wrong}", file=sys.stderr)
        return 2
    write_bytes(asked.out, (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    _summary(report)
    return 0


def _writable(out: Path) -> None:
    """Say before hours of work that a report cannot be written. Raises BadInput."""
    if not out.parent.is_dir():
        raise BadInput(f"{out.parent}: no such folder")
    if out.is_dir():
        raise BadInput(f"{out}: is a folder")
    if not os.access(out.parent, os.W_OK):
        raise BadInput(f"{out.parent}: nothing may be written there")


def _report(found: Read, sources: dict[str, Source], asked: argparse.Namespace) -> dict[str, Any]:
    from services.recommend.training.contest import protocol, run  # costs a second; a bad file is told before it

    seed, threads = asked.seed, max(asked.threads, 1)
    world = protocol.World(found.profile, found.owned, found.time, found.catalogue)
    wanted: dict[str, Callable[[], Iterator[protocol.Split]]] = {
        "leave_one_out": lambda: protocol.leave_one_out(world, seed),
        "temporal": lambda: protocol.temporal(world, seed),
        "cold_start": lambda: protocol.cold_start(world, seed),
    }
    wanted = {name: splits for name, splits in wanted.items() if name in asked.protocols}
    if found.time is None:
        wanted.pop("temporal", None)
    if not wanted:
        raise BadInput("temporal: fewer than five different times are known, or none")
    if not found.features:
        found.warnings.append("no feature is usable: the cold-start protocol can only go by popularity")
    protocols: dict[str, Any] = {}
    started = time.perf_counter()
    console = Console(stderr=True)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True)
    with bar, threadpool_limits(1, user_api="blas"):  # the threads asked for are ours: those of BLAS only wait for them
        for name, splits in wanted.items():
            task = bar.add_task(name, total=_STEPS * (1 if name == "temporal" else protocol.FOLDS))

            def say(step: str, name: str = name, task: Any = task) -> None:
                bar.update(task, advance=1, description=f"{name}, {step}")

            part = run.protocol(world, splits(), seed=seed, threads=threads, say=say)
            bar.remove_task(task)
            if part is None:
                found.warnings.append(f"{name}: there is no question to ask")
            else:
                protocols[name] = part
    if not protocols:
        raise BadInput("no protocol has a question: too few customers own two products")
    return {
        "protocols": protocols,
        "notes": NOTES,
        "data": {
            "hashes": {name: source.sha256 for name, source in sources.items()},
            "counts": found.counts,
            "features": found.features,
            "dropped": found.dropped,
            "warnings": found.warnings,
        },
        "seed": seed,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _summary(report: dict[str, Any]) -> None:
    for warning in report["data"]["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    for name, part in report["protocols"].items():
        print(f"{name}: {part['customers']} customers, {part['queries']} questions")
        ranked = sorted(part["models"].items(), key=lambda item: -item[1]["ndcg@5"])
        for model, told in ranked:
            best = f"  K {told['best_k']}" if told["best_k"] else ""
            print(f"  {model:<17} NDCG@5 {told['ndcg@5']:.4f}  hit@1 {told['hit@1']:.4f}  MRR {told['mrr']:.4f}{best}")
