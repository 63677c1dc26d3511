"""Which days of signalling are kept, and where."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text

from services.kit.db import Read, Write
from services.portrait.domain.run import KeptDay, LakeFile

_OF_BUCKET = text(
    "SELECT * FROM kept_day WHERE bucket = :bucket AND use_time > '-infinity' ORDER BY day, use_time DESC"
)
_PUT = text(
    "INSERT INTO kept_day (day, bucket, inputs, reading, rows, uri, stays, sha256, cells_uri, cells, cells_sha256, "
    "use_time) VALUES (:day, :bucket, :inputs, :reading, :rows, :uri, :stays, :sha256, :cells_uri, :cells, "
    ":cells_sha256, :now) ON CONFLICT (day, bucket, inputs, reading) DO UPDATE SET use_time = excluded.use_time"
)
_SUPERSEDE = text(
    "UPDATE kept_day SET use_time = '-infinity' WHERE day = :day AND bucket = :bucket AND inputs <> :inputs"
)
_FORGET = text("UPDATE kept_day SET use_time = '-infinity' WHERE bucket IN (-1, :bucket)")
_UNUSED = text("SELECT * FROM kept_day WHERE use_time < :before ORDER BY day, bucket LIMIT :most")
_DROP = text(
    "DELETE FROM kept_day WHERE day = :day AND bucket = :bucket AND inputs = :inputs AND reading = :reading"
    " AND use_time < :before"
)


class KeptDays:
    """By day, bucket, and what they are made of."""

    async def of_bucket(self, read: Read, bucket: int) -> list[KeptDay]:
        """The kept days of a bucket (-1: the samples), of each day the one that was used last first."""
        return [_kept(row) for row in await read.rows(_OF_BUCKET, {"bucket": bucket})]

    async def put(self, tx: Write, used: Sequence[KeptDay], fresh: Sequence[KeptDay], now: datetime) -> None:
        """Take note of days that were used; what was made of other files of a fresh one's day is superseded."""
        for each in used:
            await tx.execute(
                _PUT,
                {
                    **_name(each), "rows": each.rows, "now": now,
                    "uri": each.stays.uri, "stays": each.stays.rows, "sha256": each.stays.sha256,
                    "cells_uri": each.cells.uri, "cells": each.cells.rows, "cells_sha256": each.cells.sha256,
                },
            )  # fmt: skip
        for each in fresh:
            await tx.execute(_SUPERSEDE, {"day": each.day, "bucket": each.bucket, "inputs": each.inputs})

    async def forget(self, tx: Write, customer_key: int, buckets: int) -> None:
        """Let go of all days that a customer may be in; they are followed anew when they are asked for."""
        await tx.execute(_FORGET, {"bucket": customer_key % buckets})

    async def unused(self, read: Read, before: datetime, most: int) -> list[KeptDay]:
        """Days that nobody has used since, or that were let go."""
        return [_kept(row) for row in await read.rows(_UNUSED, {"before": before, "most": most})]

    async def drop(self, tx: Write, kept: KeptDay, before: datetime) -> None:
        """Drop one that is still not used."""
        await tx.execute(_DROP, {**_name(kept), "before": before})


def _name(kept: KeptDay) -> dict[str, Any]:
    return {"day": kept.day, "bucket": kept.bucket, "inputs": kept.inputs, "reading": kept.reading}


def _kept(row: Any) -> KeptDay:
    stays = LakeFile(row.uri, row.stays, row.sha256, row.bucket)
    cells = LakeFile(row.cells_uri, row.cells, row.cells_sha256, row.bucket)
    return KeptDay(row.day, row.bucket, row.inputs, row.reading, row.rows, stays, cells)
