"""Where some customers spend their slots, read from a run's dwell."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from services.kit import lake
from services.portrait.domain.run import LakeFile
from services.portrait.domain.timing import Stay
from services.portrait.lake.results import DAY_TYPES

_COLUMNS = ["customer_key", "date", "workday", "slot", "place_class", "secs"]


def stays_of(files: Sequence[LakeFile], customer_keys: Sequence[int]) -> Mapping[int, list[Stay]]:
    """The dwell of customers by kind of day, slot and class of places; only their buckets' row groups are read."""
    found: dict[int, list[Stay]] = {}
    for file in files:
        keys = [key for key in customer_keys if key % len(files) == file.bucket]
        if keys:
            system, path = lake.located(file.uri)
            table = pq.read_table(path, filesystem=system, columns=_COLUMNS, filters=[("customer_key", "in", keys)])
            _add(table, found)
    return found


def _add(table: pa.Table, found: dict[int, list[Stay]]) -> None:
    seen = table.group_by(["customer_key", "workday"]).aggregate([("date", "count_distinct")])
    days = {
        (key, work): count
        for key, work, count in zip(
            *(seen[name].to_pylist() for name in ("customer_key", "workday", "date_count_distinct")), strict=True
        )
    }
    keys = ["customer_key", "workday", "slot", "place_class"]
    grouped = table.group_by(keys).aggregate([("date", "count_distinct"), ("secs", "sum")])
    columns = (grouped[name].to_pylist() for name in [*keys, "date_count_distinct", "secs_sum"])
    for key, work, slot, place_class, there, secs in zip(*columns, strict=True):
        stay = Stay(DAY_TYPES[work], slot, place_class, there, secs, days[key, work])
        found.setdefault(key, []).append(stay)
