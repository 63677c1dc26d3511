"""Events as rows of `event_key` and `event`, ready for COPY: those of a file, and those that were told by RPC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import polars as pl

from services.ingest.domain.event import Told
from services.ingest.store.binary import copy_format

Same: TypeAlias = Mapping[str, str | datetime]
"""Columns that have one value in all rows."""


@dataclass(frozen=True)
class Part:
    """Rows of one table in the binary format of COPY."""

    table: str
    columns: list[str]
    data: bytes


def file_rows(rows: pl.DataFrame, orgs: pl.DataFrame, same: Same) -> list[Part]:
    """Rows of a file (columns STAGED and `digest`); `same` says source, delivery_id, receive_time and traceparent."""
    event_id = f"{same['delivery_id']}-" + pl.col("line").cast(pl.String)
    made = rows.with_columns(event_id=event_id, line=pl.col("line").cast(pl.Int64))
    if orgs.height:
        placed = made.join(orgs, on="customer_key", how="left", maintain_order="left")
        return _parts(placed.with_columns(pl.col("org_id").fill_null("")), same, _LOG_COLUMNS)
    return _parts(made, {**same, "org_id": ""}, _LOG_COLUMNS)


def told_rows(told: Sequence[tuple[str, Told]], orgs: Mapping[int, str], same: Same) -> list[Part]:
    """Events with their ids, each with a digest; `same` says receive_time and traceparent."""
    events = [event for _, event in told]
    columns = {
        "event_id": [event_id for event_id, _ in told],
        "source": [each.source for each in events],
        "source_event_id": [each.source_event_id for each in events],
        "type": [each.type for each in events],
        "customer_key": [each.customer_key for each in events],
        "org_id": [orgs[each.customer_key] for each in events],
        "occur_time": [each.moment for each in events],
        "attributes": [each.attributes_json for each in events],
        "digest": [each.digest for each in events],
    }
    rows = pl.DataFrame(columns, schema=_TOLD).with_columns(pl.col("occur_time").cast(pl.Datetime("us", "UTC")))
    names = [name for name in _LOG_COLUMNS if name != "line"]
    return _parts(rows, {**same, "delivery_id": ""}, names)


def content_of(told: Sequence[Told]) -> list[list[Any]]:
    """What events say, column by column."""
    return [
        [each.source for each in told],
        [each.source_event_id for each in told],
        [each.type for each in told],
        [each.customer_key for each in told],
        [each.occur_time for each in told],
        [each.attributes_json for each in told],
    ]


def _parts(rows: pl.DataFrame, same: Same, log: list[str]) -> list[Part]:
    """The keys in their own order, so that the index grows where it was touched last; events in that of the rows."""
    by_key = [name for name in ("source", "source_event_id") if name in rows.columns]
    keys = rows.select(name for name in _KEY_COLUMNS if name in rows.columns).sort(by_key)
    return [
        Part("event_key", _KEY_COLUMNS, copy_format(keys, same, _KEY_COLUMNS)),
        Part("event", log, copy_format(rows, same, log)),
    ]


_KEY_COLUMNS = ["source", "source_event_id", "event_id", "digest", "receive_time"]
_LOG_COLUMNS = [
    "event_id", "source", "source_event_id", "type", "customer_key", "org_id", "occur_time", "receive_time",
    "attributes", "delivery_id", "line", "traceparent",
]  # fmt: skip
_TOLD = pl.Schema(
    dict.fromkeys(("event_id", "source", "source_event_id", "type"), pl.String())
    | {"customer_key": pl.Int64(), "org_id": pl.String(), "occur_time": pl.Int64()}
    | {"attributes": pl.String(), "digest": pl.Binary()}
)
