"""Taking in what the neighbours publish, with the cursor, and beginning what became possible."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from services.kit.clock import Clock
from services.kit.db import Write
from services.recommend import store
from services.recommend.domain import ownership
from services.recommend.domain.ownership import Orders
from services.recommend.domain.product import Product
from services.recommend.domain.snapshot import GRAPH_FEEDS, ORDERS, PRODUCTS, Delivery, File, Published
from services.recommend.usecases.asking import Asking

_log = structlog.get_logger(__name__)

ReadOrders = Callable[[Sequence[File]], Orders]
ReadProducts = Callable[[Sequence[File]], list[Product]]


class Taking:
    """Folds deliveries into products and ownership, keeps runs, and begins the training of a run that is complete."""

    def __init__(
        self,
        inputs: store.Inputs,
        knowledge: store.Knowledge,
        asking: Asking,
        read_orders: ReadOrders,
        read_products: ReadProducts,
        clock: Clock,
        seed: int,
    ) -> None:
        self._inputs = inputs
        self._knowledge = knowledge
        self._asking = asking
        self._read_orders = read_orders
        self._read_products = read_products
        self._clock = clock
        self._seed = seed
        self._ahead: tuple[Delivery, list[Product] | Orders] | None = None

    async def read_ahead(self, delivery: Delivery) -> None:
        """Read a delivery's files before the transaction that takes it in, so that it is short."""
        wanted = delivery.files and delivery.feed_id not in GRAPH_FEEDS
        self._ahead = (delivery, await asyncio.to_thread(self._read, delivery)) if wanted else None

    async def take_delivery(self, tx: Write, delivery: Delivery) -> None:
        """Fold a delivery of products or orders in; the same again changes nothing."""
        if not await self._inputs.keep_delivery(tx, delivery) or delivery.feed_id in GRAPH_FEEDS:
            return  # who calls whom is read by the jobs that look at it
        content = await self._content(tx, delivery)
        if isinstance(content, Orders):
            await self._knowledge.fold_orders(tx, content)
        else:
            await self._knowledge.put_products(tx, content, delivery.period, delivery.sequence, self._clock())
        await self._knowledge.count_owners(tx)
        await self._inputs.mark_folded(tx, delivery.delivery_id)
        await self._begin(tx)

    async def take_orders(self, tx: Write, orders: Orders) -> None:
        """Fold orders in as they happen: the next answer knows them. The files that bring them again change nothing."""
        await self._knowledge.fold_orders(tx, ownership.latest(orders))

    async def take_run(self, tx: Write, published: Published) -> None:
        """Keep a run and what belongs to it; the same again changes nothing."""
        for delivery in published.deliveries:  # folded in when their own event comes
            await self._inputs.keep_delivery(tx, delivery)
        await self._inputs.keep_run(tx, published.run)
        await self._begin(tx)

    async def _content(self, tx: Write, delivery: Delivery) -> list[Product] | Orders:
        """What is to be folded in: as it was read ahead, or with all the others for a corrected file."""
        ahead, self._ahead = self._ahead, None
        if delivery.feed_id == ORDERS and await self._inputs.replaced(tx, delivery):
            # A corrected file may take orders back, which no fold can undo: begin again from all that counts.
            await self._knowledge.forget_ownership(tx)
            others = await self._inputs.folded(tx, ORDERS)
            files = await self._inputs.files(tx, [*others, delivery.delivery_id])
            return await asyncio.to_thread(self._latest, files)
        if ahead is not None and ahead[0] == delivery:
            return ahead[1]
        return await asyncio.to_thread(self._read, delivery)

    def _read(self, delivery: Delivery) -> list[Product] | Orders:
        return self._read_products(delivery.files) if delivery.feed_id == PRODUCTS else self._latest(delivery.files)

    def _latest(self, files: Sequence[File]) -> Orders:
        return ownership.latest(self._read_orders(files))

    async def _begin(self, tx: Write) -> None:
        """Begin the training of every run that waited for what is there now; each run begins one by itself."""
        for run in await self._inputs.waiting_runs(tx):
            inputs = await self._inputs.inputs(tx, run)
            if inputs.missing():
                _log.info("run_waits", run=run.run_id, missing=inputs.missing())
                continue
            job = await self._asking.queue_train(tx, inputs, self._seed)
            await self._inputs.begin_run(tx, run.run_id)
            _log.info("training_queued", run=run.run_id, job=job.job_id)
