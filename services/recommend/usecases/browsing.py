"""The matrix both ways: the best customers of a product, the products of a customer; differences, exports."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime, timedelta

from services.kit import domains, operations
from services.kit.db import Database
from services.recommend import refusals, store
from services.recommend.domain.evaluation import auc
from services.recommend.domain.matrix import Band, Cell, Change, Row, bands
from services.recommend.domain.product import Flags, Held, Ints
from services.recommend.domain.registry import Matrix
from services.recommend.domain.snapshot import File
from services.recommend.domain.unmet import Wanted
from services.recommend.lake import Lake
from services.recommend.lake.matrices import Matrices

_KEPT, _DAYS, _BANDS = 8, 30, 10


class Browsing:
    """Reads matrices from the lake; what was read of a product is kept for the next pages."""

    def __init__(self, db: Database, knowledge: store.Knowledge, matrices: store.Matrices, lake: Lake) -> None:
        self._db = db
        self._knowledge = knowledge
        self._matrices = matrices
        self._outcomes = store.Outcomes()
        self._reader = Matrices(lake)
        self._kept: OrderedDict[tuple[str, str], list[Cell]] = OrderedDict()

    async def best_customers(self, product_id: str, matrix_id: str, after: int, size: int) -> tuple[str, list[Cell]]:
        """The matrix that answers, and `size` cells after so many. Raises product_not_found, matrix_not_found."""
        async with self._db.read() as read:
            if await self._knowledge.product(read, product_id) is None:
                raise refusals.product_not_found(product_id)
        matrix, files = await self._matrix(matrix_id)
        key = matrix.matrix_id, product_id
        if key not in self._kept:
            self._kept[key] = await asyncio.to_thread(self._reader.best_customers, files, product_id)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        seen, gone = domains.current(), await self._gone()
        cells = [
            each for each in self._kept[key] if (seen is None or each.org_id in seen) and each.customer_key not in gone
        ]
        return matrix.matrix_id, cells[after : after + size]

    async def customer_products(
        self, customer_key: int, matrix_id: str, after: int, size: int
    ) -> tuple[str, list[Cell]]:
        """The matrix that answers, and `size` of his cells by rank. Raises matrix_not_found, customer_not_found.

        A customer of another organisation, and one who is gone, is not found; nor is, for a caller who does not see the
        whole, one without a cell.
        """
        matrix, files = await self._matrix(matrix_id)
        mine = [file for file in files if file.bucket in (-1, customer_key % len(files))] or files
        cells = await asyncio.to_thread(self._reader.customer, mine, customer_key)
        seen = domains.current()
        hidden = seen is not None and not (cells and cells[0].org_id in seen)
        if hidden or customer_key in await self._gone():
            raise refusals.customer_not_found(customer_key)
        return matrix.matrix_id, cells[after : after + size]

    async def compare(self, later_id: str, earlier_id: str) -> tuple[Matrix, Matrix, list[Change]]:
        """The difference of two matrices, product by product. Raises matrix_not_found."""
        later, files = await self._matrix(later_id)
        if not earlier_id:
            async with self._db.read() as read:
                earlier_id = await self._matrices.before(read, later)
            if not earlier_id:
                raise refusals.matrix_not_found("")
        earlier, others = await self._matrix(earlier_id)
        return later, earlier, await asyncio.to_thread(self._reader.compare, files, others)

    async def report(self, matrix_id: str) -> tuple[Matrix, list[tuple[Held, Row]]]:
        """A matrix by product, each with its owners. Raises matrix_not_found."""
        matrix, files = await self._matrix(matrix_id)
        async with self._db.read() as read:
            held = {each.product.product_id: each for each in await self._knowledge.products(read)}
        rows = await asyncio.to_thread(self._reader.report, files)
        return matrix, [(held[row.product_id], row) for row in rows if row.product_id in held]

    async def wanted(self, matrix_id: str, keys: Ints, flags: Flags, product_ids: Sequence[str]) -> tuple[str, Wanted]:
        """The matrix that answers, summed by circle: `flags` (n, t) of customers `keys`. Raises matrix_not_found."""
        matrix, files = await self._matrix(matrix_id)
        told = await asyncio.to_thread(self._reader.wanted, files, keys, flags, product_ids)
        return matrix.matrix_id, told

    async def effect(self, matrix_id: str, days: int, parts: int) -> tuple[Matrix, list[Band], float]:
        """Hit rates by band of score, and the AUC (NaN without both kinds). Raises matrix_not_found."""
        matrix, files = await self._matrix(matrix_id)
        first = datetime.combine(matrix.as_of_date + timedelta(days=1), datetime.min.time(), UTC)
        async with self._db.read() as read:
            since = await self._knowledge.opened_between(read, first, first + timedelta(days=days or _DAYS))
        score, opened = await asyncio.to_thread(self._reader.opened, files, since)
        return matrix, bands(score, opened, parts or _BANDS), auc(score, opened)

    async def export(self, matrix_id: str, product_ids: Sequence[str], most_rank: int) -> AsyncIterator[bytes]:
        """An Arrow IPC stream in pieces, a file of the matrix at a time. Raises matrix_not_found."""
        matrix, files = await self._matrix(matrix_id)
        async with self._db.begin() as tx:
            told = ",".join(product_ids) or "all"
            await operations.record(tx, "recommend.ExportMatrix", matrix.matrix_id, products=told, most_rank=most_rank)
            await tx.commit()
        pieces = self._reader.export(files, list(product_ids), most_rank, domains.current(), await self._gone())
        while (piece := await asyncio.to_thread(next, pieces, b"")) != b"":
            yield piece

    async def _gone(self) -> Collection[int]:
        """Matrices are files that do not change: who was erased since is left out when they are read."""
        with domains.whole():
            async with self._db.read() as read:
                return await self._outcomes.gone(read)

    async def _matrix(self, matrix_id: str) -> tuple[Matrix, list[File]]:
        async with self._db.read() as read:
            matrix = await self._matrices.matrix(read, matrix_id)
            if matrix is None:
                raise refusals.matrix_not_found(matrix_id)
            return matrix, await self._matrices.files(read, matrix.matrix_id)
