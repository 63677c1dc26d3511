"""Published matrices, read back from their Parquet files, a file at a time."""

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.recommend.domain.matrix import Cell, Change, Row
from services.recommend.domain.product import Ints
from services.recommend.domain.snapshot import File
from services.recommend.domain.unmet import Wanted
from services.recommend.lake import Lake

Scores = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]

_PIECE = 2 * 1024 * 1024
_ROWS = 50_000


@dataclass(frozen=True)
class Matrices:
    """The reader. All methods block: use a thread."""

    lake: Lake

    def best_customers(self, files: Sequence[File], product_id: str) -> list[Cell]:
        """All cells of a product, the highest score first, then by customer."""
        parts = [self._of(file, pc.field("product_id") == product_id) for file in files]
        found = pa.concat_tables(parts).sort_by([("score", "descending"), ("customer_key", "ascending")])
        return _cells(found)

    def customer(self, files: Sequence[File], customer_key: int) -> list[Cell]:
        """A customer's cells by rank."""
        parts = [self._of(file, pc.field("customer_key") == customer_key) for file in files]
        return _cells(pa.concat_tables(parts).sort_by([("rank", "ascending")]))

    def compare(self, later: Sequence[File], earlier: Sequence[File]) -> list[Change]:
        """The difference by product; bucket by bucket where both have the same ones."""
        same = sorted(file.bucket for file in later) == sorted(file.bucket for file in earlier)
        groups: list[tuple[list[File], list[File]]] = [(list(later), list(earlier))]
        if same:
            groups = [
                ([file for file in later if file.bucket == each], [file for file in earlier if file.bucket == each])
                for each in sorted(file.bucket for file in later)
            ]
        sums: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        for new, old in groups:
            for product_id, row in self._differences(new, old).items():
                sums[product_id] = sums.get(product_id, np.zeros(7)) + row
        return [_change(each, sums[each]) for each in sorted(sums)]

    def _differences(
        self, new: Sequence[File], old: Sequence[File]
    ) -> dict[str, "np.ndarray[tuple[int], np.dtype[np.float64]]"]:
        """By product: cells before and after, appeared, disappeared, first before and after, sum of score changes."""
        columns = ["customer_key", "product_id", "rank", "score"]
        after = pa.concat_tables([self.lake.table(file).select(columns) for file in new])
        before = pa.concat_tables([self.lake.table(file).select(columns) for file in old])
        joined = after.join(before, keys=["customer_key", "product_id"], join_type="full outer", right_suffix="_before")
        product = np.asarray(joined["product_id"].to_pylist(), dtype=object)
        rank = _filled(joined["rank"])
        rank_before = _filled(joined["rank_before"])
        score, score_before = _filled(joined["score"]), _filled(joined["score_before"])
        told = np.column_stack(
            [
                ~np.isnan(rank_before),
                ~np.isnan(rank),
                np.isnan(rank_before),
                np.isnan(rank),
                rank_before == 1,
                rank == 1,
                np.nan_to_num(score - score_before),
            ]
        ).astype(np.float64)
        return {str(each): told[product == each].sum(axis=0) for each in np.unique(product)}

    def report(self, files: Sequence[File]) -> list[Row]:
        """A row by product."""
        wanted = ["product_id", "rank", "score"]
        parts = []
        for file in files:
            table = self.lake.table(file).select(wanted)
            table = table.append_column("first", pc.equal(table["rank"], 1).cast(pa.int64()))
            grouped = table.group_by("product_id")
            parts.append(grouped.aggregate([("score", "count"), ("first", "sum"), ("score", "sum"), ("score", "max")]))
        whole = pa.concat_tables(parts).group_by("product_id")
        columns = ["score_count", "first_sum", "score_sum"]
        table = whole.aggregate([*((name, "sum") for name in columns), ("score_max", "max")]).sort_by("product_id")
        return [
            Row(
                row["product_id"],
                row["score_count_sum"],
                row["first_sum_sum"],
                row["score_sum_sum"] / max(row["score_count_sum"], 1),
                row["score_max_max"],
            )
            for row in table.to_pylist()
        ]

    def wanted(self, files: Sequence[File], keys: Ints, flags: Marks, product_ids: Sequence[str]) -> Wanted:
        """Who could open what, and how much it is wanted: `flags` (n, t) say who of `keys` (n,) is of which circle.

        A file at a time; customers (ascending) and products that are not named are left out.
        """
        told = np.zeros((2, flags.shape[1] + 1, len(product_ids)))
        columns = pa.array(list(product_ids), pa.string())
        for file in files if len(keys) else ():
            table = self.lake.table(file)
            who, row = np.unique(table["customer_key"].to_numpy(), return_inverse=True)
            place = np.minimum(np.searchsorted(keys, who), len(keys) - 1)
            column = pc.index_in(table["product_id"], columns).fill_null(-1).to_numpy()
            known = (column >= 0) & (keys[place] == who)[row]
            dense = np.zeros((2, len(who), len(product_ids)))
            dense[:, row[known], column[known]] = np.stack([np.ones(int(known.sum())), _filled(table["score"])[known]])
            told += np.column_stack([flags[place], np.ones(len(who), dtype=bool)]).astype(np.float64).T @ dense
        return Wanted(np.append(flags.sum(axis=0), len(keys)), told[0], told[1])

    def opened(self, files: Sequence[File], since: set[tuple[int, str]]) -> tuple[Scores, Marks]:
        """The score of every cell, and whether it is one of those opened since."""
        scores, marks = [np.zeros(0)], [np.zeros(0, dtype=bool)]
        for file in files:
            table = self.lake.table(file)
            keys, products = table["customer_key"].to_pylist(), table["product_id"].to_pylist()
            scores.append(_filled(table["score"]))
            marks.append(np.array([pair in since for pair in zip(keys, products, strict=True)], dtype=bool))
        return np.concatenate(scores), np.concatenate(marks)

    def export(
        self,
        files: Sequence[File],
        product_ids: list[str],
        most_rank: int,
        org_ids: frozenset[str] | None,
        gone: Collection[int],
    ) -> Iterator[bytes]:
        """An Arrow IPC stream of the chosen cells, in pieces of at most about _PIECE bytes.

        Only customers of `org_ids` (None: of all), and none who is `gone`.
        """
        sink = io.BytesIO()
        writer: pa.RecordBatchStreamWriter | None = None
        for file in files:
            table = self.lake.table(file)
            if product_ids:
                table = table.filter(pc.is_in(table["product_id"], value_set=pa.array(product_ids)))
            if most_rank:
                table = table.filter(pc.less_equal(table["rank"], most_rank))
            if org_ids is not None:
                table = table.filter(pc.is_in(table["org_id"], value_set=pa.array(sorted(org_ids), pa.string())))
            if gone:
                left = pc.is_in(table["customer_key"], value_set=pa.array(sorted(gone), pa.int64()))
                table = table.filter(pc.invert(left))
            writer = writer or pa.ipc.new_stream(sink, table.schema)
            for batch in table.to_batches(max_chunksize=_ROWS):
                writer.write_batch(batch)
                yield from _drained(sink)
        if writer is not None:
            writer.close()
            yield from _drained(sink)

    def _of(self, file: File, chosen: pc.Expression) -> pa.Table:
        return self.lake.table(file).filter(chosen)


def _change(product_id: str, row: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Change:
    before, after, appeared, disappeared, first_before, first_after = (int(value) for value in row[:6])
    both = max(after - appeared, 1)
    return Change(product_id, before, after, appeared, disappeared, first_before, first_after, float(row[6]) / both)


def _drained(sink: io.BytesIO) -> Iterator[bytes]:
    content = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]


def _filled(column: pa.ChunkedArray) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _cells(table: pa.Table) -> list[Cell]:
    columns = [table[name].to_pylist() for name in ("customer_key", "product_id", "org_id", "rank", "score")]
    return [Cell(*row) for row in zip(*columns, strict=True)]
