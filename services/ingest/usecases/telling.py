"""Rows of a delivery as events: straight into the log while all are new, otherwise by way of a staging table."""

from collections.abc import Callable, Iterator

import polars as pl

from services.ingest import store
from services.ingest.domain import event
from services.ingest.domain.delivery import Delivery
from services.ingest.domain.feed import Feed
from services.ingest.store.recent import Arrival
from services.kit import telemetry
from services.kit.db import Write


async def tell_events(
    events: store.Events,
    tx: Write,
    feed: Feed,
    loaded: Delivery,
    rows: Callable[[], Iterator[pl.DataFrame]],
    *,
    fresh: bool,
) -> list[int]:
    """Write the events of a delivery; gives the lines whose source told another event under the same id before.

    Nothing is written when there are such lines. `fresh`: no event of these rows is expected to be known.
    """
    assert loaded.load_time is not None
    arrival = Arrival(loaded.delivery_id, loaded.load_time, telemetry.traceparent(), loaded.delivery_id)
    if fresh and event.is_canonical(feed):
        hashed = (part.with_columns(event.digests(part)) for part in rows())
        if await events.add_fresh(tx, hashed, arrival, source=feed.feed_id):
            return []
    await events.stage(tx, rows())
    late = await events.conflicts(tx, feed.feed_id)
    if not late:
        await events.add_staged(tx, arrival, source=feed.feed_id)
    return late
