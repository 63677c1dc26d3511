"""City files as ingest would have conformed them: Parquet files with customer keys, and their manifest.

Written from the lake's contract alone, so that portrait's tests need no ingest. Rows that break their contract (the
city plants a few) are left out.
"""

import hashlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import polars as pl

from services.portrait.domain.run import LakeFile

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "cells": ("lac", "cell", "lon", "lat", "town", "valid_from", "valid_to"),
    "places": ("place_id", "name", "class_code", "town", "lon", "lat"),
    "cell_places": ("lac", "cell", "place_id", "weight"),
    "customers": (
        "msisdn", "org_id", "sex", "birth_year", "brand", "plan", "join_date", "device", "level", "status",
    ),
    "bills": ("msisdn", "month", "fee_fen", "voice_minutes", "sms_count", "data_mb"),
    "orders": ("order_id", "msisdn", "product_id", "action", "time"),
    "consent": ("msisdn", "channel", "purpose", "granted", "time"),
    "city_events": ("event_id", "type", "name", "place_id", "start_time", "end_time"),
    "signalling": ("msisdn", "time", "behaviour", "lac", "cell"),
}  # fmt: skip
DETAILS: Mapping[str, tuple[str, ...]] = {
    "call_details": (
        "msisdn", "start_time", "direction", "peer", "seconds", "call_type", "lac", "cell", "fee_fen",
    ),
    "data_details": (
        "msisdn", "start_time", "seconds", "up_kb", "down_kb", "radio", "app_class", "lac", "cell", "roaming",
        "fee_fen",
    ),
    "web_logs": ("msisdn", "time", "host", "app", "category", "keyword", "seconds", "kb"),
    "app_logs": (
        "msisdn", "time", "channel", "action", "page", "product_id", "keyword", "session_id", "seconds",
    ),
    "recharges": ("recharge_id", "msisdn", "time", "amount_fen", "channel", "balance_fen"),
    "coarse_portrait": ("msisdn", "month", "tag", "value", "score"),
    "products": (
        "product_id", "name", "category", "fee_fen", "worth_fen", "requires_product_id", "exclusive_group",
    ),
    "plans": ("plan", "name", "fee_fen", "voice_minutes", "data_mb"),
    "terminals": ("device", "terminal_class", "radio"),
    "agreements": ("msisdn", "kind", "reference", "from_date", "to_date"),
}  # fmt: skip
"""Detail feeds, which not every test needs."""
_DETAIL_PREFIX = {
    "call_details": "CALL", "data_details": "DATA", "web_logs": "WEBLOG", "app_logs": "APPLOG", "recharges": "RECHARGE",
    "coarse_portrait": "VGOP", "products": "PRODUCT", "plans": "PLAN", "terminals": "TERMINAL", "agreements": "AGREE",
}  # fmt: skip
_BUCKETED = {"signalling", "call_details", "data_details", "web_logs", "app_logs"}
PREFIX = {
    "cells": "CELL", "places": "PLACE", "cell_places": "CELLPLACE", "customers": "CUST", "bills": "BILL",
    "orders": "ORDER", "consent": "CONSENT", "city_events": "CITYEVT", "signalling": "SIGNAL",
}  # fmt: skip
_NUMBERS = {
    "lon", "lat", "weight", "fee_fen", "voice_minutes", "sms_count", "data_mb", "birth_year", "score",
}  # fmt: skip
_WHOLE = {"direction", "call_type", "radio", "roaming", "seconds", "up_kb", "down_kb", "kb", "amount_fen"}


def keys_of(city: Path) -> dict[str, int]:
    """The customer key of every number in the customers file, dense from 1."""
    frame = _read(next(city.glob("CUST_*.TXT")), "customers")
    return {msisdn: key for key, msisdn in enumerate(frame["msisdn"].unique(maintain_order=True), 1)}


