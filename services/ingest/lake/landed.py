"""The landed layer (ODS): the rows of a delivery as they came, as text, the number replaced by the customer key.

    <root>/ods/<feed>/period=YYYYMMDD/<delivery_id>.parquet      customer_key, the contract's columns as text, line

Rows that have not the contract's columns are not here: they are kept with the rejected rows, sealed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from services.ingest.domain import identity, lines
from services.ingest.domain.delivery import Delivery, LakeFile
from services.ingest.domain.feed import Feed
from services.ingest.lake import content
from services.ingest.lake.files import Files
from services.ingest.lake.parquet import parquet_writer, sha256_of

_NUMBER = r"^\s*\+?(?:(?:00)?86)?(1[3-9][0-9]{9})\s*$"

Known = Callable[[Sequence[str]], Mapping[str, int]]
"""Customer keys of clear numbers; asked for from the thread that writes."""


def write(files: Files, feed: Feed, delivery: Delivery, blocks: Iterator[bytes], known: Known) -> LakeFile | None:
    """Write a delivery's rows; None when not one of them has the contract's columns."""
    assert delivery.period is not None
    path = f"ods/{feed.feed_id}/period={delivery.period:%Y%m%d}/{delivery.delivery_id}.parquet"
    local = files.local / path
    local.parent.mkdir(parents=True, exist_ok=True)
    part = local.with_name(f".{local.name}.part")
    names, rows, writer = [column.name for column in feed.columns], 0, None
    try:
        for batch in lines.without_head(lines.batches(blocks), header=feed.header):
            split = lines.split(batch, encoding=feed.encoding, delimiter=feed.delimiter, names=names)
            frame = _keyed(split.rows, feed, known)
            if not frame.height:
                continue
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer = writer or parquet_writer(part, table.schema)
            writer.write_table(table)
            rows += frame.height
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        return None
    part.rename(local)
    files.sync(path)
    digest = sha256_of(local)
    files.publish(path)
    return LakeFile(path, rows, digest, delivery.period, -1, delivery.delivery_id)


def _keyed(rows: pl.DataFrame, feed: Feed, known: Known) -> pl.DataFrame:
    names = [column.name for column in feed.columns if feed.msisdn is None or column.name != feed.msisdn.name]
    text = [identity.masked_all(pl.col(name)).alias(name) for name in names]
    if feed.msisdn is None:
        return rows.select(*text, pl.col("line").cast(pl.Int32))
    number = rows[feed.msisdn.name].str.extract(_NUMBER)
    keys = known(number.drop_nulls().unique(maintain_order=True).to_list())
    key = number.replace_strict(keys, default=None, return_dtype=pl.Int64) if keys else pl.Series([None] * rows.height)
    return rows.with_columns(customer_key=key.cast(pl.Int64)).select(
        "customer_key", *text, pl.col("line").cast(pl.Int32)
    )


def archived(landing: Path, delivery: Delivery) -> Iterator[bytes]:
    """The bytes of a loaded operator file, still or already where it is kept. Raises FileNotFoundError."""
    folders = [landing / ".taken", landing / ".archive" / delivery.feed_id, landing / ".taken"]
    for folder in folders:  # it moves from the first to the second at some moment
        path = folder / delivery.delivery_id / delivery.file_name
        if path.exists():
            return content.blocks(path)
    raise FileNotFoundError(delivery.file_name)
