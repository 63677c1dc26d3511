"""Signalling of any size in bounded memory: rows of more and more customers, bucket by bucket, to dwell and tags.

Each bucket's days are made, written to a lake, followed, kept and judged by the service's own code (usecases/days.py,
usecases/bucket.py), then deleted; more customers are more buckets of the same size, so that what is in memory stays.
The time of making the rows is not counted. `ROWS=21600000,43200000 python -m benchmarks scale` measures other sizes.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from rich.console import Console

from services.portrait.domain import dwell, track
from services.portrait.domain.calendar import Window, parse_calendar
from services.portrait.domain.cells import ALWAYS, FOR_EVER, MapRows, cell_map, index_of
from services.portrait.domain.place import Places
from services.portrait.domain.quality import Quality
from services.portrait.domain.run import LakeFile
from services.portrait.domain.shared import KINDS
from services.portrait.domain.statistic import completed
from services.portrait.domain.tag import parse, percentiles_of
from services.portrait.lake import Base, Lake
from services.portrait.lake.mapping import Examined
from services.portrait.usecases.bucket import Work, lives
from services.portrait.usecases.days import followed

HERE = Path(__file__).resolve().parent.parent / "services" / "portrait"
FIRST, DAYS, PER_DAY, PER_BUCKET, CELLS, PLACES = date(2026, 9, 1), 30, 60, 4000, 3000, 900
SIZES = [int(rows) for rows in os.environ.get("ROWS", "7200000,28800000,201600000").split(",")]
AHEAD = 8 * 3_600_000


def base_of(customers: int, catalogue: Any) -> Base:
    """Customers 1, 2, … of whom nothing is known but where they are; three cells for each place."""
    classes = sorted(catalogue.class_names)
    lon, lat = np.linspace(113.5, 114.0, PLACES), np.linspace(22.7, 23.1, PLACES)
    names = [f"PL{number:05d}" for number in range(PLACES)]
    codes = [classes[number % len(classes)] for number in range(PLACES)]
    places = Places(names, names, ["town"] * PLACES, codes, lon, lat)
    cell, whole = np.arange(CELLS, dtype=np.int32), np.full(CELLS, 1.0)
    rows = MapRows(cell, cell % PLACES, whole, np.full(CELLS, ALWAYS), np.full(CELLS, FOR_EVER))
    ids = np.arange(CELLS, dtype=np.int64) + 1
    cells = cell_map(rows, index_of(ids), CELLS, PLACES, AHEAD)
    quality = Quality(cell % PLACES, (), 0.0, CELLS, CELLS, 0, (), np.full((PLACES, KINDS), 1 / KINDS))
    key = np.arange(1, customers + 1, dtype=np.int64)
    stats = completed({}, catalogue.columns, customers)
    ranks = dict.fromkeys(percentiles_of(catalogue), float("nan"))
    org = np.full(customers, "44190101")
    return Base(key, org, np.ones(customers, np.bool_), stats, ranks, places, Examined(cells, quality, ids), ())


def day_of(keys: np.ndarray[Any, Any], day: date, midnight: int, lake: Lake, bucket: int) -> LakeFile:
    """One day of one bucket: six places each, the first by night, sixty rows."""
    dice = np.random.default_rng(bucket * 1000 + day.toordinal())
    customer = np.repeat(keys, PER_DAY)
    clock = np.sort(dice.integers(0, 86_400, (len(keys), PER_DAY)), axis=1)
    own = np.random.default_rng(bucket).integers(1, CELLS + 1, (len(keys), 6))
    stay = np.where((clock < 7 * 3600) | (clock > 20 * 3600), 0, np.cumsum(dice.random(clock.shape) < 0.1, axis=1) % 6)
    cell = np.take_along_axis(own, stay, axis=1)
    time_ms = midnight + clock.ravel().astype(np.int64) * 1000
    table = pa.table(
        {
            "customer_key": customer,
            "time": pa.array(time_ms.view("datetime64[ms]")).cast(pa.timestamp("ms", "UTC")),
            "cell_id": cell.ravel(),
            "line": np.arange(len(customer), dtype=np.int32),
        }
    )
    wrote = lake.write(f"signalling/day={day}/bucket={bucket:04d}.parquet", table, bucket)
    return LakeFile(wrote.uri, wrote.rows, wrote.sha256, bucket, day, f"d{day}")


def run(rows: int, catalogue: Any, console: Console) -> dict[str, Any]:
    """Follows and judges so many rows; gives CPU seconds per part and what was found."""
    buckets = max(1, rows // (PER_BUCKET * PER_DAY * DAYS))
    window = Window(FIRST, FIRST + timedelta(days=DAYS - 1), "Asia/Shanghai")
    calendar = parse_calendar((HERE / "calendar.csv").read_text(encoding="utf-8"))
    base = base_of(buckets * PER_BUCKET, catalogue)
    work = Work("scale", base, window, calendar, catalogue, buckets)
    midnights = window.borders()[:: track.SLOTS_A_DAY]
    spent, read, checksum, tags = {"rows to stays": 0.0, "stays to tags": 0.0}, 0, dwell.Checksum(), 0
    for bucket in range(buckets):
        with tempfile.TemporaryDirectory() as folder:
            lake, at = Lake(Path(folder).as_uri()), base.bucket(bucket, buckets)
            files = [
                day_of(base.customer_key[at], window.day(number), int(midnights[number]), lake, bucket)
                for number in range(DAYS)
            ]
            begun = time.process_time()
            days, stays = followed(base, window, catalogue.track, bucket, at, files, lake, ())
            between = time.process_time()
            _, found = lives(work, bucket, at, stays)
            spent["rows to stays"] += between - begun
            spent["stays to tags"] += time.process_time() - between
            read += days.rows
            checksum += dwell.checksum(found.dwell, base.customer_key[at], base.places)
            tags += sum(len(verdict.bearers) for verdict in found.verdicts)
        console.print(f"{bucket + 1} of {buckets} buckets, {read / 1e6:.1f} M rows, {_peak_mb()} MB at most")
    total = sum(spent.values())
    console.print(f"{read / 1e6:.0f} M rows in {total:.1f} CPU s: {read / total / 1e6:.2f} M rows a core second")
    return {
        "rows": read,
        "customers": len(base.customer_key),
        "buckets": buckets,
        "cpu_seconds": {name: round(each, 2) for name, each in spent.items()},
        "rows_per_cpu_second": round(read / total),
        "dwell_rows": checksum.rows,
        "tag_values": tags,
        "peak_memory_mb": _peak_mb(),
    }


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(console: Console) -> dict[str, Any]:
    """The sizes one after the other; the largest decides the memory."""
    track.warm()
    catalogue = parse(yaml.safe_load((HERE / "catalogue" / "tags.yaml").read_text(encoding="utf-8")))
    sizes = [run(rows, catalogue, console) for rows in SIZES]
    rates = [each["rows_per_cpu_second"] for each in sizes]
    return {
        "sizes": sizes,
        "cost_of_the_largest_over_the_smallest": round(rates[0] / rates[-1], 3),
        "floor": {"peak_memory_mb": 3072, "cost": "linear"},
    }
