"""A small planted town: customers whose profile decides what they own, and the files that neighbours would publish."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from services.recommend.domain.product import Catalogue, Flags, Ints, Product, Singles
from services.recommend.domain.snapshot import ORDERS, PRODUCTS, Delivery, File, Published, Run

DAY = date(2026, 9, 30)
FEATURES = ("age", "dou_mb_1m", "arpu_3m_avg", "tag_HU01", "tag_PR01", "noise")
BUCKETS = 4


def product(product_id: str, **changes: Any) -> Product:
    """A product with nothing special."""
    return replace(Product(product_id, f"产品{product_id}", "流量", 1000, 8000), **changes)


CATALOGUE = Catalogue.of(
    [
        product("A1"),
        product("A2", exclusive_group="SPEED"),
        product("A3", exclusive_group="SPEED"),
        product("B1", category="宽带"),
        product("B2", category="宽带", requires_product_id="B1"),
        product("C1", category="视频"),
        product("C2", category="视频"),
    ]
)


@dataclass(frozen=True)
class Town:
    """Customers by key: profile (n, f) with NaN for missing, owned (n, p), and the chance that planted it."""

    keys: Ints
    profile: Singles
    owned: Flags
    chance: "np.ndarray[Any, np.dtype[np.float64]]"


def town(customers: int = 400, seed: int = 1) -> Town:
    """The youngest like C, the heaviest data users A, families B; about every twelfth value is missing."""
    rng = np.random.default_rng(seed)
    age, data, spend = rng.normal(size=(3, customers))
    home, fan = rng.random(customers) < 0.4, rng.random(customers) < 0.3
    profile = np.column_stack([38 + 12 * age, np.exp(9 + data), 60 + 20 * spend, home, fan, rng.random(customers)])
    logit = np.column_stack(
        [
            1.5 * data - 1,
            data - 1.5,
            0.8 * data + 0.8 * spend - 1.5,
            2.0 * home - 1 + 0.4 * age,
            spend - 0.3,
            1.8 * fan - age - 1,
            1.2 * fan - 0.8 * age - 1,
        ]
    )
    chance = 1 / (1 + np.exp(-logit))
    owned = rng.random(chance.shape) < chance
    owned[:, 2] &= ~owned[:, 1]
    owned[:, 4] &= owned[:, 3]
    profile[rng.random(profile.shape) < 0.08] = np.nan
    return Town(np.arange(1, customers + 1) * 3, profile.astype(np.float32), owned, chance)


def file(path: Path, table: pa.Table, bucket: int = -1) -> File:
    """Write a Parquet file and give its line of a manifest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")
    return File(path.as_uri(), len(table), hashlib.sha256(path.read_bytes()).hexdigest(), bucket)


def product_delivery(folder: Path, products: Sequence[Product] = CATALOGUE.products, number: int = 1) -> Delivery:
    """A delivery of the products feed."""
    columns = {
        name: [getattr(each, name) or None for each in products]
        for name in ("product_id", "name", "category", "requires_product_id", "exclusive_group")
    }
    money = {name: [getattr(each, name) for each in products] for name in ("fee_fen", "worth_fen")}
    table = pa.table({**columns, **money, "line": pa.array(range(1, len(products) + 1), pa.int32())})
    made = file(folder / f"products-{number}.parquet", table)
    return Delivery(f"products-{number}", PRODUCTS, DAY, number, (made,))


Row = tuple[int, str, str, str, int]
"""customer_key, product_id, order_id, action, time in milliseconds."""


def order_rows(keys: Ints, owned: Flags, catalogue: Catalogue = CATALOGUE) -> list[Row]:
    """An opening for each holding; for some of what is not held an opening that was cancelled again."""
    rows: list[Row] = []
    for number, key in enumerate(keys.tolist()):
        for column, product_id in enumerate(catalogue.ids):
            opened = 1_750_000_000_000 + number * 1000 + column
            if owned[number, column]:
                rows.append((key, product_id, f"O{key}-{product_id}", "open", opened))
            elif (number + column) % 11 == 0:
                rows.append((key, product_id, f"O{key}-{product_id}", "open", opened))
                rows.append((key, product_id, f"C{key}-{product_id}", "cancel", opened + 60_000))
    return rows


def order_delivery(folder: Path, rows: Sequence[Row], number: int = 1, sequence: int = 0) -> Delivery:
    """A delivery of the orders feed."""
    key, product_id, order_id, action, time = zip(*rows, strict=True)
    table = pa.table(
        {
            "order_id": order_id,
            "customer_key": pa.array(key, pa.int64()),
            "product_id": product_id,
            "action": action,
            "time": pa.array(time, pa.timestamp("ms", tz="UTC")),
            "line": pa.array(range(1, len(rows) + 1), pa.int32()),
        }
    )
    made = file(folder / f"orders-{number}.parquet", table)
    return Delivery(f"orders-{number}", ORDERS, DAY, sequence or number, (made,))


def run_of(folder: Path, place: Town, run_id: str = "run-1") -> Run:
    """A run of portrait, in buckets."""
    files = []
    for bucket in range(BUCKETS):
        mine = np.flatnonzero(place.keys % BUCKETS == bucket)[::-1]  # in no order that a reader may rely on
        columns = {name: pa.array(place.profile[mine, number]) for number, name in enumerate(FEATURES)}
        table = pa.table(
            {
                "customer_key": place.keys[mine],
                "org_id": [f"G{key % 5}" for key in place.keys[mine].tolist()],
                **columns,
            }
        )
        files.append(file(folder / run_id / f"bucket={bucket:02d}.parquet", table, bucket))
    return Run(run_id, DAY, len(place.keys), tuple(files), {"HU01": "居家圈", "PR01": "影迷圈"})


def published(folder: Path, place: Town, run_id: str = "run-1") -> Published:
    """A run with one delivery of each feed that it needs."""
    orders = order_delivery(folder, order_rows(place.keys, place.owned))
    return Published(run_of(folder, place, run_id), (product_delivery(folder), orders))
