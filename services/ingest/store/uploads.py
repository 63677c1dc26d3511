"""Files on their way: sent by RPC, or fetched from a remote source."""

from dataclasses import asdict, fields
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.ingest.domain.upload import Remote, Upload
from services.ingest.tables import collected
from services.ingest.tables import upload as table
from services.kit.db import Read, Write


class Uploads:
    """The tables `upload` and `collected`."""

    async def add(self, tx: Write, new: Upload) -> None:
        """A new upload."""
        await tx.execute(insert(table).values(asdict(new)))

    async def for_update(self, tx: Write, upload_id: str, now: datetime) -> Upload | None:
        """An upload that has not expired; nobody else moves it until the end of the transaction."""
        stmt = select(table).where(table.c.upload_id == upload_id, table.c.expire_time > now).with_for_update()
        row = await tx.row(stmt)
        return None if row is None else Upload(**{each.name: getattr(row, each.name) for each in fields(Upload)})

    async def set(self, tx: Write, changed: Upload) -> None:
        """How far it is."""
        stmt = update(table).where(table.c.upload_id == changed.upload_id)
        await tx.execute(stmt.values(received_bytes=changed.received_bytes, committed=changed.committed))

    async def drop_expired(self, tx: Write, now: datetime) -> list[str]:
        """Forget those that have expired; gives their ids."""
        stmt = delete(table).where(table.c.expire_time <= now).returning(table.c.upload_id)
        return [row.upload_id for row in await tx.rows(stmt)]

    async def collected(self, read: Read, source: str) -> dict[str, Remote]:
        """What was fetched from a source, by name, as it was then."""
        stmt = select(collected).where(collected.c.source == source)
        return {row.file_name: Remote(row.file_name, row.size, row.change_time) for row in await read.rows(stmt)}

    async def set_collected(self, tx: Write, source: str, file: Remote, now: datetime) -> None:
        """A file was fetched."""
        row = {"size": file.size, "change_time": file.change_time, "collect_time": now}
        stmt = upsert(collected).values(source=source, file_name=file.name, **row)
        await tx.execute(stmt.on_conflict_do_update(index_elements=["source", "file_name"], set_=row))
