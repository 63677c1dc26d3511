"""Files of influence: members of circles by weight, and what those hold with whom a customer speaks."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.recommend.domain.call_graph import Influence, Member
from services.recommend.domain.snapshot import File
from services.recommend.lake import Features, Lake


def publish(lake: Lake, job_id: str, features: Features, found: Sequence[Influence]) -> File:
    """Write the members of all circles, by circle and rank."""
    circle = np.repeat(np.array([each.circle for each in found], dtype=object), [len(each.row) for each in found])
    row = np.concatenate([np.zeros(0, dtype=np.int64), *(each.row for each in found)])
    rank = np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(1, len(each.row) + 1) for each in found)])
    columns = {
        "circle": pa.array(circle, pa.string()),
        "customer_key": pa.array(features.customer_key[row], pa.int64()),
        "org_id": pa.array(features.org_id[row], pa.string()),
        "rank": pa.array(rank, pa.int64()),
    }
    for name, kind in (("peers", pa.int64()), ("reach", pa.float64()), ("score", pa.float64())):
        parts = [np.zeros(0), *(getattr(each, name) for each in found)]
        columns[name] = pa.array(np.concatenate(parts)).cast(kind)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    uri = lake.put(f"recommend/influence/{job_id}.parquet", content)
    return File(uri, len(row), hashlib.sha256(content).hexdigest())


def of_circle(lake: Lake, file: File, circle: str) -> list[Member]:
    """The members of a circle by rank."""
    return _members(lake, file, pc.field("circle") == circle)


def of_customer(lake: Lake, file: File, customer_key: int) -> list[Member]:
    """One customer in each of his circles, by circle; the empty one is of all customers."""
    return _members(lake, file, pc.field("customer_key") == customer_key)


def _members(lake: Lake, file: File, chosen: pc.Expression) -> list[Member]:
    return [Member(**row) for row in lake.table(file).filter(chosen).to_pylist()]
