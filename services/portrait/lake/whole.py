"""Some buckets of the wide table: a run's own tables and detail feeds, put beside each other."""

from collections.abc import Mapping, Sequence
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.run import LakeFile
from services.portrait.domain.wide import Item
from services.portrait.lake.details import Feeds, bucket_tables, groups, lines_of
from services.portrait.lake.files import read
from services.portrait.lake.wide import wide_table

_OF_DWELL = ("customer_key", "date", "slot", "place_id", "place_class", "secs")


Tables = Mapping[str, LakeFile]
"""The tables features and dwell of one bucket of a run."""


def groups_of(feeds: Feeds, run: Mapping[int, Tables]) -> list[dict[int, Tables]]:
    """The buckets of a run that are built together."""
    of_run = [tables["dwell"] for tables in run.values()]
    counted = {bucket: tables["features"].rows for bucket, tables in run.items()}
    return [{bucket: run[bucket] for bucket in sorted(some)} for some in groups({**feeds, "": of_run}, counted)]


def wide_of(
    items: Sequence[Item],
    feeds: Feeds,
    run: Mapping[int, Tables],
    to_date: date,
    zone: str,
    peers: pa.Table | None,
) -> dict[int, pa.Table]:
    """By bucket of `run`, its customers by key: customer_key, org_id, then the run's features and a float32 column for
    each item whose feed is there (NaN: not known)."""
    each = {bucket: read(tables["features"]) for bucket, tables in run.items()}
    features = pa.concat_tables(each.values(), promote_options="default")
    tables = dict(bucket_tables(items, feeds, run.keys(), to_date))
    tables["dwell"] = pa.concat_tables([_dwell(read(mine["dwell"], _OF_DWELL)) for mine in run.values()])
    found = wide_table(items, tables, features["customer_key"], to_date, zone, peers)
    told = {name: features[name] for name in features.column_names if not name.startswith("tag_")}
    for name in found.column_names[1:]:
        told[name] = pc.cast(pc.cast(found[name], pa.float64()), pa.float32()).fill_null(float("nan"))
    whole, first, parts = pa.table(told), 0, {}
    for bucket, mine in each.items():
        parts[bucket] = whole.slice(first, mine.num_rows)
        first += mine.num_rows
    return parts


def called(feeds: Feeds, first: date) -> pa.Table:
    """The ends of calls since a day: class where it is known, how many customers they called, whether several."""
    files = [file for file in feeds["call_details"] if file.period >= first]
    with duckdb.connect(config={"memory_limit": "2GB"}) as engine:
        engine.execute("CREATE TABLE edge (customer BIGINT, peer BIGINT)")
        for file in files:
            engine.register("rows", read(file, ["customer_key", "peer"]))
            engine.execute("INSERT INTO edge SELECT DISTINCT customer_key, peer FROM rows")
        lines = lines_of(feeds)
        engine.register("line", lines if lines is not None else _no_lines())
        sql = (
            "SELECT peer, any_value(peer_class) AS peer_class, count(DISTINCT customer) AS callers, "
            "count(DISTINCT customer) > 1 AS shared FROM edge LEFT JOIN line USING (peer) GROUP BY peer ORDER BY peer"
        )
        found = engine.sql(sql).to_arrow_table()
    return found if lines is not None else found.drop_columns(["peer_class"])


def read_peers(file: LakeFile) -> pa.Table:
    """What called() found."""
    return read(file)


def _dwell(table: pa.Table) -> pa.Table:
    branch = pc.list_element(pc.split_pattern(table["place_class"], "."), 0)
    return table.rename_columns(["customer", *table.column_names[1:]]).append_column("branch", branch)


def _no_lines() -> pa.Table:
    return pa.table({"peer": pa.array([], pa.int64()), "peer_class": pa.array([], pa.string())})
