"""Columnar files: what recommend reads of its neighbours, what it publishes, and the models.

    <root>/recommend/models/<model_id>/graph.onnx, trees.bin       named by the job that trained it
    <root>/recommend/matrix/version=<matrix_id>/bucket=BB.parquet  named by the job that scored it

Files are written whole under a temporary name and renamed; a job that is resumed writes the same files again.
"""

import hashlib
import itertools
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from services.kit import lake
from services.recommend.domain import ownership
from services.recommend.domain.matrix import Cells
from services.recommend.domain.ownership import Orders, State
from services.recommend.domain.product import Catalogue, Flags, Ints, Product, Singles
from services.recommend.domain.snapshot import File

MATRIX_VERSION = 1
"""The schema version of the matrix: customer_key, org_id, product_id, rank, score."""


_WRITTEN: Mapping[str, Any] = {
    "use_dictionary": ["org_id", "product_id"],
    "compression": {
        "customer_key": "lz4", "org_id": "none", "product_id": "none", "rank": "lz4", "score": "none",
    },
    "write_statistics": ["customer_key"],
}  # fmt: skip
"""How each column of a matrix is written: scores are noise to a packer, dictionaries are packed by bits already."""


class BrokenFile(Exception):
    """A file is not the one that its manifest speaks of, or lacks a column."""


@dataclass(frozen=True)
class Features:
    """Customers by key: `org_id` (n,) text, `values` (n, f) float32 with NaN for missing, in the order of `names`."""

    customer_key: Ints
    org_id: npt.NDArray[np.object_]
    names: tuple[str, ...]
    values: Singles

    def without(self, gone: Collection[int]) -> "Features":
        """The same but for who is gone."""
        if not gone:
            return self
        left = np.array([key not in gone for key in self.customer_key.tolist()], dtype=bool)
        return Features(self.customer_key[left], self.org_id[left], self.names, self.values[left])


