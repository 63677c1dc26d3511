"""Events as rows of `event_key` and `event`, ready for COPY: those of a file, and those that were told by RPC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import polars as pl

from services.ingest.domain.event import Told
from services.ingest.store.binary import Pieces, copy_format

Same: TypeAlias = Mapping[str, str | int | datetime]
"""Columns that have one value in all rows."""


@dataclass(frozen=True)
class Part:
    """Rows of one table in the binary format of COPY."""

    table: str
    columns: list[str]
    data: Pieces


def file_rows(rows: pl.DataFrame, orgs: pl.DataFrame, same: Same) -> list[Part]:
    """Rows of a file (columns STAGED and `digest`); `same` says source, arrival_no and receive_time."""
    made = rows.rename({"attributes": "said"})
    if orgs.height:
        placed = made.join(orgs, on="customer_key", how="left", maintain_order="left")
        return _parts(placed.with_columns(pl.col("org_id").fill_null("")), same)
    return _parts(made, {**same, "org_id": ""})


def told_rows(told: Sequence[tuple[int, Told]], orgs: Mapping[int, str], same: Same) -> list[Part]:
    """Events with their places in the batch, each with a digest; `same` says arrival_no and receive_time."""
    events = [event for _, event in told]
    columns = {
        "line": [at for at, _ in told],
        "source": [each.source for each in events],
        "source_event_id": [each.source_event_id for each in events],
        "type": [each.type for each in events],
        "customer_key": [each.customer_key for each in events],
        "org_id": [orgs[each.customer_key] for each in events],
        "occur_time": [each.moment for each in events],
        "said": [each.attributes_json for each in events],
        "digest": [each.digest for each in events],
    }
    rows = pl.DataFrame(columns, schema=_TOLD).with_columns(pl.col("occur_time").cast(pl.Datetime("us", "UTC")))
    return _parts(rows, same)


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


def _parts(rows: pl.DataFrame, same: Same) -> list[Part]:
    """The keys in their own order, so that the index grows where it was touched last; events in that of the rows."""
    same = {**same, **_shared(rows)}
    by_key = [name for name in ("source_event_id", "source") if name in rows.columns]
    keys = rows.select(name for name in _KEY_COLUMNS if name in rows.columns).sort(by_key)
    return [
        Part("event_key", _KEY_COLUMNS, copy_format(keys, same, _KEY_COLUMNS)),
        Part("event", _LOG_COLUMNS, copy_format(rows, same, _LOG_COLUMNS)),
    ]


def _shared(rows: pl.DataFrame) -> dict[str, str]:
    """Texts that all rows have, which is nearly always so of a source and often of a type: they cost nothing then."""
    texts = (rows[name] for name in ("source", "type", "org_id") if name in rows.columns)
    return {each.name: each[0] for each in texts if (each == each[0]).all()}


_KEY_COLUMNS = ["source", "source_event_id", "digest", "arrival_no", "line"]
_LOG_COLUMNS = [
    "source", "source_event_id", "type", "customer_key", "org_id", "occur_time", "receive_time", "said", "arrival_no",
    "line",
]  # fmt: skip
_TOLD = pl.Schema(
    {"line": pl.Int64()}
    | dict.fromkeys(("source", "source_event_id", "type"), pl.String())
    | {"customer_key": pl.Int64(), "org_id": pl.String(), "occur_time": pl.Int64()}
    | {"said": pl.String(), "digest": pl.Binary()}
)
