"""Files that are sent by RPC: begun, appended to in order, and put into the landing folder like any other."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from services.ingest import refusals, store
from services.ingest.domain import feed as feeds
from services.ingest.domain.upload import Upload
from services.ingest.lake.landing import Landing
from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids

LIFE = timedelta(days=1)
"""How long an upload may take."""


class Uploads:
    """Uploads; the bytes lie in the landing folder of this process, which must be that of the workers."""

    def __init__(
        self, db: Database, uploads: store.Uploads, revisions: store.Feeds, landing: Landing, clock: Clock, ids: Ids
    ) -> None:
        self._db = db
        self._uploads = uploads
        self._feeds = revisions
        self._landing = landing
        self._clock = clock
        self._ids = ids

    async def create(self, file_name: str, caller: str, key: RequestKey) -> Upload:
        """Begin one. Raises file_name_unknown."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._get(tx, earlier["upload_id"])
            await self._control_name(tx, file_name)
            made = Upload(self._ids(), caller, file_name, 0, False, self._clock() + LIFE)
            await self._uploads.add(tx, made)
            await idempotency.answer(tx, key, {"upload_id": made.upload_id})
            await tx.commit()
        return made

    async def append(self, upload_id: str, offset: int, data: bytes, caller: str) -> Upload:
        """Write one part. Raises upload_not_found, upload_offset_wrong."""
        async with self._db.begin() as tx:
            upload = await self._mine(tx, upload_id, caller)
            received = upload.received_bytes
            if offset + len(data) <= received:
                if not upload.committed and not await asyncio.to_thread(self._landing.holds, upload_id, offset, data):
                    raise refusals.upload_offset_wrong(upload_id, received)
                return upload
            if offset != received or upload.committed:
                raise refusals.upload_offset_wrong(upload_id, received)
            await asyncio.to_thread(self._landing.append, upload_id, offset, data)
            upload = replace(upload, received_bytes=offset + len(data))
            await self._uploads.set(tx, upload)
            await tx.commit()
        return upload

    async def commit(self, upload_id: str, control: bytes, caller: str, key: RequestKey) -> Upload:
        """Put it into the landing folder. Raises upload_not_found, upload_offset_wrong (empty), file_waits."""
        async with self._db.begin() as tx:
            upload = await self._mine(tx, upload_id, caller)
            if await idempotency.remember(tx, key) is not None:
                return upload
            if not upload.received_bytes or upload.committed:
                raise refusals.upload_offset_wrong(upload_id, upload.received_bytes)
            control_name = await self._control_name(tx, upload.file_name)
            try:
                await asyncio.to_thread(self._landing.land, upload_id, upload.file_name, control_name, control)
            except FileExistsError:
                raise refusals.file_waits() from None
            upload = replace(upload, committed=True)
            await self._uploads.set(tx, upload)
            await idempotency.answer(tx, key, {})
            await tx.commit()
        await asyncio.to_thread(self._landing.drop_upload, upload_id)
        return upload

    async def tidy(self) -> None:
        """Forget what was not committed in time."""
        async with self._db.begin() as tx:
            gone = await self._uploads.drop_expired(tx, self._clock())
            await tx.commit()
        for upload_id in gone:
            await asyncio.to_thread(self._landing.drop_upload, upload_id)

    async def _mine(self, tx: Write, upload_id: str, caller: str) -> Upload:
        upload = await self._get(tx, upload_id)
        if upload.caller != caller:
            raise refusals.upload_not_found(upload_id)
        return upload

    async def _get(self, tx: Write, upload_id: str) -> Upload:
        found = await self._uploads.for_update(tx, upload_id, self._clock())
        if found is None:
            raise refusals.upload_not_found(upload_id)
        return found

    async def _control_name(self, read: Read, file_name: str) -> str:
        """Name of the control file of a data file. Raises file_name_unknown."""
        for revisions in feeds.by_feed(await self._feeds.revisions(read)):
            found = feeds.governing(revisions, file_name)
            if found is not None:
                return feeds.control_name(file_name, found[0].feed.control)
        raise refusals.file_name_unknown()
