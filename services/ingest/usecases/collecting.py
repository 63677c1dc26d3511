"""Files fetched from remote sources into the landing folder, whole: the data file first, then its control file.

A file whose control file is not there yet is still on its way and is left alone. What is fetched lies under a name that
nobody looks at until it is whole; a connection that is cut leaves nothing, and the next look fetches it anew.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from services.ingest import store
from services.ingest.domain import feed as feeds
from services.ingest.domain.feed import Revision
from services.ingest.domain.upload import Remote, Source
from services.ingest.lake.landing import Landing
from services.ingest.lake.remote import Folder, Place, Unreachable
from services.kit import telemetry
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.ids import Ids

_log = structlog.get_logger(__name__)
_fetched = telemetry.counter("lifecircle.ingest.collected", "{file}", "Files fetched from remote sources, by outcome.")


@dataclass(frozen=True)
class _Pair:
    data: Remote
    control: Remote


class Collecting:
    """Looks at remote sources. Many processes may: what is fetched twice is one delivery."""

    def __init__(
        self, db: Database, uploads: store.Uploads, revisions: store.Feeds, landing: Landing, clock: Clock, ids: Ids
    ) -> None:
        self._db = db
        self._uploads = uploads
        self._feeds = revisions
        self._landing = landing
        self._clock = clock
        self._ids = ids

    async def look(self, source: Source, place: Place) -> int:
        """Fetch what is new at a source; gives how many files landed. A source that cannot be read is said and left."""
        landed = 0
        try:
            async with place.open() as folder:
                for pair in await self._new(source, await folder.files()):
                    landed += await self._fetch(source, folder, pair)
        except Unreachable as error:
            _log.warning("source_unreachable", source=source.name, error=str(error))
            _fetched(1, source=source.name, outcome="unreachable")
        return landed

    async def _new(self, source: Source, listed: Sequence[Remote]) -> list[_Pair]:
        async with self._db.read() as read:
            revisions = feeds.by_feed(await self._feeds.revisions(read))
            known = await self._uploads.collected(read, source.name)
        pairs = _pairs({each.name: each for each in listed}, revisions)
        return [
            each
            for each in pairs
            if (known.get(each.data.name), known.get(each.control.name)) != (each.data, each.control)
        ]

    async def _fetch(self, source: Source, folder: Folder, pair: _Pair) -> bool:
        """Fetch one file and its control file, and let them land. False when the last one of this name still waits."""
        own = self._ids()
        data, control = self._landing.collected(f"{own}.data"), self._landing.collected(f"{own}.control")
        try:
            for file, to in ((pair.data, data), (pair.control, control)):
                await folder.fetch(file.name, to)
                if to.stat().st_size != file.size:
                    raise Unreachable(f"{source.name}: a file changed while it was fetched")
            await asyncio.to_thread(self._landing.land_collected, data, pair.data.name, control, pair.control.name)
        except FileExistsError:
            return False
        finally:
            for each in (data, control):
                each.unlink(missing_ok=True)
        async with self._db.begin() as tx:
            for file in (pair.data, pair.control):
                await self._uploads.set_collected(tx, source.name, file, self._clock())
            await tx.commit()
        _log.info("file_collected", source=source.name, file=pair.data.name, size=pair.data.size)
        _fetched(1, source=source.name, outcome="landed")
        return True


def _pairs(listed: Mapping[str, Remote], revisions: Sequence[Sequence[Revision]]) -> Iterator[_Pair]:
    for name, file in listed.items():
        for mine in revisions:
            judged = feeds.governing(mine, name)
            control = listed.get(feeds.control_name(name, judged[0].feed.control)) if judged else None
            if control is not None:
                yield _Pair(file, control)
                break
