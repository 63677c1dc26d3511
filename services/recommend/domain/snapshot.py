"""What the neighbours publish and this service reads: deliveries, runs, and the files of both."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

PRODUCTS, ORDERS = "products", "orders"
FEEDS = (PRODUCTS, ORDERS)
"""The feeds that training and the matrix need beside a run of portrait: the readiness rule, as data."""

CUSTOMERS, CALLS = "customers", "call_details"
GRAPH_FEEDS = (CUSTOMERS, CALLS)
"""The feeds that say who calls whom; what learns from them does without while they are not there."""
CALL_DAYS = 30
"""How many days of calls before a day make the graph of that day."""

FEATURES_VERSION = 1
"""The schema version of portrait's feature files that this service can read."""


@dataclass(frozen=True)
class File:
    """One immutable Parquet file; `bucket` is customer_key modulo the number of buckets, -1 where there are none."""

    uri: str
    rows: int
    sha256: str
    bucket: int = -1

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"uri": self.uri, "rows": self.rows, "sha256": self.sha256, "bucket": self.bucket}


@dataclass(frozen=True)
class Delivery:
    """A loaded delivery of one of FEEDS or GRAPH_FEEDS; without `files` a later one has taken its place already."""

    delivery_id: str
    feed_id: str
    period: date
    sequence: int
    files: tuple[File, ...]


@dataclass(frozen=True)
class Run:
    """A published run of portrait with its feature files, and the names of its tags by code."""

    run_id: str
    to_date: date
    customers: int
    files: tuple[File, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Published:
    """A run, and the deliveries that ingest held for its period when the run came."""

    run: Run
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True)
class Inputs:
    """What a job reads: a run, and the deliveries of FEEDS whose period is not after the run's last day.

    `graph` are those of GRAPH_FEEDS, for the jobs that look at calls.
    """

    run_id: str
    deliveries: Mapping[str, Sequence[str]]
    graph: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def missing(self) -> list[str]:
        """The feeds of which nothing is there yet."""
        return [feed for feed in FEEDS if not self.deliveries.get(feed)]

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON, for the job's spec."""
        return {"run_id": self.run_id, "deliveries": {feed: list(ids) for feed, ids in self.deliveries.items()}}

    @property
    def with_graph(self) -> dict[str, Any]:
        """As JSON with the graph's deliveries; without calls the same as `plain`."""
        told = {feed: list(ids) for feed, ids in self.graph.items()} if self.graph.get(CALLS) else {}
        return self.plain | ({"graph": told} if told else {})

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "Inputs":
        """From a job's spec."""
        return cls(spec["run_id"], spec["deliveries"], spec.get("graph", {}))

    def key(self, **more: Any) -> str:
        """The natural key of a job with these inputs and nothing else."""
        text = json.dumps({**self.plain, **more}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
