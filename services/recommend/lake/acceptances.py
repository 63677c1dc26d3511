"""Files of acceptance: the folder of a training under way, and the scores of all customers that it publishes.

In: contacts.npz, everyone.npy, trials.npz, acceptance.json (last). Out: chances.npy (2, n, k) of chances and uplifts,
and last report.json.
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
from services.recommend.domain.trial import Trials
from services.recommend.lake import Features, Lake, workbench

TASK = "acceptance.json"
_CONTACTS, _EVERYONE, _TRIALS, _CHANCES = "contacts.npz", "everyone.npy", "trials.npz", "chances.npy"


@dataclass(frozen=True)
class Task:
    """Contacts by time: `values` (m, f), `product` (m,) of `product_ids`, whose chances `everyone` (n, f) is to get.

    `until` is by product the time (seconds) of the last contact that the model before learned from. `trials` are told
    with the same columns, their products by the same places.
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
    trials: Trials | None = None

    @property
    def sha256(self) -> str:
        """The checksum over the contacts and their answers, hex."""
        told = hashlib.sha256(json.dumps([self.names, self.product_ids]).encode())
        for array in (self.values, self.customer, self.product, self.accepted, self.time):
            told.update(np.ascontiguousarray(array).tobytes())
        for array in () if self.trials is None else _arrays(self.trials).values():
            told.update(np.ascontiguousarray(array).tobytes())
        return told.hexdigest()


def _arrays(trials: Trials) -> dict[str, Any]:
    return {name: getattr(trials, name) for name in ("values", "product", "treated", "opened")}


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
    if task.trials is not None:
        with (folder / _TRIALS).open("wb") as file:
            np.savez(file, **_arrays(task.trials))
    plain = {
        "campaigns": None if task.trials is None else dict(task.trials.campaigns),
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
    trials = None
    if plain["campaigns"] is not None:
        with np.load(folder / _TRIALS, allow_pickle=False) as found:
            trials = Trials(**{name: found[name] for name in found.files}, campaigns=plain["campaigns"])
    return Task(
        trials=trials,
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
    """The chances and the uplifts (2, n, k) of everybody, NaN for a product without a model, and last the report."""
    temporary = folder / f"{_CHANCES}.tmp"
    with temporary.open("wb") as file:
        np.save(file, chances, allow_pickle=False)
    os.replace(temporary, folder / _CHANCES)
    workbench.write_json(folder / workbench.REPORT, report)


def read_chances(folder: Path) -> Singles:
    """What write_output wrote."""
    told: Singles = np.load(folder / _CHANCES, allow_pickle=False)
    return told


def publish(lake: Lake, job_id: str, product_id: str, features: Features, rows: Ints, told: Singles) -> File:
    """Write chances and uplifts (2, r) of the customers at `rows` (r,), the highest chance first, then by customer."""
    chance, uplift = told
    order = np.lexsort((features.customer_key[rows], -chance))
    table = pa.table(
        {
            "customer_key": pa.array(features.customer_key[rows][order], pa.int64()),
            "org_id": pa.array(features.org_id[rows][order], pa.string()),
            "probability": pa.array(chance[order], pa.float32()),
            "uplift": pa.array(uplift[order], pa.float32(), from_pandas=True),
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
    names = [name for name in ("customer_key", "org_id", "probability", "uplift") if name in table.column_names]
    columns = [table[name].to_pylist() for name in names]
    return [Scored(*row) for row in zip(*columns, strict=True)]