def conform(city: Path, lake: Path, buckets: int, prefixes: Mapping[str, str] = PREFIX) -> dict[str, list[LakeFile]]:
    """Write the lake and give the files by feed, in the order of ingest's manifest: period, bucket, delivery."""
    keys = keys_of(city)
    known = pl.DataFrame(
        {"msisdn": list(keys), "customer_key": list(keys.values())}, schema_overrides={"customer_key": pl.Int64}
    )
    manifest: dict[str, list[LakeFile]] = {}
    for feed, prefix in prefixes.items():
        for path in sorted(city.glob(f"{prefix}_*.TXT")):
            period = date.fromisoformat(path.stem.split("_")[1])
            frame = _conformed(_read(path, feed), feed, known, period)
            parts = [(-1, frame)]
            if feed in _BUCKETED:
                parts = [(b, frame.filter(pl.col("customer_key") % buckets == b)) for b in range(buckets)]
            for bucket, part in parts:
                manifest.setdefault(feed, []).append(_write(lake, feed, path.stem, period, bucket, part))
    return manifest


def conform_details(city: Path, lake: Path, buckets: int) -> dict[str, list[LakeFile]]:
    """The same for the detail feeds."""
    return conform(city, lake, buckets, _DETAIL_PREFIX)


def _read(path: Path, feed: str) -> pl.DataFrame:
    data = path.read_bytes()
    told = data.decode("ascii" if data.isascii() else "gb18030", "replace").splitlines()  # ASCII is decoded much faster
    lines = pl.DataFrame({"told": told}, schema={"told": pl.String})
    names = {**COLUMNS, **DETAILS}[feed]
    numbered = lines.with_row_index("line", 1).with_columns(pl.col("line").cast(pl.Int32))
    good = numbered.filter(pl.col("told").str.count_matches("|", literal=True) == len(names) - 1)
    parts = pl.col("told").str.split_exact("|", len(names) - 1).struct.rename_fields(names)
    frame = good.select(parts, "line").unnest("told")
    return frame.with_columns(pl.when(pl.col(pl.String) == "").then(None).otherwise(pl.col(pl.String)).name.keep())


def _conformed(frame: pl.DataFrame, feed: str, known: pl.DataFrame, period: date) -> pl.DataFrame:
    columns = []
    for name in {**COLUMNS, **DETAILS}[feed]:
        column = pl.col(name)
        if name in _WHOLE:
            columns.append(column.cast(pl.Int64, strict=False))
        elif name == "peer":
            columns.append((column.hash(7) // 2).cast(pl.Int64))
        elif name in _NUMBERS:
            columns.append(column.cast(pl.Float64, strict=False))
        elif name in ("time", "start_time", "end_time"):
            local = column.str.to_datetime("%Y%m%d%H%M%S", time_unit="ms", strict=False)
            columns.append(local.dt.replace_time_zone("Asia/Shanghai").dt.convert_time_zone("UTC"))
        elif name in ("join_date", "valid_from", "valid_to", "from_date", "to_date"):
            columns.append(column.str.to_date("%Y%m%d", strict=False))
        elif name == "month":
            columns.append((column + "01").str.to_date("%Y%m%d", strict=False))
    frame = frame.with_columns(columns)
    if "lac" in frame.columns:
        cell = pl.col("lac").cast(pl.Int64, strict=False) * 2**28 + pl.col("cell").cast(pl.Int64, strict=False)
        frame = frame.with_columns(cell_id=cell).filter(pl.col("cell_id").is_not_null())
    if feed == "signalling":
        day = pl.col("time").dt.convert_time_zone("Asia/Shanghai").dt.date()
        frame = frame.filter(pl.col("time").is_not_null() & (day == period))
    if "msisdn" in frame.columns:
        frame = frame.join(known, on="msisdn", how="inner", maintain_order="left").drop("msisdn")
    if feed == "customers":
        frame = frame.filter(pl.col("join_date").is_not_null() & pl.col("status").is_in(["active", "silent", "left"]))
        frame = frame.unique("customer_key", keep="first", maintain_order=True)
    return frame


def _write(lake: Path, feed: str, delivery: str, period: date, bucket: int, frame: pl.DataFrame) -> LakeFile:
    path = lake / "ingest" / feed / f"{period}" / f"{bucket}" / f"{delivery}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path, compression="zstd")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return LakeFile(path.as_uri(), frame.height, digest, bucket, period, delivery)
