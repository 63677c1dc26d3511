"""The peer of `ingest_file`: dlt loads the same pipe file into the same PostgreSQL, merged by primary key.

`.peers/bin/python benchmarks/peers/dlt_file.py FILE DATABASE_URL WAY` prints {"rows": …, "cpu_seconds": …} as JSON.
The way `arrow` is dlt's fastest: Arrow tables, loaded by COPY from CSV, `upsert` as the merge (INSERT … ON CONFLICT
where it can). `rows` is that of its tutorials: one dict a row, which dlt types and normalises itself, merged by delete
and insert (its `upsert` refuses a file of dicts that has a key twice).
"""

import csv
import json
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

NAMES = ["order_id", "msisdn", "product_id", "action", "time"]


def tables(path: str) -> Iterator[pa.Table]:
    """Rows as Arrow, with the time typed; what is malformed is left out without a trace, as dlt has no reject store."""
    read = pa.csv.ReadOptions(column_names=NAMES, encoding="gb18030")
    parse = pa.csv.ParseOptions(delimiter="|", quote_char=False, invalid_row_handler=lambda row: "skip")
    types = pa.csv.ConvertOptions(column_types=dict.fromkeys(NAMES, pa.string()))
    for batch in pa.csv.open_csv(path, read, parse, types):
        table = pa.Table.from_batches([batch])
        table = table.filter(pc.match_substring_regex(table["time"], "^20[0-9]{12}$"))
        yield table.set_column(4, "time", pc.strptime(table["time"], format="%Y%m%d%H%M%S", unit="ms"))


def dicts(path: str) -> Iterator[dict[str, str]]:
    """Rows as dicts; what has another number of columns is left out."""
    with open(path, encoding="gb18030", newline="") as file:
        for row in csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE):
            if len(row) == len(NAMES):
                yield dict(zip(NAMES, row, strict=True))


def main(path: str, url: str, way: str) -> None:
    """Loads once and says what it cost this process and its children."""

    rows = 0  # counted here: of dicts written as CSV dlt's own count has the columns in it

    @dlt.resource(
        name="orders",
        primary_key=["order_id", "action"],
        write_disposition={"disposition": "merge", "strategy": "upsert" if way == "arrow" else "delete-insert"},
    )
    def orders() -> Iterator[Any]:
        nonlocal rows
        for part in tables(path) if way == "arrow" else dicts(path):
            rows += part.num_rows if way == "arrow" else 1
            yield part

    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "peer", destination=dlt.destinations.postgres(url), dataset_name=f"peer_{way}", pipelines_dir=folder
        )
        pipeline.run(orders(), loader_file_format="csv")
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"rows": rows, "cpu_seconds": sum(each.ru_utime + each.ru_stime for each in spent)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
