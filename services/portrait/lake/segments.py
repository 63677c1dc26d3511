"""What segments and latent tags are made of: a run's wide table, and the feeds of brand, holdings, surveys, content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.run import LakeFile
from services.portrait.lake.files import column_names, read

FEEDS = ("customers", "orders", "products", "product_activity", "surveys", "data_details")
_UNAWARE = ("不知道", "不了解", "没听过", "否", "no", "unknown", "")


@dataclass(frozen=True)
class Wide:
    """A run's features: `customer_key` and `org_id` (n,), ascending; `values` (n, f), NaN for not known."""

    customer_key: npt.NDArray[np.int64]
    org_id: npt.NDArray[np.str_]
    names: tuple[str, ...]
    values: npt.NDArray[np.float32]

    def of(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """The named columns; NaN for one that the run does not have."""
        place = {name: number for number, name in enumerate(self.names)}
        none = np.full(len(self.values), np.nan, dtype=np.float32)
        columns = [self.values[:, place[name]] if name in place else none for name in names]
        return np.column_stack(columns) if columns else np.empty((len(self.values), 0), dtype=np.float32)


@dataclass(frozen=True)
class Market:
    """Of the same customers: brand (n,), "" for none; per service held (n, p), uses, asked and aware; use of content
    (n, c) in KiB."""

    brand: npt.NDArray[np.str_]
    services: tuple[tuple[str, str], ...]
    held: npt.NDArray[np.bool_]
    uses: npt.NDArray[np.float64]
    asked: npt.NDArray[np.int64]
    aware: npt.NDArray[np.int64]
    contents: tuple[str, ...]
    use: npt.NDArray[np.float64]


def read_wide(files: Sequence[LakeFile]) -> Wide:
    """The wide table of a run, all buckets."""
    table = pa.concat_tables([read(file) for file in files], promote_options="default").sort_by("customer_key")
    names = tuple(name for name in table.column_names if name not in ("customer_key", "org_id"))
    values = np.column_stack([table[name].to_numpy().astype(np.float32) for name in names])
    return Wide(table["customer_key"].to_numpy(), np.array(table["org_id"].to_pylist(), dtype=np.str_), names, values)


def beside(wide: Wide, files: Sequence[LakeFile], names: Sequence[str]) -> Wide:
    """The table with those columns of `names` that it lacks and that another table of the same run has as numbers, NaN
    for who is not in it."""
    there = column_names(files[0]) if files else []
    more = [name for name in dict.fromkeys(names) if name not in wide.names and name in there]
    if not more:
        return wide
    table = pa.concat_tables([read(file, ["customer_key", *more]) for file in files], promote_options="default")
    more = [name for name in more if not pa.types.is_string(table[name].type)]
    key = table["customer_key"].to_numpy()
    at = np.searchsorted(wide.customer_key, key)
    known = at < len(wide.customer_key)
    known[known] = wide.customer_key[at[known]] == key[known]
    columns = np.full((len(wide.customer_key), len(more)), np.nan, dtype=np.float32)
    for number, name in enumerate(more):
        columns[at[known], number] = pc.cast(table[name], pa.float64()).fill_null(float("nan")).to_numpy()[known]
    return Wide(wide.customer_key, wide.org_id, (*wide.names, *more), np.column_stack([wide.values, columns]))


def read_market(
    files: Mapping[str, Sequence[LakeFile]], keys: npt.NDArray[np.int64], first: date, last: date
) -> Market:
    """Brand and services of customers as of `last`; uses and content from `first` on. A feed without files is empty."""
    brand = np.full(len(keys), "", dtype="<U64")
    for row in _rows(_latest(files["customers"]), ("customer_key", "brand")):
        _put(brand, keys, row["customer_key"], row["brand"] or "")
    listed = _rows(_latest(files["products"]), ("product_id", "name"))
    services = tuple(sorted({row["product_id"]: row["name"] for row in listed}.items()))
    place = {product_id: number for number, (product_id, _) in enumerate(services)}
    shape = (len(keys), len(services))
    held, uses = np.zeros(shape, dtype=bool), np.zeros(shape)
    asked, aware = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    who = {int(key): number for number, key in enumerate(keys)}
    orders = _rows(files["orders"], ("customer_key", "product_id", "action", "time"))
    for row in sorted(orders, key=lambda order: str(order["time"])):
        at = who.get(row["customer_key"]), place.get(row["product_id"])
        if None not in at:
            held[at] = row["action"] == "open"
    for row in _rows(files["product_activity"], ("customer_key", "product_id", "month", "uses")):
        at = who.get(row["customer_key"]), place.get(row["product_id"])
        if None not in at and first.replace(day=1) <= row["month"] <= last:
            uses[at] += row["uses"] or 0
    for row in _rows(files["surveys"], ("customer_key", "product_id", "answer", "score")):
        at = who.get(row["customer_key"]), place.get(row["product_id"])
        if None not in at:
            asked[at] += 1
            aware[at] += _knows(row["answer"], row["score"])
    contents, use = _contents(files["data_details"], keys, first)
    return Market(brand, services, held, uses, asked, aware, contents, use)


def tag_values(files: Sequence[LakeFile], code: str) -> dict[int, str]:
    """What an enum tag says of each customer."""
    told: dict[int, str] = {}
    for file in files:
        table = read(file, ["customer_key", "code", "value"])
        mine = table.filter(pc.equal(table["code"], code))
        told |= dict(zip(mine["customer_key"].to_pylist(), mine["value"].to_pylist(), strict=True))
    return told


def _knows(answer: str | None, score: int | None) -> bool:
    """An answer says that the service is known: by its score where it has one, else by its words."""
    return score > 0 if score is not None else (answer or "").strip().lower() not in _UNAWARE


def _contents(
    files: Sequence[LakeFile], keys: npt.NDArray[np.int64], first: date
) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    parts = [
        read(file, ["customer_key", "app_class", "down_kb"]).group_by(["customer_key", "app_class"])
        .aggregate([("down_kb", "sum")])
        for file in files if file.period >= first
    ]  # fmt: skip
    if not parts:
        return (), np.zeros((len(keys), 0))
    table = pa.concat_tables(parts)
    names = tuple(sorted(set(table["app_class"].to_pylist())))
    use = np.zeros((len(keys), len(names)))
    key = table["customer_key"].to_numpy()
    at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    known = keys[at] == key
    column = np.searchsorted(np.array(names), np.array(table["app_class"].to_pylist()))
    np.add.at(use, (at[known], column[known]), table["down_kb_sum"].to_numpy()[known])
    return names, use


def _latest(files: Sequence[LakeFile]) -> list[LakeFile]:
    last = max((file.period for file in files), default=None)
    return [file for file in files if file.period == last]


def _rows(files: Sequence[LakeFile], columns: Sequence[str]) -> list[dict[str, Any]]:
    return [row for file in files for row in read(file, columns).to_pylist()]


def _put(column: npt.NDArray[np.str_], keys: npt.NDArray[np.int64], key: int, value: str) -> None:
    at = int(np.searchsorted(keys, key))
    if at < len(keys) and keys[at] == key:
        column[at] = value
