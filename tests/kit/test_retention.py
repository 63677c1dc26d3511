"""Old rows of the kit's tables go, young ones and work that has not ended stay."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from services.kit import retention
from services.kit.db import Database

NOW = datetime(2026, 6, 1, tzinfo=UTC)


async def put(db: Database, days: int) -> None:
    async with db.begin() as tx:
        time = {"name": f"d{days}", "time": NOW - timedelta(days=days)}
        await tx.execute(text("INSERT INTO request VALUES ('c', 'm', :name, '\\x00', '{}', :time)"), time)
        await tx.execute(text("INSERT INTO outbox (kind, key, payload, time) VALUES ('k', :name, '{}', :time)"), time)
        for state, ended in (("SUCCEEDED", ":time"), ("RUNNING", "NULL")):
            stmt = (
                "INSERT INTO job (job_id, kind, key, spec, state, create_time, end_time)"
                f" VALUES (:name || '{state}', 'k', :name || '{state}', '{{}}', '{state}', :time, {ended})"
            )
            await tx.execute(text(stmt), time)
        await tx.commit()


async def left(db: Database, stmt: str) -> list[str]:
    async with db.read() as read:
        return [row[0] for row in await read.rows(text(f"{stmt} ORDER BY 1"))]


async def trimmed(db: Database, **keep: timedelta | None) -> None:
    stop = asyncio.Event()
    work = asyncio.create_task(retention.trim(db, lambda: NOW, **keep)(stop))  # type: ignore[arg-type]
    await asyncio.sleep(0.5)
    stop.set()
    await work


async def test_what_is_old_goes_and_what_is_not_stays(db: Database) -> None:
    async with db.begin() as tx:
        for table in ("request", "outbox", "job"):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()
    for days in (1, 15, 401, 801):
        await put(db, days)
    await trimmed(db, outbox=None)
    assert await left(db, "SELECT request_id FROM request") == ["d1"]
    assert await left(db, "SELECT key FROM outbox") == ["d1", "d15", "d401", "d801"]
    assert "d801SUCCEEDED" not in await left(db, "SELECT job_id FROM job")
    assert "d801RUNNING" in await left(db, "SELECT job_id FROM job")
    assert "d401SUCCEEDED" in await left(db, "SELECT job_id FROM job")
    await trimmed(db)
    assert await left(db, "SELECT key FROM outbox") == ["d1", "d15"]
