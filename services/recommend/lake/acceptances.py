"""Files of acceptance: the folder of a training under way, and the scores of all customers that it publishes.

In: contacts.npz, everyone.npy, acceptance.json (last). Out: chances.npy (n, k), and last report.json.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from services.recommend.domain.live import Scored
from services.recommend.domain.product import Flags, Floats, Ints, Singles
from services.recommend.domain.snapshot import File
from services.recommend.lake import Features, Lake, workbench

TASK = "acceptance.json"
_CONTACTS, _EVERYONE, _CHANCES = "contacts.npz", "everyone.npy", "chances.npy"


@dataclass(frozen=True)
class Task:
    """Contacts by time: `values` (m, f), `product` (m,) of `product_ids`, whose chances `everyone` (n, f) is to get.

    `until` is by product the time (seconds) of the last contact that the model before learned from.
    """

    names: tuple[str, ...]
    values: Singles
    customer: Ints
    product: Ints
    accepted: Flags
    time: Floats
    product_ids: tuple[str, ...]
    until: Mapping[str, float]
    everyone: Singles
    seed: int
    threads: int
    algorithm: str

    @property
    def sha256(self) -> str:
        """The checksum over the contacts and their answers, hex."""
        told = hashlib.sha256(json.dumps([self.names, self.product_ids]).encode())
        for array in (self.values, self.customer, self.product, self.accepted, self.time):
            told.update(np.ascontiguousarray(array).tobytes())
        return told.hexdigest()


def write_input(folder: Path, task: Task) -> None:
    """Lay out the folder; acceptance.json comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _CONTACTS).open("wb") as file:
        np.savez(
            file,
            values=task.values,
            customer=task.customer,
            product=task.product,
            accepted=task.accepted,
            time=task.time,
        )
    np.save(folder / _EVERYONE, task.everyone, allow_pickle=False)
    plain = {
        "names": list(task.names),
        "product_ids": list(task.product_ids),
        "until": dict(task.until),
        "seed": task.seed,
        "threads": task.threads,
        "algorithm": task.algorithm,
    }
    workbench.write_json(folder / TASK, plain)


def read_input(folder: Path) -> Task:
    """What write_input wrote."""
    plain = json.loads((folder / TASK).read_text())
    with np.load(folder / _CONTACTS, allow_pickle=False) as told:
        contacts = {name: told[name] for name in ("values", "customer", "product", "accepted", "time")}
    return Task(
        names=tuple(plain["names"]),
        product_ids=tuple(plain["product_ids"]),
        until=plain["until"],
        everyone=np.load(folder / _EVERYONE, allow_pickle=False),
        seed=plain["seed"],
        threads=plain["threads"],
        algorithm=plain["algorithm"],
        **contacts,
    )


def write_output(folder: Path, chances: Singles, report: Mapping[str, Any]) -> None:
    """The chances (n, k) of everybody, NaN for a product without a model, and last the report."""
    temporary = folder / f"{_CHANCES}.tmp"
    with temporary.open("wb") as file:
        np.save(file, chances, allow_pickle=False)
    os.replace(temporary, folder / _CHANCES)
    workbench.write_json(folder / workbench.REPORT, report)


def read_chances(folder: Path) -> Singles:
    """What write_output wrote."""
    told: Singles = np.load(folder / _CHANCES, allow_pickle=False)
    return told


def publish(lake: Lake, job_id: str, product_id: str, features: Features, rows: Ints, chance: Singles) -> File:
    """Write the chances of the customers at `rows`, the highest first, then by customer."""
    order = np.lexsort((features.customer_key[rows], -chance))
    table = pa.table(
        {
            "customer_key": pa.array(features.customer_key[rows][order], pa.int64()),
            "org_id": pa.array(features.org_id[rows][order], pa.string()),
            "probability": pa.array(chance[order], pa.float32()),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    uri = lake.put(f"recommend/acceptance/{job_id}/{product_id}.parquet", content)
    return File(uri, len(table), hashlib.sha256(content).hexdigest())


def chances(lake: Lake, file: File) -> tuple[Ints, Singles]:
    """Customers ascending, and the chance of each."""
    table = lake.table(file).select(["customer_key", "probability"])
    table = table.sort_by("customer_key")
    return np.asarray(table["customer_key"].to_numpy(), np.int64), np.asarray(table["probability"].to_numpy(), "f4")


def scores(lake: Lake, file: File) -> Sequence[Scored]:
    """All of them, the highest first."""
    table = lake.table(file)
    columns = [table[name].to_pylist() for name in ("customer_key", "org_id", "probability")]
    return [Scored(*row) for row in zip(*columns, strict=True)]