class Lake:
    """The files under one root, an Arrow filesystem URI (file:///…, s3://…). All methods block: use a thread."""

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")
        self._fs, self._base = pyarrow.fs.FileSystem.from_uri(self._root)

    def features(self, files: Sequence[File]) -> Features:
        """Portrait's features, ascending by customer. Columns that are not numbers are left out."""
        table = _joined([self.table(file) for file in files])
        keys = _numbers(table["customer_key"])
        if (keys[1:] < keys[:-1]).any():
            table = table.take(pc.sort_indices(table, [("customer_key", "ascending")]))
        names = tuple(
            field.name
            for field in table.schema
            if field.name != "customer_key"
            and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type) or pa.types.is_boolean(field.type))
        )
        values = np.empty((len(table), len(names)), dtype=np.float32)
        for number, name in enumerate(names):
            column = table[name].cast(pa.float32()) if not pa.types.is_boolean(table[name].type) else table[name]
            values[:, number] = column.to_numpy(zero_copy_only=False)  # a missing value becomes NaN
        return Features(_numbers(table["customer_key"]), _texts(table["org_id"]), names, values)

    def orders(self, files: Sequence[File]) -> Orders:
        """The orders of all the files; rows without a customer (none is known by that number) are left out."""
        columns = ["customer_key", "product_id", "order_id", "time", "action"]
        table = _joined([self.table(file).select(columns) for file in files])
        table = table.filter(pc.is_valid(table["customer_key"]))
        time = table["time"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64())
        return Orders(
            _numbers(table["customer_key"]),
            _texts(table["product_id"]),
            _texts(table["order_id"]),
            _numbers(time),
            _texts(table["action"]) == "open",
        )

    def states(self, files: Sequence[File], catalogue: Catalogue, gone: Mapping[int, int], parts: int) -> list[State]:
        """The latest orders of all the files as numbers, of the customers of each bucket: those by key modulo `parts`.

        Small arrays are used again; those of all the orders at once would each be new memory. The ids of orders are
        read where orders tie in time, and nowhere else.
        """
        if not files:
            raise BrokenFile("the manifest names no file")
        dealt = [self._dealt(file, catalogue, gone, parts) for file in files]
        states = []
        for part in range(parts):
            mine = [file[part] for file in dealt]
            ends = np.cumsum([len(customer) for customer, *_ in mine])

            def order_ids(rows: Ints, part: int = part, ends: Ints = ends) -> ownership.Texts:
                of, found = np.searchsorted(ends, rows, side="right"), np.empty(len(rows), dtype=object)
                for number in np.unique(of).tolist():
                    here = of == number
                    before = int(ends[number - 1]) if number else 0
                    found[here] = self._order_ids(files[number], gone, (part, parts), rows[here] - before)
                return found

            customer, column, time, opens = (np.concatenate(each) for each in zip(*mine, strict=True))
            states.append(ownership.settled(customer, column, time, opens, order_ids, len(catalogue)))
        return states

    def _dealt(
        self, file: File, catalogue: Catalogue, gone: Mapping[int, int], parts: int
    ) -> list[tuple[Ints, ownership.Smalls, Ints, Flags]]:
        """The rows of a file of orders by bucket: customer, column (-1 for what does not count), time, and opening."""
        words = ["product_id", "action"]
        table = self.table(file, ["customer_key", "time", *words], words)
        customer = ownership.renamed(_numbers(table["customer_key"].fill_null(0)), gone)
        column = np.where(customer == 0, np.int32(-1), _looked_up(table["product_id"], catalogue.index))
        time = _numbers(table["time"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()))
        opens = _looked_up(table["action"], {"open": 1}) > 0
        order, ends = _by_bucket(customer, parts)
        return [
            (customer[mine], column[mine], time[mine], opens[mine])
            for mine in (order[first:last] for first, last in itertools.pairwise(ends.tolist()))
        ]

    def _order_ids(
        self, file: File, gone: Mapping[int, int], bucket: tuple[int, int], rows: Ints
    ) -> npt.NDArray[np.object_]:
        """The ids of some orders of a file, by their places among those of a bucket (the part, of how many)."""
        table = self.table(file, ["customer_key", "order_id"])
        order, ends = _by_bucket(ownership.renamed(_numbers(table["customer_key"].fill_null(0)), gone), bucket[1])
        return _texts(table["order_id"].take(pa.array(order[ends[bucket[0]] + rows])))

    def products(self, files: Sequence[File]) -> list[Product]:
        """The products of the files; a later file has the last word on a product."""
        found = {}
        for file in files:
            for row in self.table(file).to_pylist():
                found[row["product_id"]] = Product(
                    row["product_id"],
                    row["name"],
                    row["category"] or "",
                    int(row["fee_fen"]),
                    int(row["worth_fen"]),
                    row["requires_product_id"] or "",
                    row["exclusive_group"] or "",
                )
        return list(found.values())

    def write_matrix(
        self, matrix_id: str, bucket: int, features: Features, cells: Cells, product_ids: Sequence[str]
    ) -> File:
        """Publish the cells of one bucket, by customer and rank."""
        orgs = pa.array(features.org_id, pa.string()).dictionary_encode()
        org = orgs.indices.to_numpy()[cells.row]
        table = pa.table(
            {
                "customer_key": pa.array(features.customer_key[cells.row], pa.int64()),
                "org_id": pa.DictionaryArray.from_arrays(org, orgs.dictionary),
                "product_id": pa.DictionaryArray.from_arrays(
                    cells.product.astype(np.int32, copy=False), list(product_ids)
                ),
                "rank": pa.array(cells.rank, pa.int16()),
                "score": pa.array(cells.score, pa.float32()),
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, store_schema=False, **_WRITTEN)  # readers find plain texts
        content = sink.getvalue()
        path = f"recommend/matrix/version={matrix_id}/bucket={bucket:02d}.parquet"
        uri = self.put(path, content)
        return File(uri, len(table), hashlib.sha256(content).hexdigest(), bucket)

    def put(self, path: str, content: bytes | pa.Buffer) -> str:
        """Write a file below the root, whole or not at all; gives its URI."""
        whole, _, _ = f"{self._base}/{path}".rpartition("/")
        self._fs.create_dir(whole, recursive=True)
        temporary = f"{self._base}/{path}.{secrets.token_hex(4)}.tmp"
        with self._fs.open_output_stream(temporary) as stream:
            stream.write(content)
        self._fs.move(temporary, f"{self._base}/{path}")
        return f"{self._root}/{path}"

    def get(self, path: str) -> bytes:
        """The content of a file below the root. Raises FileNotFoundError."""
        with self._fs.open_input_stream(f"{self._base}/{path}") as stream:
            content: bytes = stream.read()
        return content

    def table(self, file: File, columns: Sequence[str] | None = None, words: Sequence[str] | None = None) -> pa.Table:
        """A Parquet file, or some columns of it; `words` are read as dictionaries.

        Raises lake.Damaged when its checksum is not the manifest's.
        """
        content = pa.BufferReader(lake.content(file.uri, file.sha256))
        return pq.read_table(content, columns=columns, read_dictionary=words, use_threads=False)


def model_path(model_id: str, name: str) -> str:
    """Where a file of a model lies below the root."""
    return f"recommend/models/{model_id}/{name}"


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    if not tables:
        raise BrokenFile("the manifest names no file")
    return pa.concat_tables(tables, promote_options="default")


def _numbers(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _by_bucket(customer: Ints, parts: int) -> tuple[Ints, Ints]:
    """The places of customers by key modulo `parts`, in their order, and where each part begins and the last ends."""
    bucket = (customer % parts).astype(np.uint16)  # few enough bits for a radix sort
    ends = np.append(0, np.bincount(bucket, minlength=parts).cumsum())
    return np.argsort(bucket, kind="stable"), ends


def _looked_up(column: pa.ChunkedArray, numbers: Mapping[str, int]) -> npt.NDArray[np.int32]:
    """The number of each text of a column of dictionaries, -1 for one that has none and for no text."""
    found = [np.zeros(0, dtype=np.int32)]
    for chunk in column.chunks:
        each = [numbers.get(text, -1) for text in chunk.dictionary.to_pylist()]
        found.append(np.array([*each, -1], dtype=np.int32)[chunk.indices.fill_null(len(each)).to_numpy()])
    return np.concatenate(found)


def _texts(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    return np.asarray(column.to_pylist(), dtype=object)
