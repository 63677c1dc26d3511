"""What contact reads from the lake: recommend's matrix and ingest's customers, by the files that they name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.contact.domain.auction import Customer, Matrix
from services.kit import lake


@dataclass(frozen=True)
class LakeFile:
    """An immutable file of a snapshot; `sha256` is hex."""

    uri: str
    rows: int
    sha256: str


def matrix(files: Sequence[LakeFile]) -> Matrix:
    """The matrix in these files (columns customer_key, product_id, score), products by id."""
    tables = [_table(file, ["customer_key", "product_id", "score"]) for file in files]
    if not tables:
        return Matrix(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0), ())
    table = pa.concat_tables(tables).combine_chunks()
    product = pc.cast(table["product_id"], pa.string()).combine_chunks().dictionary_encode()
    names = product.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return Matrix(
        customer=table["customer_key"].to_numpy().astype(np.int64),
        product=rank[product.indices.to_numpy()],
        score=table["score"].to_numpy().astype(np.float64),
        products=tuple(names[index] for index in order),
    )


def customers(files: Sequence[LakeFile]) -> list[tuple[int, Customer]]:
    """The customers in these files (columns customer_key, org_id, level, status); a later file has the last word."""
    kinds: dict[tuple[str, str, str], Customer] = {}
    found: dict[int, Customer] = {}
    for file in files:
        table = _table(file, ["customer_key", "org_id", "level", "status"])
        columns = [table[name].to_pylist() for name in table.column_names]
        for key, *rest in zip(*columns, strict=True):
            kind = (rest[0] or "", rest[1] or "", rest[2] or "")
            found[key] = kinds.setdefault(kind, Customer(*kind))
    return sorted(found.items())


def _table(file: LakeFile, columns: list[str]) -> pa.Table:
    table = pq.read_table(pa.BufferReader(lake.content(file.uri, file.sha256)), columns=columns)
    if table.num_rows != file.rows:
        raise ValueError(f"{file.uri} has {table.num_rows} rows instead of {file.rows}")
    return table
