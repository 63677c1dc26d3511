"""The values that columns with a reference may have, as they stand in the lake."""

import asyncio

import polars as pl

from services.ingest import store
from services.ingest.domain.feed import Feed
from services.ingest.lake.parquet import Lake
from services.kit.db import Database


async def known(db: Database, deliveries: store.Deliveries, lake: Lake, feed: Feed) -> dict[str, pl.Series]:
    """Values by column; those of a feed that was never loaded are left out."""
    found = {}
    for name, (other, column) in feed.references.items():
        async with db.read() as read:
            files = await deliveries.files(read, other, None, None)
        if files:
            found[name] = await asyncio.to_thread(lake.values, files, column)
    return found
